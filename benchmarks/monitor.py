"""The monitor on simulated provinces: faults found, false alarms, minutes to detect, alarms per fault; beside rivals.

`python benchmarks/monitor.py DIR --provinces N [--devices 2000] [--days 21] [--first-seed 1001] [--planned 12]`

Each province is simulated, loaded, scored, watched, judged and deleted; its result stays in DIR/SEED.json, and a
call that is repeated goes on with those that lack one. What counts as found and as false is written in
evaluation/alarm_judgement.py, of abnormal devices in evaluation/abnormal_judgement.py.
Rivals watch the same places, with the same hysteresis, grouping and judgement. The first, by the indicators that the
monitor judges; the others by KQI scores, as it did before:

z-score of indicators  mean and standard deviation of the last seven days, no hour of the week, no siblings
z-score of KQIs        the same, of KQI scores
work order             the fixed threshold of configs/services/video.yaml: below 60 in 2 of 3, above 75 in 4 running

Intervals are of 95 %, bootstrapped over provinces (2,000 draws, seed 1).
"""

import argparse
import json
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import monitor_devices
import monitor_tables
import numpy as np
import pandas as pd
from monitor_province import Asked, make

from evaluation import alarm_judgement, alarm_life, monitor, score_history, watch
from evaluation.alarm_judgement import Found, Span
from evaluation.alarm_life import Judged
from evaluation.alarm_table import Alarm, Witness
from evaluation.domain import read_domain
from evaluation.monitor import Windows
from evaluation.monitor_settings import MonitorSettings, read_monitor_settings
from features import indicator_tables

GRACE = timedelta(
    hours=3
)  # a value may be as old as it takes to pool an hour, and an alarm takes an hour to be raised
Z_SCORE = {"below": 5.0, "floor": 5.0}  # floor: points, least standard deviation
Z_SCORE_OF_KQIS = {"below": 4.0, "floor": 3.0}
WORK_ORDER = {"below": 60.0, "windows": 2, "of": 3, "above": 75.0, "calm": 4}


def main() -> None:
    """Measure the provinces that lack a result, then print the table of all."""
    read = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    read.add_argument("directory", type=Path)
    read.add_argument("--provinces", type=int, default=20)
    read.add_argument("--devices", type=int, default=2000)
    read.add_argument("--days", type=int, default=21)
    read.add_argument("--first-seed", type=int, default=1001)
    read.add_argument("--planned", type=int, default=12)
    read.add_argument("--keep", action="store_true", help="keep the provinces")
    asked = read.parse_args()
    seeds = range(asked.first_seed, asked.first_seed + asked.provinces)
    for seed in seeds:
        result = asked.directory / f"{seed}.json"
        if not result.exists():
            began = time.perf_counter()
            told = measure(asked.directory / str(seed), asked, seed)
            result.write_text(json.dumps(told, indent=1), encoding="utf-8")
            print(f"province {seed}: {time.perf_counter() - began:.0f} s", flush=True)
    results = [asked.directory / f"{seed}.json" for seed in seeds]
    print(monitor_tables.text([json.loads(one.read_text(encoding="utf-8")) for one in results]))


def measure(folder: Path, asked: argparse.Namespace, seed: int) -> dict[str, Any]:
    """Return what each way of watching made of one province, which is deleted."""
    settings = read_monitor_settings()
    if not (folder / "made").exists():
        province = Asked(asked.devices, asked.days, seed, asked.planned, settings.learn_s / 86400)
        make(folder, province)
        (folder / "made").touch()
    truth = pd.read_parquet(folder / "province" / "truth.parquet")
    windows = scored(folder / "workspace", settings)
    ways: dict[str, Callable[[Windows, MonitorSettings], list[Alarm]]] = {
        "monitor": ours,
        "z-score of indicators": plain_z,
        "z-score of KQIs": plain_z_of_kqis,
        "work order": fixed,
    }
    begin = windows.ends[0] + timedelta(seconds=settings.learn_s)
    span = Span(begin, windows.ends[-1], GRACE)
    told = {
        way: _told(alarm_judgement.judge(watching(windows, settings), truth, windows.within[0], span))
        for way, watching in ways.items()
    }
    devices = monitor_devices.measure(
        folder / "workspace", folder / "province", settings, begin=span.begin, end=span.end
    )
    if not asked.keep:
        shutil.rmtree(folder)
    size = {"seed": seed, "devices": asked.devices, "days": asked.days}
    return {**size, "ways": told, "abnormal": devices}


def scored(workspace: Path, settings: MonitorSettings) -> Windows:
    """Return the scores of all windows and places of a workspace; what contains what is that of the first day."""
    domain = read_domain(workspace)
    ends = score_history.windows(
        workspace, until=indicator_tables.newest_end(workspace), every_s=settings.every_s
    )
    for service in domain.services:
        score_history.extend(workspace, domain, service, ends, settings)
    return watch.read_windows(workspace, domain, ends, share=settings.cause.share)


def ours(windows: Windows, settings: MonitorSettings) -> list[Alarm]:
    """Return the alarms of the monitor."""
    _, events = monitor.replay(monitor.nothing_known(settings), windows, settings)
    return list({event.alarm.alarm_id: event.alarm for event in events}.values())


def plain_z(windows: Windows, settings: MonitorSettings) -> list[Alarm]:
    """Return the alarms of a z-score of the last seven days of each indicator."""
    mean, own = _z_scores(windows.utilities, settings, floor=Z_SCORE["floor"])
    scores = np.full(windows.scores.shape, np.nan)  # severity goes by points of the indicators then
    evidence = Evidence(windows.witnesses, monitor.rows_of(windows), own, mean - windows.utilities)
    return _lived(windows, scores, evidence, _opened(settings, Z_SCORE["below"]))


def plain_z_of_kqis(windows: Windows, settings: MonitorSettings) -> list[Alarm]:
    """Return the alarms of a z-score of the last seven days of each KQI score."""
    mean, own = _z_scores(windows.scores, settings, floor=Z_SCORE_OF_KQIS["floor"])
    evidence = _of_themselves(windows, own, mean)
    return _lived(windows, mean, evidence, _opened(settings, Z_SCORE_OF_KQIS["below"]))


def _z_scores(
    values: np.ndarray, settings: MonitorSettings, *, floor: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean of the seven days before each window, and by how many standard deviations it lies above it."""
    last = pd.DataFrame(values).shift(1).rolling(7 * 86400 // settings.every_s, min_periods=96)
    mean = last.mean().to_numpy()
    return mean, (values - mean) / np.maximum(last.std().to_numpy(), floor)


def _opened(settings: MonitorSettings, below: float) -> MonitorSettings:
    told = settings.model_dump(by_alias=True)
    return MonitorSettings.model_validate(told | {"open": told["open"] | {"below": below}})


def fixed(windows: Windows, settings: MonitorSettings) -> list[Alarm]:
    """Return the alarms of fixed thresholds: a work order of each KQI of each place."""
    told = settings.model_dump(by_alias=True)
    told["open"] = {"below": 2.0, "windows": WORK_ORDER["windows"], "of": WORK_ORDER["of"]}
    told["close"] |= {"above": 1.0, "windows": WORK_ORDER["calm"]}
    own = -np.select(
        [
            np.isnan(windows.scores),
            windows.scores < WORK_ORDER["below"],
            windows.scores > WORK_ORDER["above"],
        ],
        [np.nan, 3.0, 0.0],
        default=1.5,
    )
    baseline = np.full(windows.scores.shape, 100.0)
    return _lived(
        windows, baseline, _of_themselves(windows, own, baseline), MonitorSettings.model_validate(told)
    )


@dataclass(frozen=True)
class Evidence:
    """What raises alarms. at: (w,), rows of series. own, fell: (t, w), usual deviations above, points below."""

    witnesses: Sequence[Witness]
    at: np.ndarray
    own: np.ndarray
    fell: np.ndarray


def _of_themselves(windows: Windows, own: np.ndarray, baseline: np.ndarray) -> Evidence:
    themselves = [Witness(*one, indicator=one.kqi) for one in windows.series]
    return Evidence(themselves, np.arange(len(themselves)), own, baseline - windows.scores)


def _lived(
    windows: Windows, baseline: np.ndarray, evidence: Evidence, settings: MonitorSettings
) -> list[Alarm]:
    """Return the alarms of evidence. baseline: of the scores."""
    life = alarm_life.born(len(evidence.witnesses), settings)
    alarms: dict[str, Alarm] = {}
    none = np.full(len(evidence.witnesses), np.nan)
    for row, end in enumerate(windows.ends):
        ready = end - windows.ends[0] >= timedelta(seconds=settings.learn_s)
        now = Judged(
            end, windows.series, windows.scores[row], baseline[row], windows.devices[row],
            evidence.witnesses, evidence.at, evidence.own[row], none, evidence.fell[row],
            windows.within[row], windows.beside[row], may_raise=ready,
        )  # fmt: skip
        life, events = alarm_life.advance(life, now, settings)
        alarms |= {event.alarm.alarm_id: event.alarm for event in events}
    return list(alarms.values())


def _told(found: Found) -> dict[str, Any]:
    faults = found.faults.replace({np.nan: None}).to_dict("records")
    return {
        "faults": faults,
        "causes": found.causes,
        "false": found.false,
        "alarms": found.alarms,
        "false_alarms": found.false_alarms,
        "days": found.days,
    }


if __name__ == "__main__":
    main()
