"""Counters killed at any moment, and begun again: the tables of an undisturbed run."""

import random
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from test_counters import visible
from test_indicator_windows import RRC, TABLE, count, members
from test_membership import member

from features import counter_tables, indicator_tables

WORK = """
import sys
from pathlib import Path
from features import counter_tables, counters, indicator_tables, indicator_windows
counters.ingest([sys.argv[1]], Path(sys.argv[2]))
indicator_windows.build(Path(sys.argv[2]))
"""


def start(source: Path, workspace: Path) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-c", WORK, source, workspace], stderr=subprocess.DEVNULL)


@pytest.mark.slow
def test_a_killed_ingest_and_build_go_on_as_if_nothing_had_happened(tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    hours = pd.date_range("2026-03-01T00:00:00Z", periods=20, freq="h")
    for number, hour in enumerate(hours):
        rows = [
            count(s, i, f"{hour:%Y-%m-%dT%H:%M:%SZ}", RRC, 40 + number, 80)
            for s, i in (("cell", "c1"), ("device", "b1"))
        ]
        corrected = [
            count(
                "cell", "c1", f"{hours[0]:%Y-%m-%dT%H:%M:%SZ}", RRC, 70, 80, received=f"2026-03-{10 + number}"
            )
        ]
        bad = [count("cell", "", f"{hour:%Y-%m-%dT%H:%M:%SZ}", RRC, 1, 1)]
        pd.DataFrame([*rows, *corrected, *bad], columns=TABLE).to_csv(
            source / f"{number:02}.csv", index=False
        )
    disturbed, undisturbed = tmp_path / "a" / "ws", tmp_path / "b" / "ws"
    for workspace in (disturbed, undisturbed):
        workspace.parent.mkdir()
        members(workspace, member("b1", "c1", "2026-03-01T00:00:00Z"))
    assert start(source, undisturbed).wait() == 0
    moments = random.Random(20260301)
    for _ in range(6):
        with start(source, disturbed) as process:
            time.sleep(moments.uniform(1.0, 6.0))  # imports take about 2 s
            process.kill()
    assert start(source, disturbed).wait() == 0
    pd.testing.assert_frame_equal(visible(disturbed), visible(undisturbed))
    pd.testing.assert_frame_equal(
        counter_tables.quarantined(disturbed), counter_tables.quarantined(undisturbed)
    )
    told = counter_tables.tally(disturbed)
    assert told == counter_tables.tally(undisturbed)
    assert told.rows == told.used + told.quarantined == 80
    for scope in ("device", "cell", "tac", "fleet", "city"):
        found, wanted = (
            indicator_tables.rows(one, scope).drop(columns="created") for one in (disturbed, undisturbed)
        )
        pd.testing.assert_frame_equal(found, wanted)
