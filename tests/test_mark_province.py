"""Marks of a small province (simulated): learnt, told, kept, published; the same by the command line as by Feast."""

from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from evaluation import mark_door
from evaluation.simulation.province import province
from features import device_marks, store
from features.configuration import find_config
from features.province import load
from features.table import check_table
from serving.cli import app


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("marks")
    files = province.Files(*(find_config(f"{one}.yaml") for one in ("province", "fault_catalogue", "noise")))
    province.simulate(folder / "p", files=files, devices=60, days=2, seed=5)
    load(folder / "p", folder / "ws")
    return folder / "ws"


def iotlens(*arguments: str) -> str:
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_learnt_marked_again_and_published(workspace: Path, tmp_path: Path) -> None:
    small = ["--set", "min_rows_per_class=3", "--set", "trees.min_data_in_leaf=2", "--set", "trees.rounds=5"]
    run = Path(iotlens("train", "user_marking", "-w", str(workspace), *small).splitlines()[-1])
    assert (run / "DONE").is_file()
    assert f"run.user_marking.{run.name}\t" in iotlens("report", "-w", str(workspace))
    assert "marks learnt of 60 devices, as rules and experts tell them" in (run / "report.html").read_text()
    out = tmp_path / "marks.parquet"
    told = iotlens(
        "mark", "-w", str(workspace), "--at", "2026-03-03T12:00", "--out", str(out), "--no-publish"
    )
    assert "(simulated)" in told
    early = check_table(pd.read_parquet(out), device_marks.MARKS, table="marks")
    assert (early["since"] == pd.Timestamp("2026-03-03 12:00", tz="UTC")).all()
    assert {"static", "nomadic", "sleepy"} <= set(early["mark"])
    assert "60 devices published online" in iotlens("mark", "-w", str(workspace), "--out", str(out))
    first = out.read_bytes()
    assert "; 0 devices published online" in iotlens("mark", "-w", str(workspace), "--out", str(out))
    assert out.read_bytes() == first  # the same moment again changes nothing
    late = pd.read_parquet(out)
    kept = late.merge(early, on=["device_id", "mark"], suffixes=("", "_early"))
    assert len(kept) > 0.9 * len(early)
    assert (kept["since"] == kept["since_early"]).all()
    some = late["device_id"].unique()[:3].tolist()
    online = store.open(workspace).latest_marks([*some, "stranger"])
    assert online["window_end"].tolist() == [*[late["window_end"].iloc[0]] * 3, pd.NaT]
    for row in late[late["device_id"].isin(some)].itertuples():
        value = online.set_index("device_id").loc[row.device_id, f"mark_{row.mark}"]
        assert value == pytest.approx(row.probability)
    read = mark_door.held_by(workspace, some)
    pd.testing.assert_frame_equal(
        read, late[late["device_id"].isin(some)].astype(read.dtypes).reset_index(drop=True)
    )


def test_a_wrong_moment_and_a_run_that_is_not_there_are_told(workspace: Path, tmp_path: Path) -> None:
    asked = mark_door.Asked(at="yesterday", publish=False)
    with pytest.raises(ValueError, match="at must be an aware datetime"):
        mark_door.mark_to(tmp_path / "m.parquet", workspace, asked)
    with pytest.raises(LookupError, match="no finished run 'r9'"):
        mark_door.mark_to(tmp_path / "m.parquet", workspace, mark_door.Asked(run="r9", publish=False))


def test_where_nothing_was_marked_nothing_is_told(tmp_path: Path) -> None:
    with pytest.raises(LookupError, match="was ever marked"):
        mark_door.held_by(tmp_path, ["d"])
    with pytest.raises(LookupError, match="was ever marked"):
        store.open(tmp_path).latest_marks(["d"])
