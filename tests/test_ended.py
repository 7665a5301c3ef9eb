"""Only windows that have ended are served: what is online is what history tells of the moment of the publish."""

import json
import zlib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest
from tiny_store import FEATURES, NAMES, add, asked, at, row, same

from features.store import Store

DAY = 1_440  # minutes
TTL = {"15min": timedelta(days=9), "7d": timedelta(days=14)}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "fleet-7", FEATURES, TTL)


@pytest.fixture
def week(store: Store) -> str:
    return store.register("app", "7d")


def flows(store: Store, service: str, *device_ids: str) -> list[object]:
    """Return what is online of each device: every feature of a row tells its flows."""
    return list(store.latest(list(device_ids), service, at=at(0))["flows"].tolist())


def check_agree(store: Store, service: str, minute: float, *device_ids: str) -> None:
    """Compare what is online with what history tells of the moment of the publish."""
    past = store.history(asked(*[(device, minute) for device in device_ids]), service)
    online = store.latest(device_ids, service, at=at(minute))
    same(online[["window_end", *NAMES]], past[["window_end", *NAMES]])


def test_a_week_that_has_not_ended_is_not_served_and_is_once_it_has(store: Store, week: str) -> None:
    add(store, row("bike-1", 0, flows=70), window="7d")
    for day in range(1, 8):  # the flows of today lie in each week that ends from tomorrow on
        add(store, row("bike-1", day * DAY, flows=71 - day), window="7d")
    assert store.publish(at(5)) == 1
    assert flows(store, week, "bike-1") == [70]
    assert store.publish(at(DAY - 0.001)) == 0
    assert store.publish(at(DAY)) == 1  # at its very end, and without any new flow
    assert flows(store, week, "bike-1") == [70]
    assert store.publish(at(3 * DAY)) == 1
    assert flows(store, week, "bike-1") == [68]
    assert store.publish(at(30 * DAY)) == 1
    assert store.publish(at(31 * DAY)) == 0
    assert flows(store, week, "bike-1") == [64]


def test_a_device_whose_first_window_has_not_ended_is_missing(store: Store, week: str) -> None:
    add(store, row("bike-1", DAY), window="7d")
    assert store.publish(at(5)) == 0
    assert store.latest(["bike-1"], week, at=at(5))["status"].tolist() == ["missing"]


def test_now_is_the_moment_unless_one_is_told(store: Store, week: str) -> None:
    now = (datetime.now(UTC) - at(0)) // timedelta(minutes=1)
    add(store, row("bike-1", now - 60, flows=1), row("bike-1", now + 60, flows=2), window="7d")
    assert store.publish() == 1
    assert flows(store, week, "bike-1") == [1]
    with pytest.raises(ValueError, match="at must be an aware datetime"):
        store.publish(at(0).tz_localize(None))


def test_of_one_file_the_rows_that_ended_are_written_once_and_the_others_when_they_end(store: Store) -> None:
    service = store.register("app", "15min")
    add(store, row("bike-1", 15, flows=1), row("bike-1", 30, flows=2), row("bike-2", 15, flows=3))
    assert store.publish(at(15)) == 2
    assert store.publish(at(29)) == 0
    check_agree(store, service, 29, "bike-1", "bike-2")
    assert store.publish(at(30)) == 1
    check_agree(store, service, 30, "bike-1", "bike-2")
    assert store.publish(at(45)) == 0


def test_a_late_row_and_a_correction_count_beside_rows_that_have_not_ended(store: Store) -> None:
    service = store.register("app", "15min")
    add(store, row("bike-1", 15, flows=1), row("bike-1", 30, known=16, flows=2))
    store.publish(at(20))
    add(store, row("bike-1", 0, known=22, flows=7))
    assert store.publish(at(22)) == 0
    add(store, row("bike-1", 15, known=25, flows=4), row("bike-1", 30, known=25, flows=5))
    assert store.publish(at(25)) == 1
    assert flows(store, service, "bike-1") == [4]
    assert store.publish(at(30)) == 1
    assert flows(store, service, "bike-1") == [5]


def test_history_and_online_agree_at_every_moment_forwards_and_back(store: Store) -> None:
    service = store.register("app", "15min")
    for minute, device in ((10, "bike-1"), (30, "bike-2"), (45, "bike-1"), (50, "lock-1")):
        add(store, row(device, minute, flows=minute), row(device, minute + 20, flows=minute + 20))
    for minute in (0, 10, 29, 30, 65, 66, 45, 70, 20, 70):
        store.publish(at(minute))
        check_agree(store, service, minute, "bike-1", "bike-2", "lock-1")


def test_a_file_that_goes_before_its_rows_have_ended_takes_those_that_had_with_it(store: Store) -> None:
    service = store.register("app", "15min")
    file = add(store, row("bike-1", 15), row("bike-1", 30), row("bike-2", 30))
    store.publish(at(20))
    file.unlink()
    assert store.publish(at(25)) == 1
    assert store.latest(["bike-1"], service)["status"].tolist() == ["missing"]
    assert store.publish(at(30)) == 0


def test_rows_that_an_older_version_published_before_their_end_are_replaced(store: Store, week: str) -> None:
    """Its ledger has no moment. Feast replaces a later row by an earlier one: another test holds it to that."""
    add(store, row("bike-1", 0, flows=70), row("bike-1", DAY, flows=9), row("bike-2", DAY), window="7d")
    store.publish(at(2 * DAY))  # as the older version did at minute 5
    (told,) = store._read("ledger", {"entry": ["window 7d"]})
    older = json.dumps(json.loads(zlib.decompress(told))[:3])
    store._enter("window 7d", zlib.compress(older.encode()))
    assert flows(store, week, "bike-1", "bike-2") == [9, 1]
    assert store.publish(at(5)) == 2
    check_agree(store, week, 5, "bike-1", "bike-2", "bike-9")
    assert store.publish(at(DAY)) == 2
    check_agree(store, week, DAY, "bike-1", "bike-2")


def kill_one_publish(store: Store, until: datetime) -> None:
    """Publish, and die when rows are written and the ledger does not know it yet."""

    class KilledError(Exception):
        pass

    def write_and_die(self: Store, view: str, rows: pd.DataFrame, packed: Any) -> None:
        write(self, view, rows, packed)
        if view != "ledger":
            raise KilledError

    write = Store._write
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Store, "_write", write_and_die)
        with pytest.raises(KilledError):
            store.publish(until)


@pytest.mark.parametrize(("killed", "then"), [(30, 30), (30, 35), (10, 25), (10, 10)])
def test_a_publish_that_was_killed_forwards_or_back_is_made_good_by_the_next(
    store: Store, killed: int, then: int
) -> None:
    service = store.register("app", "15min")
    add(store, row("bike-1", 10, flows=1), row("bike-1", 20, flows=2), row("bike-1", 30, flows=3))
    store.publish(at(20))
    kill_one_publish(store, at(killed))
    assert flows(store, service, "bike-1") != [2]
    assert store.publish(at(then)) == 1
    check_agree(store, service, then, "bike-1")


def test_a_file_without_rows_waits_for_nothing(store: Store, week: str) -> None:
    file = add(store, row("bike-1", 0, flows=3), window="7d")
    pq.write_table(pq.read_table(file).slice(0, 0), file.with_name("empty.parquet"))
    assert store.publish(at(5)) == 1
    assert flows(store, week, "bike-1") == [3]
    assert store.publish(datetime(2026, 4, 1, tzinfo=UTC)) == 0
