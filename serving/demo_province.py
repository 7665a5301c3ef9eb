"""The road of an indicator on a simulated province: counters, indicators, an hour of cycles, a score, its page."""

import json
import urllib.request
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import yaml

SEED, DEVICES, DAYS = 1, 2000, 3
# By the catalogue's rates next to nothing that many devices share happens in three days of one tracking area.
FAULT = {
    "fault": "f_onenet_access_node_down",
    "location": 1,
    "severity": 0.6,
    "onset_h": 65.0,
    "duration_h": 3.0,
}
# A cell whose sensors are hit, until the end, so that the last windows show it.
CELL = {
    "fault": "f_ul_external_interference",
    "location": "cell-000-03",
    "severity": 1.0,
    "onset_h": 40.0,
    "duration_h": 32.0,
}
HOUR = timedelta(hours=1)
Say = Callable[[str, str], None]


def walk(out: Path, *, port: int, say: Say) -> Path:
    """Walk the road in `out` and return the workspace of the province. What an earlier walk left is used again.

    say: prints a step and its line. port: of the service that answers at the end.
    """
    directory, workspace = out / "province", out / "province_workspace"
    _simulate(directory, out / "faults.yaml", say)
    _load(directory, workspace, say)
    end = _cycle(directory, workspace, say)
    _draw(directory, workspace, out / "day.html", say)
    _score(workspace, end, out / "score.html", port=port, say=say)
    return workspace


def _simulate(directory: Path, faults: Path, say: Say) -> None:
    from evaluation.simulation.province import province
    from features.configuration import find_config

    if directory.is_dir():
        say("province", f"{directory} is there already; remove it to simulate anew")
        return
    faults.write_text(yaml.safe_dump({"schedule": [FAULT, CELL]}), encoding="utf-8")
    files = province.Files(find_config("province.yaml"), faults, find_config("noise.yaml"))
    done = province.simulate(directory, files=files, devices=DEVICES, days=DAYS, seed=SEED)
    say("province", done.text())


def _load(directory: Path, workspace: Path, say: Say) -> None:
    from features import province

    loaded = province.load(directory, workspace, targets=True)
    if loaded.failed:
        raise RuntimeError(f"every simulated table must be read, however: {loaded.text()}")
    counted = next(line for line in loaded.text().splitlines() if "quarantined" in line)
    say("counters", f"{counted} (simulated)")


def _cycle(directory: Path, workspace: Path, say: Say) -> datetime:
    """Build all but the last hour at once, and that as a scheduler would; return the end of the last window."""
    import pandas as pd

    from features import indicator_windows, store
    from serving import cycle, cycle_report

    told = pd.read_parquet(directory / "kqi.parquet", columns=["window_end"])
    end: datetime = told["window_end"].max().to_pydatetime()  # the last midnight
    done = cycle_report.last(workspace)
    if done is None:
        say("", f"{indicator_windows.build(workspace, window_end=end - HOUR).text()} (simulated)")
        store.open(workspace).apply()
        list(cycle.walk(workspace, end - HOUR))
    reports = list(cycle.walk(workspace, end))
    for report in reports:
        say("cycle" if report is reports[0] else "", report.text())
    return end


def _draw(directory: Path, workspace: Path, page: Path, say: Say) -> None:
    from evaluation import day, province_day

    day.write_page(province_day.draw(directory, workspace), page, simulated=True)
    say("day", f"{page.resolve()} (simulated)")


def _score(workspace: Path, end: datetime, page: Path, *, port: int, say: Say) -> None:
    """Ask the service for the score of the sensor that suffers most in the faulty cell, and draw it."""
    from evaluation import score_page
    from evaluation.domain import read_domain
    from features.whole_file import write_text
    from serving import server

    device = _sufferer(workspace, end)
    start = server.prepare(workspace, server.NO_RUN, port=port)
    with server.running(start, log=workspace / "serve.log") as url:
        question = json.dumps({"device_id": device})
        say("ask", f"curl -s {url}/score -H 'Content-Type: application/json' -d '{question}'")
        request = urllib.request.Request(
            f"{url}/score", question.encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as response:
            answer = json.load(response)
    told = ("score", "low", "high", "worst_kqi", "worst_step", "worst_indicator")
    say("answer", f"(simulated, in part) {json.dumps({name: answer[name] for name in told})}")
    write_text(page, score_page.to_html(answer, read_domain(workspace)))
    say("score", f"{page.resolve()} (simulated)")


def _sufferer(workspace: Path, end: datetime) -> str:
    """Return the sensor of the faulty cell that has the lowest score."""
    import pandas as pd

    from features import membership
    from features.days import file_of

    scored = file_of(workspace / "scored" / "smoke_sensor", end)
    asked = pd.read_parquet(scored, columns=["scope", "scope_id", "score"]).query("scope == 'device'")
    places = membership.as_of(
        asked.rename(columns={"scope_id": "device_id"}).assign(event_timestamp=pd.Timestamp(end)), workspace
    )
    hit = places[places["cell"] == CELL["location"]]
    return str(hit.sort_values("score")["device_id"].iloc[0])
