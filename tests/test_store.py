"""The feature store, with the real Feast: the past as Feast itself tells it, and the newest rows online."""

import itertools
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.configuration import find_config, read_config
from features.store import Store, feature_service_name
from features.store_settings import StoreSettings, project_name
from features.table import Column, arrow_schema

FEATURES = (
    Column("flows", "int64", "1"),
    Column("up_share", "float64", "1", empty=True),
    Column("up_bytes", "int64", "byte"),
    Column("period_s", "float64", "s", empty=True),
    Column("encrypted", "bool", "-"),
)
NAMES = [column.name for column in FEATURES]
KEYS = (
    Column("device_id", "string", "-"),
    Column("source", "string", "-", empty=True),
    Column("window_start", "timestamp", "UTC"),
    Column("window_end", "timestamp", "UTC"),
    Column("created", "timestamp", "UTC"),
)
TTL = {"session": timedelta(days=365), "15min": timedelta(minutes=30)}
START = pd.Timestamp("2026-03-29 01:00", tz="UTC")  # the hour that Europe's clocks skip
number = itertools.count()


def at(minute: float) -> pd.Timestamp:
    return START + pd.Timedelta(minutes=minute)


def row(device_id: str, end: float, *, known: float | None = None, flows: int = 1) -> dict[str, object]:
    """One window row; every feature tells `flows`."""
    values = dict(zip(NAMES, [flows, flows / 8, flows * 2**40, float(flows), flows % 2 == 0], strict=True))
    times = {
        "window_start": at(end - 15),
        "window_end": at(end),
        "created": at(end if known is None else known),
    }
    return {"device_id": device_id, "source": None, **times, **values}


def add(store: Store, *rows: dict[str, object], window: str = "15min") -> Path:
    """Write rows into the lake, in a file of their own."""
    folder = store.workspace / "lake" / "windows" / f"window={window}" / "date=2026-03-29"
    folder.mkdir(parents=True, exist_ok=True)
    schema = arrow_schema([*KEYS, *store.features])
    table = pa.Table.from_pandas(pd.DataFrame(rows), schema=schema, preserve_index=False)
    file = folder / f"{next(number):06d}.parquet"
    pq.write_table(table, file)
    return file


def asked(*rows: tuple[str, float]) -> pd.DataFrame:
    times = pd.Series([at(minute) for _, minute in rows], dtype="datetime64[us, UTC]")
    return pd.DataFrame({"device_id": [device for device, _ in rows], "event_timestamp": times})


def same(one: pd.DataFrame, other: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(one.reset_index(drop=True), other.reset_index(drop=True))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "fleet-7", FEATURES, TTL)


@pytest.fixture
def service(store: Store) -> str:
    return store.register("app", "15min")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """One store for the property tests: Feast needs its time to set one up."""
    yield Store(tmp_path_factory.mktemp("shared"), FEATURES, TTL)


# ---- services


def test_a_service_is_named_after_model_window_and_version() -> None:
    assert feature_service_name("app", "15min") == "app_15min_v1"
    assert feature_service_name("app", "session", 3) == "app_session_v3"


def test_another_list_of_features_or_another_order_is_another_version(store: Store) -> None:
    assert store.register("app", "15min", ["up_bytes", "flows"]) == "app_15min_v1"
    assert store.register("app", "15min", ["flows", "up_bytes"]) == "app_15min_v2"
    assert store.register("app", "session") == "app_session_v1"
    again = Store(store.workspace, FEATURES, TTL)
    assert again.register("app", "15min", ["up_bytes", "flows"]) == "app_15min_v1"
    assert [column.name for column in again.service("app_15min_v1").features] == ["up_bytes", "flows"]
    assert again.service("app_15min_v2").window == "15min"


def test_a_model_is_refused_a_service_that_lists_something_else(store: Store, service: str) -> None:
    store.require(service, NAMES)
    with pytest.raises(ValueError, match="at place 1 it lists 'up_share' and the model reads 'up_bytes'"):
        store.require(service, ["flows", "up_bytes"])
    with pytest.raises(ValueError, match="at place 4 it lists 'encrypted' and the model reads None"):
        store.require(service, NAMES[:4])


@pytest.mark.usefixtures("service")
def test_a_service_that_nobody_registered_is_named_with_those_that_are(store: Store) -> None:
    with pytest.raises(LookupError, match=r"no feature service 'app_15min_v9'.*\['app_15min_v1'\]"):
        store.latest(["bike-1"], "app_15min_v9")


def test_asking_a_workspace_without_a_store_writes_nothing(store: Store) -> None:
    with pytest.raises(LookupError, match="no feature service 'app_15min_v1'"):
        store.history(asked(("bike-1", 0)), "app_15min_v1")
    assert not store.workspace.exists()


def test_a_service_of_a_feature_that_is_no_longer_made_is_refused(store: Store, service: str) -> None:
    later = Store(store.workspace, FEATURES[1:], TTL)
    with pytest.raises(
        ValueError, match=r"app_15min_v1 must list features that are still made.*flows \(int64\)"
    ):
        later.service(service)


@pytest.mark.parametrize("features", [["flows", "flows"], ["bytes"], []])
def test_a_service_lists_known_features_once(store: Store, features: list[str]) -> None:
    with pytest.raises(ValueError, match="lists features of the windows, each once"):
        store.register("app", "15min", features)


def test_a_service_whose_window_has_left_the_configuration_is_refused(store: Store, service: str) -> None:
    later = Store(store.workspace, FEATURES, {"session": TTL["session"]})
    rule = rf"'{service}' must be of a window of windows\.yaml, but '15min' is none of \['session'\]"
    with pytest.raises(ValueError, match=rule):
        later.service(service)
    with pytest.raises(ValueError, match=rule):
        later.require(service, NAMES)


def test_a_service_is_bound_to_a_window_that_there_is(store: Store) -> None:
    with pytest.raises(ValueError, match=r"one of \['session', '15min'\], not to '7d'"):
        store.register("app", "7d")


# ---- the past


minutes = st.integers(0, 40)
devices = st.sampled_from(["bike-1", "bike-2", "lock-1"])
floats = st.floats(width=64) | st.none()
values = st.tuples(st.integers(-(2**53), 2**53), floats, st.integers(0, 2**53), floats, st.booleans())
windows = st.lists(
    st.tuples(devices, minutes, minutes, values), min_size=1, max_size=12, unique_by=lambda made: made[:3]
)


def window_rows(
    made: list[tuple[str, int, int, tuple[object, ...]]], prefix: str = ""
) -> list[dict[str, object]]:
    return [
        row(prefix + device, end, known=known) | dict(zip(NAMES, of, strict=True))
        for device, end, known, of in made
    ]


def as_feast_tells(store: Store, entities: pd.DataFrame, service: str, *, known_only: bool) -> pd.DataFrame:
    """Return the features that Feast's own get_historical_features finds, in the order of the entities."""
    feast_store = store._feast_store
    numbered = entities.assign(position=range(len(entities)))
    told = feast_store.get_historical_features(
        entity_df=numbered,
        features=feast_store.get_feature_service(service),
        filter_by_created_timestamp=known_only,
    ).to_df()
    assert len(told) == len(entities)
    return told.sort_values("position", ignore_index=True)


@pytest.mark.filterwarnings("ignore:fetch_arrow_table:DeprecationWarning")  # ibis 12, of duckdb's connection
@settings(max_examples=12, deadline=None)
@given(
    made=windows,
    entities=st.lists(st.tuples(devices, minutes), min_size=1, max_size=8),
    known_only=st.booleans(),
)
def test_history_is_what_feast_itself_finds(
    shared: Store,
    made: list[tuple[str, int, int, tuple[object, ...]]],
    entities: list[tuple[str, int]],
    known_only: bool,
) -> None:
    service = shared.register("app", "15min")
    shutil.rmtree(shared.workspace / "lake", ignore_errors=True)
    rows = window_rows(made)
    add(shared, *rows[: len(rows) // 2 + 1])
    if rows[len(rows) // 2 + 1 :]:
        add(shared, *rows[len(rows) // 2 + 1 :])
    moments = asked(*entities)
    found = shared.history(moments, service, known_only=known_only)
    told = as_feast_tells(shared, moments, service, known_only=known_only)
    for column in FEATURES:
        dtype = {"int64": "Int64", "bool": "boolean"}.get(column.dtype, "float64")
        pd.testing.assert_series_equal(found[column.name].astype(dtype), told[column.name].astype(dtype))


def test_every_entity_row_stays_with_its_order_its_index_and_its_other_columns(
    store: Store, service: str
) -> None:
    add(store, row("bike-1", 15, flows=3), row("bike-2", 15, flows=5))
    entities = asked(("bike-2", 20), ("bike-1", 20), ("bike-2", 20), ("bike-9", 20)).assign(
        label=list("abcd")
    )
    entities.index = pd.Index([7, 7, 1, 0])
    before = entities.copy()
    found = store.history(entities, service)
    pd.testing.assert_frame_equal(found[before.columns], before)
    pd.testing.assert_frame_equal(entities, before)
    assert found["flows"].tolist() == [5, 3, 5, pd.NA]
    assert found["window_end"].tolist() == [at(15), at(15), at(15), pd.NaT]
    assert found["up_share"].dtype == "float64" and np.isnan(found["up_share"].iloc[3])


def test_of_one_window_the_newest_row_wins_and_a_backfill_is_not_known_before_it_came(
    store: Store, service: str
) -> None:
    add(store, row("bike-1", 15, flows=3))
    add(store, row("bike-1", 15, known=25, flows=4))
    moments = asked(("bike-1", 20), ("bike-1", 30))
    assert store.history(moments, service)["flows"].tolist() == [4, 4]
    assert store.history(moments, service, known_only=True)["flows"].tolist() == [3, 4]


def test_no_entities_give_no_rows(store: Store, service: str) -> None:
    add(store, row("bike-1", 15))
    found = store.history(asked(), service)
    assert len(found) == 0 and list(found.columns) == ["device_id", "event_timestamp", "window_end", *NAMES]


def test_history_without_windows_says_what_to_run(store: Store, service: str) -> None:
    with pytest.raises(LookupError, match=r"no 15min window in .*; run `iotlens features build`"):
        store.history(asked(("bike-1", 20)), service)


def test_entities_may_not_bring_what_is_added(store: Store, service: str) -> None:
    add(store, row("bike-1", 15))
    with pytest.raises(ValueError, match=r"leave the names of what is added free, but have \['flows'\]"):
        store.history(asked(("bike-1", 20)).assign(flows=1), service)


# ---- online


@settings(max_examples=12, deadline=None)
@given(made=windows)
def test_a_row_online_is_the_row_offline(
    shared: Store, made: list[tuple[str, int, int, tuple[object, ...]]]
) -> None:
    store = replace(shared, ttl={"session": TTL["session"]}, _services={})
    service = store.register("app", "session")
    prefix = f"{next(number)}/"  # other devices each time, for what is online stays
    add(store, *window_rows(made, prefix), window="session")
    seen = sorted({prefix + device for device, *_ in made})
    assert store.publish() == len(seen)
    offline = store.history(asked(*[(device, 40) for device in seen]), service)
    online = store.latest(seen, service, at=at(40))
    assert set(online["status"]) == {"known"}
    same(online[["window_end", *NAMES]], offline[["window_end", *NAMES]])


def test_latest_tells_known_from_stale_from_missing_in_the_order_asked(store: Store, service: str) -> None:
    add(store, row("bike-1", 15, flows=3), row("bike-2", 40, flows=5))
    store.publish()
    found = store.latest(["bike-2", "bike-9", "bike-1", "bike-2", ""], service, at=at(50))
    assert found["device_id"].tolist() == ["bike-2", "bike-9", "bike-1", "bike-2", ""]
    assert found["status"].tolist() == ["known", "missing", "stale", "known", "missing"]
    assert found["flows"].tolist() == [5, pd.NA, 3, 5, pd.NA]
    assert found["window_end"].tolist() == [at(40), pd.NaT, at(15), at(40), pd.NaT]
    assert found["encrypted"].tolist() == [False, pd.NA, False, False, pd.NA]


def test_history_and_latest_agree_on_when_a_row_is_too_old(store: Store, service: str) -> None:
    add(store, row("bike-1", 15))
    store.publish()
    for minute, status in ((45, "known"), (45.0001, "stale")):
        assert store.latest(["bike-1"], service, at=at(minute))["status"].tolist() == [status]
        assert store.history(asked(("bike-1", minute)), service)["flows"].isna().tolist() == [
            status == "stale"
        ]


def test_only_features_of_a_missing_device_lose_their_dtype(store: Store, service: str) -> None:
    add(store, row("bike-1", 15, flows=3))
    store.publish()
    dtypes = {"flows": "int64", "up_share": "float64", "encrypted": "bool"}
    assert store.latest(["bike-1"], service)[list(dtypes)].dtypes.astype(str).to_dict() == dtypes
    missing = {"flows": "Int64", "up_share": "float64", "encrypted": "boolean"}
    assert store.latest(["bike-9"], service)[list(missing)].dtypes.astype(str).to_dict() == missing


def test_no_devices_give_no_rows(store: Store, service: str) -> None:
    found = store.latest([], service)
    assert len(found) == 0 and list(found.columns) == ["device_id", "status", "window_end", *NAMES]


def test_more_devices_than_one_statement_takes_are_read_in_order(store: Store, service: str) -> None:
    add(store, *[row(f"bike-{i}", 15, flows=i) for i in range(30)])
    store.publish()
    ids = [f"bike-{i % 40}" for i in range(33_000)]
    found = store.latest(ids, service)
    assert found["device_id"].tolist() == ids
    assert found["flows"].fillna(-1).tolist() == [i % 40 if i % 40 < 30 else -1 for i in range(33_000)]


def test_latest_wants_an_aware_moment_and_names(store: Store, service: str) -> None:
    with pytest.raises(ValueError, match="at must be an aware datetime"):
        store.latest(["bike-1"], service, at=at(0).tz_localize(None))
    with pytest.raises(ValueError, match="device ids must be strings, however: 7"):
        store.latest(["bike-1", 7], service)  # type: ignore[list-item]  # the point of the test


@pytest.mark.usefixtures("service")
def test_publish_writes_what_is_new_and_then_nothing(store: Store) -> None:
    assert store.publish() == 0
    add(store, row("bike-1", 15), row("bike-2", 15), row("bike-2", 30))
    assert store.publish() == 2
    assert store.publish() == 0
    add(store, row("bike-2", 45), row("bike-1", 0))
    assert store.publish() == 1
    add(store, row("bike-1", 15), window="session")
    assert Store(store.workspace, FEATURES, TTL).publish() == 1


def test_a_late_row_does_not_replace_a_newer_one_but_a_correction_does(store: Store, service: str) -> None:
    add(store, row("bike-1", 30, flows=3))
    store.publish()
    add(store, row("bike-1", 15, known=99, flows=7))
    assert store.publish() == 0
    assert store.latest(["bike-1"], service)["flows"].tolist() == [3]
    add(store, row("bike-1", 30, known=100, flows=4))
    assert store.publish() == 1
    assert store.latest(["bike-1"], service)["flows"].tolist() == [4]


@pytest.mark.usefixtures("service")
def test_feast_alone_would_let_an_older_row_replace_a_newer_one(store: Store) -> None:
    """Why publish chooses the rows itself. Fails when Feast learns better; then simplify."""
    add(store, row("bike-1", 30, flows=3))
    store.publish()
    old = {"device_id": ["bike-1"], "window_end": [at(15)], "created": [at(15)], "packed": [b"older"]}
    store._feast_store.write_to_online_store("device_15min_online", pd.DataFrame(old))
    assert store._read("device_15min_online", {"device_id": ["bike-1"]}) == [b"older"]


def test_what_is_taken_out_of_the_lake_is_taken_out_online(store: Store, service: str) -> None:
    add(store, row("bike-1", 15, flows=3), row("bike-2", 15, flows=3))
    file = add(store, row("bike-1", 30, flows=4), row("bike-3", 30))
    store.publish()
    file.unlink()
    assert store.publish() == 3
    assert store.latest(["bike-1", "bike-3"], service)["flows"].tolist() == [3, pd.NA]
    shutil.rmtree(store.workspace / "lake")
    assert store.publish() == 2
    assert store.latest(["bike-1", "bike-2"], service, at=at(20))["status"].tolist() == ["missing", "missing"]
    assert store.publish() == 0


def test_an_online_store_that_is_lost_is_filled_again(store: Store, service: str) -> None:
    add(store, row("bike-1", 15, flows=3))
    store.publish()
    for file in (store.workspace / "feast").glob("online.db*"):
        file.unlink()
    again = Store(store.workspace, FEATURES, TTL)
    assert again.publish() == 1
    assert again.latest(["bike-1"], service)["flows"].tolist() == [3]


@pytest.mark.usefixtures("service")
def test_a_row_of_a_feature_that_is_never_empty_is_refused_without_it(store: Store) -> None:
    file = add(store, row("bike-1", 15))
    pq.write_table(pq.read_table(file).drop_columns("flows"), file)
    add(store, row("bike-2", 15))
    with pytest.raises(
        ValueError, match=r"windows.flows must not be empty.*'bike-1'.*build the features again"
    ):
        store.publish()


# ---- two versions of the program, and a workspace that moves


def test_a_program_reads_rows_that_a_later_one_published(store: Store) -> None:
    service = store.register("app", "15min", ["period_s", "flows"])
    add(store, row("bike-1", 15, flows=3))
    store.publish()
    later = Store(store.workspace, (Column("peers", "int64", "1"), *reversed(FEATURES)), TTL)
    add(later, row("bike-1", 30, flows=4) | {"peers": 9})
    assert later.publish() == 1
    assert store.latest(["bike-1"], service)[["period_s", "flows"]].to_numpy().tolist() == [[4.0, 4.0]]


def test_a_program_refuses_rows_of_another_version_without_its_features(store: Store, service: str) -> None:
    add(store, row("bike-1", 15))
    Store(store.workspace, FEATURES[:2], TTL).publish()
    with pytest.raises(ValueError, match=r"must hold every feature asked for.*up_bytes \(int64\)"):
        store.latest(["bike-1"], service)


def test_a_renamed_workspace_keeps_its_services_and_its_online_rows(store: Store, service: str) -> None:
    add(store, row("bike-1", 15, flows=3))
    store.publish()
    moved = replace(store, workspace=store.workspace.rename(store.workspace.with_name("other")), _services={})
    assert moved.latest(["bike-1"], service)["flows"].tolist() == [3]
    assert moved.publish() == 0
    add(moved, row("bike-1", 30, flows=4))
    assert moved.publish() == 1
    assert moved.history(asked(("bike-1", 30)), service)["flows"].tolist() == [4]


# ---- configuration


@pytest.mark.parametrize(
    ("folder", "name"),
    [("fleet-7", "fleet_7"), ("7d demo", "workspace_7d_demo"), ("_Übung_", "workspace__bung")],
)
def test_a_workspace_of_any_name_is_a_project(tmp_path: Path, folder: str, name: str) -> None:
    assert project_name(tmp_path / folder) in {name, name.removeprefix("workspace__")}


def test_a_row_serves_twice_its_window_unless_told_otherwise() -> None:
    told = StoreSettings(ttl_s={"session": 60, "1h": 100})
    served = told.ttl({"session": None, "15min": 900, "1h": 3600})
    assert {name: ttl.total_seconds() for name, ttl in served.items()} == {
        "session": 60,
        "15min": 1800,
        "1h": 100,
    }
    assert StoreSettings().ttl({"session": None})["session"] == timedelta(days=365)


@pytest.mark.parametrize(
    ("ttl_s", "rule"),
    [
        (
            {"sesion": 60.0},
            r"must name windows of windows.yaml, but has 'sesion'; the nearest is \['session'\]",
        ),
        ({"session": -1.0}, "TTL of session must be above 0 s, but is -1"),
        ({}, "TTL of session must be above 0 s, but is 0; set ttl_s.session"),
    ],
)
def test_a_ttl_that_makes_no_sense_is_refused(ttl_s: dict[str, float], rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        StoreSettings(ttl_s=ttl_s).ttl({"session": None, "15min": 900})


def test_redis_must_be_told_not_to_drop_corrections() -> None:
    """Feast's Redis store skips a row whose window_end it has, which a corrected row always shares."""
    StoreSettings(online_store={"type": "redis", "connection_string": "host:6379", "skip_dedup": True})
    with pytest.raises(ValueError, match="redis needs skip_dedup: true"):
        StoreSettings(online_store={"type": "redis", "connection_string": "host:6379"})


def test_the_packaged_configuration_is_the_default() -> None:
    assert read_config(find_config("feature_store.yaml"), StoreSettings) == StoreSettings()


# ---- what feast does to a process


@pytest.mark.usefixtures("service")
def test_feast_leaves_the_process_as_it_was(tmp_path: Path) -> None:
    import typeguard

    assert typeguard.typechecked.__module__.startswith("typeguard")
    assert sys.modules.get("torch", ...) is not None
    with closing(sqlite3.connect(tmp_path / "other.db", detect_types=sqlite3.PARSE_DECLTYPES)) as database:
        database.execute("CREATE TABLE job (created timestamp)")
        database.execute("INSERT INTO job VALUES ('2026-03-29 01:30:00.250'), (1774747800)")
        iso, seconds = (moment for (moment,) in database.execute("SELECT created FROM job"))
    assert iso.isoformat(" ") == "2026-03-29 01:30:00.250000"
    assert seconds.timestamp() == 1774747800


PUBLISHER = """
import socket, sys
from datetime import timedelta
from pathlib import Path

def refuse(*args):
    raise AssertionError(f"something leaves the machine: {args}")

socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = refuse

from features.store import Store
from features.table import Column

features = tuple(Column(*pair.split(":"), "1") for pair in sys.argv[2:])
print(Store(Path(sys.argv[1]), features, {"15min": timedelta(days=999)}).publish())
"""


def publisher(store: Store) -> subprocess.Popen[str]:
    """Start a process that publishes, without a network, and prints how many rows it wrote."""
    fields = [f"{column.name}:{column.dtype}" for column in store.features]
    command = [sys.executable, "-c", PUBLISHER, str(store.workspace), *fields]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_readers_see_whole_rows_while_another_process_publishes_and_is_killed(tmp_path: Path) -> None:
    store = Store(tmp_path, FEATURES, {"15min": timedelta(days=999)})
    service, ids = store.register("app", "15min"), [f"bike-{i}" for i in range(5_000)]
    add(store, *[row(device, 15, flows=2) for device in ids])
    assert store.publish() == len(ids)
    add(store, *[row(device, 30, flows=5) for device in ids])
    process, some = publisher(store), ids[::40]
    while process.poll() is None:
        seen = store.latest(some, service)
        assert set(zip(seen["flows"], seen["up_bytes"], seen["window_end"], strict=True)) <= {
            (2, 2 * 2**40, at(15)),
            (5, 5 * 2**40, at(30)),
        }
        if (seen["flows"] == 5).any():
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
    process.communicate()
    finished = process.returncode == 0  # where this process had to wait for longer than the other one needed
    assert finished or process.returncode == -signal.SIGKILL
    assert store.publish() == (0 if finished else len(ids))
    assert set(store.latest(ids, service)["flows"]) == {5}


def test_nothing_leaves_the_machine_and_nothing_but_the_count_is_printed(store: Store) -> None:
    add(store, row("bike-1", 15), row("bike-2", 15))
    told, _ = publisher(store).communicate(timeout=120)
    assert told == "2\n"
