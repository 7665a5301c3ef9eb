"""An ingest killed at any moment leaves no half source, and a normal run after it the lake of an undisturbed one."""

import os
import random
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from features import lake

if TYPE_CHECKING:
    from conftest import Packets

MIDNIGHT = 1_772_323_200.0  # 2026-03-01T00:00:00Z
INGEST = """
import sys
from pathlib import Path
from features.flows import FlowSettings
from features.ingest import ingest
print(ingest([sys.argv[1]], Path(sys.argv[2]), devices=sys.argv[3], settings=FlowSettings()).text())
"""


@pytest.fixture(scope="module")
def captures(packets: "Packets", tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirty captures of five flows each, which begin on two dates."""
    folder = tmp_path_factory.mktemp("captures")
    for number in range(30):
        frames = [
            (
                MIDNIGHT - 60 + 30 * i,
                packets.frame(packets.udp((f"10.0.{number}.{i + 1}", 9), ("8.8.8.8", 53))),
            )
            for i in range(5)
        ]
        packets.write(folder / f"{number}.pcap", frames)
    return folder


def start(captures: Path, workspace: Path, devices: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", INGEST, captures, workspace, devices]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def finish(captures: Path, workspace: Path, devices: str) -> str:
    with start(captures, workspace, devices) as process:
        told, _ = process.communicate()
    assert process.returncode == 0
    return told


def lake_files(workspace: Path) -> dict[str, bytes]:
    inside = (path for path in (workspace / "lake").rglob("*") if path.is_file())
    return {str(path.relative_to(workspace)): path.read_bytes() for path in inside}


def kill_when_files_change(captures: Path, workspace: Path, devices: str, changes: int) -> None:
    """Start an ingest, and kill it when the lake was seen to change so many times; it leaves no process behind."""
    with start(captures, workspace, devices) as process:
        seen: list[object] = []
        while changes > 0 and process.poll() is None:
            now = [files for _, _, files in os.walk(workspace / "lake")]
            changes -= now != seen
            seen = now
        family = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
        process.kill()
    _, orphans = psutil.wait_procs(family, timeout=30)
    assert orphans == []
    for record in lake.records(workspace).values():
        assert all((workspace / "lake" / file).is_file() for file in record.files)


@pytest.mark.slow
@pytest.mark.parametrize("before", [None, "device_id,ip\nall,10.0.0.0/8\n"], ids=["new", "read anew"])
def test_a_killed_ingest_goes_on_as_if_nothing_had_happened(
    captures: Path, tmp_path: Path, before: str | None
) -> None:
    former, devices = tmp_path / "FORMER.csv", "auto"
    disturbed, undisturbed = tmp_path / "disturbed", tmp_path / "undisturbed"
    for workspace in (disturbed, undisturbed) if before else ():
        former.write_text(before)
        finish(captures, workspace, str(former))
    finish(captures, undisturbed, devices)
    moments = random.Random(20260301)
    for _ in range(4):
        kill_when_files_change(captures, disturbed, devices, moments.randint(2, 40))
    told = finish(captures, disturbed, devices)
    assert "0 failed" in told
    assert lake_files(disturbed) == lake_files(undisturbed)
    assert len(lake.records(disturbed)) == 30
