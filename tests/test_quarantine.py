"""What was not used of counters can be read: how much of each rule and file, and the rows."""

import io
from pathlib import Path

import pandas as pd
import pytest
from test_counters import row, write
from typer.testing import CliRunner

from features import counters, quarantine
from serving.cli import app


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    a = write(tmp_path / "a.csv", row(), row(scope_id=""), row(counter="rrc_setup_suc/rrc_setup_att"))
    b = write(tmp_path / "b.csv", *(row(scope_id="", element=f"e{number}") for number in range(5)))
    counters.ingest([a, b], tmp_path / "ws")
    return tmp_path / "ws"


def test_rows_are_counted_by_rule_and_file_however_few_are_shown(workspace: Path) -> None:
    found = quarantine.read(workspace, limit=2)
    told = [(rule, Path(file).name, rows) for rule, file, _, rows in found.counts.itertuples(index=False)]
    assert told == [
        ("empty_scope_id", "b.csv", 5),
        ("empty_scope_id", "a.csv", 1),
        ("unknown_counter", "a.csv", 1),
    ]
    assert (found.total, len(found.rows)) == (7, 2)


def test_one_rule_or_one_file_can_be_asked_for(workspace: Path) -> None:
    assert quarantine.read(workspace, rule="unknown_counter").total == 1
    path = str(workspace.parent / "a.csv")
    of_a = quarantine.read(workspace, source=path)
    assert of_a.total == 2
    assert quarantine.read(workspace, source=of_a.counts["source"].iloc[0]).total == 2
    assert quarantine.read(workspace, source=path, rule="duplicate_row").text().startswith("no row")


@pytest.mark.parametrize(
    ("asked", "near"), [({"rule": "empty_scope_i"}, "empty_scope_id"), ({"source": "a.cvs"}, "was delivered")]
)
def test_an_unknown_rule_or_file_is_refused(workspace: Path, asked: dict[str, str], near: str) -> None:
    with pytest.raises(LookupError, match=near):
        quarantine.read(workspace, **asked)  # type: ignore[arg-type]


def test_the_command_prints_a_table_or_csv(workspace: Path) -> None:
    command = ["counters", "quarantine", "--workspace", str(workspace)]
    table = CliRunner().invoke(app, command)
    assert table.exit_code == 0
    assert "empty_scope_id: not so that scope_id is told" in table.stdout
    assert "7 of 7 rows" in table.stdout
    lines = table.stdout.splitlines()
    assert "a.csv row 2: unknown_counter, 'rrc_setup_suc/rrc_setup_att' (the nearest is" in table.stdout
    assert all(line[0] != " " or line.startswith(("    {", "        ")) for line in lines if line)


def test_no_row_is_wider_than_the_terminal_and_csv_is_whole(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    rows = quarantine.read(workspace).text().partition("rows (--format csv")[2].splitlines()[1:]
    assert len(rows) == 14
    assert max(map(len, rows)) == 60
    assert '""received"": ""2026-03-01T08:16:00Z""' in quarantine.read(workspace).csv().replace(
        '"":""', '"": ""'
    )


def test_the_command_prints_rows_as_csv(workspace: Path) -> None:
    command = ["counters", "quarantine", "--workspace", str(workspace)]
    told = CliRunner().invoke(app, [*command, "--rule", "empty_scope_id", "--limit", "3", "--format", "csv"])
    rows = pd.read_csv(io.StringIO(told.stdout))
    assert rows["rule"].tolist() == ["empty_scope_id"] * 3


def test_a_file_that_gave_nothing_ends_the_command_with_1(tmp_path: Path) -> None:
    lacking = {name: value for name, value in row().items() if name != "element"}
    source = write(tmp_path / "a.csv", lacking)
    done = CliRunner().invoke(app, ["counters", "ingest", source, "--workspace", str(tmp_path / "ws")])
    assert done.exit_code == 1
    assert "lacks 'element'" in done.stdout
