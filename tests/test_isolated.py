"""An item that kills or hangs its worker is named, the others go on, and no worker outlives its parent."""

import math
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import psutil
import pytest

from features.flows import FlowSettings, meter
from features.isolated import Failed, run_each


def test_each_item_comes_with_its_result_and_a_bad_one_with_its_reason(
    caplog: pytest.LogCaptureFixture,
) -> None:
    outcomes = dict(run_each(math.sqrt, [4, -1, 9, "four"], workers=2))
    assert outcomes == {
        4: 2.0,
        -1: Failed("math domain error"),
        9: 3.0,
        "four": Failed("its reader failed: TypeError: must be real number, not str"),
    }
    assert "a reader failed unexpectedly" in caplog.text


def test_an_item_that_crashes_its_worker_is_named_and_the_others_go_on() -> None:
    outcomes = dict(
        run_each(signal.raise_signal, [signal.SIGCONT, signal.SIGSEGV, signal.SIGKILL], workers=1)
    )
    assert outcomes == {
        signal.SIGCONT: None,
        signal.SIGSEGV: Failed("its reader crashed (SIGSEGV)"),
        signal.SIGKILL: Failed("its reader crashed (SIGKILL)"),
    }


def test_a_capture_that_hangs_is_ended_and_named(tmp_path: Path) -> None:
    stuck = tmp_path / "stuck.pcap"
    os.mkfifo(stuck)  # opening it waits for a writer that never comes
    ((path, outcome),) = run_each(partial(meter, settings=FlowSettings()), [stuck], workers=1, stall_s=2)
    assert (path, outcome) == (stuck, Failed("its reader made no progress for 2 s and was ended"))


READ = """
import sys
from functools import partial
from pathlib import Path
from features.flows import FlowSettings, meter
from features.isolated import run_each
list(run_each(partial(meter, settings=FlowSettings()), map(Path, sys.argv[1:]), workers=2))
"""


def test_a_parent_that_is_killed_leaves_no_worker_behind(tmp_path: Path) -> None:
    captures = [tmp_path / "one.pcap", tmp_path / "two.pcap"]
    for capture in captures:
        os.mkfifo(capture)
    parent = subprocess.Popen([sys.executable, "-c", READ, *captures], stderr=subprocess.DEVNULL)
    writers = [capture.open("wb") for capture in captures]  # returns when a worker has begun to read it
    workers = psutil.Process(parent.pid).children(recursive=True)
    parent.kill()
    parent.wait()
    _, alive = psutil.wait_procs(workers, timeout=30)
    for writer in writers:
        writer.close()
    assert len(workers) >= 2
    assert alive == []
