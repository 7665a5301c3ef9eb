"""Facts about the logs of a simulated province: what is lost, what comes late and what a wrong clock writes."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from evaluation.simulation.province.delivery import Happened, Late, arrived, by_wrong_clocks, clocks_s
from evaluation.simulation.province.noise import LogNoise
from evaluation.simulation.province.province import Files, simulate
from evaluation.simulation.province.tables import moments
from features.configuration import find_config

HOUR_S, DAY_S = 3600.0, 86_400.0
QUIET = {"lost_share": 0.0, "late_share": 0.0, "late_h": (0.5, 20.0), "skewed_share": 0.0, "skew_s": 0.0}


def noise(**other: object) -> LogNoise:
    return LogNoise.model_validate(QUIET | other)


def log(day: int, hours: list[float]) -> pa.Table:
    """Return attempts at some hours of a day, numbered by hour."""
    at_s = day * DAY_S + HOUR_S * np.array(hours)
    return pa.table({"hour": np.array(hours), "at": moments(at_s, 0.0)})


def days(made: LogNoise, tables: list[pa.Table]) -> list[list[float]]:
    """Return the hours of the rows that arrive on each day."""
    late: Late = ()
    found = []
    for day, table in enumerate(tables):
        rng = np.random.default_rng(day)
        here, late = arrived(late, Happened(table, "at", 0.0), day=day, noise=made, rng=rng)
        found.append(here["hour"].to_pylist())
    return found


def test_a_row_that_is_late_comes_on_the_day_on_which_it_arrives_or_never() -> None:
    tables = [log(0, [1.0, 13.0]), log(1, [2.0, 14.0]), log(2, [3.0])]
    assert days(noise(), tables) == [[1.0, 13.0], [2.0, 14.0], [3.0]]
    assert days(noise(late_share=1.0, late_h=(12.0, 12.0)), tables) == [[1.0], [13.0, 2.0], [14.0, 3.0]]
    assert days(noise(late_share=1.0, late_h=(48.0, 48.0)), tables) == [[], [], [1.0, 13.0]]


def test_as_many_rows_are_lost_as_the_file_says() -> None:
    many = log(0, np.linspace(0.0, 23.0, 20_000).tolist())
    assert len(days(noise(lost_share=0.3), [many])[0]) == pytest.approx(14_000, rel=0.03)
    assert days(noise(lost_share=1.0), [many]) == [[]]


def test_a_clock_is_as_wrong_as_the_file_says_and_writes_so() -> None:
    ahead = clocks_s(noise(skewed_share=0.25, skew_s=100.0), np.random.default_rng(1), 40_000)
    assert (ahead != 0).mean() == pytest.approx(0.25, rel=0.05)
    assert ahead[ahead != 0].std() == pytest.approx(100.0, rel=0.05)
    told = by_wrong_clocks(log(0, [1.0, 2.0]), ("at",), np.array([0.0, -90.0]))
    seconds = told["at"].cast(pa.int64()).to_numpy() / 1e6
    assert seconds.tolist() == [HOUR_S, 2 * HOUR_S - 90.0]


def written(folder: Path, **changes: dict[str, object]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return events and flows of a small province under another noise."""
    file = folder.with_suffix(".yaml")
    file.write_text(yaml.safe_dump(changes))
    files = Files(find_config("province.yaml"), find_config("fault_catalogue.yaml"), file)
    simulate(folder, files=files, devices=60, days=2, seed=3, workers=1)
    tables = (pq.read_table(folder / name).to_pandas() for name in ("events", "flows"))
    events, flows = tables
    return events, flows


def test_the_noise_file_holds_for_events_and_flows(tmp_path: Path) -> None:
    still = {key: list(value) if isinstance(value, tuple) else value for key, value in QUIET.items()}
    events, flows = written(tmp_path / "quiet", events=still, flows=still)
    lossy = {**still, "lost_share": 0.5}
    fewer, same = written(tmp_path / "lossy", events=lossy, flows=still)
    assert len(fewer) == pytest.approx(len(events) / 2, rel=0.1)
    assert same.equals(flows)
    never = {**still, "late_share": 1.0, "late_h": [100.0, 100.0]}
    skewed = {**still, "skewed_share": 1.0, "skew_s": 30.0}
    ahead, none = written(tmp_path / "late", events=skewed, flows=never)
    assert none.empty
    assert len(ahead) == len(events)
    shift_s = {
        device: (ahead[ahead["device_id"] == device]["at"].min() - own["at"].min()).total_seconds()
        for device, own in events.groupby("device_id")
    }
    assert np.std(list(shift_s.values())) == pytest.approx(30.0, rel=0.4)
