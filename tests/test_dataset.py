"""What a model learns from: the rows, their truth, and what is left out and told."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.testing as npt
import pandas as pd
import pytest

from training import dataset
from training.dataset import Dataset
from training.experiment import Experiment

TABLE = pd.DataFrame(
    {
        "unit": ["b", "a", "a", "b", "c", "c"],
        "at": [
            "2026-01-01T00:00:00Z",
            "2026-01-02T00:00:00+01:00",
            "2026-01-03",
            "2026-01-04",
            "2026-01-05",
            None,
        ],
        "up_bytes": [1, 2, 3, 4, 5, 6],
        "piat_ms": [0.5, None, 1.5, 2.5, 3.5, 4.5],
        "secure": [True, False, True, False, True, False],
        "protocol": ["coap", "mqtt", None, "coap", "coap", "mqtt"],
        "kind": ["lamp", "lock", "lamp", None, "lock", "lamp"],
    }
)


def load(frame: pd.DataFrame, folder: Path, **changes: Any) -> Dataset:
    path = folder / "table.csv"
    frame.to_csv(path, index=False)
    return dataset.load(Experiment(name="t", table=path, **({"target": "kind"} | changes)), folder)


def test_a_table_gives_rows_in_its_order_and_features_by_name(tmp_path: Path) -> None:
    data = load(TABLE, tmp_path, group="unit", time="at")
    assert [feature.name for feature in data.features] == ["piat_ms", "protocol", "secure", "up_bytes"]
    assert [feature.dtype for feature in data.features] == ["float64", "string", "bool", "int64"]
    assert data.y.tolist() == ["lamp", "lock", "lamp", "lock", "lamp"]
    npt.assert_array_equal(data.X[:, 3], [1, 2, 3, 5, 6])
    npt.assert_array_equal(data.X[:, 1], [0, 1, np.nan, 0, 1])
    assert data.keys["device_id"].tolist() == ["b", "a", "a", "c", "c"]
    assert data.keys["window_end"][1] == pd.Timestamp("2026-01-01T23:00:00Z")
    assert data.keys["window_end"].isna().tolist() == [False] * 4 + [True]
    assert (data.window, data.feature_service) == (None, None)
    assert data.families == {"lamp": "lamp", "lock": "lock"}


def test_rows_without_a_target_are_counted(tmp_path: Path) -> None:
    assert load(TABLE, tmp_path).left_out["unlabelled"] == 1


def test_features_may_be_named(tmp_path: Path) -> None:
    data = load(TABLE, tmp_path, features=["up_bytes", "secure"])
    assert [feature.name for feature in data.features] == ["up_bytes", "secure"]


def test_parquet_and_csv_of_one_table_are_one_dataset(tmp_path: Path) -> None:
    from_csv = load(TABLE, tmp_path, group="unit", time="at")
    TABLE.to_parquet(tmp_path / "table.parquet")
    parquet = Experiment(name="t", table=tmp_path / "table.parquet", target="kind", group="unit", time="at")
    assert dataset.load(parquet, tmp_path).data_hash == from_csv.data_hash


def test_names_are_kept_as_they_are_written(tmp_path: Path) -> None:
    frame = TABLE.assign(kind=["007", "7", "007", "7", "007", "7"], unit=["01", "1", "01", "1", "1", "01"])
    data = load(frame, tmp_path, group="unit")
    assert set(data.y) == {"007", "7"} and set(data.keys["device_id"]) == {"01", "1"}


def test_numbered_classes_are_not_given_a_decimal_point_by_a_missing_one(tmp_path: Path) -> None:
    TABLE.assign(kind=[0.0, 1.0, 0.0, None, 1.0, 1.0]).to_parquet(tmp_path / "table.parquet")
    data = dataset.load(Experiment(name="t", table=tmp_path / "table.parquet", target="kind"), tmp_path)
    assert set(data.y) == {"0", "1"}


@pytest.mark.parametrize(
    "change", [{"up_bytes": [1, 2, 3, 4, 5, 7]}, {"kind": ["lock", *TABLE["kind"][1:]]}, {"unit": "a"}]
)
def test_the_hash_is_of_values_truths_and_keys(tmp_path: Path, change: dict[str, Any]) -> None:
    first = load(TABLE, tmp_path, group="unit")
    assert load(TABLE[TABLE.columns[::-1]], tmp_path, group="unit").data_hash == first.data_hash
    assert load(TABLE.assign(**change), tmp_path, group="unit").data_hash != first.data_hash


def test_an_order_may_be_a_number(tmp_path: Path) -> None:
    data = load(TABLE.assign(at=[5, 4, 3, 2, 1, 0]), tmp_path, time="at")
    assert data.keys["window_end"].is_monotonic_decreasing


@pytest.mark.parametrize(
    ("frame", "changes", "says"),
    [
        (
            TABLE,
            {"target": "sort"},
            r"table.csv must have the columns that the experiment names, but lacks \['sort'\]",
        ),
        (TABLE, {"features": ["up"]}, r"lacks \['up'\]"),
        (TABLE, {"time": "protocol"}, r"table.csv.protocol must be ISO 8601 or seconds since 1970"),
        (TABLE.assign(kind="lamp"), {}, r"needs two classes of 'kind', but has \['lamp'\]"),
        (
            TABLE.assign(kind=list("abcdef")),
            {},
            r"needs two classes of 'kind', but has \[\] .* 'rare_class': 6",
        ),
        (
            TABLE.assign(up_bytes=[1, 2, 3, 4, np.inf, 6]),
            {},
            r"table.csv.up_bytes must be finite or empty, but row 4",
        ),
        (TABLE[["kind"]], {}, r"table.csv must have features beside \['kind'\], but they are \[\]"),
        (TABLE, {"features": ["kind", "up_bytes"]}, r"must have features beside \['kind'\]"),
    ],
)
def test_what_cannot_be_learnt_from_is_named(
    tmp_path: Path, frame: pd.DataFrame, changes: dict[str, Any], says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        load(frame, tmp_path, **changes)


def test_a_column_of_too_many_texts_is_refused(tmp_path: Path) -> None:
    frame = pd.DataFrame({"serial": [f"SN{i}" for i in range(600)], "kind": ["lamp", "lock"] * 300})
    with pytest.raises(ValueError, match=r"table.csv.serial must be numbers or at most 255 different texts"):
        load(frame, tmp_path)


def test_a_time_is_never_a_feature(tmp_path: Path) -> None:
    TABLE.assign(at=pd.date_range("2026", periods=6)).to_parquet(tmp_path / "table.parquet")
    with pytest.raises(ValueError, match=r"at is a time, which is never a feature; say time=at"):
        dataset.load(Experiment(name="t", table=tmp_path / "table.parquet", target="kind"), tmp_path)


def test_a_table_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no table .*gone.csv"):
        dataset.load(Experiment(name="t", table=tmp_path / "gone.csv"), tmp_path)
