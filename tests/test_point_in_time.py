"""Which window row a moment finds, against plain pandas that anyone can check by eye."""

import tempfile
from datetime import timedelta
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.point_in_time import as_of, newest
from features.publication import Fresh
from features.table import Column, arrow_schema

FEATURES = (Column("flows", "int64", "1"), Column("up_share", "float64", "1", empty=True))
KEYS = (
    Column("device_id", "string", "-"),
    Column("source", "string", "-", empty=True),
    Column("window_end", "timestamp", "UTC"),
    Column("created", "timestamp", "UTC"),
)
TTL = timedelta(minutes=2)
START = pd.Timestamp("2026-03-29 01:00", tz="UTC")  # the hour that Europe's clocks skip

minutes = st.integers(0, 6)
devices = st.sampled_from(["bike-1", "bike-2", "lock-1"])
windows = st.lists(
    st.tuples(devices, minutes, minutes, st.integers(-(2**53), 2**53), st.floats(width=64) | st.none()),
    min_size=1,
    max_size=12,
    unique_by=lambda row: row[:3],
)
questions = st.lists(st.tuples(devices, minutes), max_size=8)


def at(minute: float) -> pd.Timestamp:
    return START + pd.Timedelta(minutes=minute)


def window_rows(rows: list[tuple[str, int, int, int, float | None]]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=["device_id", "end", "known", "flows", "up_share"])
    times = {"window_end": frame["end"].map(at), "created": frame["known"].map(at)}
    return frame.assign(source=None, **times).drop(columns=["end", "known"])


def fresh_of(files: list[Path], fresh: list[Path]) -> Fresh:
    """Return that these files were never looked at, when every row has ended."""
    ended = int(at(60).timestamp()) * 1_000_000
    return Fresh(files, fresh, due=[], since=ended, until=ended, anew=False)


def asked(rows: list[tuple[str, int]]) -> pd.DataFrame:
    times = pd.Series([at(minute) for _, minute in rows], dtype="datetime64[ns, UTC]")
    return pd.DataFrame({"device_id": [device for device, _ in rows], "event_timestamp": times})


def lake(folder: Path, *parts: pd.DataFrame) -> list[Path]:
    files = [folder / f"{number}.parquet" for number in range(len(parts))]
    for file, part in zip(files, parts, strict=True):
        schema = arrow_schema([*KEYS, *FEATURES])
        pq.write_table(pa.Table.from_pandas(part, schema=schema, preserve_index=False), file)
    return files


def by_eye(entities: pd.DataFrame, rows: pd.DataFrame, *, known_only: bool) -> pd.DataFrame:
    """Return what as_of must, one entity after the other."""
    found = []
    for _, entity in entities.iterrows():
        moment = entity["event_timestamp"]
        seen = rows[(rows["device_id"] == entity["device_id"]) & (rows["window_end"] <= moment)]
        seen = seen[seen["created"] <= moment] if known_only else seen
        last = seen.sort_values(["window_end", "created"]).tail(1)
        last = last[last["window_end"] >= moment - TTL]
        found.append(last.iloc[0].to_dict() if len(last) else {})
    return pd.DataFrame(found, columns=["window_end", "flows", "up_share"])


def check_same(found: pd.DataFrame, wanted: pd.DataFrame) -> None:
    ends = [
        pd.to_datetime(frame["window_end"], utc=True).astype("datetime64[us, UTC]")
        for frame in (found, wanted)
    ]
    pd.testing.assert_series_equal(*ends)
    dtypes = {"flows": "Int64", "up_share": "float64"}
    pd.testing.assert_frame_equal(found[list(dtypes)].astype(dtypes), wanted[list(dtypes)].astype(dtypes))


@settings(max_examples=20, deadline=None)
@given(rows=windows, entities=questions, known_only=st.booleans(), cut=st.integers(0, 12))
def test_a_moment_finds_the_newest_row_that_had_ended_and_was_known(
    rows: list[tuple[str, int, int, int, float | None]],
    entities: list[tuple[str, int]],
    known_only: bool,
    cut: int,
) -> None:
    frame, moments = window_rows(rows), asked(entities)
    with tempfile.TemporaryDirectory() as folder:
        files = lake(Path(folder), frame[:cut], frame[cut:])
        found = as_of(moments, files, features=FEATURES, ttl=TTL, known_only=known_only)
    check_same(found, by_eye(moments, frame, known_only=known_only))


@settings(max_examples=15, deadline=None)
@given(rows=windows, entities=questions.filter(len))  # merge_asof itself refuses an empty side
def test_it_is_what_merge_asof_finds(
    rows: list[tuple[str, int, int, int, float | None]], entities: list[tuple[str, int]]
) -> None:
    frame, moments = window_rows(rows), asked(entities)
    with tempfile.TemporaryDirectory() as folder:
        found = as_of(moments, lake(Path(folder), frame), features=FEATURES, ttl=TTL)
    last = frame.sort_values("created").drop_duplicates(["device_id", "window_end"], keep="last")
    wanted = pd.merge_asof(
        moments.rename_axis("position").reset_index().sort_values("event_timestamp"),
        last.sort_values("window_end").astype({"flows": "Int64", "window_end": "datetime64[ns, UTC]"}),
        left_on="event_timestamp",
        right_on="window_end",
        by="device_id",
        tolerance=pd.Timedelta(TTL),
    ).sort_values("position", ignore_index=True)
    check_same(found, wanted[["window_end", "flows", "up_share"]])


@settings(max_examples=15, deadline=None)
@given(rows=windows, cut=st.integers(0, 12))
def test_the_newest_row_of_a_device_is_given_if_it_lies_in_a_fresh_file(
    rows: list[tuple[str, int, int, int, float | None]], cut: int
) -> None:
    frame = window_rows(rows)
    fresh = frame.index >= cut
    with tempfile.TemporaryDirectory() as folder:
        files = lake(Path(folder), frame[~fresh], frame[fresh])
        given = list(newest(fresh_of(files, files[1:]), features=FEATURES, batch_rows=2))
    last = frame.sort_values(["window_end", "created"]).groupby("device_id").tail(1)
    wanted = last[last.index >= cut].sort_values("device_id", ignore_index=True)
    found = pd.concat(given).sort_values("device_id", ignore_index=True) if given else wanted.iloc[:0]
    assert found["device_id"].tolist() == wanted["device_id"].tolist()
    check_same(found, wanted)


def test_features_without_an_empty_value_keep_their_dtype(tmp_path: Path) -> None:
    files = lake(tmp_path, window_rows([("bike-1", 1, 1, 2**53 + 1, None)]))
    found = as_of(asked([("bike-1", 1)]), files, features=FEATURES, ttl=TTL)
    assert found["flows"].dtype == "int64" and found.loc[0, "flows"] == 2**53 + 1
    absent = as_of(asked([("bike-1", 1), ("bike-9", 1)]), files, features=FEATURES, ttl=TTL)
    assert absent["flows"].dtype == "Int64" and absent["flows"].isna().tolist() == [False, True]


def test_a_row_serves_until_its_ttl_is_over_and_not_a_microsecond_longer(tmp_path: Path) -> None:
    files = lake(tmp_path, window_rows([("bike-1", 1, 1, 7, 0.5)]))
    moments = asked([("bike-1", 3), ("bike-1", 3)])
    moments.loc[1, "event_timestamp"] += pd.Timedelta(microseconds=1)
    assert as_of(moments, files, features=FEATURES, ttl=TTL)["flows"].isna().tolist() == [False, True]


def test_of_two_sources_that_end_at_one_instant_the_choice_is_the_same_in_any_order(tmp_path: Path) -> None:
    pair = window_rows([("bike-1", 1, 1, 7, 0.5), ("bike-1", 1, 1, 8, 0.5)]).assign(source=["aa", "bb"])
    chosen = set()
    for number, rows in enumerate([pair, pair[::-1]]):
        (tmp_path / str(number)).mkdir()
        files = lake(tmp_path / str(number), rows)
        chosen.add(as_of(asked([("bike-1", 1)]), files, features=FEATURES, ttl=TTL)["flows"].item())
        chosen.add(next(newest(fresh_of(files, files), features=FEATURES, batch_rows=9))["flows"].item())
    assert len(chosen) == 1


def test_a_feature_that_older_files_lack_is_empty_there(tmp_path: Path) -> None:
    rows = window_rows([("bike-1", 1, 1, 7, 0.5), ("bike-2", 1, 1, 8, 0.25)])
    files = lake(tmp_path, rows[:1], rows[1:])
    pq.write_table(pq.read_table(files[0]).drop_columns("up_share"), files[0])
    found = as_of(asked([("bike-1", 1), ("bike-2", 1)]), files, features=FEATURES, ttl=TTL)
    assert found["up_share"].isna().tolist() == [True, False]


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"device_id": [None]}, "device_id must not be empty, but row 0 is"),
        ({"device_id": [7]}, "device_id must be strings"),
        ({"event_timestamp": [pd.NaT]}, "event_timestamp must not be empty, but row 0 is"),
        ({"event_timestamp": [pd.Timestamp("2026-01-01")]}, "must be aware datetimes"),
        ({"event_timestamp": ["2026-01-01T00:00Z"]}, "must be aware datetimes"),
    ],
)
def test_entities_that_cannot_be_joined_are_refused(
    tmp_path: Path, change: dict[str, list[object]], rule: str
) -> None:
    files = lake(tmp_path, window_rows([("bike-1", 1, 1, 7, 0.5)]))
    with pytest.raises(ValueError, match=rule):
        as_of(asked([("bike-1", 1)]).assign(**change), files, features=FEATURES, ttl=TTL)


def test_a_file_that_is_gone_is_an_error_that_says_so(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="must not lose files while it is read"):
        as_of(asked([("bike-1", 1)]), [tmp_path / "gone.parquet"], features=FEATURES, ttl=TTL)


def test_entities_without_a_moment_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="once each, but not so"):
        as_of(pd.DataFrame({"device_id": ["bike-1"]}), [tmp_path], features=FEATURES, ttl=TTL)
