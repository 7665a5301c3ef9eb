"""SQL that was made is found again by the next process, unless other code made it."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from features import kept_sql


@pytest.fixture(autouse=True)
def a_new_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Begin each test with nothing in memory, as a process does."""
    monkeypatch.setattr(kept_sql, "_made", {})
    yield


def counting(answer: str) -> tuple[Callable[[], str], list[str]]:
    made: list[str] = []

    def make() -> str:
        made.append(answer)
        return answer

    return make, made


def test_what_one_process_made_another_one_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make, made = counting("SELECT 1")
    for _ in range(2):
        monkeypatch.setattr(kept_sql, "_made", {})
        with kept_sql.remembered(tmp_path):
            assert kept_sql.kept("values", (900, "cell"), make=make) == "SELECT 1"
    assert made == ["SELECT 1"]


def test_what_is_told_otherwise_is_made_otherwise() -> None:
    for number in (1, 2):
        make, _ = counting(f"SELECT {number}")
        assert kept_sql.kept("values", number, make=make) == f"SELECT {number}"
    other, _ = counting("SELECT 3")
    assert kept_sql.kept("places", 1, make=other) == "SELECT 3"


def test_what_other_code_made_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with kept_sql.remembered(tmp_path):
        kept_sql.kept("values", 1, make=lambda: "SELECT old")
    file = tmp_path / kept_sql.FILE
    told = json.loads(file.read_text())
    file.write_text(json.dumps({**told, "code": "of another version"}))
    monkeypatch.setattr(kept_sql, "_made", {})
    with kept_sql.remembered(tmp_path):
        assert kept_sql.kept("values", 1, make=lambda: "SELECT new") == "SELECT new"
    assert list(json.loads(file.read_text())["queries"].values()) == ["SELECT new"]


def test_a_file_that_grew_too_long_keeps_what_is_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_sql, "MOST", 2)
    for numbers in ((1, 2), (3,)):
        with kept_sql.remembered(tmp_path):
            for number in numbers:
                kept_sql.kept("values", number, make=lambda told=number: f"SELECT {told}")
    assert list(json.loads((tmp_path / kept_sql.FILE).read_text())["queries"].values()) == ["SELECT 3"]
