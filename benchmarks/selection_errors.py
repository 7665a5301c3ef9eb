"""How often a selection errs where the truth is known: noise that it selects, drivers that it calls leaks.

    python benchmarks/selection_errors.py [--tables N] [--planted N]

All data are simulated. The first part has tables without any effect; the second has a delay of two drivers, load and
weather, alone, beside noise, and beside complaints about the delay, which are a leak; the third has the tables of
benchmarks/planted.py, six of each seed.
"""

import argparse
import itertools
from collections import Counter

import numpy as np
import pandas as pd
from planted import TARGET, TIME, plant

from evaluation.selection import leaks
from evaluation.selection.boosting import Trees
from evaluation.selection.ranks import score
from evaluation.selection.screening import Screen
from evaluation.selection.study import Kind, Roles, Study, read_study

SHAPES = ((300, 15, 1), (1000, 30, 1), (1000, 15, 10))  # rows, columns, rows of a group
KINDS: tuple[Kind, ...] = ("continuous", "binary", "classes")
DRIVEN_ROWS = 600
ROUNDS = 50
FIRST_SEED = 100  # of the planted tables: none of those on which the selection was made
RATIOS = (0.1, 0.5, 2.0)


def nothing(rng: np.random.Generator, shape: tuple[int, int, int], kind: Kind) -> Study:
    """Return a table whose columns have nothing to do with the target; half of all variance is that of the group."""
    rows, columns, of_group = shape
    group = np.arange(rows) // of_group
    shared = rng.normal(size=(group.max() + 1, columns + 1))[group] if of_group > 1 else 0.0
    told = shared + rng.standard_t(3, size=(rows, columns + 1))
    frame = pd.DataFrame(told[:, 1:], columns=[f"c{number}" for number in range(columns)])
    target = _as(told[:, 0], kind)
    return read_study(
        frame.assign(group=group, target=target), Roles("target", "group", kind=kind), table="t"
    )


def driven(rng: np.random.Generator, *, related: float, kind: Kind, noise: int, leak: bool) -> Study:
    """Return a table of a delay, which load and weather drive."""
    load, other, error = rng.normal(size=(3, DRIVEN_ROWS))
    weather = related * load + np.sqrt(1 - related**2) * other
    delay = _as(1.2 * load + weather + error, kind)
    columns = {"load": load, "weather": weather}
    columns |= {f"noise{number}": rng.normal(size=DRIVEN_ROWS) for number in range(noise)}
    if leak:
        columns["leak"] = 1.5 * (delay - delay.mean()) / delay.std() + 0.5 * rng.normal(size=DRIVEN_ROWS)
    return read_study(pd.DataFrame({**columns, "delay": delay}), Roles("delay"), table="t")


def flagged(study: Study) -> list[str]:
    """Return what is called a leak, those found beside the first ones too."""
    columns = list(range(len(study.names)))
    told: list[str] = []
    scores = score(study.X)
    while True:
        screened = Screen(study, candidates=columns, scores=scores).run()
        found = leaks.outdoes_all(study, scores, screened.alone, columns, Trees(rounds=ROUNDS))
        found = found or leaks.follows_target(study, scores, screened, among=screened.columns)
        if not found:
            return told
        told += [drop.indicator for drop in found]
        columns = [column for column in columns if study.names[column] not in told]


def _as(values: np.ndarray, kind: Kind) -> np.ndarray:
    """Return values as they are, as above or below their 70 % quantile, or in four classes."""
    if kind == "continuous":
        return values
    cuts = [0.7] if kind == "binary" else [0.25, 0.5, 0.75]
    return np.searchsorted(np.quantile(values, cuts), values).astype("float64")


def noise_selected(tables: int) -> None:
    """Print how often a column is selected where none matters."""
    print(
        "noise selected (simulated): target, rows, columns, rows of a group; share of the tables, of the columns"
    )
    for kind, shape in itertools.product(KINDS, SHAPES):
        rng = np.random.default_rng([0, *shape])
        studies = [nothing(rng, shape, kind) for _ in range(tables)]
        found = [len(Screen(one, candidates=range(shape[1])).run().columns) for one in studies]
        print(kind, *shape, f"{np.mean(np.array(found) > 0):.2f} {np.mean(found) / shape[1]:.4f}", flush=True)


def called_leaks(tables: int) -> None:
    """Print what is called a leak in tables of two drivers."""
    print(
        "called leaks (simulated): target, correlation of the drivers, columns of noise, leak planted; how often"
    )
    for kind, related, noise, leak in itertools.product(KINDS[:2], (0.0, 0.3, 0.5), (0, 4), (False, True)):
        told: Counter[str] = Counter()
        for seed in range(tables):
            rng = np.random.default_rng([seed, 7])
            told.update(flagged(driven(rng, related=related, kind=kind, noise=noise, leak=leak)))
        print(kind, related, noise, leak, dict(told), f"of {tables}", flush=True)


def planted_leaks(seeds: int) -> None:
    """Print what is called a leak in tables of eleven groups, a leak and much else."""
    print("called leaks (simulated, planted.py): seed, target, ratio")
    for seed, ratio in itertools.product(range(FIRST_SEED, FIRST_SEED + seeds), RATIOS):
        for kind in ("continuous", "binary"):
            planted = plant(seed=seed, ratio=ratio, kind=kind)
            told = flagged(read_study(planted.frame, Roles(TARGET, time=TIME), table="planted"))
            print(seed, kind, ratio, told, flush=True)


def main() -> None:
    """Print how often each errs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--tables", type=int, default=100, help="without effect, of each kind; an eighth of two drivers"
    )
    parser.add_argument("--planted", type=int, default=3, help="seeds")
    asked = parser.parse_args()
    noise_selected(asked.tables)
    called_leaks(asked.tables // 8)
    planted_leaks(asked.planted)


if __name__ == "__main__":
    main()
