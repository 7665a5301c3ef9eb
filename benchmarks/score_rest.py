"""Scores over REST beside a bare FastAPI service with the same pure function, both on loopback in the same run.

The rival gets the indicators of each row ready-made in the request: no store, no schema of its own, no metrics, no
log, and it tells score, low, high and coverage alone. The difference is the price of asking by name, of a whole
answer and of checked values. The lake is made up (simulated): values drawn between the anchors of each indicator.

    OMP_NUM_THREADS=1 python benchmarks/score_rest.py [--devices 20000]
"""

import argparse
import json
import sys
import tempfile
import time
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
from load import Body, ask, asked_by, beside, free_port

from evaluation.domain import read_domain
from evaluation.scoring_plan import Plan, plan
from features import lake
from features.built import remember
from features.indicator_changes import Built
from features.indicator_sums import indicators_of
from features.indicator_tables import folder, root, wide_columns
from features.indicators import Indicator
from features.membership import MEMBERSHIP, PLACES
from features.table import arrow_schema

SERVICE, CELLS, DEVICES = "smoke_sensor", 200, 20_000
AT = pd.Timestamp("2026-03-02T12:00:00Z")
SINGLES, BATCHES, BATCH_ROWS, CLIENTS = 400, 10, 1000, 16
NAMED, INLINE, RIVAL = "iotlens by name", "iotlens inline", "bare FastAPI"


@dataclass(frozen=True)
class Load:
    """One way to ask. count: requests in all, spread over the clients."""

    name: str
    clients: int
    count: int
    rows: int


@dataclass(frozen=True)
class Figures:
    """Latency of one request, rows answered per second, and what the service used of the processor for a row."""

    median_ms: float
    p99_ms: float
    rows_per_s: float
    cpu_us: float


LOADS = (
    Load("single, 1 client", 1, SINGLES, 1),
    Load(f"single, {CLIENTS} clients", CLIENTS, SINGLES, 1),
    Load(f"batch of {BATCH_ROWS}, 1 client", 1, BATCHES, BATCH_ROWS),
)


def main() -> None:
    """Measure both services and print the figures and their ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--devices", type=int, default=DEVICES)
    parser.add_argument("--rival", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.rival:
        be_the_rival(given.port)
        return
    with tempfile.TemporaryDirectory() as temporary:
        workspace = made_up(Path(temporary) / "workspace", given.devices)
        compare(workspace, given.devices, Path(temporary))


def the_plan() -> Plan:
    """Return what the service is scored by."""
    domain = read_domain()
    return plan(domain.service(SERVICE), domain.measured)


def compare(workspace: Path, devices: int, scratch: Path) -> None:
    """Print what both services need for the same loads, one after the other."""
    from serving import server

    what, random = the_plan(), np.random.default_rng(1)
    values = drawn(what.indicators[: what.weighed], BATCH_ROWS, random)
    rows = [dict(zip(what.ids, row, strict=False)) for row in np.stack(values, axis=1).round(3).tolist()]
    bodies: dict[str, Body] = {
        NAMED: lambda i, n: named([device((7919 * i + k) % devices) for k in range(n)]),
        INLINE: lambda i, n: inline([rows[(i * n + k) % len(rows)] for k in range(n)]),
        RIVAL: lambda i, n: {"rows": [rows[(i * n + k) % len(rows)] for k in range(n)]},
    }
    ours = server.prepare(workspace, server.NO_RUN, port=free_port())
    with server.running(ours, log=scratch / "iotlens.log"), rival(scratch) as port:
        own = int(ours.url.rpartition(":")[2])
        began = time.perf_counter()
        ask(own, "/score", [json.dumps(named([device(0)])).encode()])
        first = time.perf_counter() - began
        ports = {NAMED: own, INLINE: own, RIVAL: port}
        found = {
            (who, load): measure(ports[who], bodies[who], load)
            for load in LOADS
            for who in (NAMED, INLINE, RIVAL)
        }
    print(
        f"{devices:,} devices on {CELLS} cells, one worker each; the first question, which reads them: {first:.2f} s"
    )
    print_figures(found)


def named(ids: list[str]) -> object:
    """Return a question by name."""
    return {"device_id": ids[0]} if len(ids) == 1 else {"device_ids": ids}


def inline(rows: list[dict[str, float]]) -> object:
    """Return a question with values."""
    asked = [{"service": SERVICE, "indicators": row} for row in rows]
    return asked[0] if len(asked) == 1 else {"rows": asked}


def measure(port: int, body: Body, load: Load) -> Figures:
    """Return the figures of one load, after a tenth of it as warm-up."""
    route = "/score" if load.rows == 1 else "/score_batch"
    bodies = [json.dumps(body(i, load.rows)).encode() for i in range(load.count)]
    ask(port, route, bodies[: max(1, load.count // 10)])
    before = used(port)
    median, p99, elapsed = asked_by(load.clients, port, route, bodies)
    rows = load.count * load.rows
    return Figures(median, p99, rows / elapsed, (used(port) - before) / rows * 1e6)


def used(port: int) -> float:
    """Return the processor seconds so far of the children of this process that serve a port."""
    total = 0.0
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            words = child.cmdline() + [one for parent in child.parents() for one in parent.cmdline()]
            if str(port) in words:
                total += sum(child.cpu_times()[:2])
    return total


def print_figures(found: dict[tuple[str, Load], Figures]) -> None:
    """Print one line per load and service, then the ratios."""
    print(f"{'(simulated)':42}{'p50 ms':>9}{'p99 ms':>9}{'rows/s':>9}{'CPU us a row':>14}")
    for (who, load), one in found.items():
        print(
            f"{load.name:26}{who:16}{one.median_ms:9.2f}{one.p99_ms:9.2f}{one.rows_per_s:9.0f}{one.cpu_us:14.0f}"
        )
    single, _, batch = LOADS
    for who in (NAMED, INLINE):
        for load in LOADS:
            ours, bare = found[who, load], found[RIVAL, load]
            print(
                f"{load.name}: {who} needs {ours.median_ms / bare.median_ms:.2f} times the rival's p50,"
                f" answers {ours.rows_per_s / bare.rows_per_s:.2f} times its rows/s, for"
                f" {ours.cpu_us / bare.cpu_us:.2f} times its processor time (simulated)"
            )
        ratio = found[who, batch].rows_per_s / found[who, single].rows_per_s
        print(f"{who}: a batch answers {ratio:.1f} times the rows/s of single calls (simulated)")


def be_the_rival(port: int) -> None:
    """Serve the pure function the way a tutorial does: values in, scores out."""
    import uvicorn
    from fastapi import FastAPI
    from pydantic import BaseModel

    from evaluation import scoring

    what = the_plan()
    names = what.ids[: what.weighed]
    app = FastAPI()

    class Rows(BaseModel):
        rows: list[dict[str, float]]

    def scores(asked: Rows) -> list[dict[str, float | None]]:
        values = [np.array([row.get(name, np.nan) for row in asked.rows]) for name in names]
        found = scoring.score(what, scoring.utilities(what, values))
        columns = [found.floor, found.low, found.high, found.coverage]
        return [
            dict(zip(("score", "low", "high", "coverage"), row, strict=True))
            for row in np.stack(columns, axis=1).tolist()
        ]

    for route in ("/score", "/score_batch"):
        app.post(route)(scores)
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning")


def rival(scratch: Path) -> AbstractContextManager[int]:
    """Run the rival beside this process, and give its port."""
    return beside([sys.executable, __file__, "--rival"], scratch / "rival.log")


def device(number: int) -> str:
    """Return the id of a device."""
    return f"sensor-{number:08d}"


def drawn(indicators: tuple[object, ...], count: int, random: np.random.Generator) -> list[np.ndarray]:
    """Return values between the anchors of each indicator."""
    anchored = [one for one in indicators if isinstance(one, Indicator)]
    return [random.uniform(*sorted((one.excellent, one.unacceptable)), count) for one in anchored]


def made_up(workspace: Path, devices: int) -> Path:
    """Write a lake as load and build leave it: members, and one window of each device and place."""
    what, random = the_plan(), np.random.default_rng(0)
    places = {scope: CELLS if scope == "cell" else 10 for scope in PLACES}
    ids = {scope: [f"{scope}-{number}" for number in range(count)] for scope, count in places.items()}
    hung = {scope: random.choice(names, devices) for scope, names in ids.items()}
    members = pd.DataFrame(
        {"device_id": [device(number) for number in range(devices)], "service": SERVICE, **hung}
        | {"valid_from": AT - pd.Timedelta(days=9), "valid_to": pd.NaT}
    )
    with lake.writing(workspace) as scratch:
        columns = arrow_schema(MEMBERSHIP)
        table = pa.Table.from_pandas(members, columns, preserve_index=False)
        made = scratch / "made.parquet"
        pq.write_table(table, made, compression="zstd")
        record = lake.Delivery(
            "0" * 16, "membership", "members", 0, "", "0" * 16, devices, devices, {}, {}, "", "", ()
        )
        lake.commit_delivery(workspace, record, {"membership": made})
        lake.mark_simulated(workspace)
        for scope, names in {"device": members["device_id"].tolist(), **ids}.items():
            _write_windows(workspace, scope, names, what, random)
    remember(root(workspace), Built("made up", "2026-03-02T12:01:00+00:00", "", {}, {}, {}, []))
    return workspace


def _write_windows(
    workspace: Path, scope: str, names: list[str], what: Plan, random: np.random.Generator
) -> None:
    mine = indicators_of(scope, [one for one in what.indicators if isinstance(one, Indicator)])
    frame = pd.DataFrame({"scope_id": names, "window_end": AT, "created": AT + pd.Timedelta(minutes=1)})
    for one, values in zip(mine, drawn(tuple(mine), len(names), random), strict=True):
        known = random.random(len(names)) < (0.3 if scope == "device" else 1.0)
        frame[one.id] = np.where(known, values, np.nan)
        frame[f"{one.id}__samples"] = np.where(known, 40.0, 0.0)
    if mine:
        path = folder(workspace, scope) / f"date={AT:%F}" / "made-up.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(
            pa.Table.from_pandas(frame, arrow_schema(wide_columns(mine)), preserve_index=False), path
        )


if __name__ == "__main__":
    main()
