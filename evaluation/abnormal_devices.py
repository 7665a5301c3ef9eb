"""ABNORMAL_DEVICES: silent, chatty, storming with false alarms, battery at risk, misplaced; each by a stated rule."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from evaluation.domain import Domain
from evaluation.monitor_settings import DeviceRules, MonitorSettings
from evaluation.process import ServiceModel
from features import events, membership, terminal
from features.table import Column, check_table, empty_table

ABNORMAL_DEVICES: tuple[Column, ...] = (
    Column("device_id", "string", "-", "the device"),
    Column("service", "string", "-", "its service"),
    Column("kind", "string", "-", "silent, chatty, false_alarms, battery or misplaced"),
    Column("at", "timestamp", "UTC", "the moment that is judged"),
    Column(
        "since", "timestamp", "UTC", "since when, by the evidence; empty where it does not tell", empty=True
    ),
    Column("value", "float64", "-", "what the rule looks at, in the unit that the evidence names"),
    Column("threshold", "float64", "-", "beyond which it is abnormal"),
    Column("evidence", "string", "-", "what was seen, in words"),
)
_DAY = timedelta(days=1)
_BACK = timedelta(days=30)  # so far back the last thing that a silent device told is looked for


@dataclass(frozen=True)
class Seen:
    """What is known of the devices of one service at a moment.

    members: device_id, fleet, cell, home, valid_from, of each; home: the cell that it hung on longest.
    log: EVENTS of the service as far back as a rule looks. heard: by device, when the last thing arrived, up to
    _BACK before; begun: from when on the log could tell that.
    told: by device, what it had last told of itself, a column for each terminal indicator; before: the same
    `battery.over_s` earlier.
    """

    service: ServiceModel
    at: datetime
    members: pd.DataFrame
    log: pd.DataFrame
    heard: "pd.Series[pd.Timestamp]"
    begun: datetime
    told: pd.DataFrame
    before: pd.DataFrame


Rule = Callable[[Seen, DeviceRules], pd.DataFrame]


def find(workspace: Path, domain: Domain, settings: MonitorSettings, *, at: datetime) -> pd.DataFrame:
    """Return ABNORMAL_DEVICES of a workspace as of a moment, by kind and device."""
    parts = [
        rule(seen, settings.devices)
        for seen in _seen(workspace, domain, settings, at)
        for rule in (silent, chatty, false_alarms, battery, misplaced)
    ]
    some = [part for part in parts if len(part)]
    if not some:
        return empty_table(ABNORMAL_DEVICES)
    found: pd.DataFrame = pd.concat(some).sort_values(["kind", "device_id"], kind="stable", ignore_index=True)
    return found


def _seen(workspace: Path, domain: Domain, settings: MonitorSettings, at: datetime) -> Iterator[Seen]:
    rows = membership.rows(workspace)
    held = rows[(rows["valid_from"] <= at) & ~(rows["valid_to"] <= at).fillna(False)]
    first = rows.groupby("device_id")["valid_from"].min()
    for service in domain.services:
        if service.device_profile is None:
            continue
        members = held[held["service"] == service.id]
        device = members["device_id"]
        home = homes(rows[rows["service"] == service.id], at)
        members = members.assign(valid_from=device.map(first), home=device.map(home)).reset_index(drop=True)
        quiet = timedelta(seconds=settings.devices.silent.heartbeats * service.device_profile.heartbeat_s)
        processes = [process.id for process in service.processes]
        begun = events.begun(workspace, processes) or at
        since = at - max(_DAY, quiet)
        log = events.rows(workspace, since=since, until=at, processes=processes)
        told, before = (
            terminal.as_of(
                members[["device_id"]].assign(event_timestamp=pd.Timestamp(moment)), workspace
            ).set_index("device_id")
            for moment in (at, at - timedelta(seconds=settings.devices.battery.over_s))
        )
        late = log[log["ok"]].groupby("device_id")["at"].max()
        lacking = members["device_id"][~members["device_id"].isin(late.index)].to_list()
        early = events.last_arrived(workspace, lacking, since=at - _BACK, until=since, processes=processes)
        heard = pd.concat([some for some in (late, early) if len(some)] or [late])
        yield Seen(service, at, members, log, heard, max(begun, at - _BACK), told, before)


def homes(rows: pd.DataFrame, at: datetime) -> "pd.Series[str]":
    """Return by device the cell that it hung on longest up to a moment: MEMBERSHIP follows a device that is moved."""
    known = rows[(rows["valid_from"] <= at) & rows["cell"].notna()]
    until = known["valid_to"].where(known["valid_to"] <= at, pd.Timestamp(at))
    known = known.assign(stayed=until - known["valid_from"])
    total = known.groupby(["device_id", "cell"])["stayed"].sum().reset_index()
    longest = total.sort_values("stayed", kind="stable").drop_duplicates("device_id", keep="last")
    home: pd.Series[str] = longest.set_index("device_id")["cell"]
    return home


def silent(seen: Seen, rules: DeviceRules) -> pd.DataFrame:
    """Nothing of the device arrived for so many heartbeats of its service, and it has been there as long.

    The value is how many; at least so many where the last thing that arrived is not known, of which `since` is empty.
    """
    assert seen.service.device_profile is not None  # else it is not seen
    least, beat_s = rules.silent.heartbeats, seen.service.device_profile.heartbeat_s
    device, there = seen.members["device_id"], seen.members["valid_from"]
    last = device.map(seen.heard).astype("datetime64[us, UTC]")
    watched = there.where(there > seen.begun, pd.Timestamp(seen.begun))
    beats, known = (
        (seen.at - moment).dt.total_seconds() / beat_s for moment in (last.fillna(watched), there)
    )
    quiet, never = (beats >= least) & (known >= least), last.isna()
    evidence = {
        "nothing arrived for {value:.1f} heartbeats": ~never,
        "nothing ever arrived in the {value:.1f} heartbeats since MEMBERSHIP knows it": never
        & (watched == there),
        "nothing arrived for {value:.1f} heartbeats or more, as far back as is looked": never
        & (watched > there),
    }
    parts = []
    for told, which in evidence.items():
        cells = {"device_id": device, "since": last, "value": beats}
        mine = {name: column[quiet & which] for name, column in cells.items()}
        parts.append(_rows(seen, "silent", {**mine, "threshold": least}, told))
    return pd.concat(parts, ignore_index=True)


def chatty(seen: Seen, rules: DeviceRules) -> pd.DataFrame:
    """It tried more often in a day than so many times the median of its fleet."""
    day = seen.log[seen.log["at"] >= seen.at - _DAY]
    tried = seen.members["device_id"].map(day.groupby("device_id").size()).fillna(0.0).astype("float64")
    usual = tried.groupby(seen.members["fleet"].fillna("")).transform("median")
    limit = (rules.chatty.times * usual).clip(lower=float(rules.chatty.least))
    far = tried >= limit
    return _rows(
        seen,
        "chatty",
        {
            "device_id": seen.members.loc[far, "device_id"],
            "since": pd.Series(seen.at - _DAY, index=tried.index[far]),
            "value": tried[far].tolist(),
            "threshold": limit[far].tolist(),
        },
        "{value:.0f} attempts in a day; at {threshold:.0f} it is chatty beside its fleet",
    )


def false_alarms(seen: Seen, rules: DeviceRules) -> pd.DataFrame:
    """It raised so many alarms within a time in which next to nobody else in its cell did: smoke is seen by several."""
    rule = rules.false_alarms
    alarms = seen.log[
        seen.log["process"].isin(list(rule.processes))
        & ~seen.log["repeated"]
        & (seen.log["at"] >= seen.at - timedelta(seconds=rule.within_s))
    ]
    count = seen.members["device_id"].map(alarms.groupby("device_id").size()).fillna(0.0).astype("float64")
    cell = seen.members["cell"].fillna("")
    others = (count > 0).groupby(cell).transform("sum") - (count > 0)
    far = (count >= rule.alarms) & (others <= rule.neighbours)
    first = seen.members.loc[far, "device_id"].map(alarms.groupby("device_id")["at"].min())
    return _rows(
        seen,
        "false_alarms",
        {
            "device_id": seen.members.loc[far, "device_id"],
            "since": first.astype("datetime64[us, UTC]"),
            "value": count[far].tolist(),
            "threshold": float(rule.alarms),
        },
        "{value:.0f} alarms, and the other devices of its cell tell of nothing",
    )


def battery(seen: Seen, rules: DeviceRules) -> pd.DataFrame:
    """It told a low level, or at the pace at which its level fell there is not much left.

    The drain that it tells is that of one day, and knows nothing of what charges it.
    """
    rule = rules.battery
    level, then = (of["term_battery_level"] for of in (seen.told, seen.before))
    now_s, then_s = (_seconds(of["term_battery_level__at"]) for of in (seen.told, seen.before))
    apart_s = now_s - then_s
    fell = ((then - level) / (apart_s / _DAY.total_seconds())).where(apart_s >= rule.over_s / 2)
    left = (level / fell).where(fell > 0)
    low, soon = level < rule.level, left < rule.days_left
    at = seen.told["term_battery_level__at"]

    def told(which: "pd.Series[bool]", value: pd.Series, threshold: float, evidence: str) -> pd.DataFrame:
        columns = {
            "device_id": pd.Series(which.index[which]),
            "since": pd.Series(at[which].to_numpy(), dtype="datetime64[us, UTC]"),
            "value": value[which].tolist(),
            "threshold": threshold,
        }
        return _rows(seen, "battery", columns, evidence)

    by_level = told(low, level, rule.level, "it told a level of {value:.0f} %")
    by_pace = told(
        soon & ~low, left, rule.days_left, "{value:.0f} days are left at the pace at which its level fell"
    )
    return pd.concat([by_level, by_pace], ignore_index=True)


def _seconds(at: pd.Series) -> "pd.Series[float]":
    """Return moments as seconds since 1970; NaN where nothing was told, of all where no device told it."""
    known = pd.to_datetime(at, utc=True)
    return (known - pd.Timestamp(0, tz="UTC")).dt.total_seconds()


def misplaced(seen: Seen, rules: DeviceRules) -> pd.DataFrame:
    """A static device that strange cells served in a day, while its own cell kept most of its other devices.

    Its own is the cell that it hung on longest.
    """
    profile, rule = seen.service.device_profile, rules.misplaced
    if profile is None or profile.mobility != "static":
        return empty_table(ABNORMAL_DEVICES)
    day = seen.log[(seen.log["at"] >= seen.at - _DAY) & (seen.log["cell"] != "")]
    own = day["device_id"].map(seen.members.set_index("device_id")["home"])
    day = day.assign(strange=(day["cell"] != own).astype("float64"))[own.notna()]
    by_device = day.groupby("device_id").agg(
        cells=("cell", "nunique"), strange=("strange", "mean"), first=("at", "min")
    )
    table = seen.members.merge(by_device, left_on="device_id", right_index=True)
    away = table["strange"] > rule.share
    moved = away.groupby(table["home"]).transform("mean") > rule.peers
    far = (away & ~moved) | (table["cells"] >= rule.cells)
    return _rows(
        seen,
        "misplaced",
        {
            "device_id": table.loc[far, "device_id"],
            "since": table.loc[far, "first"],
            "value": table.loc[far, "cells"].astype("float64").tolist(),
            "threshold": float(rule.cells),
        },
        "{value:.0f} cells served it in a day, or mostly one that is not its own",
    )


def _rows(
    seen: Seen, kind: str, cells: Mapping[str, Any], evidence: str
) -> pd.DataFrame:  # Any: series, lists
    """Return ABNORMAL_DEVICES. cells: device_id, since, value of each device; threshold of each, or of all.

    evidence: with places for value and threshold.
    """
    found = pd.DataFrame({name: list(cells[name]) for name in ("device_id", "since", "value")})
    limits = np.broadcast_to(cells["threshold"], len(found))
    told = [evidence.format(value=v, threshold=t) for v, t in zip(found["value"], limits, strict=True)]
    rows = found.assign(
        service=seen.service.id,
        kind=kind,
        at=pd.Timestamp(seen.at),
        since=pd.to_datetime(found["since"].astype("object"), utc=True),
        threshold=limits,
        evidence=pd.Series(told, dtype="string"),
    )
    return check_table(rows, ABNORMAL_DEVICES, table="abnormal devices")
