"""Abnormal devices on simulated provinces: found, told falsely, told for another reason; intervals over provinces."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd

from evaluation import abnormal_devices, abnormal_judgement
from evaluation.abnormal_judgement import CAUSES, DAY, REASONS, Province
from evaluation.domain import Domain, read_domain
from evaluation.monitor_settings import MonitorSettings
from features import membership

Result = dict[str, Any]  # JSON
Figure = Callable[[Sequence[Result]], float]
Interval = Callable[[Sequence[Result], Figure], str]


def measure(
    workspace: Path, raw: Path, settings: MonitorSettings, *, begin: datetime, end: datetime
) -> Result:
    """Return what the rules told at the end of each day after `begin` until `end`, beside the truth of `raw`."""
    domain = read_domain(workspace)
    moments = [begin + n * DAY for n in range(1, int((end - begin) / DAY) + 1)]
    told = pd.concat(
        [abnormal_devices.find(workspace, domain, settings, at=at) for at in moments], ignore_index=True
    )
    province = Province(
        pd.read_parquet(raw / "truth.parquet"),
        pd.read_parquet(raw / "device_truth.parquet"),
        membership.rows(workspace),
    )
    found = abnormal_judgement.judge(told, province, moments=moments, waits=waits(domain, settings))
    return {
        "days": len(moments),
        "faults": found.faults.to_dict("records"),
        "tellings": found.tellings.to_dict("records"),
    }


def waits(domain: Domain, settings: MonitorSettings) -> Mapping[tuple[str, str], timedelta]:
    """Return how long each rule waits before it tells, by kind and service; of what it never tells, nothing."""
    found = {}
    for service in domain.services:
        if (profile := service.device_profile) is None:
            continue
        quiet = timedelta(seconds=settings.devices.silent.heartbeats * profile.heartbeat_s)
        for kind in CAUSES:
            if kind != "misplaced" or profile.mobility == "static":
                found[kind, service.id] = quiet if kind == "silent" else DAY
    return found


def table(results: Sequence[Result], interval: Interval) -> str:
    """Return a table by kind and one by cause, simulated. interval: of a figure over provinces."""
    return (
        f"{_by_kind(results, interval).to_string(index=False)}\n{_by_cause(results).to_string(index=False)}"
    )


def _by_kind(results: Sequence[Result], interval: Interval) -> pd.DataFrame:
    rows = []
    for kind in CAUSES:
        tellings = [one for of in results for one in of["tellings"] if one["kind"] == kind]
        reasons = pd.Series([one["reason"] for one in tellings], dtype="object").value_counts()
        faults = [one for of in results for one in of["faults"] if one["kind"] == kind]
        rows.append(
            {
                "kind": kind,
                "asked": len(faults),
                "due": sum(one["due"] for one in faults),
                "found": sum(one["found"] for one in faults),
                "share of the due": interval(results, lambda of, kind=kind: _share(of, kind))
                if faults
                else "-",
                "told": len(tellings),
                **{reason: int(reasons.get(reason, 0)) for reason in REASONS},
                "false a day": interval(results, lambda of, kind=kind: _false(of, kind)),
            }
        )
    return pd.DataFrame(rows)


def _by_cause(results: Sequence[Result]) -> pd.DataFrame:
    faults = pd.DataFrame([one for of in results for one in of["faults"]])
    told = pd.DataFrame([one for of in results for one in of["tellings"]])
    told = told.groupby(["kind", "reason", "cause"]).size().rename("told").reset_index()
    if faults.empty:
        return told
    due = faults[faults["due"]].groupby(["kind", "service", "cause"])["found"].agg(due="size", found="sum")
    return pd.concat([due.reset_index(), told], ignore_index=True).fillna("")


def _share(of: Sequence[Result], kind: str) -> float:
    due = [one["found"] for each in of for one in each["faults"] if one["kind"] == kind and one["due"]]
    return sum(due) / len(due) if due else float("nan")


def _false(of: Sequence[Result], kind: str) -> float:
    false = sum(one["kind"] == kind and one["reason"] == "none" for each in of for one in each["tellings"])
    return false / sum(each["days"] for each in of)
