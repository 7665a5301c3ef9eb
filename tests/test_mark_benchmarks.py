"""What the judgement of user marks counts, and what it says where there is no data."""

import runpy
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Any:  # Any: a module's names
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return lambda name, **how: runpy.run_path(str(BENCHMARKS / name), **how)


def test_an_interval_of_a_share_is_wilsons(run: Any) -> None:
    wilson = run("marks.py")["wilson"]
    assert wilson(8, 10) == pytest.approx((0.8, 0.490, 0.943), abs=5e-4)  # Brown, Cai and DasGupta 2001
    assert wilson(0, 10)[:2] == (0.0, 0.0)
    assert np.isnan(wilson(0, 0)).all()


def test_every_mark_that_ships_is_judged_or_said_not_to_be(run: Any) -> None:
    from evaluation import mark_rules

    names = run("marks.py")
    judged = {name.partition(" ")[0] for name in names["LATENT"]} | set(names["FAULTS"])
    unjudged = {one for told in names["UNJUDGED"] for one in told.split(", ")}
    assert judged | unjudged == {mark.id for mark in mark_rules.read().marks}
    assert not judged & unjudged


def test_the_bytes_of_a_flow_are_spread_over_its_windows(run: Any) -> None:
    start = pd.Timestamp("2021-03-08 12:00", tz="UTC")
    minutes = [(0, 10, 100), (11, 12, 7)]
    flows = pd.DataFrame(
        {
            "start": [start + pd.Timedelta(minutes=a) for a, _, _ in minutes],
            "end": [start + pd.Timedelta(minutes=b) for _, b, _ in minutes],
            "bytes": [size for _, _, size in minutes],
        }
    )
    carried, event = run("marks_real.py")["windows"](flows, pd.Series([start + pd.Timedelta(minutes=6)]))
    assert carried.tolist() == pytest.approx([50, 50, 7])
    assert event.tolist() == [False, True, False]


def test_without_data_the_benchmark_says_what_is_missing(
    tmp_path: Path, run: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("IOTLENS_DATA", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["marks_real.py", str(tmp_path / "work")])
    run("marks_real.py", run_name="__main__")
    told = capsys.readouterr().out
    for name in ("smart_lock_events", "ndpi_pcaps"):
        assert f"Left out: {tmp_path / name} is not there; set IOTLENS_DATA" in told
