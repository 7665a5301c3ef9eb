"""Alarms of places are raised and cleared once, and grouped by cause; a replay tells what as many steps do."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from evaluation import monitor
from evaluation.alarm_life import Event
from evaluation.alarm_table import ALARMS, Alarm, Place, Series, Witness, as_table, from_table
from evaluation.cause_groups import Nesting, crossing
from evaluation.monitor import Windows
from evaluation.monitor_settings import MonitorSettings, read_monitor_settings
from features.table import check_table

START = datetime(2026, 3, 2, tzinfo=UTC)
WEEK = 672
WITHIN = {
    Place("cell", "c1"): frozenset({Place("tac", "t"), Place("province", "p")}),
    Place("cell", "c2"): frozenset({Place("tac", "t"), Place("province", "p")}),
    Place("tac", "t"): frozenset({Place("province", "p")}),
    Place("app", "a"): frozenset({Place("province", "p")}),
}
SERIES = tuple(
    Series("smoke_sensor", "ss_alarm_latency", scope, name)
    for scope, name in (("cell", "c1"), ("cell", "c2"), ("tac", "t"), ("province", "p"), ("app", "a"))
)
WITNESSES = tuple(Witness(*one, "ul_repetition_mean") for one in SERIES)  # one of each, as low as its KQI
C1, C2, TAC, PROVINCE, APP = range(5)
BESIDE: Nesting = {}


@pytest.fixture
def settings() -> MonitorSettings:
    return read_monitor_settings()


def windows_of(scores: np.ndarray, first: int = 0) -> Windows:
    count = len(scores)
    ends = tuple(START + timedelta(minutes=15) * (first + n + 1) for n in range(count))
    hung = np.full(scores.shape, 7)
    return Windows(ends, SERIES, scores, hung, WITNESSES, scores, (WITHIN,) * count, (BESIDE,) * count)


def steady(count: int = 2 * WEEK) -> np.ndarray:
    return np.full((count, len(SERIES)), 90.0)


def watched(scores: np.ndarray, settings: MonitorSettings) -> tuple[Event, ...]:
    return monitor.replay(monitor.nothing_known(settings), windows_of(scores), settings)[1]


def last(events: tuple[Event, ...]) -> dict[str, Alarm]:
    return {event.alarm.alarm_id: event.alarm for event in events}


def test_an_alarm_is_raised_once_and_cleared_once(settings: MonitorSettings) -> None:
    scores = steady()
    scores[1000:1010, C1] = 30.0
    events = watched(scores, settings)
    assert [event.what for event in events] == ["raised", "cleared"]
    (alarm,) = last(events).values()
    assert alarm.raised == windows_of(scores).ends[1000 + settings.open.windows - 1]
    assert alarm.cleared == windows_of(scores).ends[1010 + settings.close.windows - 1]
    assert (alarm.severity, alarm.score, alarm.baseline, alarm.devices) == ("critical", 30.0, 90.0, 7)
    assert alarm.deviation == pytest.approx(-60 / settings.baseline.floor)


def test_fewer_odd_windows_than_asked_for_raise_nothing(settings: MonitorSettings) -> None:
    scores = steady()
    scores[1000 : 1000 + settings.open.windows - 1, C1] = 30.0
    assert watched(scores, settings) == ()


def test_a_calm_window_within_a_fault_does_not_clear(settings: MonitorSettings) -> None:
    scores = steady()
    scores[1000:1012, C1] = 30.0
    scores[1006, C1] = 90.0
    assert [event.what for event in watched(scores, settings)] == ["raised", "cleared"]


def test_windows_without_evidence_neither_raise_nor_clear_until_they_are_too_many(
    settings: MonitorSettings,
) -> None:
    scores = steady()
    scores[1000:1006, C1] = 30.0
    scores[1006 : 1006 + settings.close.unseen - 1, C1] = np.nan
    scores[1006 + settings.close.unseen - 1 :, C1] = 30.0
    told = watched(scores[: 1006 + settings.close.unseen + 3], settings)
    assert [event.what for event in told] == ["raised"]
    scores[1006:, C1] = np.nan
    raised, cleared = watched(scores, settings)
    assert (raised.what, cleared.what) == ("raised", "cleared")
    assert cleared.at == windows_of(scores).ends[1006 + settings.close.unseen - 1]


def test_half_of_the_windows_without_evidence_hide_a_fault(settings: MonitorSettings) -> None:
    scores = steady()
    scores[1000:1040, C1] = 30.0
    scores[1000:1040:2, C1] = np.nan
    assert watched(scores, settings) == ()  # a window without evidence is not odd


def test_an_alarm_that_grows_worse_is_updated_and_keeps_its_id(settings: MonitorSettings) -> None:
    scores = steady()
    scores[1000:1006, C1] = 50.0
    scores[1006:1012, C1] = 20.0
    settings = settings.model_copy(
        update={"severity": settings.severity.model_copy(update={"critical": 60.0})}
    )
    events = watched(scores, settings)
    assert [event.what for event in events] == ["raised", "updated", "cleared"]
    assert len({event.alarm.alarm_id for event in events}) == 1
    assert [event.alarm.severity for event in events] == ["major", "critical", "critical"]


def test_nothing_is_raised_while_baselines_are_learnt(settings: MonitorSettings) -> None:
    scores = steady(WEEK)
    scores[300:320] = 10.0
    assert watched(scores, settings) == ()


def test_what_comes_at_the_same_time_of_every_week_raises_nothing(settings: MonitorSettings) -> None:
    scores = steady(3 * WEEK)
    scores[(np.arange(len(scores)) % WEEK) // 8 == 40] = 40.0
    assert watched(scores, settings) == ()
    scores[2 * WEEK + 400 : 2 * WEEK + 408] = 40.0  # and the same at another time does
    assert {event.what for event in watched(scores, settings)} >= {"raised", "cleared"}


def test_alarms_of_one_cause_stand_under_the_widest_place_that_is_ill_itself(
    settings: MonitorSettings,
) -> None:
    scores = steady()
    scores[1000:1020, [C1, C2]] = 30.0
    scores[1002:1020, TAC] = 40.0
    alarms = {alarm.series.place: alarm for alarm in last(watched(scores, settings)).values()}
    tac = alarms[Place("tac", "t")]
    assert tac.parent is None
    assert {one.parent for place, one in alarms.items() if place.scope == "cell"} == {tac.alarm_id}
    assert Place("province", "p") not in alarms


def test_what_all_cells_do_is_raised_at_the_place_that_holds_them(settings: MonitorSettings) -> None:
    cells = tuple(SERIES[C1]._replace(scope_id=f"c{n}") for n in range(1, 7))
    within = {Place("cell", one.scope_id): frozenset({Place("tac", "t")}) for one in cells}
    scores = np.full((2 * WEEK, 7), 90.0)
    scores[1000:1020] = 40.0
    scores[1100:1120, 2] = 40.0
    windows = Windows(
        windows_of(scores).ends,
        (*cells, SERIES[TAC]),
        scores,
        scores.astype(int),
        tuple(Witness(*one, "ul_repetition_mean") for one in (*cells, SERIES[TAC])),
        scores,
        (within,) * len(scores),
        ({},) * len(scores),
    )
    _, events = monitor.replay(monitor.nothing_known(settings), windows, settings)
    assert [one.series.place for one in last(events).values()] == [Place("tac", "t"), Place("cell", "c3")]


def test_places_that_lie_side_by_side_are_two_causes(settings: MonitorSettings) -> None:
    scores = steady()
    scores[1000:1020, [C1, APP]] = 30.0
    alarms = last(watched(scores, settings)).values()
    assert {one.cause for one in alarms} == {one.alarm_id for one in alarms}


SHARED = {
    Place("cell", "c1"): frozenset({Place("app", "a")}),
    Place("app", "a"): frozenset({Place("cell", "c1")}),
}


def with_shared(scores: np.ndarray, settings: MonitorSettings) -> dict[Place, Alarm]:
    windows = replace(windows_of(scores), beside=(SHARED,) * len(scores))
    told = last(monitor.replay(monitor.nothing_known(settings), windows, settings)[1])
    return {one.series.place: one for one in told.values()}


@pytest.mark.parametrize("later", [0, 4])
def test_places_that_share_devices_have_one_cause_whichever_is_raised_first(
    settings: MonitorSettings, later: int
) -> None:
    scores = steady()
    scores[1000:1020, C1] = 30.0
    scores[1000 + later : 1020, APP] = 30.0
    assert len({one.cause for one in with_shared(scores, settings).values()}) == 1


def test_a_place_that_shares_devices_and_falls_a_day_later_is_another_cause(
    settings: MonitorSettings,
) -> None:
    scores = steady()
    scores[1000:1020, C1] = 30.0
    scores[1100:1120, APP] = 30.0
    assert len({one.cause for one in with_shared(scores, settings).values()}) == 2


def test_a_place_shares_devices_with_those_that_hold_a_tenth_of_its_own_and_lie_beside_it() -> None:
    members = pd.DataFrame(
        {
            "service": "s",
            "cell": ["c1"] * 20 + ["c2"],
            "tac": "t",
            "app": ["a"] * 2 + ["b"] * 19,
        }
    )
    assert crossing(members, share=0.1) == {
        Place("cell", "c1"): {Place("app", "a"), Place("app", "b")},
        Place("cell", "c2"): {Place("app", "b")},
        Place("tac", "t"): {Place("app", "b")},
        Place("app", "a"): {Place("cell", "c1"), Place("tac", "t")},
        Place("app", "b"): {Place("cell", "c1"), Place("tac", "t")},
    }


def test_what_happens_a_day_later_is_another_cause(settings: MonitorSettings) -> None:
    scores = steady()
    scores[1000:1200, TAC] = 30.0
    scores[1100:1120, C1] = 30.0
    alarms = last(watched(scores, settings)).values()
    assert all(one.parent is None for one in alarms)
    assert len(alarms) == 2


@pytest.mark.parametrize("parts", [1, 96, 331])
def test_steps_and_one_replay_tell_the_same(settings: MonitorSettings, parts: int) -> None:
    settings = settings.model_copy(
        update={"severity": settings.severity.model_copy(update={"critical": 55.0})}
    )
    rng = np.random.default_rng(5)
    count = WEEK + 250
    scores = np.clip(85 + rng.normal(0, 4, (count, len(SERIES))), 0, 100)
    scores[rng.random(scores.shape) < 0.05] = np.nan
    for begin in range(WEEK, count, 40):
        ill = rng.integers(0, len(SERIES), 3)
        scores[begin : begin + 6, ill] -= 45
        scores[begin + 6 : begin + 12, ill] -= 60
    scores = np.clip(scores, 0, 100)
    whole = windows_of(scores)
    state, told = monitor.replay(monitor.nothing_known(settings), whole, settings)
    assert {event.what for event in told} == {"raised", "updated", "cleared"}
    other, events = monitor.nothing_known(settings), []
    advance = monitor.step if parts == 1 else monitor.replay
    for begin in range(0, count, parts):
        other, more = advance(other, windows_of(scores[begin : begin + parts], begin), settings)
        events += more
    assert tuple(events) == told
    np.testing.assert_array_equal(other.off, state.off)


TWO = (WITNESSES[C1], WITNESSES[C1]._replace(indicator="rrc_setup_delay_p95"))


def with_two(utilities: np.ndarray, scores: np.ndarray, settings: MonitorSettings) -> tuple[Event, ...]:
    windows = replace(windows_of(scores), witnesses=TWO, utilities=utilities)
    return monitor.replay(monitor.nothing_known(settings), windows, settings)[1]


def test_one_indicator_that_falls_raises_an_alarm_of_its_kqi_though_that_hardly_moves(
    settings: MonitorSettings,
) -> None:
    scores, utilities = steady(), np.full((2 * WEEK, 2), 90.0)
    scores[1000:1010, C1], utilities[1000:1010, 1] = 86.0, 10.0
    raised, cleared = with_two(utilities, scores, settings)
    assert (raised.what, cleared.what) == ("raised", "cleared")
    alarm = raised.alarm
    assert (alarm.series, alarm.worst_indicator) == (SERIES[C1], "rrc_setup_delay_p95")
    assert (alarm.severity, alarm.score, alarm.baseline) == ("minor", 86.0, 90.0)  # of the KQI
    assert alarm.deviation == pytest.approx(-80 / settings.baseline.floor)  # of the indicator


def test_an_alarm_stands_while_any_of_its_indicators_is_low(settings: MonitorSettings) -> None:
    utilities = np.full((2 * WEEK, 2), 90.0)
    utilities[1000:1010, 0], utilities[1005:1020, 1] = 10.0, 30.0
    raised, cleared = with_two(utilities, steady(), settings)
    ends = windows_of(steady()).ends
    assert raised.alarm.raised == ends[1000 + settings.open.windows - 1]
    assert (raised.alarm.worst_indicator, cleared.alarm.worst_indicator) == ("ul_repetition_mean",) * 2
    assert cleared.at == ends[1020 + settings.close.windows - 1]


def test_where_a_kqi_has_no_score_what_fell_of_it_tells_how_bad_it_is(settings: MonitorSettings) -> None:
    scores, utilities = steady(), np.full((2 * WEEK, 2), 90.0)
    scores[:, C1], utilities[1000:1010, 1] = np.nan, 10.0
    alarm = with_two(utilities, scores, settings)[0].alarm
    assert (alarm.severity, alarm.score, alarm.baseline) == ("critical", None, None)
    assert from_table(as_table([alarm])) == (alarm,)


def test_an_alarm_does_not_grow_worse_since_its_kqi_is_no_longer_known(settings: MonitorSettings) -> None:
    scores, utilities = steady(), np.full((2 * WEEK, 2), 90.0)
    scores[1000:1020, C1], utilities[1000:1020, 1] = 86.0, 10.0
    scores[1010:1020, C1] = np.nan
    events = with_two(utilities, scores, settings)
    assert [(event.what, event.alarm.severity) for event in events] == [
        ("raised", "minor"),
        ("cleared", "minor"),
    ]


def test_a_lasting_change_of_level_is_usual_after_weeks_and_clears(settings: MonitorSettings) -> None:
    scores = steady(8 * WEEK)
    scores[2 * WEEK :, C1] = 40.0
    events = watched(scores, settings)
    assert [event.what for event in events] == ["raised", "cleared"]
    assert events[1].at - events[0].at < timedelta(days=3)  # the usual deviation follows in days


def test_a_witness_that_speaks_for_no_series_is_refused(settings: MonitorSettings) -> None:
    strange = (*WITNESSES[:-1], WITNESSES[APP]._replace(scope_id="b"))
    with pytest.raises(LookupError, match="speak for a series"):
        monitor.replay(
            monitor.nothing_known(settings), replace(windows_of(steady(2)), witnesses=strange), settings
        )


def test_a_step_takes_one_window(settings: MonitorSettings) -> None:
    with pytest.raises(ValueError, match="one window, not 2"):
        monitor.step(monitor.nothing_known(settings), windows_of(steady(2)), settings)


def test_a_new_place_is_learnt_before_it_is_judged(settings: MonitorSettings) -> None:
    state, _ = monitor.replay(monitor.nothing_known(settings), windows_of(steady()), settings)
    more = windows_of(steady(96), 2 * WEEK)
    new = SERIES[0]._replace(scope_id="c9")
    scores = np.concatenate([more.scores, np.full((96, 1), 5.0)], axis=1)
    grown = replace(
        more,
        series=(*SERIES, new),
        scores=scores,
        devices=np.full(scores.shape, 7),
        witnesses=(*WITNESSES, Witness(*new, "ul_repetition_mean")),
        utilities=scores,
    )
    state, events = monitor.replay(state, grown, settings)
    assert events == ()
    assert state.series[-1] == new
    assert state.witnesses[-1].series == new


def test_alarms_keep_their_table_and_come_back_from_it(settings: MonitorSettings) -> None:
    scores = steady()
    scores[1000:1020, [C1, TAC]] = 30.0
    scores[1300:, APP] = 30.0
    alarms = tuple(last(watched(scores, settings)).values())
    table = as_table(alarms)
    check_table(table, ALARMS, table="alarms")
    back = from_table(table)
    assert back == tuple(sorted(alarms, key=lambda one: (one.raised, one.alarm_id)))
