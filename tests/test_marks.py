"""User marks: what a device holds, since when, until when and why."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation import expert_marks, mark_door, mark_rules, marks
from evaluation.mark_rules import UserMarks
from evaluation.marks import Marking
from features import device_marks, known

AT = pd.Timestamp("2026-03-06 00:00", tz="UTC")
HOUR = pd.Timedelta(hours=1)


def a_mark(of_id: str, feature: str, **other: Any) -> dict[str, Any]:
    usual = {
        "id": of_id, "name": of_id, "group": "health", "source": "rule", "use": "-", "basis": "judgement",
        "rule": {"feature": feature, "op": "ge", "value": 3}, "expires_h": 24,
        "probability": {"when_true": 0.9, "when_false": 0.1},
    }  # fmt: skip
    return usual | other


TOLD = UserMarks.model_validate(
    {
        "schema": "user_marks/1",
        "held_at": 0.5,
        "groups": [{"id": "mobility", "exclusive": True}, {"id": "health", "exclusive": False}],
        "marks": [
            a_mark(
                "static",
                "two_cells_share",
                group="mobility",
                probability={"when_true": 0.8, "when_false": 0.1},
            ),
            a_mark("mobile", "cells", group="mobility"),
            a_mark("silent", "silence_ratio"),
            a_mark("misused", "servers_a_day", expires_h=None),
        ],
    }
)
MARKING = Marking(TOLD, columns=known.columns())


def devices(**columns: list[float | None]) -> pd.DataFrame:
    size = len(next(iter(columns.values())))
    ids = pd.array([f"d{n}" for n in range(size)], dtype="string")
    return pd.DataFrame(
        {"device_id": ids, **{name: pd.Series(of, dtype="float64") for name, of in columns.items()}}
    )


def held(frame: pd.DataFrame, **how: Any) -> pd.DataFrame:
    return marks.mark(frame, MARKING, **{"at": AT, **how}).held


def test_what_is_known_is_held_and_what_is_unknown_is_not_told() -> None:
    done = marks.mark(devices(silence_ratio=[5, 1, None]), MARKING, at=AT)
    assert done.held[["device_id", "mark", "probability", "source"]].values.tolist() == [
        ["d0", "silent", 0.9, "rule"]
    ]
    assert done.probabilities["mark_silent"].tolist()[:2] == [0.9, 0.1]
    assert done.probabilities["mark_silent"].isna().tolist() == [False, False, True]
    assert done.probabilities["mark_static"].isna().all()


def test_evidence_names_feature_value_unit_and_usual_range() -> None:
    frame = devices(silence_ratio=[5, *[1] * 29], cells=[7, *[1] * 29])
    told = held(frame).set_index("mark")["evidence"]
    assert told["silent"] == "silence_ratio 5 (usual 1 to 1)"
    few = held(devices(silence_ratio=[5]))  # one device has no usual range
    assert few["evidence"].tolist() == ["silence_ratio 5"]


def test_of_an_exclusive_group_the_most_probable_is_held_and_the_group_sums_to_one_at_most() -> None:
    done = marks.mark(devices(two_cells_share=[3], cells=[3]), MARKING, at=AT)
    assert done.held["mark"].tolist() == ["mobile"]
    assert done.probabilities[["mark_static", "mark_mobile"]].sum(axis=1).tolist() == [pytest.approx(1)]
    assert done.held["probability"].tolist() == [pytest.approx(0.9 / 1.7)]


def test_since_is_kept_while_a_mark_is_held_and_begins_anew_after_a_break() -> None:
    first = held(devices(silence_ratio=[5]))
    second = held(devices(silence_ratio=[6]), at=AT + HOUR, before=first)
    assert second["since"].tolist() == [AT]
    assert second["expires"].tolist() == [AT + 25 * HOUR]
    gone = held(devices(silence_ratio=[1]), at=AT + 2 * HOUR, before=second)
    assert gone.empty
    again = held(devices(silence_ratio=[5]), at=AT + 3 * HOUR, before=gone)
    assert again["since"].tolist() == [AT + 3 * HOUR]


def test_a_mark_of_which_nothing_is_told_stays_until_it_expires() -> None:
    first = held(devices(silence_ratio=[5], servers_a_day=[9]))
    untold = devices(silence_ratio=[None], servers_a_day=[None])
    later = held(untold, at=AT + 23 * HOUR, before=first)
    assert later["mark"].tolist() == ["misused", "silent"]
    assert (later["since"] == AT).all()
    assert later.set_index("mark")["expires"]["silent"] == AT + 24 * HOUR  # not prolonged by silence
    assert held(untold, at=AT + 24 * HOUR, before=later)["mark"].tolist() == [
        "misused"
    ]  # until it is cleared
    assert held(devices(servers_a_day=[1]), at=AT + 25 * HOUR, before=later).empty


def test_a_mark_kept_untold_gives_way_to_another_one_of_its_group() -> None:
    first = held(devices(cells=[5]))
    assert first["mark"].tolist() == ["mobile"]
    later = held(devices(two_cells_share=[5]), at=AT + HOUR, before=first)
    assert later["mark"].tolist() == ["static"]


def test_a_device_that_left_keeps_its_marks_until_they_expire() -> None:
    first = held(devices(silence_ratio=[5, 5]))
    later = held(devices(silence_ratio=[5]), at=AT + HOUR, before=first)
    assert later["device_id"].tolist() == ["d0", "d1"]


def said(*rows: tuple[str, str, bool], on: pd.Timestamp = AT) -> pd.DataFrame:
    told = pd.DataFrame(rows, columns=["device_id", "mark", "holds"]).assign(author="ada", date=on)
    return told.astype({"device_id": "string", "mark": "string", "author": "string"})


def test_an_expert_overrides_a_rule_until_the_word_is_old() -> None:
    frame = devices(silence_ratio=[5, 1], cells=[5, 5], two_cells_share=[1, 1])
    experts = said(("d0", "silent", False), ("d1", "silent", True), ("d1", "static", True))
    marking = Marking(TOLD, experts=experts)
    done = marks.mark(frame, marking, at=AT + HOUR).held
    found = done.set_index(["device_id", "mark"])
    assert ("d0", "silent") not in found.index
    assert found.loc[("d1", "silent"), ["probability", "source", "evidence"]].tolist() == [
        1.0, "expert", "said by ada on 2026-03-06",
    ]  # fmt: skip
    assert found.loc[("d1", "silent"), "expires"] == AT + 24 * HOUR
    assert ("d1", "mobile") not in found.index  # the expert sees another mark of the group
    old = marks.mark(frame, marking, at=AT + 25 * HOUR).held
    assert set(old["mark"]) == {"silent", "mobile"}
    early = marks.mark(frame, marking, at=AT - HOUR).held  # nobody had said anything yet
    assert (early["source"] == "rule").all()


def test_of_two_marks_that_exclude_one_another_an_experts_newer_word_counts() -> None:
    frame = devices(silence_ratio=[None])
    words = [said(("d0", "static", True), on=AT), said(("d0", "mobile", True), on=AT + HOUR)]
    for order in (words, words[::-1]):
        marking = Marking(TOLD, experts=pd.concat(order, ignore_index=True))
        found = marks.mark(frame, marking, at=AT + 2 * HOUR)
        assert found.held["mark"].tolist() == ["mobile"]
        assert found.probabilities[["mark_static", "mark_mobile"]].values.tolist() == [[0, 1]]


def test_what_an_expert_denies_takes_no_share_of_its_group() -> None:
    """By rules static has 0.8 and mobile 0.9, 0.47 and 0.53 of a group; without static mobile has its own 0.9."""
    marking = Marking(TOLD, experts=said(("d0", "static", False)))
    found = marks.mark(devices(two_cells_share=[3], cells=[3]), marking, at=AT)
    assert found.probabilities[["mark_static", "mark_mobile"]].values.tolist() == [[0, 0.9]]


def test_an_expert_clears_a_mark_of_a_device_that_is_not_seen_any_more() -> None:
    """Both the mark and the word on it last until they are cleared."""
    first = held(devices(servers_a_day=[5, 5]))
    marking = Marking(TOLD, experts=said(("d1", "misused", False), on=AT + HOUR))
    later = marks.mark(devices(servers_a_day=[5]), marking, at=AT + HOUR, before=first).held
    assert later["device_id"].tolist() == ["d0"]


def test_a_device_of_two_rows_is_refused() -> None:
    with pytest.raises(ValueError, match="each device must have one row, but d0 has several"):
        held(pd.concat([devices(cells=[5]), devices(cells=[1])]))


def test_an_hour_of_expiry_that_no_calendar_has_is_refused() -> None:
    with pytest.raises(ValueError, match="less than or equal to 87660"):
        mark_rules.Mark.model_validate(a_mark("static", "cells", expires_h=math.inf))


def test_who_asks_for_marks_of_before_the_first_is_told_so(tmp_path: Path) -> None:
    done = marks.mark(devices(silence_ratio=[5]), MARKING, at=AT)
    device_marks.write(tmp_path, done.held, done.probabilities, at=AT)
    assert mark_door.held_by(tmp_path, ["d0"], at=AT)["mark"].tolist() == ["silent"]
    with pytest.raises(LookupError, match=r"was marked by 2026-03-05 23:00:00Z"):
        mark_door.held_by(tmp_path, ["d0"], at=AT - HOUR)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (",silent,yes,ada,2026-03-06T00:00:00Z", "device_id must be named, but row 0 has none"),
        ("d,silent,yes, ,2026-03-06T00:00:00Z", "author must be named, but row 0 has none"),
        ("d,silent,maybe,ada,2026-03-06T00:00:00Z", "holds must be yes or no, but row 0 has 'maybe'"),
        (
            "d,silnt,yes,ada,2026-03-06T00:00:00Z",
            "mark must be one of user_marks.yaml, but row 0 has silnt; the nearest is silent",
        ),
        ("d,silent,yes,ada,yesterday", "expert marks.date must be timestamp"),
    ],
)  # fmt: skip
def test_a_wrong_word_of_an_expert_is_told_with_file_and_row(tmp_path: Path, line: str, told: str) -> None:
    path = tmp_path / "experts.csv"
    path.write_text(f"device_id,mark,holds,author,date\n{line}\n", encoding="utf-8")
    with pytest.raises(ValueError) as raised:  # the text is compared below
        expert_marks.read(path, TOLD)
    assert f"{path}: {told}" in str(raised.value)


def test_both_is_the_mean_of_the_log_odds_or_the_one_that_speaks() -> None:
    rule, model = np.array([0.9, 0.9, np.nan, np.nan]), np.array([0.5, np.nan, 0.2, np.nan])
    assert marks.both(rule, model)[0] == pytest.approx(0.75)  # odds 9 and 1: their root is 3
    assert marks.both(rule, model, weight=0.0)[0] == pytest.approx(
        0.9
    )  # a model without skill counts nothing
    assert marks.both(rule, model)[1:].tolist() == pytest.approx([0.9, 0.2, np.nan], nan_ok=True)


values = st.lists(st.none() | st.floats(0, 10), min_size=1, max_size=12)


@settings(deadline=None, max_examples=25)
@given(values, st.randoms(use_true_random=False))
def test_order_and_batch_of_devices_do_not_matter(told: list[float | None], dice: Any) -> None:
    frame = devices(silence_ratio=told, cells=told[::-1])
    whole = marks.mark(frame, Marking(TOLD), at=AT)
    order = list(range(len(frame)))
    dice.shuffle(order)
    parts = [marks.mark(frame.iloc[[row]], Marking(TOLD), at=AT).held for row in order]
    alone = pd.concat(parts).sort_values(["device_id", "mark"], ignore_index=True)
    pd.testing.assert_frame_equal(whole.held, alone)


def test_marks_lie_in_the_lake_whole_once_and_know_the_moment_before(tmp_path: Path) -> None:
    done = marks.mark(devices(silence_ratio=[5, None]), MARKING, at=AT)
    write = device_marks.write
    assert write(tmp_path, done.held, done.probabilities, at=AT)
    assert not write(tmp_path, done.held, done.probabilities, at=AT)  # again: nothing changes
    assert [one.name for one in (tmp_path / "lake" / "marks").rglob("*.parquet")] == [
        "20260306T000000000000.parquet"
    ]
    pd.testing.assert_frame_equal(device_marks.held(tmp_path), done.held)
    assert device_marks.held(tmp_path, at=AT, before=True).empty
    pd.testing.assert_frame_equal(device_marks.held(tmp_path, at=AT + HOUR, before=True), done.held)
    assert not list((tmp_path / "lake").rglob("*.pkl"))
    more = marks.mark(devices(silence_ratio=[5, 5]), MARKING, at=AT)
    assert write(tmp_path, more.held, more.probabilities, at=AT)
    assert len(device_marks.held(tmp_path)) == 2


def test_every_shipped_mark_can_be_told_of_a_device_of_which_all_is_known() -> None:
    told = mark_rules.read()
    assert {feature for mark in told.marks for feature in mark.features} <= set(known.columns())
