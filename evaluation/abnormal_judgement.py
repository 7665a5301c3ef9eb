"""Abnormal devices against the truth of a simulated province: which faults of devices were told, and what else was.

Written down before anything was measured:

- The rules look once a day, at the judged moments. A fault of a device is asked for where it is on at one of them, and
  its cause is one of CAUSES of a kind. It is due where it had been on for as long as its kind waits at such a moment:
  a battery that fell an hour ago was not told yet.
- It is found where the device is told under that kind at a moment at which it is on, or up to a day after its end.
- A telling is a kind of a device, however many moments tell it. It is `own` where a fault that the kind asks for was
  on at the device at one of these moments or up to a day before; else `other`, where another fault of the device was,
  on or up to `since` of its kind before; else `place`, where a fault lay at a place it hung on, which need not be the
  reason; else `none`: a false one.
- `misuse` is no fault but a trait of a device (its SIM is in a phone): it is asked for as one that was always on.
- Of `chatty` and `false_alarms` nothing is asked for: no fault of the catalogue makes one device try, or alarm, many
  times as often as its fleet. What they tell is counted all the same.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import pandas as pd

from evaluation.alarm_table import Place
from features.membership import PLACES

DAY = timedelta(days=1)
_ALWAYS = 365 * DAY  # before the first and after the last row of MEMBERSHIP
CAUSES: Mapping[str, frozenset[str]] = {
    "silent": frozenset(
        {
            "f_wrong_apn",
            "f_credentials_mismatch",
            "f_wrong_server",
            "f_sim_fault",
            "f_subscription_suspended",
            "f_sim_misuse",
            "f_quota_exhausted",
            "misuse",
        }
    ),
    "chatty": frozenset(),
    "false_alarms": frozenset(),
    "battery": frozenset({"f_low_battery"}),
    "misplaced": frozenset({"f_tamper"}),
}
REASONS = ("own", "other", "place", "none")
FAULTS = ["fault_id", "cause", "kind", "service", "severity", "hours", "due", "found"]
TELLINGS = ["kind", "device_id", "service", "reason", "cause"]


@dataclass(frozen=True)
class Province:
    """What is true of a province, under the tables that `simulate province` writes.

    truth: truth.parquet. devices: device_truth.parquet. members: MEMBERSHIP.
    """

    truth: pd.DataFrame
    devices: pd.DataFrame
    members: pd.DataFrame


@dataclass(frozen=True)
class Told:
    """What became of one province.

    faults: a row for each that was asked for, FAULTS; hours: it had been on at the last moment. tellings: TELLINGS.
    """

    faults: pd.DataFrame
    tellings: pd.DataFrame


def judge(
    told: pd.DataFrame,
    province: Province,
    *,
    moments: Sequence[datetime],
    waits: Mapping[tuple[str, str], timedelta],
) -> Told:
    """Return what ABNORMAL_DEVICES of some moments tell of the truth.

    waits: how long each kind waits before it tells, by kind and service; faults of another pair are not asked for.
    """
    own = _own(province)
    faults = [
        row
        for fault in own.to_dict("records")
        for kind, causes in CAUSES.items()
        if fault["cause"] in causes
        and (kind, str(fault["service"])) in waits
        and (row := _fault(fault, kind, told, moments, waits)) is not None
    ]
    tellings = [
        (
            str(kind),
            str(device),
            str(rows["service"].iloc[0]),
            *_reason(str(kind), rows, own, province, waits),
        )
        for (kind, device), rows in told.groupby(["kind", "device_id"])
    ]
    return Told(pd.DataFrame(faults, columns=FAULTS), pd.DataFrame(tellings, columns=TELLINGS))


def _own(province: Province) -> pd.DataFrame:
    """Return the faults of devices, the trait `misuse` among them, with the service of each."""
    at_devices = province.truth[province.truth["location_scope"] == "device"]
    misused = province.devices.loc[province.devices["misuse"], ["device_id"]]
    traits = pd.DataFrame(
        {
            "fault_id": "trait-" + misused["device_id"],
            "cause": "misuse",
            "location_id": misused["device_id"],
            "severity": 1.0,
            "onset": province.members["valid_from"].min() - _ALWAYS,
            "end": province.members["valid_from"].max() + _ALWAYS,
        }
    )
    parts = [one for one in (at_devices[[*traits]], traits) if len(one)]
    found = pd.concat(parts, ignore_index=True) if parts else traits
    return found.merge(
        province.devices[["device_id", "service"]], left_on="location_id", right_on="device_id", how="inner"
    )


def _fault(
    fault: Mapping[Hashable, object],
    kind: str,
    told: pd.DataFrame,
    moments: Sequence[datetime],
    waits: Mapping[tuple[str, str], timedelta],
) -> tuple[object, ...] | None:
    """Return a row of FAULTS; None where the fault is on at no moment."""
    onset, end = pd.Timestamp(str(fault["onset"])), pd.Timestamp(str(fault["end"]))
    on = [one for one in moments if onset <= one < end]
    if not on:
        return None
    lasted = on[-1] - onset
    service = str(fault["service"])
    mine = told[(told["device_id"] == fault["device_id"]) & (told["kind"] == kind)]
    found = bool(((mine["at"] >= onset) & (mine["at"] < end + DAY)).any())
    hours = lasted / pd.Timedelta(hours=1)
    due = lasted >= waits[kind, service]
    return (fault["fault_id"], fault["cause"], kind, service, fault["severity"], hours, due, found)


def _reason(
    kind: str,
    rows: pd.DataFrame,
    own: pd.DataFrame,
    province: Province,
    waits: Mapping[tuple[str, str], timedelta],
) -> tuple[str, str]:
    """Return why a device was told, a word of REASONS, and the cause; empty without one."""
    mine = own[own["device_id"] == rows["device_id"].iloc[0]]
    back = max(DAY, waits.get((kind, str(rows["service"].iloc[0])), DAY))
    asked = mine[mine["cause"].isin(list(CAUSES[kind]))]
    for reason, faults, since in (("own", asked, DAY), ("other", mine, back)):
        for at in rows["at"]:
            on = faults[(faults["onset"] < at) & (faults["end"] > at - since)]
            if len(on):
                return reason, str(on["cause"].iloc[0])
    places = province.truth[province.truth["location_scope"] != "device"]
    for at in rows["at"]:
        on = places[(places["onset"] < at) & (places["end"] > at - back)]
        hung = _hung(province.members, str(rows["device_id"].iloc[0]), at)
        at_mine = [
            str(cause)
            for scope, name, cause in on[["location_scope", "location_id", "cause"]].itertuples(index=False)
            if Place(scope, name) in hung
        ]
        if at_mine:
            return "place", at_mine[0]
    return "none", ""


def _hung(members: pd.DataFrame, device: str, at: datetime) -> frozenset[Place]:
    """Return the places that a device hung on at a moment."""
    held = members[
        (members["device_id"] == device)
        & (members["valid_from"] <= at)
        & ~(members["valid_to"] <= at).fillna(False)
    ]
    return frozenset(
        Place(scope, str(name))
        for scope in PLACES
        for name in held[scope]
        if not (name is None or name is pd.NA or (isinstance(name, float) and np.isnan(name)))
    )
