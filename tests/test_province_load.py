"""A simulated province in a lake: all of it but the truth, once, and as it would be had nothing been interrupted."""

import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
from test_province import small

from features import events, flow_tables, lake, province, store, windows

TRUTH = ("truth.parquet", "cases.parquet", "device_truth.parquet")
LOAD = """
import sys
from pathlib import Path
from features import province
done = province.load(Path(sys.argv[1]), Path(sys.argv[2]), targets=True)
sys.exit(done.failed)
"""


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some devices in two tracking areas, over a day."""
    return small(tmp_path_factory.mktemp("simulated"), "province")


@pytest.fixture(scope="module")
def loaded(simulated: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    workspace = tmp_path_factory.mktemp("loaded") / "ws"
    done = province.load(simulated, workspace)
    assert not done.failed, done.text()
    return workspace


def files(workspace: Path) -> dict[str, bytes]:
    """Return every file of a lake."""
    inside = [path for path in sorted((workspace / "lake").rglob("*")) if path.is_file()]
    return {str(path.relative_to(workspace)): path.read_bytes() for path in inside}


def test_the_log_and_the_flows_of_a_province_come_into_the_lake_row_for_row(
    simulated: Path, loaded: Path
) -> None:
    wanted = pq.read_table(simulated / "events").to_pandas()
    found = events.rows(loaded)
    by = ["device_id", "process", "at"]
    pd.testing.assert_frame_equal(
        found.sort_values(by, ignore_index=True), wanted.sort_values(by, ignore_index=True), check_dtype=False
    )
    flows = pq.read_table(simulated / "flows").to_pandas()
    held = pd.concat([pq.read_table(file, partitioning=None).to_pandas() for file in lake.flows(loaded)])
    assert len(held) == len(flows)
    for column in ("up_bytes", "down_bytes", "up_packets", "down_packets"):
        assert held[column].sum() == flows[column].sum()
    assert sorted(held["device_id"].unique()) == sorted(flows["device_id"].unique())
    assert lake.is_simulated(loaded)


def test_loading_again_changes_nothing(simulated: Path, loaded: Path) -> None:
    before = files(loaded)
    done = province.load(simulated, loaded)
    assert "flow tables: 0 new, 2 unchanged, 0 replaced, 0 failed; 0 flows" in done.text()
    assert "events: 0 new, 2 unchanged, 0 failed; 0 rows" in done.text()
    assert files(loaded) == before


def test_the_truth_is_never_opened(simulated: Path, loaded: Path, tmp_path: Path) -> None:
    blind = tmp_path / "province"
    shutil.copytree(simulated, blind)
    for name in (*TRUTH, "kqi.parquet"):
        (blind / name).unlink()
        os.mkfifo(blind / name)  # whoever opens it to read waits for ever
    script = LOAD.replace(", targets=True", "")
    done = subprocess.run(
        [sys.executable, "-c", script, blind, tmp_path / "ws"], timeout=120, check=False, capture_output=True
    )
    assert done.returncode == 0, done.stderr
    names = {name for name in files(tmp_path / "ws") if name.endswith(".parquet")}
    assert names == {name for name in files(loaded) if name.endswith(".parquet")}
    causes = pq.read_table(simulated / "truth.parquet")["cause"].unique().to_pylist() or ["f_sim_fault"]
    records = b"".join(data for name, data in files(loaded).items() if name.endswith(".json"))
    assert not any(cause.encode() in records for cause in causes)


def test_features_are_built_of_a_province_and_published(loaded: Path, tmp_path: Path) -> None:
    workspace = tmp_path / "ws"
    shutil.copytree(loaded, workspace)
    built = windows.build(workspace)
    assert min(built.written.values()) > 0
    assert sum(windows.build(workspace).written.values()) == 0
    flows = pd.concat([pq.read_table(file, partitioning=None).to_pandas() for file in lake.flows(workspace)])
    hours = windows.rows(workspace, "1h")
    assert (
        hours["up_bytes"].sum() == flows["up_bytes"].sum()
    )  # each flow in one hour, the one in which it ends
    assert hours["flows"].sum() == len(flows)
    assert store.open(workspace).publish() > 0


def test_a_province_does_not_join_captures(simulated: Path, tmp_path: Path) -> None:
    from tiny_fleet import LAST_HOUR, commit, tiny_flows

    commit(tmp_path, tiny_flows("smart_meter-m1", end=LAST_HOUR))
    before = files(tmp_path)
    with pytest.raises(
        ValueError, match="lie beside flows of captures only where its flow settings are told"
    ):
        province.load(simulated, tmp_path)
    assert files(tmp_path) == before


def test_a_province_without_flows_and_events_is_loaded_without_them(simulated: Path, tmp_path: Path) -> None:
    bare = tmp_path / "province"
    shutil.copytree(simulated, bare, ignore=shutil.ignore_patterns("flows", "events"))
    assert not province.load(bare, tmp_path / "ws").failed
    assert events.rows(tmp_path / "ws").empty
    assert lake.flows(tmp_path / "ws") == []


def kill_when_files_change(source: Path, workspace: Path, changes: int) -> None:
    """Start a load, and kill it when the lake was seen to change so many times."""
    with subprocess.Popen(
        [sys.executable, "-c", LOAD, source, workspace], stderr=subprocess.DEVNULL
    ) as process:
        seen: list[object] = []
        while changes > 0 and process.poll() is None:
            now = [names for _, _, names in os.walk(workspace / "lake")]
            changes -= now != seen
            seen = now
        process.kill()
    for record in lake.records(workspace).values():
        assert all((workspace / "lake" / file).is_file() for file in record.files)
    for file in (workspace / "lake" / "deliveries").rglob("*.json"):
        assert all((workspace / "lake" / name).is_file() for name in json.loads(file.read_text())["files"])


@pytest.mark.slow
def test_a_killed_load_goes_on_as_if_nothing_had_happened(simulated: Path, tmp_path: Path) -> None:
    disturbed, undisturbed = tmp_path / "disturbed", tmp_path / "undisturbed"
    assert not province.load(simulated, undisturbed, targets=True).failed
    moments = random.Random(20260302)
    for _ in range(8):
        kill_when_files_change(simulated, disturbed, moments.randint(2, 45))
    assert not province.load(simulated, disturbed, targets=True).failed
    wanted = files(undisturbed)
    assert files(disturbed).keys() == wanted.keys()
    assert [name for name, data in files(disturbed).items() if data != wanted[name]] == []
    assert len(lake.records(disturbed)) == len(list((simulated / "flows").iterdir()))
    assert flow_tables.load([str(simulated / "flows")], disturbed).new == 0
