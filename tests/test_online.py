"""The newest row of each device online, with the real Feast: published, read, corrected, by several processes."""

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

import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from tiny_store import FEATURES, NAMES, TTL, add, asked, at, number, row, same, window_rows, windows

from features.store import Store
from features.table import Column


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
    assert store.publish() in ({0} if finished else {0, len(ids)})  # killed on its way out, it had done all
    assert set(store.latest(ids, service)["flows"]) == {5}


def test_nothing_leaves_the_machine_and_nothing_but_the_count_is_printed(store: Store) -> None:
    add(store, row("bike-1", 15), row("bike-2", 15))
    told, _ = publisher(store).communicate(timeout=120)
    assert told == "2\n"
