"""Abnormal devices on simulated provinces: found, told falsely, told for another reason; intervals over provinces."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from evaluation import abnormal_devices, abnormal_judgement
from evaluation.abnormal_judgement import CAUSES, DAY, REASONS, Province
from evaluation.domain import Domain, read_domain
from evaluation.faults import Ramp, read_catalogue
from evaluation.monitor_settings import MonitorSettings, read_monitor_settings
from features import membership
from features.configuration import packaged_configs

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
    """Return tables by kind, by cause of the faults and by reason of the tellings, simulated.

    interval: of a figure over provinces.
    """
    faults = pd.DataFrame([one for of in results for one in of["faults"]])
    due = faults[faults["due"]].groupby(["kind", "service", "cause"])["found"].agg(due="size", found="sum")
    tellings = pd.DataFrame([one for of in results for one in of["tellings"]])
    why = tellings.groupby(["kind", "service", "reason", "cause"]).size().rename("told")
    parts = (_by_kind(results, interval), due.reset_index(), why.reset_index())
    return "\n\n".join([*(one.to_string(index=False) for one in parts), low_batteries(results)])


def low_batteries(results: Sequence[Result]) -> str:
    """Return how many faults of a battery had left it no more than the level that is told, and how many were found.

    By the law of the simulation: the fault caps the charge at a level towards which it goes with severity and ramp.
    """
    catalogue = read_catalogue(packaged_configs() / "fault_catalogue.yaml")
    (fault,) = (one for one in catalogue.faults if one.id == "f_low_battery")
    assert isinstance(fault.onset, Ramp)  # as the catalogue has it
    floor, least = fault.mechanism[0].value, read_monitor_settings().devices.battery.level
    low = [
        one["found"]
        for each in results
        for one in each["faults"]
        if one["cause"] == fault.id
        and 100 - (100 - floor) * one["severity"] * min(1.0, one["hours"] / fault.onset.hours) <= least
    ]
    return f"{fault.id} at a charge of {least:g} % or less at the last look: {len(low)}, found {sum(low)}"


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
                "found": sum(one["found"] for one in faults),
                "due": sum(one["due"] for one in faults),
                "found of due": sum(one["found"] for one in faults if one["due"]),
                "share": interval(results, partial(_share, kind=kind)) if faults else "-",
                "told": len(tellings),
                **{reason: int(reasons.get(reason, 0)) for reason in REASONS},
                "none a day": interval(results, partial(_false, kind=kind)),
            }
        )
    return pd.DataFrame(rows)


def _share(of: Sequence[Result], kind: str) -> float:
    due = [one["found"] for each in of for one in each["faults"] if one["kind"] == kind and one["due"]]
    return sum(due) / len(due) if due else float("nan")


def _false(of: Sequence[Result], kind: str) -> float:
    false = sum(one["kind"] == kind and one["reason"] == "none" for each in of for one in each["tellings"])
    return float(false / sum(each["days"] for each in of))
