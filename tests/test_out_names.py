"""The name of a table to write says what is written: a Parquet file under the name of a CSV is read by nobody."""

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from features.whole_file import check_suffix
from serving.cli import app
from training import tables

SCORE = "score --service smoke_sensor --at 2026-03-02T06:15:00"


@pytest.mark.parametrize(
    ("command", "wanted"),
    [
        (f"{SCORE} -w . --out out/s.csv", ".parquet"),
        (f"{SCORE} --table t.parquet --out out/s", ".parquet"),
        ("monitor -w . --out out/a.json", ".parquet"),
        ("monitor -w . --out out/a.parquet --devices-out out/d.csv", ".parquet"),
        ("data convert nbiot . --out out/n.csv", ".parquet"),
        ("mark -w . --out out/m.json", ".parquet or .csv"),
    ],
)
def test_a_name_that_says_something_else_is_refused_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, wanted: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").mkdir()
    pq.write_table(pa.table({"device_id": ["d1"], "rrc_setup_success_rate": [99.0]}), "t.parquet")
    done = CliRunner().invoke(app, command.split())
    assert isinstance(done.exception, ValueError), done.output
    assert f"the name of the table to write must end with {wanted}" in str(done.exception)
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize("name", ["a.parquet", "a.csv", "a.csv.gz", "b.parquet.csv"])
def test_a_table_is_written_as_its_name_ends(tmp_path: Path, name: str) -> None:
    tables.check_out(tmp_path / name)
    frame = pa.table({"device_id": ["d1"]}).to_pandas()
    tables.write_table(frame, tmp_path / name)
    if name.endswith(".parquet"):
        assert pq.read_table(tmp_path / name).num_rows == 1
    else:
        assert pd.read_csv(tmp_path / name)["device_id"].tolist() == ["d1"]
    with pytest.raises(ValueError, match=r"must end with \.parquet, but"):
        check_suffix(tmp_path / "a.PARQUET.tmp")
