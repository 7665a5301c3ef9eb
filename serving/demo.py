"""The whole road on a simulated fleet: simulate, ingest, features, train, report, serve, ask."""

import json
import logging
import time
import urllib.request
from pathlib import Path
from typing import NamedTuple

import typer

from serving import demo_province

EXPERIMENT = "experiments/device_type.yaml"
WINDOW = "session"  # one capture, here a day of one site: enough to tell most types apart
SEED, DEVICES_PER_TYPE, DAYS = 7, 5, 9


class Fleet(NamedTuple):
    """What is simulated: devices_per_type at each of the two sites, over days of virtual time."""

    seed: int = SEED
    devices_per_type: int = DEVICES_PER_TYPE
    days: int = DAYS


def walk(fleet: Fleet, out: Path, *, port: int | None) -> None:
    """Walk the road in `out`, and print each step, where the report lies, the question and the answer.

    Every figure printed is of simulated traffic and says so. What an earlier walk left is used again.
    port: of the service; None for 3000, or a free one where that is taken. Raises ValueError where it is not free.
    """
    from serving import server

    port = server.free_port() if port is None else port
    server.check_free(server.DEFAULT_HOST, port)
    for package in ("features", "evaluation"):
        logging.getLogger(package).setLevel(logging.WARNING)  # the lines below tell it, and say "simulated"
    began, workspace = time.monotonic(), out / "workspace"
    _simulate(fleet, out / "captures")
    _ingest(out / "captures", workspace)
    device = _build(workspace)
    directory = _train(workspace)
    _say("report", f"{(directory / 'report.html').resolve()}")
    _ask(workspace, directory, device, port=port)
    scored = demo_province.walk(out, port=port, say=_say)
    _say(
        "done",
        f"in {time.monotonic() - began:.0f} s; serve it: .venv/bin/iotlens serve --workspace {workspace}",
    )
    _say("", f"its scores, marks and alarms: .venv/bin/iotlens serve --run none --workspace {scored}")


def _say(step: str, line: str) -> None:
    typer.echo(f"{step:<9} {line}")


def _simulate(fleet: Fleet, captures: Path) -> None:
    from evaluation.simulation import traffic
    from features.configuration import find_config

    if captures.is_dir():
        _say("simulate", f"{captures} is there already; remove it to simulate anew")
        return
    made = traffic.simulate(captures, profiles=find_config("flow_profiles.yaml"), **fleet._asdict())
    _say(
        "simulate",
        f"{made.device_count} devices of ten types at two sites, {fleet.days} days of virtual time: "
        f"{made.packets:,} packets in {len(made.captures)} captures (simulated)",
    )


def _ingest(captures: Path, workspace: Path) -> None:
    from features import ingest

    done = ingest.ingest([str(captures)], workspace, devices=str(captures / "devices.csv"))
    if done.failures:
        raise RuntimeError(f"every simulated capture must be read, however: {done.failures}")
    _say("ingest", f"{done.flows:,} flows of {done.packets:,} packets (simulated)")


def _build(workspace: Path) -> str:
    """Build the windows, publish them, and return a device to ask about: the one last heard of."""
    from features import store, windows

    built = windows.build(workspace)
    published = store.open(workspace).publish()
    _say("features", f"{built.text()}; {published:,} published online (simulated)")
    rows = windows.rows(workspace, WINDOW)
    return str(rows["device_id"].iloc[int(rows["window_end"].argmax())])


def _train(workspace: Path) -> Path:
    from evaluation import report
    from features.configuration import find_config
    from training import experiment, run

    recipe = experiment.read(find_config(EXPERIMENT, workspace), [f"window={WINDOW}"])
    fitted = run.fit(recipe, workspace)
    report.judge(fitted)
    directory = run.seal(fitted.directory)
    summary = json.loads((directory / report.REPORT_JSON).read_text(encoding="utf-8"))
    _say("train", f"{summary['headline']['sentence']} (simulated)")
    return directory


def _ask(workspace: Path, directory: Path, device: str, *, port: int) -> None:
    from serving import server

    start = server.prepare(workspace, str(directory), port=port)
    with server.running(start, log=workspace / "serve.log") as url:
        question = json.dumps({"device_ids": [device]})
        _say("ask", f"curl -s {url}/identify -H 'Content-Type: application/json' -d '{question}'")
        request = urllib.request.Request(
            f"{url}/identify", question.encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=30) as response:
            _say("answer", f"(simulated) {response.read().decode()}")
