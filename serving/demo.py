"""The whole road on a simulated fleet: simulate, ingest, features, train, report, serve, ask."""

import json
import time
import urllib.request
from pathlib import Path
from typing import Any

import typer

EXPERIMENT = "experiments/app_identification.yaml"
WINDOW = "1h"  # a heartbeat or two fits in; nine days give every device many of them
DEFAULT_SEED, DEFAULT_DEVICES, DEFAULT_DAYS = 7, 8, 9


def walk(
    out: Path,
    *,
    seed: int = DEFAULT_SEED,
    devices_per_type: int = DEFAULT_DEVICES,
    days: int = DEFAULT_DAYS,
    port: int = 3000,
) -> None:
    """Walk the road in `out`: print each step, where the report lies, the question and the answer.

    Every figure printed is measured on simulated traffic and says so. Steps that were done before are done again only
    as far as their inputs changed.
    """
    began, workspace = time.monotonic(), out / "workspace"
    captures = _simulate(out / "captures", seed=seed, devices_per_type=devices_per_type, days=days)
    _ingest(captures, workspace)
    _build(workspace)
    directory = _train(workspace)
    _ask(workspace, directory, port)
    _say("report", str((directory / "report.html").resolve()))
    _say(
        "done", f"in {time.monotonic() - began:.0f} s; serve it again: iotlens serve --workspace {workspace}"
    )
