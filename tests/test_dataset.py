"""What a model learns from: the rows, their truth, and what is left out and told."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.testing as npt
import pandas as pd
import pytest
from tiny_fleet import LAST_HOUR, commit, tiny_flows

from features import windows as built_windows
from features.devices import DEVICES
from features.flows import FlowSettings
from features.table import check_table
from features.windows import rows as window_rows
from training import dataset
from training.dataset import Dataset, learnable, truth
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
    assert load(TABLE, tmp_path, time="at").left_out["unlabelled"] == 1


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
    data = load(frame, tmp_path, group="unit", time="at")
    assert set(data.y) == {"007", "7"} and set(data.keys["device_id"]) == {"01", "1"}


def test_numbered_classes_are_not_given_a_decimal_point_by_a_missing_one(tmp_path: Path) -> None:
    TABLE.assign(kind=[0.0, 1.0, 0.0, None, 1.0, 1.0]).to_parquet(tmp_path / "table.parquet")
    told = Experiment(name="t", table=tmp_path / "table.parquet", target="kind", time="at")
    data = dataset.load(told, tmp_path)
    assert set(data.y) == {"0", "1"}


@pytest.mark.parametrize(
    "change", [{"up_bytes": [1, 2, 3, 4, 5, 7]}, {"kind": ["lock", *TABLE["kind"][1:]]}, {"unit": "a"}]
)
def test_the_hash_is_of_values_truths_and_keys(tmp_path: Path, change: dict[str, Any]) -> None:
    told = {"group": "unit", "time": "at"}
    first = load(TABLE, tmp_path, **told)
    assert load(TABLE[TABLE.columns[::-1]], tmp_path, **told).data_hash == first.data_hash
    assert load(TABLE.assign(**change), tmp_path, **told).data_hash != first.data_hash


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
        (
            TABLE.assign(kind="lamp"),
            {},
            r"needs two classes of 'kind', but of 6 rows \(left out: none\) has \['lamp'\]; name labels",
        ),
        (
            TABLE.assign(kind=list("abcdef")),
            {},
            r"but of 6 rows \(left out: 6 rare_class\) has \[\]; bring 2 rows of each class or more",
        ),
        (
            TABLE.assign(up_bytes=[1, 2, 3, 4, np.inf, 6]),
            {"time": "at"},
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


DAYS = pd.date_range("2026", periods=6)


@pytest.mark.parametrize(
    "times",
    [
        DAYS,
        DAYS.tz_localize("UTC"),
        [*DAYS.date[:5], None],
        DAYS - DAYS[0],
        [*DAYS.strftime("%Y-%m-%d")[:5], None],
        DAYS.strftime("%Y%m%dT%H%M%SZ"),
    ],
    ids=["moments", "in UTC", "dates", "spans", "texts with a gap", "short texts"],
)
def test_a_time_is_never_a_feature(tmp_path: Path, times: Any) -> None:
    TABLE.assign(at=times).to_parquet(tmp_path / "table.parquet")
    way = r"say time=at, or name the columns to learn from with features=\[...\]"
    with pytest.raises(ValueError, match=rf"table.parquet.at is a time, which is never a feature; {way}"):
        dataset.load(Experiment(name="t", table=tmp_path / "table.parquet", target="kind"), tmp_path)


def test_a_csv_of_times_is_refused_and_texts_that_only_look_like_years_are_not(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"table.csv.at is a time, which is never a feature"):
        load(TABLE, tmp_path)
    ports = TABLE.assign(at=["5683", "1883", "8883", "coap", None, "2024-13-77"])
    assert "at" in [feature.name for feature in load(ports, tmp_path).features]


def test_a_column_of_dates_can_order_the_rows(tmp_path: Path) -> None:
    TABLE.assign(at=DAYS.date).to_parquet(tmp_path / "table.parquet")
    told = Experiment(name="t", table=tmp_path / "table.parquet", target="kind", time="at")
    assert dataset.load(told, tmp_path).keys["window_end"][1] == pd.Timestamp("2026-01-02", tz="UTC")


def test_a_table_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no table .*gone.csv"):
        dataset.load(Experiment(name="t", table=tmp_path / "gone.csv"), tmp_path)


def moment(hour: int) -> pd.Timestamp:
    return pd.Timestamp("2026-01-01", tz="UTC") + pd.Timedelta(hours=hour)


def windows(*rows: tuple[str, str | None, int, int]) -> pd.DataFrame:
    """(device_id, source, first hour, last hour)"""
    frame = pd.DataFrame(rows, columns=["device_id", "source", "window_start", "window_end"])
    return frame.assign(**{name: frame[name].map(moment) for name in ("window_start", "window_end")})


def devices(*rows: dict[str, Any]) -> pd.DataFrame:
    frame = pd.DataFrame(rows).reindex(columns=[column.name for column in DEVICES])
    hours = {name: pd.to_datetime(frame[name].map(moment, na_action="ignore"), utc=True) for name in VALIDITY}
    return check_table(frame.assign(**hours), DEVICES, table="devices")


VALIDITY = ("valid_from", "valid_to")


def test_a_session_takes_the_label_of_its_own_source() -> None:
    said = devices(
        {"device_id": "hub", "source": "s1", "label": "bridge", "family": "Hue"},
        {"device_id": "hub", "source": "s2", "label": "switch", "family": "Hue"},
    )
    asked = windows(("hub", "s2", 0, 1), ("hub", "s1", 1, 2), ("hub", "s3", 2, 3))
    found = truth(asked, said, target="label", window="session")
    assert found["y"].fillna("-").tolist() == ["switch", "bridge", "-"]
    assert truth(asked, said, target="family", window="session")["y"].fillna("-").tolist() == [
        "Hue",
        "Hue",
        "-",
    ]


def test_a_label_holds_for_the_windows_that_share_time_with_it() -> None:
    said = devices(
        {"device_id": "bike", "source": "s1", "label": "lock", "valid_to": 5},
        {"device_id": "bike", "source": "s1", "label": "siren", "valid_from": 5},
    )
    asked = windows(("bike", None, 0, 4), ("bike", None, 4, 5), ("bike", None, 4, 6), ("bike", None, 5, 6))
    found = truth(asked, said, target="label", window="1h")
    assert found["conflict"].tolist() == [False, False, True, False]
    assert found["y"][~found["conflict"]].tolist() == ["lock", "lock", "siren"]


def test_a_session_of_one_packet_on_the_first_moment_of_a_label_has_it() -> None:
    said = devices({"device_id": "lamp", "source": "s1", "label": "lamp", "valid_from": 5, "valid_to": 6})
    asked = windows(("lamp", "s1", 5, 5), ("lamp", "s1", 6, 6))
    assert truth(asked, said, target="label", window="session")["y"].fillna("-").tolist() == ["lamp", "-"]


def test_one_label_told_by_many_sources_is_no_conflict_and_a_family_not_given_is_the_label() -> None:
    said = devices(*({"device_id": "lamp", "source": f"s{i}", "label": "lamp"} for i in range(3)))
    found = truth(windows(("lamp", None, 0, 1)), said, target="label", window="1h")
    assert found[["y", "family", "conflict"]].to_numpy().tolist() == [["lamp", "lamp", False]]


def test_two_labels_of_one_family_are_no_conflict_for_the_family() -> None:
    said = devices(
        {"device_id": "plug", "source": "s1", "label": "hs100", "family": "TP-Link"},
        {"device_id": "plug", "source": "s2", "label": "hs110", "family": "TP-Link"},
    )
    asked = windows(("plug", None, 0, 1))
    assert truth(asked, said, target="label", window="1h")["conflict"].all()
    assert not truth(asked, said, target="family", window="1h")["conflict"].any()


def test_a_device_that_moved_within_a_window_stands_at_no_site() -> None:
    said = devices(
        {"device_id": "bike", "source": "s1", "label": "lock", "site": "north", "valid_to": 5},
        {"device_id": "bike", "source": "s1", "label": "lock", "site": "south", "valid_from": 5},
    )
    found = truth(windows(("bike", None, 4, 5), ("bike", None, 4, 6)), said, target="label", window="1h")
    assert found["site"].fillna("-").tolist() == ["north", "-"]
    assert not found["conflict"].any()


def said(*rows: tuple[str, str | None, int, str | None]) -> pd.DataFrame:
    """(device_id, source, hour of window_end, y)"""
    frame = pd.DataFrame(rows, columns=["device_id", "source", "window_end", "y"])
    end = frame["window_end"].map(moment)
    return frame.assign(
        window_end=end, window_start=end - pd.Timedelta(hours=1), site=None, family=frame["y"]
    )


KINDS = [
    ("lamp", "s1", 1, "lamp"),
    ("lamp", "s2", 2, "lamp"),
    ("lock", "s3", 1, "lock"),
    ("lock", "s4", 2, "lock"),
]
TWO = Experiment(name="t")


def test_a_device_that_ends_at_one_instant_in_two_sources_is_learnt_once() -> None:
    frame = said(*KINDS, ("lock", "s5", 2, "lock"))
    rows, left_out = learnable(frame.assign(outranked=frame["source"] == "s4"), TWO)
    assert left_out["simultaneous_sources"] == 1
    assert rows["source"].tolist() == ["s1", "s2", "s3", "s5"]


def capture(
    workspace: Path, name: str, *, flows: int, types: tuple[str, ...] = ("smart_meter", "tracker")
) -> None:
    """Eight devices of each type, whose sessions end at the same instants in every capture."""
    ids = [f"{kind}-{i}" for kind in types for i in range(8)]
    parts = [tiny_flows(device_id, end=LAST_HOUR, count=flows, source=name) for device_id in ids]
    commit(workspace, pd.concat(parts))


def test_simultaneous_sources_give_their_name_and_their_features_to_one_row(tmp_path: Path) -> None:
    for number, name in enumerate(["a", "b", "c", "d"]):
        capture(tmp_path, name * 16, flows=4 + number)
    built_windows.build(tmp_path)
    capture(tmp_path, "0" * 16, flows=9, types=("tracker",))  # known last: it outranks the others
    built_windows.build(tmp_path)
    data = dataset.load(Experiment(name="tiny", window="session"), tmp_path)
    names = [feature.name for feature in data.features]
    built = window_rows(tmp_path, "session")
    own = data.keys.merge(built, on=["device_id", "source", "window_end"], how="left", validate="1:1")
    npt.assert_array_equal(data.X, own[names].to_numpy(np.float64, na_value=np.nan))
    assert data.left_out["simultaneous_sources"] == len(built) - len(data.y) == 3 * 8 + 4 * 8


def test_an_instant_of_a_device_with_two_labels_is_learnt_by_neither() -> None:
    rows, left_out = learnable(
        said(*KINDS, ("lock", "s5", 2, "siren")), Experiment(name="t", min_rows_per_class=1)
    )
    assert left_out["conflicting_labels"] == 2
    assert rows["source"].tolist() == ["s1", "s2", "s3"]


def test_windows_of_two_devices_that_end_together_are_both_learnt() -> None:
    rows, left_out = learnable(said(*KINDS), TWO)
    assert len(rows) == 4 and set(left_out.values()) == {0}


def test_each_row_is_left_out_for_one_reason() -> None:
    frame = said(*KINDS, ("lamp", "s6", 2, None), ("siren", "s7", 1, "siren"))
    rows, left_out = learnable(frame.assign(conflict=frame["source"] == "s6"), TWO)
    expected = {"unlabelled": 1, "conflicting_labels": 0, "simultaneous_sources": 0, "rare_class": 1}
    assert left_out == expected and len(rows) == 4


def test_the_windows_of_a_workspace_are_learnt_from_as_the_store_knows_them(fleet: Any) -> None:
    data = dataset.load(Experiment(name="tiny", window="session"), fleet.workspace)
    built = window_rows(fleet.workspace, "session")
    assert len(data.y) == len(built) and set(data.left_out.values()) == {0}
    keys = data.keys.merge(built, on=["device_id", "source", "window_end"], how="left", validate="1:1")
    names = [feature.name for feature in data.features]
    npt.assert_array_equal(data.X, keys[names].to_numpy(np.float64, na_value=np.nan))
    assert (data.keys["device_id"].str.rpartition("-")[0] == data.y).all()
    assert data.feature_service == "tiny_session_v1" and data.window == "session"
    assert {feature.dtype for feature in data.features} <= {"int64", "float64", "bool"}


@pytest.mark.parametrize(
    ("window", "says"), [("1hh", "the nearest is '1h'"), ("year", r"there are \['session', '15min'")]
)
def test_a_misspelt_window_is_answered_with_those_there_are(tmp_path: Path, window: str, says: str) -> None:
    with pytest.raises(ValueError, match=rf"must be one of .*windows.yaml, however: '{window}'; {says}"):
        dataset.load(Experiment(name="tiny", window=window), tmp_path)


def test_the_flow_settings_are_those_the_captures_were_read_with(tmp_path: Path) -> None:
    short = FlowSettings(idle_timeout_s=7, active_timeout_s=70)
    for kind in ("smart_meter", "tracker"):
        flows = [tiny_flows(f"{kind}-{i}", end=LAST_HOUR, source=kind) for i in range(2)]
        commit(tmp_path, pd.concat(flows), settings=short)
    built_windows.build(tmp_path)
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "flows.yaml").write_text("idle_timeout_s: 30\n")  # changed since
    data = dataset.load(Experiment(name="tiny", window="session"), tmp_path)
    assert data.flow_settings == short
    for record in (tmp_path / "lake" / "sources").glob("*.json"):  # as an older version wrote it
        record.write_text(json.dumps(json.loads(record.read_text()) | {"flow_settings": None}))
    data = dataset.load(Experiment(name="tiny", window="session"), tmp_path)
    assert data.flow_settings == FlowSettings(idle_timeout_s=30)


def test_a_window_nobody_built_is_told(tmp_path: Path) -> None:
    with pytest.raises(LookupError, match="run iotlens ingest and features build"):
        dataset.load(Experiment(name="tiny", window="session"), tmp_path)
