"""What each split promises: who learns, who judges, and that nothing is on both sides unseen."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.artifact import InputFeature
from training.dataset import KEYS, Dataset
from training.experiment import SplitSettings
from training.splits import Fold, Split, all_splits, trainable

FEATURES = (InputFeature(name="up_bytes", dtype="float64"),)
DAY = pd.Timedelta(days=1)


def rows(*given: dict[str, Any], window: str | None = "session", length: pd.Timedelta = DAY) -> Dataset:
    """A dataset of these rows; what is not given: its own capture and value, times a day apart."""
    frame = pd.DataFrame(list(given)).reindex(columns=["y", "device_id", "source", "day", "site", "value"])
    day = frame["day"].fillna(frame.index.to_series()).astype(float)
    own = pd.Series([f"capture-{i}" for i in frame.index], dtype="string")
    end = pd.Timestamp("2026-01-02", tz="UTC") + day * DAY
    keys = pd.DataFrame(
        {
            "device_id": frame["device_id"].astype("string"),
            "source": frame["source"].astype("string").fillna(own) if window == "session" else pd.NA,
            "window_start": (end - length).astype("datetime64[us, UTC]"),
            "window_end": end.astype("datetime64[us, UTC]"),
            "site": frame["site"].astype("string"),
        }
    )
    X = frame[["value"]].fillna(pd.Series(frame.index, name="value").to_frame() + 1000.0).to_numpy(float)
    y = frame["y"].to_numpy(dtype=object)
    return Dataset(X, y, keys[KEYS], FEATURES, {name: name for name in y}, {}, window, "service", None)


def fleet(units: dict[str, list[str]], sessions: int = 8) -> Dataset:
    """Sessions of each unit of each type, in the order of time."""
    return rows(
        *(
            {"y": kind, "device_id": unit, "day": number}
            for kind, names in units.items()
            for unit in names
            for number in range(sessions)
        )
    )


def split(data: Dataset, name: str, **settings: Any) -> Split:
    return all_splits(data, SplitSettings(**settings), seed=7)[name]


def judged(found: Split) -> np.ndarray:
    return np.sort(np.concatenate([fold.test for fold in found.folds]))


def units(data: Dataset, positions: np.ndarray) -> set[str]:
    return set(data.keys["device_id"].iloc[positions])


LAMPS = {"lamp": ["lamp-1", "lamp-2"], "lock": ["lock-1"]}


def test_a_random_split_judges_every_row_once_and_deals_each_class_evenly() -> None:
    data = fleet(LAMPS, sessions=10)
    found = split(data, "random")
    np.testing.assert_array_equal(judged(found), np.arange(30))
    for fold in found.folds:
        assert pd.Series(data.y[fold.test]).value_counts().to_dict() == {"lamp": 4, "lock": 2}
        assert not set(fold.train) & set(fold.test)


def test_a_capture_of_two_devices_is_on_one_side_of_a_random_split() -> None:
    data = rows(
        *({"y": kind, "device_id": kind, "source": f"s{i}"} for i in range(10) for kind in ("lamp", "lock"))
    )
    found = split(data, "random")
    assert found.leak is not None and found.leak.captures == 0
    assert found.leak.device_units == 2  # a random split shares its units, and says so
    np.testing.assert_array_equal(judged(found), np.arange(20))


def test_the_seed_decides_who_is_dealt_where() -> None:
    data = fleet(LAMPS)
    folds = [all_splits(data, SplitSettings(), seed=seed)["random"].folds[0].test for seed in (1, 1, 2)]
    np.testing.assert_array_equal(folds[0], folds[1])
    assert set(folds[0]) != set(folds[2])


def test_one_capture_of_everything_cannot_be_split_at_random() -> None:
    data = rows(*({"y": kind, "device_id": kind, "source": "only"} for kind in ("lamp", "lock")))
    found = split(data, "random")
    assert found.folds == () and found.refused == "all rows come from one capture"


def test_time_learns_the_earliest_three_quarters_of_each_unit() -> None:
    data = fleet(LAMPS)
    (fold,) = split(data, "time").folds
    days = data.keys["window_end"].dt.day - 2
    assert sorted(days.iloc[fold.train].unique()) == [0, 1, 2, 3, 4, 5]
    assert sorted(days.iloc[fold.test].unique()) == [6, 7]
    assert units(data, fold.test) == {"lamp-1", "lamp-2", "lock-1"}


def test_time_puts_windows_of_one_moment_on_one_side() -> None:
    days = [0, 1, 2, 3, 3, 3, 3, 3]
    data = rows(*({"y": kind, "device_id": kind, "day": day} for kind in ("lamp", "lock") for day in days))
    (fold,) = split(data, "time").folds
    assert (data.keys["window_end"].dt.day.iloc[fold.train] < 5).all()
    assert len(fold.test) == 10


def test_time_puts_the_sessions_of_one_capture_on_one_side() -> None:
    spans = {
        "lamp": range(0, 8),
        "lock": range(0, 8),
        "plug": range(4, 12),
    }  # plug is cut later than its fellows
    order = {"lamp": 0.0, "lock": 0.2, "plug": 0.4}  # in one capture they end one after the other
    data = rows(
        *(
            {"y": kind, "device_id": kind, "source": f"s{number}", "day": number + order[kind]}
            for kind, numbers in spans.items()
            for number in numbers
        )
    )
    found = split(data, "time")
    (fold,) = found.folds
    source, end = data.keys["source"], data.keys["window_end"]
    assert not set(source[fold.train]) & set(source[fold.test])
    assert found.leak is not None and found.leak.captures == 0
    assert end[fold.train].max() < end[fold.test].min() and set(data.y[fold.test]) == {"lamp", "lock", "plug"}


def test_a_device_heard_first_in_the_later_captures_is_not_judged_as_known() -> None:
    data = rows(
        *({"y": k, "device_id": k, "source": f"s{i}", "day": i} for i in range(8) for k in ("lamp", "lock")),
        {"y": "lock", "device_id": "new", "source": "s7", "day": 7},
    )
    (fold,) = split(data, "time").folds
    assert units(data, fold.test) == {"lamp", "lock"}
    assert "new" not in units(data, fold.train)


def test_new_devices_share_captures_that_hold_many_and_this_is_told() -> None:
    names = [f"{kind}-{i}" for kind in ("lamp", "lock") for i in range(2)]
    data = rows(
        *({"y": n[:4], "device_id": n, "source": f"s{i}", "day": i} for i in range(6) for n in names),
        *({"y": "lamp", "device_id": "lamp-0", "source": f"own-{i}", "day": 10 + i} for i in range(2)),
    )
    leak = split(data, "device").leak
    assert leak is not None
    assert (leak.captures, leak.captures_of_one_device, leak.device_units) == (6, 0, 0)


def test_a_unit_seen_once_is_learnt_from_and_not_judged() -> None:
    data = rows(
        *({"y": "lamp", "device_id": "lamp", "day": day} for day in range(4)),
        *({"y": "lock", "device_id": f"lock-{day}", "day": day} for day in range(2)),
    )
    (fold,) = split(data, "time").folds
    np.testing.assert_array_equal(fold.test, [3])
    np.testing.assert_array_equal(fold.train, [0, 1, 2, 4, 5])


def test_a_window_that_reaches_into_the_later_ones_is_dropped_and_counted() -> None:
    week = pd.Timedelta(days=7)
    data = rows(
        *({"y": kind, "device_id": kind, "day": day} for kind in ("lamp", "lock") for day in range(40)),
        window="7d",
        length=week,
    )
    found = split(data, "time")
    (fold,) = found.folds
    for kind in ("lamp", "lock"):
        ends = data.keys["window_end"][fold.train][data.y[fold.train] == kind]
        begins = data.keys["window_start"][fold.test][data.y[fold.test] == kind]
        assert ends.max() <= begins.min()
    assert found.dropped["overlapping_windows"] == 12  # six of each device end inside the first later window
    assert found.leak is not None and found.leak.overlapping_windows == 0 and found.leak.captures is None


def test_a_table_without_times_has_no_split_by_time() -> None:
    data = fleet(LAMPS)
    timeless = replace(data, keys=data.keys.assign(window_end=pd.NaT, window_start=pd.NaT))
    assert "time=COL" in str(split(timeless, "time").refused)


def test_device_judges_each_unit_of_a_class_that_has_two_by_a_model_that_never_saw_it() -> None:
    data = fleet({"lamp": ["a", "b", "c", "d"], "lock": ["e", "f"], "plug": ["g"]})
    found = split(data, "device")
    assert units(data, judged(found)) == set("abcdef")
    assert len(judged(found)) == len(np.unique(judged(found)))
    for fold in found.folds:
        assert not units(data, fold.train) & units(data, fold.test)
        assert set(data.y[fold.train]) == {"lamp", "lock", "plug"}
    assert found.leak is not None and found.leak.device_units == 0


def test_classes_of_one_unit_each_have_no_split_by_device() -> None:
    found = split(fleet({"lamp": ["a"], "lock": ["b"]}), "device")
    assert found.folds == () and found.refused == "no class has two device units"


def test_a_held_out_device_is_judged_by_the_device_split_and_learnt_from_by_none() -> None:
    data = fleet(LAMPS)
    parts = all_splits(data, SplitSettings(hold_out_devices=("lamp-2",)), seed=7)
    for found in parts.values():
        assert all("lamp-2" not in units(data, fold.train) for fold in found.folds)
    assert units(data, judged(parts["device"])) == {"lamp-2"}
    assert "lamp-2" not in units(data, judged(parts["random"])) | units(data, judged(parts["time"]))
    assert units(data, trainable(data, SplitSettings(hold_out_devices=("lamp-2",)))) == {"lamp-1", "lock-1"}


def test_a_misspelt_held_out_device_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"\['lamp-9'\] have none"):
        split(fleet(LAMPS), "random", hold_out_devices=("lamp-9",))


def test_a_held_out_device_of_a_class_nobody_else_has_cannot_be_judged() -> None:
    data = fleet({"lamp": ["a", "b"], "lock": ["c"], "plug": ["d"]})
    found = split(data, "device", hold_out_devices=("d",))
    assert units(data, judged(found)) == {"a", "b"}
    assert found.dropped["unseen_class"] == 8


def test_site_judges_each_place_by_a_model_that_never_saw_it() -> None:
    places = ("north", "south", "east")
    data = rows(
        *({"y": k, "device_id": k + p, "site": p} for p in places for k in ("lamp", "lock") for _ in range(3))
    )
    found = split(data, "site")
    assert len(found.folds) == 3
    for fold in found.folds:
        sites = data.keys["site"]
        assert not set(sites[fold.train]) & set(sites[fold.test])
    np.testing.assert_array_equal(judged(found), np.arange(18))


def test_more_sites_than_folds_are_left_out_in_groups() -> None:
    data = rows(
        *({"y": k, "device_id": f"{k}{p}", "site": f"{p}"} for p in range(7) for k in ("lamp", "lock"))
    )
    found = split(data, "site", folds=3)
    assert len(found.folds) == 3
    np.testing.assert_array_equal(judged(found), np.arange(14))


@pytest.mark.parametrize(
    ("sites", "why"),
    [
        ((None, None), "name 0"),
        (("north", "north"), "name 1"),
        (("north", "south"), "no class stands at two"),
    ],
)
def test_sites_that_share_nothing_cannot_judge(sites: tuple[str | None, str | None], why: str) -> None:
    data = rows(
        *(
            {"y": k, "device_id": k, "site": s}
            for k, s in zip(("lamp", "lock"), sites, strict=True)
            for _ in "abc"
        )
    )
    assert why in str(split(data, "site").refused)


def test_a_row_that_training_holds_too_is_not_judged() -> None:
    data = rows(
        *(
            {"y": kind, "device_id": kind, "value": value}
            for kind, value in (("lamp", 1.0), ("lock", 2.0))
            for _ in "1234"
        )
    )
    found = split(data, "time")
    assert found.folds == () and "'duplicate_rows': 2" in str(found.refused)


def test_equal_features_of_two_classes_are_judged_for_that_is_the_hard_case() -> None:
    data = rows(
        *({"y": kind, "device_id": kind, "value": float(i)} for kind in ("lamp", "lock") for i in range(8))
    )
    found = split(data, "time")
    assert len(judged(found)) == 4 and found.dropped["duplicate_rows"] == 0


def test_a_missing_value_and_a_signed_zero_do_not_hide_a_duplicate() -> None:
    data = rows(*({"y": k, "device_id": k} for k in ("lamp", "lock") for _ in range(4)))
    data.X[:, 0] = [np.nan, 1, 2, -np.nan, 0.0, 3, 4, -0.0]
    assert split(data, "time").dropped["duplicate_rows"] == 2


@st.composite
def datasets(draw: st.DrawFn) -> Dataset:
    windowed = draw(st.booleans())
    some = st.fixed_dictionaries(
        {
            "y": st.sampled_from(["lamp", "lock", "plug"]),
            "device_id": st.sampled_from(["a", "b", "c", "d"]),
            "source": st.sampled_from(["s1", "s2", "s3", "s4", "s5"]),
            "day": st.integers(0, 20),
            "site": st.sampled_from(["north", "south", None]),
            "value": st.sampled_from([0.0, 1.0, 2.0, np.nan]),
        }
    )
    given_rows = draw(st.lists(some, min_size=2, max_size=40))
    length = draw(st.sampled_from([1, 3])) * DAY
    return rows(*given_rows, window="3d" if windowed else "session", length=length)


def overlapping(data: Dataset, fold: Fold) -> bool:
    keys = data.keys
    return any(
        keys["device_id"][a] == keys["device_id"][b]
        and keys["window_start"][a] < keys["window_end"][b]
        and keys["window_start"][b] < keys["window_end"][a]
        for a in fold.train
        for b in fold.test
    )


@settings(max_examples=40, deadline=None)
@given(datasets())
def test_whatever_the_data_the_sides_keep_apart(data: Dataset) -> None:
    apart = {"random": "source", "time": "source", "device": "device_id", "site": "site"}
    for name, found in all_splits(data, SplitSettings(folds=3), seed=0).items():
        assert bool(found.folds) == (found.refused is None) == (found.leak is not None)
        for fold in found.folds:
            assert len(fold.test) and not set(fold.train) & set(fold.test)
            assert set(data.y[fold.test]) <= set(data.y[fold.train]) and len(set(data.y[fold.train])) > 1
            if data.window == "session" or apart[name] != "source":
                column = data.keys[apart[name]]
                assert not set(column[fold.train]) & set(column[fold.test])
            assert data.window == "session" or not overlapping(data, fold)
        if found.leak is not None:
            assert found.leak.duplicate_rows == 0 and not found.leak.overlapping_windows
