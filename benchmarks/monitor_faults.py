"""Faults of places for a benchmark of the monitor: those that base rates draw, and more of every kind, by a seed."""

from pathlib import Path

import numpy as np
import yaml

from evaluation.faults import Fault, read_catalogue
from evaluation.simulation.province.faults import Happening, names_of
from evaluation.simulation.province.topology import Plan
from features.configuration import packaged_configs

_UNIT_H = {"minute": 1 / 60, "hour": 1.0, "day": 24.0}
LEAST_H, MOST_H = (
    1.0,
    48.0,
)  # of a planned fault: the monitor looks at quarters of an hour, and at days not weeks


def write_faults(path: Path, plan: Plan, *, count: int, days: tuple[float, float], seed: int) -> None:
    """Write a file of faults: what the catalogue draws by its rates, and `count` faults of places beside.

    Kinds are drawn evenly, then a place, an onset between two days, a severity of Beta(4, 2) and the duration of the
    catalogue, held between 1 h and 48 h. One that comes in bursts and would have none is drawn again.
    """
    rng = np.random.default_rng([seed, 5])
    kinds = [
        one
        for one in read_catalogue(packaged_configs() / "fault_catalogue.yaml").faults
        if one.granularity != "device"
    ]
    planned = [_acting(kinds[row], plan, days, rng) for row in rng.integers(0, len(kinds), count)]
    path.write_text(yaml.safe_dump({"draw": True, "schedule": planned}), encoding="utf-8")


def _acting(
    fault: Fault, plan: Plan, days: tuple[float, float], rng: np.random.Generator
) -> dict[str, object]:
    """Return a planned fault that does something."""
    while True:
        planned = _planned(fault, plan, days, rng)
        onset_s, lasts_s = (3600.0 * float(str(planned[key])) for key in ("onset_h", "duration_h"))
        drawn = Happening("", fault, fault.granularity, 0, "", 1.0, onset_s, onset_s + lasts_s)
        if drawn.acts(plan.days, plan.settings.start.weekday()):
            return planned


def _planned(
    fault: Fault, plan: Plan, days: tuple[float, float], rng: np.random.Generator
) -> dict[str, object]:
    settings = plan.settings
    cells = max(
        1, min(settings.cells_per_tac, plan.devices // settings.devices_per_cell)
    )  # of the first area
    places = cells if fault.granularity == "cell" else len(names_of(plan, fault))
    lasts_h = (
        fault.duration.median
        * _UNIT_H[fault.duration.unit]
        * np.exp(fault.duration.sigma * rng.standard_normal())
    )
    return {
        "fault": fault.id,
        "location": int(rng.integers(0, places)),
        "severity": float(np.clip(rng.beta(4, 2), 0.01, 1)),
        "onset_h": float(24 * rng.uniform(*days)),
        "duration_h": float(np.clip(lasts_h, LEAST_H, MOST_H)),
    }
