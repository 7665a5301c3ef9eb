"""What a selection promises: the truth of small tables, whatever their units, order, copies and holes."""

from dataclasses import replace
from datetime import date

import numpy as np
import pandas as pd
import pytest

from evaluation.selection import leaks, page, quality, record
from evaluation.selection.expert import Experts, Statement
from evaluation.selection.procedure import Selection, Settings, select
from evaluation.selection.screening import Screen
from evaluation.selection.study import Roles, read_study

ROWS = 900
FEW = Settings(subsamples=3)


def _table(seed: int = 0) -> pd.DataFrame:
    """A delay that rises with load, falls with signal, steps with queue, and knows nothing of the noise."""
    rng = np.random.default_rng(seed)
    load, signal, queue, one, other = rng.normal(size=(5, ROWS))
    noise = {f"noise{number}": rng.standard_t(2, ROWS) for number in range(4)}
    delay = load - 0.8 * signal + 1.2 * (queue > 0.5) + 0.9 * one * other + rng.normal(size=ROWS)
    copy = load + 0.2 * rng.normal(size=ROWS)
    return pd.DataFrame(
        {
            "load": load,
            "load_copy": copy,
            "signal": signal,
            "queue": queue,
            "one": one,
            "other": other,
            **noise,
            "delay": delay,
        }
    )


def _selected(frame: pd.DataFrame, experts: Experts | None = None, **roles: str) -> Selection:
    return select(read_study(frame, Roles("delay", **roles), table="t"), FEW, experts or Experts())


def _names(selection: Selection) -> set[str]:
    return {selection.study.names[column] for column in selection.selected}


def _reasons(selection: Selection) -> dict[str, str]:
    return {drop.indicator: drop.reason for drop in selection.dropped}


@pytest.fixture(scope="module")
def plain() -> Selection:
    return _selected(_table())


def test_drivers_a_step_and_a_product_are_found_and_noise_is_not(plain: Selection):
    assert _names(plain) == {"load", "signal", "queue", "one", "other"}


def test_every_column_is_selected_or_has_a_reason(plain: Selection):
    assert _names(plain) | set(_reasons(plain)) == set(plain.study.names)
    assert not _names(plain) & set(_reasons(plain))


def test_a_copy_falls_as_redundant_with_the_column_it_copies(plain: Selection):
    told = {drop.indicator: drop for drop in plain.dropped}["load_copy"]
    assert told.reason == "redundant"
    assert "with load;" in told.detail


def test_the_two_of_a_product_name_each_other(plain: Selection):
    pairs = {frozenset(plain.study.names[column] for column in pair) for pair in plain.screened.pairs}
    assert frozenset({"one", "other"}) in pairs


def test_direction_and_threshold_are_told_in_the_unit_of_the_indicator(plain: Selection):
    effects = {
        plain.study.names[column]: effect
        for column, effect in zip(plain.selected, plain.effects, strict=True)
    }
    assert effects["load"] is not None and effects["load"].direction == 1
    assert effects["signal"] is not None and effects["signal"].direction == -1
    queue = effects["queue"]
    assert queue is not None and queue.shape == "threshold"
    assert queue.threshold == pytest.approx(0.5, abs=0.15)


def test_the_smallest_set_is_part_of_the_selected_and_not_empty(plain: Selection):
    assert set(plain.minimal) <= set(plain.selected)
    assert plain.minimal


def test_units_order_and_reversal_of_columns_change_nothing(plain: Selection):
    frame = _table()
    turned = frame[[*reversed([name for name in frame if name != "delay"]), "delay"]].copy()
    turned["load"] *= 1e6
    turned["signal"] = -turned["signal"] + 40
    turned["noise0"] = np.exp(turned["noise0"] / 10)
    assert _names(_selected(turned)) == _names(plain)


def test_an_exact_reverse_counts_once():
    frame = _table().drop(columns="load_copy")
    chosen = _names(_selected(frame.assign(load_reversed=-frame["load"])))
    assert len(chosen & {"load", "load_reversed"}) == 1


def test_a_driver_with_holes_is_not_doubled_by_its_copy():
    frame = _table()
    frame.loc[np.random.default_rng(1).random(ROWS) < 0.1, "load"] = np.nan
    assert len(_names(_selected(frame)) & {"load", "load_copy"}) == 1


@pytest.fixture(scope="module")
def spoilt() -> Selection:
    frame = _table()
    standard = (frame["delay"] - frame["delay"].mean()) / frame["delay"].std()
    complaints = 0.7 * standard + np.random.default_rng(2).normal(size=ROWS)
    return _selected(frame.assign(nothing=np.nan, same=3.0, twice=frame["load"], complaints=complaints))


def test_a_column_without_values_is_empty_one_value_is_constant_and_the_same_values_are_a_duplicate(
    spoilt: Selection,
):
    reasons = _reasons(spoilt)
    assert (reasons["nothing"], reasons["same"], reasons["twice"]) == ("empty", "constant", "duplicate")


def test_a_consequence_of_the_target_is_flagged_though_it_is_weak(spoilt: Selection):
    assert _reasons(spoilt)["complaints"] == "leak"


def test_a_leak_that_outdoes_all_others_is_flagged_and_left_out():
    frame = _table()
    rng = np.random.default_rng(2)
    selection = _selected(frame.assign(billed=frame["delay"] + 0.1 * rng.normal(size=ROWS)))
    assert _reasons(selection)["billed"] == "leak"
    assert "load" in _names(selection)


def test_each_of_several_leaks_is_told_once():
    frame = _table()
    rng = np.random.default_rng(10)
    leaking = {f"billed{number}": frame["delay"] + 0.3 * rng.normal(size=ROWS) for number in range(3)}
    selection = _selected(frame.assign(**leaking))
    told = [drop.indicator for drop in selection.dropped if drop.reason == "leak"]
    assert sorted(told) == sorted(leaking)


def test_the_strongest_driver_of_a_small_table_is_no_leak():
    rng = np.random.default_rng(9)
    frame = pd.DataFrame(rng.normal(size=(500, 3)), columns=["load", "signal", "other"])
    frame["delay"] = 2 * frame["load"] - frame["signal"] + rng.normal(size=500)
    assert _names(_selected(frame)) == {"load", "signal"}


def _devices_that_stall() -> pd.DataFrame:
    """1,500 sessions of 75 devices: a signal that is the device's own in part decides most, load and delay the rest."""
    rng = np.random.default_rng(3)
    device = rng.integers(0, 75, 1500)
    signal = rng.normal(size=1500) + 0.6 * rng.normal(size=75)[device]
    load, delay, other = rng.normal(size=(3, 1500))
    odds = -1.3 - 1.4 * signal + 0.6 * load + 0.6 * delay
    stalled = (rng.random(1500) < 1 / (1 + np.exp(-odds))).astype(int)
    columns = {"signal": signal, "load": load, "delay": delay, "other": other}
    return pd.DataFrame({"device_id": device, **columns, "stalled": stalled})


def test_the_strongest_driver_is_no_leak_either_where_few_devices_have_many_rows_each():
    frame = _devices_that_stall()
    study = read_study(frame, Roles("stalled", "device_id"), table="t")
    assert _names(select(study, FEW, Experts())) == {"signal", "load", "delay"}


def test_each_fold_elects_who_stands_for_a_group_as_the_whole_table_does():
    """A copy of the signal with holes looks as good by a test of so few devices, and tells less of new ones."""
    frame = _devices_that_stall()
    rng = np.random.default_rng(5)
    copy = np.where(rng.random(1500) < 0.4, np.nan, frame["signal"] + 0.01 * rng.normal(size=1500))
    frame.insert(1, "signal_with_holes", copy)
    selection = select(read_study(frame, Roles("stalled", "device_id"), table="t"), FEW, Experts())
    assert _names(selection) == {"signal", "load", "delay"}
    assert selection.curve.scores[:, -1].mean() > selection.curve.whole.mean() - 0.02


def test_what_is_counted_after_the_target_is_a_leak_where_few_devices_have_many_rows_each():
    frame = _devices_that_stall()
    complaints = np.random.default_rng(4).poisson(0.05 + 3 * frame["stalled"])
    study = read_study(frame.assign(complaints=complaints), Roles("stalled", "device_id"), table="t")
    selection = select(study, FEW, Experts())
    assert _reasons(selection)["complaints"] == "leak"
    assert _names(selection) == {"signal", "load", "delay"}


@pytest.mark.parametrize(
    ("alone", "others", "sure"),
    [
        ([0.967, 0.964, 0.974], [0.789, 0.790, 0.800], True),  # complaints that are counted after the stall
        ([0.323, 0.083, 0.502], [0.018, 0.227, 0.359], False),  # a driver in few rows, one fold the other way
        ([0.5, 0.5, 0.5], [0.5, 0.5, 0.5], False),
    ],
)
def test_a_leak_beats_all_others_in_each_fold_and_not_by_chance(
    alone: list[float], others: list[float], sure: bool
):
    assert leaks.surely_more(np.array(alone), np.array(others)) is sure


def test_a_mediator_is_no_consequence():
    """Load, signal and weather act through retransmissions: known delay does not part these from their causes."""
    rng = np.random.default_rng(3)
    causes = {name: rng.normal(size=ROWS) for name in ("load", "signal", "weather")}
    retransmissions = sum(causes.values()) + 0.5 * rng.normal(size=ROWS)
    frame = pd.DataFrame({**causes, "retransmissions": retransmissions, "other": rng.normal(size=ROWS)})
    frame["delay"] = 0.5 * retransmissions + frame["other"] + rng.normal(size=ROWS)
    study = read_study(frame, Roles("delay"), table="t")
    columns = list(range(len(study.names)))
    screen = Screen(study, candidates=columns)
    screened = replace(screen.run(), chosen=(*columns,))
    assert leaks.follows_target(study, screen.scores, screened, among=columns) == []


def test_a_column_that_moves_and_loses_its_effect_falls_as_unstable_and_one_that_holds_is_kept():
    frame = _table().assign(at=np.arange(ROWS))
    late = frame["at"] > 0.6 * ROWS
    rng = np.random.default_rng(4)
    old = rng.normal(size=ROWS) + np.where(late, 2.0, 0.0)
    held = rng.normal(size=ROWS) + np.where(late, 2.0, 0.0)
    frame["delay"] += 0.8 * np.where(late, 0.0, old) + 0.5 * held
    selection = _selected(frame.assign(old=old, held=held), time="at")
    assert _reasons(selection)["old"] == "unstable"
    assert "held" in _names(selection)
    assert [drop.indicator for drop in selection.moved] == ["held"]


def test_rows_of_one_device_do_not_count_as_many():
    """Twenty devices with fifty like rows each: a column that differs between devices explains little surely."""
    rng = np.random.default_rng(5)
    device = np.repeat(np.arange(20), 50)
    frame = pd.DataFrame({f"c{number}": rng.normal(size=20)[device] for number in range(12)})
    frame["delay"] = rng.normal(size=20)[device] + 0.1 * rng.normal(size=1000)
    rowwise = _selected(frame)
    devicewise = _selected(frame.assign(device=device), group="device")
    assert len(rowwise.selected) > 3 * max(1, len(devicewise.selected))


def test_pure_noise_selects_nothing():
    rng = np.random.default_rng(6)
    frame = pd.DataFrame(rng.normal(size=(600, 15)), columns=[f"c{number}" for number in range(15)])
    selection = _selected(frame.assign(delay=rng.normal(size=600)))
    assert len(selection.selected) <= 1


def test_classes_of_more_than_two_are_told_apart():
    frame = _table()
    frame["delay"] = pd.cut(
        frame["delay"], [-np.inf, -1, 1, np.inf], labels=["short", "usual", "long"]
    ).astype(str)
    assert {"load", "signal", "queue"} <= _names(_selected(frame))


def test_two_runs_write_the_same_text(plain: Selection):
    first, second = (
        record.summarize(one, table="t", meanings={}, simulated=False) for one in (plain, _selected(_table()))
    )
    assert first == second


def _said(indicator: str, **words: object) -> Experts:
    statement = {
        "indicator": indicator,
        "author": "A. Field",
        "reason": "drive test",
        "date": date(2026, 11, 1),
        **words,
    }
    return Experts(statements=(Statement.model_validate(statement),))


@pytest.fixture(scope="module")
def advised() -> Selection:
    said = [
        _said("one", keep=False),
        _said("noise1", keep=True),
        _said("load", direction="falling"),
        _said("noise3", available_after_s=900),
    ]
    return _selected(_table(), Experts(statements=tuple(one for some in said for one in some.statements)))


def test_a_veto_falls_with_author_and_reason(advised: Selection):
    told = {drop.indicator: drop for drop in advised.dropped}["one"]
    assert told.reason == "veto"
    assert "A. Field, 2026-11-01: drive test" in told.detail


def test_what_an_expert_keeps_is_selected_though_it_explains_nothing(advised: Selection):
    assert "noise1" in _names(advised)


def test_a_direction_that_the_data_deny_is_reported(advised: Selection):
    assert [one.indicator for one in advised.contradictions] == ["load"]


def test_a_value_known_after_the_target_is_a_leak(advised: Selection):
    assert _reasons(advised)["noise3"] == "leak"


def test_a_comparison_tells_the_new_place_and_why_one_fell(plain: Selection, advised: Selection):
    march, april = (
        record.summarize(one, table="t", meanings={}, simulated=False) for one in (plain, advised)
    )
    told = record.compare(march, april).set_index("indicator")
    assert told.loc["one", "after"] == "vetoed by an expert"
    assert told.loc["one", "changed"]


def test_the_expert_weight_decides_between_copies():
    frame = _table()
    frame["load_copy"] = frame["load"] + 0.01 * np.random.default_rng(7).normal(size=ROWS)
    assert "load_copy" in _names(_selected(frame, _said("load_copy", weight=5.0)))


def test_weights_blend_prior_and_importance():
    importance = {"a": 4.0, "b": 1.0}
    assert record.weights(importance, Experts(alpha=0.0)) == pytest.approx({"a": 0.8, "b": 0.2})
    blended = record.weights(importance, _said("b", weight=4.0))
    assert blended == pytest.approx({"a": 0.5, "b": 0.5})


def test_two_selections_of_different_targets_do_not_compare(plain: Selection):
    before = record.summarize(plain, table="t", meanings={}, simulated=False)
    with pytest.raises(ValueError, match="one target"):
        record.compare(before, {**before, "target": {"name": "loss"}})


def test_the_stability_index_is_zero_of_one_law_and_large_of_two():
    rng = np.random.default_rng(8)
    early = rng.normal(size=5000)
    assert quality.stability_index(early, rng.normal(size=5000)) < 0.02
    assert quality.stability_index(early, rng.normal(size=5000) + 1) > 0.25


def test_a_selection_that_does_not_hold_on_other_rows_says_so_and_no_interval_passes_one(plain: Selection):
    summary = record.summarize(plain, table="t", meanings={}, simulated=True)
    assert page.headline(summary) == "5 of 10 indicators explain delay"
    assert page.to_markdown(summary).startswith("# 5 of 10 indicators explain delay (simulated)")
    summary["score"]["selected"]["low"] = -0.01
    assert page.headline(summary) == "5 of 10 indicators go with delay, too loosely to tell it beforehand"
    assert max(summary["score"][name]["high"] for name in ("selected", "minimal", "all")) <= 1


def test_a_cap_of_rows_is_kept_and_its_agreement_told():
    study = read_study(_table(), Roles("delay"), table="t")
    selection = select(study, replace(FEW, rows=800), Experts())
    assert len(selection.study.X) == 800
    assert selection.agreement is not None and selection.agreement > 0.5
