"""The road of an indicator on a simulated province: simulate, load, build, Feast, a picture of a day."""

from collections.abc import Callable
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
Say = Callable[[str, str], None]


def walk(out: Path, *, say: Say) -> None:
    """Walk the road in `out`. say: prints a step and its line. What an earlier walk left is used again."""
    directory, workspace = out / "province", out / "province_workspace"
    _simulate(directory, out / "faults.yaml", say)
    _load(directory, workspace, say)
    _draw(directory, workspace, out / "day.html", say)


def _simulate(directory: Path, faults: Path, say: Say) -> None:
    from evaluation.simulation.province import province
    from features.configuration import find_config

    if directory.is_dir():
        say("province", f"{directory} is there already; remove it to simulate anew")
        return
    faults.write_text(yaml.safe_dump({"schedule": [FAULT]}), encoding="utf-8")
    files = province.Files(find_config("province.yaml"), faults, find_config("noise.yaml"))
    done = province.simulate(directory, files=files, devices=DEVICES, days=DAYS, seed=SEED)
    say("province", done.text())


def _load(directory: Path, workspace: Path, say: Say) -> None:
    from features import indicator_windows, province, store

    loaded = province.load(directory, workspace, targets=True)
    if loaded.failed:
        raise RuntimeError(f"every simulated table must be read, however: {loaded.text()}")
    counted = next(line for line in loaded.text().splitlines() if "quarantined" in line)
    say("counters", f"{counted} (simulated)")
    say("", f"{indicator_windows.build(workspace).text()} (simulated)")
    store.open(workspace).apply()


def _draw(directory: Path, workspace: Path, page: Path, say: Say) -> None:
    from evaluation import day, province_day

    day.write_page(province_day.draw(directory, workspace), page, simulated=True)
    say("day", f"{page.resolve()} (simulated)")
