"""One more file of counters looks only at deliveries that may tell of the same."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from features.counter_ledger import Ledger, Reach
from features.lake import Delivery


def at(hour: int) -> datetime:
    return datetime(2026, 3, 1, hour, tzinfo=UTC)


def delivery(source: str, first: int, end: int, *elements: str, hides: str = "") -> Delivery:
    return Delivery(
        source=source,
        kind="counters",
        path=f"{source}.csv",
        bytes=1,
        reading="",
        fingerprint="",
        rows=1,
        used=1,
        quarantined={},
        superseded={hides: 1} if hides else {},
        first=at(first).isoformat(),
        last=at(first).isoformat(),
        files=(f"counters/date=2026-03-01/{source}.parquet", f"superseded/{source}.parquet"),
        end=at(end).isoformat(),
        elements=elements,
    )


def near(ledger: Ledger, first: int, end: int, *elements: str) -> list[str]:
    return ledger.near(Reach(at(first), at(end), frozenset(elements)), but="me")


def test_files_of_another_time_or_other_elements_are_left_aside() -> None:
    told = (
        delivery("a", 8, 9, "e1"),
        delivery("b", 8, 9, "e2"),
        delivery("c", 9, 10, "e1"),
        delivery("d", 7, 12),
    )
    ledger = Ledger(Path("ws"), {one.source: one for one in (*told, delivery("me", 8, 9, "e1"))})
    assert near(ledger, 8, 9, "e1") == ["a", "d"]
    assert near(ledger, 8, 9) == ["a", "b", "d"]
    assert near(ledger, 10, 11, "e1") == ["d"]
    assert near(ledger, 13, 14) == []


def test_a_record_that_does_not_tell_its_end_may_reach_a_day_further() -> None:
    old = replace(delivery("a", 2, 2, "e1"), end="", elements=())
    assert near(Ledger(Path("ws"), {"a": old}), 20, 21, "e9") == ["a"]


def test_a_file_read_anew_takes_the_place_of_its_former_record() -> None:
    ledger = Ledger(Path("ws"), {"a": delivery("a", 8, 9, hides="b"), "b": delivery("b", 8, 9)})
    assert ledger.marks(["b"], but="me") == [Path("ws/lake/superseded/a.parquet")]
    assert ledger.marks(["b"], but="a") == []
    ledger.add(delivery("a", 20, 21))
    assert ledger.marks(["b"], but="me") == []
    assert near(ledger, 8, 9) == ["b"]
    assert near(ledger, 20, 21) == ["a"]
