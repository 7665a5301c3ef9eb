"""One window, three roads: built into the lake (history), published (latest), computed from inline flows."""

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features import lake, store, windows
from features.configuration import find_config, read_config
from features.devices import DEVICES
from features.flows import FLOWS
from features.table import Column, check_table, empty_table

START = pd.Timestamp("2026-03-26 22:00", tz="UTC")
SECONDS = 10 * 86_400  # more than a week, so that every window length has ends


def anything(column: Column, count: int, random: np.random.Generator) -> object:
    """Return values that a column of FLOWS allows, some empty where it may be."""
    low = -1500 if column.low is None else column.low
    high = min(column.high or 1500, 2.0**31)
    if column.dtype == "bool":
        return random.random(count) < 0.5
    if column.dtype == "int64":
        return random.integers(int(low), int(high) + 1, count)
    if column.dtype == "float64":
        return np.where(random.random(count) < 0.2, np.nan, random.uniform(low, high, count))
    if column.dtype.endswith("[]"):
        return [random.integers(int(low), int(high), random.integers(1, 9)).tolist() for _ in range(count)]
    return random.choice([f"{column.name}-{i}" for i in range(4)], count)


def flows_of(seed: int, count: int) -> pd.DataFrame:
    """Return flows of three devices in two sources, with anything in them that FLOWS allows."""
    random = np.random.default_rng(seed)
    columns = {column.name: anything(column, count, random) for column in FLOWS}
    columns["device_id"] = random.choice(["bike-1", "bike-2", "lock-1"], count)
    columns["source"] = random.choice(["a" * 16, "b" * 16], count)
    columns["start"] = START + pd.to_timedelta(random.integers(0, SECONDS * 1_000_000, count), unit="us")
    columns["end"] = columns["start"] + pd.to_timedelta(random.integers(0, 300_000_000, count), unit="us")
    return check_table(pd.DataFrame(columns).sort_values("start"), FLOWS, table="flows")


def ingested(workspace: Path, flows: pd.DataFrame) -> None:
    """Bring the flows into the lake, as an ingest does."""
    with lake.writing(workspace):
        for source, part in flows.groupby("source"):
            told = {"path": f"{source}.pcap", "bytes": 0, "fingerprint": "0" * 64, "flows": len(part)}
            record = lake.Source(
                source=str(source), packets=0, unmapped_flows=0, warnings=(), files=(), **told
            )
            lake.commit(workspace, record, part.reset_index(drop=True), empty_table(DEVICES))


def check_three_roads(workspace: Path, flows: pd.DataFrame) -> None:
    """Build, publish and ask for every window length, and compare with the windows of the flows themselves."""
    ingested(workspace, flows)
    windows.build(workspace)
    online = store.open(workspace)
    online.publish()
    for window in read_config(find_config("windows.yaml", workspace), windows.WindowSettings).windows:
        service = online.register("any", window.name)
        names = [column.name for column in online.service(service).features]
        inline = windows.device_windows(flows, window)
        past = online.history(inline[["device_id"]].assign(event_timestamp=inline["window_end"]), service)
        pd.testing.assert_frame_equal(
            past[["window_end", *names]], inline[["window_end", *names]], check_exact=True
        )
        last = inline.sort_values("window_end").groupby("device_id").tail(1).reset_index(drop=True)
        newest = online.latest(last["device_id"].tolist(), service)
        pd.testing.assert_frame_equal(
            newest[["window_end", *names]], last[["window_end", *names]], check_exact=True
        )


def test_a_window_is_the_same_offline_online_and_from_inline_flows(tmp_path: Path) -> None:
    check_three_roads(tmp_path, flows_of(seed=7, count=60))


@pytest.mark.slow
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(1, 120))
def test_any_window_is_the_same_on_all_three_roads(seed: int, count: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        check_three_roads(Path(folder), flows_of(seed, count))
