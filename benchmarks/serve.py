"""The service beside a bare FastAPI + LightGBM service with the same model, both on loopback in the same run.

The rival gets its features ready-made in the request: no online store, no schema, no metrics, no log. The
difference is the price of asking by name. Without --workspace one is made of simulated flows.

    python benchmarks/serve.py [--workspace WS --run RUN]
"""

import argparse
import json
import sys
import tempfile
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from load import Body, ask, asked_by, beside, free_port

from features.flows import FLAGS, FlowSettings

CLIENTS = 16
SINGLES = 500  # requests of one device
BATCHES, BATCH_ROWS = 20, 1000
OURS, RIVAL = "iotlens", "bare FastAPI"
TYPES, DEVICES, FLOWS_EACH = 6, 1200, 20  # of the simulated workspace


@dataclass(frozen=True)
class Load:
    """One way to ask. count: requests in all, spread over the clients."""

    name: str
    clients: int
    count: int
    rows: int


LOADS = (
    Load("single, 1 client", 1, SINGLES, 1),
    Load(f"single, {CLIENTS} clients", CLIENTS, SINGLES, 1),
    Load(f"batch of {BATCH_ROWS}, 1 client", 1, BATCHES, BATCH_ROWS),
)


@dataclass(frozen=True)
class Figures:
    """Latency of one request, and rows answered per second."""

    median_ms: float
    p99_ms: float
    rows_per_s: float


def main() -> None:
    """Measure both services and print the figures and their ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workspace", type=Path, help="features are online; default: simulated")
    parser.add_argument("--run", default="latest")
    parser.add_argument("--rival", type=Path, help=argparse.SUPPRESS)  # model.txt: be the rival
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.rival:
        be_the_rival(given.rival, given.port)
        return
    with tempfile.TemporaryDirectory() as temporary:
        workspace = given.workspace or simulated_workspace(Path(temporary))
        compare(workspace, given.run, Path(temporary), "" if given.workspace else " (simulated)")


def compare(workspace: Path, run: str, scratch: Path, note: str) -> None:
    """Print what both services need for the same loads, one after the other."""
    from features import lake
    from serving import server
    from training.run import find

    ids = sorted(lake.devices(workspace)["device_id"].unique())
    model = find(workspace, run) / "model.txt"
    width = json.loads((model.parent / "model.json").read_text(encoding="utf-8"))["features"]
    rows = np.random.default_rng(0).lognormal(3, 2, size=(BATCH_ROWS, len(width))).tolist()
    bodies: dict[str, Body] = {
        OURS: lambda i, n: {"device_ids": [ids[(i * n + k) % len(ids)] for k in range(n)]},
        RIVAL: lambda i, n: {"rows": [rows[(i * n + k) % len(rows)] for k in range(n)]},
    }
    ours = server.prepare(workspace, run, port=free_port())
    with server.running(ours, log=scratch / "iotlens.log"), rival(model, scratch) as port:
        ports = {OURS: int(ours.url.rpartition(":")[2]), RIVAL: port}
        asked = [(who, load) for load in LOADS for who in (OURS, RIVAL)]
        found = {(who, load): measure(ports[who], bodies[who], load) for who, load in asked}
    print(f"{model.parent}: {len(width)} features, {len(ids)} devices online, one worker each{note}")
    print_figures(found, note)


def print_figures(found: dict[tuple[str, Load], Figures], note: str) -> None:
    """Print one line per load and service, then the ratios."""
    print(f"{'':42}{'p50 ms':>9}{'p99 ms':>9}{'rows/s':>9}")
    for (who, load), one in found.items():
        print(f"{load.name:26}{who:16}{one.median_ms:9.2f}{one.p99_ms:9.2f}{one.rows_per_s:9.0f}")
    for load in LOADS:
        ours, bare = found[OURS, load], found[RIVAL, load]
        print(
            f"{load.name}: iotlens needs {ours.median_ms / bare.median_ms:.2f} times the rival's p50,"
            f" answers {ours.rows_per_s / bare.rows_per_s:.2f} times its rows/s{note}"
        )
    single, _, batch = (found[OURS, load] for load in LOADS)
    ratio = batch.rows_per_s / single.rows_per_s
    print(f"iotlens: a batch answers {ratio:.1f} times the rows/s of single calls{note}")


def measure(port: int, body: Body, load: Load) -> Figures:
    """Return the figures of one load, after a tenth of it as warm-up."""
    route = {True: "/identify", False: "/identify_batch"}[load.rows == 1]
    bodies = [json.dumps(body(i, load.rows)).encode() for i in range(load.count)]
    ask(port, route, bodies[: max(1, load.count // 10)])
    median, p99, elapsed = asked_by(load.clients, port, route, bodies)
    return Figures(median, p99, load.count * load.rows / elapsed)


def be_the_rival(model: Path, port: int) -> None:
    """Serve a model the way a tutorial does: vectors in, labels out."""
    import lightgbm
    import uvicorn
    from fastapi import FastAPI
    from pydantic import BaseModel

    booster = lightgbm.Booster(model_file=str(model))
    app = FastAPI()

    class Rows(BaseModel):
        rows: list[list[float]]

    def predict(asked: Rows) -> list[dict[str, float]]:
        proba = booster.predict(np.array(asked.rows), num_threads=1)
        best = proba.argmax(axis=1)
        return [{"class": int(k), "probability": float(row[k])} for row, k in zip(proba, best, strict=True)]

    for route in ("/identify", "/identify_batch"):
        app.post(route)(predict)
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning")


def rival(model: Path, scratch: Path) -> AbstractContextManager[int]:
    """Run the rival beside this process, and give its port."""
    return beside([sys.executable, __file__, "--rival", str(model)], scratch / "rival.log")


def simulated_workspace(folder: Path) -> Path:
    """Return a workspace with a sealed session model of simulated devices, whose windows are online."""
    from features import lake, store, windows
    from features.devices import DEVICES
    from features.flows import FLOWS
    from features.table import check_table
    from training import run
    from training.experiment import Experiment

    workspace = folder / "workspace"
    flows = check_table(simulated_flows(), FLOWS, table="flows")
    devices = flows[["device_id", "source"]].drop_duplicates()
    devices = devices.assign(label=devices["device_id"].str.split("-").str[0]).assign(
        family=lambda d: d["label"]
    )
    devices = check_table(devices.reindex(columns=[c.name for c in DEVICES]), DEVICES, table="devices")
    source = lake.Source(
        flows["source"].iloc[0], "simulated", 0, "0" * 64, len(flows), 0, 0, (), (), FlowSettings()
    )
    with lake.writing(workspace):
        lake.commit(workspace, source, flows, devices)
    windows.build(workspace)
    store.open(workspace).publish()
    run.seal(run.fit(Experiment(name="benchmark"), workspace).directory)
    return workspace


def simulated_flows() -> pd.DataFrame:
    """Return FLOWS of DEVICES devices of TYPES types, FLOWS_EACH flows each, begun within the last hours."""
    random = np.random.default_rng(0)
    device = np.repeat(np.arange(DEVICES), FLOWS_EACH)
    kind, n = device % TYPES, DEVICES * FLOWS_EACH
    number = np.tile(np.arange(FLOWS_EACH), DEVICES)
    began = pd.Timestamp.now("UTC").floor("s") - pd.Timedelta(hours=12)
    start = began + pd.to_timedelta(number * (300 + 120 * kind) + random.uniform(0, 20, n), unit="s")
    means = {"up": 80 + 60 * kind, "down": 60 + 10 * kind}
    sizes = {side: random.normal(mean, 25).clip(40).round() for side, mean in means.items()}
    columns: dict[str, object] = {
        "device_id": [f"type{k}-{i}" for k, i in zip(kind, device, strict=True)],
        "source": "0" * 16,
        "start": start,
        "end": start + pd.to_timedelta(random.uniform(0.1, 2, n), unit="s"),
        "initiated_by_device": True,
        "protocol": 17,
        "ip_version": 4,
        "device_port": random.integers(49152, 65536, n),
        "peer_port": np.where(random.random(n) < 0.5, 5683, 8883),
        "device_ip": None,
        "peer_ip": "192.0.2.10",
        "vlan_id": 0,
    }
    for side, size in sizes.items():
        columns |= {f"{side}_packets": 2, f"{side}_bytes": 2 * size.astype("int64")}
        columns |= {f"{side}_{stat}_ps": size for stat in ("min", "mean", "max")} | {f"{side}_stddev_ps": 0.0}
        columns |= {f"{side}_{stat}_piat_ms": 200.0 for stat in ("min", "mean", "max")}
        columns |= {f"{side}_stddev_piat_ms": np.nan}
        columns |= dict.fromkeys((f"{side}_{flag}_packets" for flag in FLAGS), 0)
    up, down = (sizes[side].astype("int64") for side in ("up", "down"))
    columns["first_ps"] = list(np.stack([up, -down, up, -down], axis=1))
    columns["first_piat_ms"] = list(np.tile([0, 40, 160, 40], (n, 1)))
    return pd.DataFrame(
        columns | {"application": None, "application_category": None, "application_confidence": 0}
    )


if __name__ == "__main__":
    main()
