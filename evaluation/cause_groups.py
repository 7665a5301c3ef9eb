"""Alarms of one cause: of places within one another, under the widest that has one itself, or that share devices."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime

import pandas as pd

from evaluation.alarm_table import Alarm, Place

WIDER: Mapping[str, tuple[str, ...]] = {  # what may contain a place, nearest first
    "cell": ("tac", "mme", "city", "province"),
    "tac": ("mme", "city", "province"),
    "mme": ("province",),
    "city": ("province",),
    "platform_node": ("province",),
    "app": ("province",),
    "fleet": ("province",),
    "program_source": ("province",),
    "cdn_node": ("province",),
}
_BY_WIDTH = (
    "device",
    "cell",
    "program_source",
    "cdn_node",
    "fleet",
    "app",
    "platform_node",
    "tac",
    "mme",
    "city",
    "province",
)
_UNTOLD = ("program_source", "cdn_node")  # MEMBERSHIP has no column for them
Nesting = Mapping[Place, frozenset[Place]]  # of each place, those that contain it


def nesting(members: pd.DataFrame) -> dict[Place, frozenset[Place]]:
    """Return what contains each place: of each wider scope the one that most of its devices hang on.

    members: a column for each scope, a row for each device.
    """
    found: dict[Place, frozenset[Place]] = {}
    for scope, wider in WIDER.items():
        if scope not in members:
            continue
        around: dict[str, set[Place]] = {str(one): set() for one in members[scope].dropna().unique()}
        for above in (one for one in wider if one in members):
            counted = members.groupby([scope, above]).size().reset_index(name="devices")
            most = counted.sort_values(["devices", above], ascending=[False, True]).drop_duplicates(scope)
            for inner, outer in zip(most[scope], most[above], strict=True):
                around[str(inner)].add(Place(above, str(outer)))
        found |= {Place(scope, one): frozenset(places) for one, places in around.items()}
    return found


def crossing(members: pd.DataFrame, *, share: float) -> dict[Place, frozenset[Place]]:
    """Return of each place those beside it on which at least this share of its devices of one service hang.

    They lie neither within it nor around it: an application and the platform node of its devices. members: `nesting`,
    with a column `service`. share: 0 to 1.
    """
    found: dict[Place, set[Place]] = {}
    scopes = [one for one in _BY_WIDTH if one in members]
    for scope in scopes:
        hung = members.groupby(["service", scope]).size().rename("hung").reset_index()
        for other in scopes:
            if other == scope or other in WIDER.get(scope, ()) or scope in WIDER.get(other, ()):
                continue
            both = members.groupby(["service", scope, other]).size().rename("both").reset_index()
            both = both.merge(hung, on=["service", scope])
            felt = both[both["both"] >= share * both["hung"]]
            for one, beside in zip(felt[scope], felt[other], strict=True):
                found.setdefault(Place(scope, str(one)), set()).add(Place(other, str(beside)))
    return {one: frozenset(places) for one, places in found.items()}


def related(one: Place, other: Place, within: Nesting) -> bool:
    """Tell whether two places are the same, or one contains the other."""
    return one == other or other in around(one, within) or one in around(other, within)


def around(place: Place, within: Nesting) -> frozenset[Place]:
    """Return what contains a place. A place of which no device tells where it is lies in every province."""
    if place in within or "province" not in WIDER.get(place.scope, ()):
        return within.get(place, frozenset())
    return frozenset(one for places in within.values() for one in places if one.scope == "province")


def grouped(
    raised: Iterable[Alarm], standing: Iterable[Alarm], *, within: Nesting, beside: Nesting, since: datetime
) -> dict[str, Alarm]:
    """Return by id the new alarms with their cause, and the standing ones whose cause is another from now on.

    An alarm joins the widest place with an alarm that contains it, or its own, if that was raised no earlier than
    `since`; of several alarms there the oldest stands for the cause. A wider place takes over what stood for itself.
    Without any, an alarm joins the oldest cause of its service that began since then at a place that it lies beside.
    beside: `crossing`.
    """
    recent = {one.alarm_id: one for one in standing if one.raised >= since}
    changed: dict[str, Alarm] = {}
    for new in sorted(raised, key=lambda one: (-_width(one), one.alarm_id)):
        head = _head(new, recent.values(), within)
        placed = replace(new, parent=head.cause if head else None)
        recent[new.alarm_id] = changed[new.alarm_id] = placed
        below = {
            one.cause
            for one in recent.values()
            if _place(new) in around(_place(one), within) and one.cause != placed.cause
        }
        for one in [*recent.values()]:
            if one.cause in below and _width(recent.get(one.cause, one)) < _width(placed):
                moved = replace(one, parent=placed.cause, updated=max(one.updated, new.raised))
                recent[one.alarm_id] = changed[one.alarm_id] = moved
    for name in [*changed]:
        for moved in _joined(changed[name], recent, within, beside):
            recent[moved.alarm_id] = changed[moved.alarm_id] = moved
    return changed


def _head(new: Alarm, others: Iterable[Alarm], within: Nesting) -> Alarm | None:
    """Return the alarm of the widest place that a new one belongs to; None where it stands for itself."""
    wider = around(_place(new), within)
    found = [one for one in others if _place(one) == _place(new) or _place(one) in wider]
    return min(found, key=lambda one: (-_width(one), one.raised, one.alarm_id), default=None)


def _joined(new: Alarm, recent: Mapping[str, Alarm], within: Nesting, beside: Nesting) -> list[Alarm]:
    """Return the alarms of a new cause under the one of a place that it lies beside; none where it stands alone."""
    head = _felt(new, recent, within, beside) if new.parent is None else None
    if head is None:
        return []
    return [
        replace(one, parent=head.cause, updated=max(one.updated, new.raised))
        for one in recent.values()
        if one.cause == new.alarm_id
    ]


def _felt(new: Alarm, recent: Mapping[str, Alarm], within: Nesting, beside: Nesting) -> Alarm | None:
    """Return the alarm of a place beside that of a new one, of another cause that began lately; None without one."""
    place, near = _place(new), beside.get(_place(new), frozenset())
    found = [
        one
        for one in recent.values()
        if one.service == new.service
        and one.cause in recent
        and one.cause != new.cause
        and (_place(one) in near or _may_share(place, _place(one), within))
    ]
    return min(found, key=lambda one: (recent[one.cause].raised, one.raised, one.alarm_id), default=None)


def _may_share(one: Place, other: Place, within: Nesting) -> bool:
    """Tell whether a place of which no device tells that it hangs there, a CDN node, may share many with a wide one."""
    untold = any(each not in within and each.scope in _UNTOLD for each in (one, other))
    return untold and one.scope != other.scope and "cell" not in (one.scope, other.scope)


def _place(one: Alarm) -> Place:
    return Place(one.scope, one.scope_id)


def _width(one: Alarm) -> int:
    return _BY_WIDTH.index(one.scope) if one.scope in _BY_WIDTH else 0
