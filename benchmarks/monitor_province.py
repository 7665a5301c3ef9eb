"""A province for the benchmark of the monitor: simulated with more faults of places, loaded, its indicators built."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from monitor_faults import write_faults

from evaluation.simulation.province import province
from evaluation.simulation.province.catalogue import read_faults
from evaluation.simulation.province.settings import read_settings
from evaluation.simulation.province.topology import Plan
from features import indicator_places, lake
from features import province as loading
from features.built import now_after, recall
from features.configuration import find_config
from features.indicator_changes import Built, present, since
from features.indicator_plan import Plan as Build
from features.indicator_tables import root
from features.indicators import all_indicators, read_indicators


@dataclass(frozen=True)
class Asked:
    """A province. planned: faults of places beside those that base rates draw, from `first_day` until half a day
    before the end."""

    devices: int
    days: int
    seed: int
    planned: int
    first_day: float


def make(folder: Path, asked: Asked) -> None:
    """Write a province to `folder`/province and its workspace to `folder`/workspace.

    Flows are not loaded: the monitor reads none.
    """
    raw, workspace = folder / "province", folder / "workspace"
    folder.mkdir(parents=True, exist_ok=True)
    own, shipped = find_config("province.yaml"), find_config("fault_catalogue.yaml")
    plan = Plan(read_settings(own), asked.devices, asked.days, asked.seed, read_faults(shipped).patterns)
    faults = folder / "faults.yaml"
    write_faults(faults, plan, count=asked.planned, days=(asked.first_day, asked.days - 0.5), seed=asked.seed)
    files = province.Files(own, faults, find_config("noise.yaml"))
    if not (raw / "truth.parquet").exists():
        shutil.rmtree(raw, ignore_errors=True)
        province.simulate(
            raw, files=files, devices=asked.devices, days=asked.days, seed=asked.seed, workers=1
        )
        shutil.rmtree(raw / "flows")
    loading.load(raw, workspace)
    shutil.rmtree(raw / "counters", ignore_errors=True)
    (raw / "counters").mkdir()
    build_places(workspace)


def build_places(workspace: Path) -> None:
    """Build the indicators of places as `indicator_windows.build` does, and not those of devices, which take longer."""
    settings, indicators = read_indicators(workspace), all_indicators(workspace)
    with lake.writing(workspace) as scratch:
        built = recall(root(workspace), Built)
        created = now_after(None)
        now = present(workspace, settings, indicators, until=None, created=created)
        plan = Build(workspace, scratch, settings, indicators, created, None, since(built, now, workspace))
        with plan.open() as connection:
            for _ in indicator_places.build(connection, plan):
                pass
