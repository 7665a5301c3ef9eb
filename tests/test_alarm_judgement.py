"""Which faults alarms told of, and which alarms were false: worked by hand."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest

from evaluation.alarm_judgement import Found, Span, judge
from evaluation.alarm_table import Alarm, Place

DAY = datetime(2026, 3, 10, tzinfo=UTC)
SPAN = Span(DAY, DAY + timedelta(days=2), timedelta(hours=3))
WITHIN = {
    Place("cell", "c1"): frozenset({Place("tac", "t"), Place("province", "p")}),
    Place("cell", "c2"): frozenset({Place("tac", "t"), Place("province", "p")}),
    Place("tac", "t"): frozenset({Place("province", "p")}),
    Place("app", "a"): frozenset({Place("province", "p")}),
}


def at(hour: float) -> datetime:
    return DAY + timedelta(hours=hour)


def alarm(scope: str, scope_id: str, hour: float, parent: str | None = None) -> Alarm:
    one = f"s/k/{scope}/{scope_id}/{hour:g}"
    return Alarm(
        one, "s", "k", scope, scope_id, at(hour), at(hour), None, "major", 50.0, 90.0, -8.0, None, None, None,
        parent, "open", 10,
    )  # fmt: skip


def truth(*rows: tuple[str, str, float, float]) -> pd.DataFrame:
    names = ["fault_id", "cause", "location_scope", "location_id", "severity", "onset", "end"]
    return pd.DataFrame(
        [
            {
                "fault_id": f"F-{n}", "cause": "f", "location_scope": scope, "location_id": name, "severity": 0.8,
                "onset": pd.Timestamp(at(onset)), "end": pd.Timestamp(at(end)),
            }
            for n, (scope, name, onset, end) in enumerate(rows)
        ],
        columns=names,
    ).astype({"onset": "datetime64[us, UTC]", "end": "datetime64[us, UTC]"})  # fmt: skip


def judged(alarms: list[Alarm], *rows: tuple[str, str, float, float]) -> Found:
    return judge(alarms, truth(*rows), WITHIN, SPAN)


def test_an_alarm_at_the_place_tells_of_the_fault_and_how_soon() -> None:
    found = judged([alarm("cell", "c1", 5.5)], ("cell", "c1", 5.0, 8.0))
    (fault,) = found.faults.to_dict("records")
    assert (fault["found"], fault["exact"], fault["minutes"], fault["alarms"]) == (True, True, 30.0, 1)
    assert (found.causes, found.false, found.days) == (1, 0, 2.0)


@pytest.mark.parametrize(("scope", "name"), [("tac", "t"), ("province", "p")])
def test_an_alarm_of_a_place_that_contains_the_fault_finds_it_and_not_exactly(scope: str, name: str) -> None:
    (fault,) = judged([alarm(scope, name, 6.0)], ("cell", "c1", 5.0, 8.0)).faults.to_dict("records")
    assert (fault["found"], fault["exact"]) == (True, False)


def test_an_alarm_within_the_place_of_the_fault_finds_it() -> None:
    assert judged([alarm("cell", "c2", 6.0)], ("tac", "t", 5.0, 8.0)).faults["found"].tolist() == [True]


def test_an_alarm_beside_the_fault_is_false() -> None:
    found = judged([alarm("cell", "c2", 6.0), alarm("app", "a", 6.0)], ("cell", "c1", 5.0, 8.0))
    assert found.faults["found"].tolist() == [False]
    assert (found.causes, found.false) == (2, 2)


def test_an_alarm_before_the_onset_or_long_after_the_end_is_false() -> None:
    alarms = [alarm("cell", "c1", 4.0), alarm("cell", "c1", 11.5)]
    found = judged(alarms, ("cell", "c1", 5.0, 8.0))
    assert found.faults["found"].tolist() == [False]
    assert found.false == 2
    assert judged([alarm("cell", "c1", 10.9)], ("cell", "c1", 5.0, 8.0)).false == 0


def test_a_fault_that_had_begun_before_is_not_asked_for_and_excuses_its_alarms() -> None:
    found = judged([alarm("cell", "c1", 6.0)], ("cell", "c1", -5.0, 8.0))
    assert len(found.faults) == 0
    assert (found.causes, found.false) == (1, 0)


def test_a_fault_of_a_device_excuses_nothing() -> None:
    found = judged([alarm("cell", "c1", 6.0)], ("device", "d1", 5.0, 8.0))
    assert (len(found.faults), found.false) == (0, 1)


def test_a_cause_counts_once_however_many_alarms_it_has() -> None:
    head = alarm("tac", "t", 6.0)
    group = [head, *(alarm("cell", name, 6.0, head.alarm_id) for name in ("c1", "c2"))]
    found = judged(group, ("tac", "t", 5.0, 8.0))
    assert found.faults[["alarms", "causes"]].to_numpy().tolist() == [[3, 1]]
    assert (found.alarms, found.false_alarms) == (3, 0)
    assert (judged(group).false, judged(group).false_alarms) == (1, 3)


def test_a_false_alarm_under_a_true_cause_is_a_false_alarm_and_no_false_cause() -> None:
    head = alarm("cell", "c1", 6.0)
    found = judged([head, alarm("app", "a", 6.0, head.alarm_id)], ("cell", "c1", 5.0, 8.0))
    assert (found.causes, found.false, found.false_alarms) == (1, 0, 1)


def test_alarms_of_the_time_of_learning_count_for_nothing() -> None:
    early = replace(alarm("cell", "c1", 1.0), raised=SPAN.begin)
    assert judged([early]).causes == 0
