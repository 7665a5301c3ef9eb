"""Importance measured by trees and by a network on one table whose truth is known: processor time, F1, agreement.

    python benchmarks/selection_models.py [--seed N] [--ratio R]

Data are simulated (benchmarks/planted.py: 5,000 rows, 60 columns). Processor time is that of the whole selection, both
libraries loaded before.
"""

import argparse
import time

import lightgbm  # noqa: F401 - loaded before the clock starts
import numpy as np
import shap  # noqa: F401
import torch  # noqa: F401
from planted import TARGET, TIME, Kind, mark, plant
from scipy import stats

from evaluation.selection.contributions import Model
from evaluation.selection.expert import Experts
from evaluation.selection.procedure import Selection, Settings, select
from evaluation.selection.study import Roles, read_study

KINDS: tuple[Kind, ...] = ("continuous", "binary")
MODELS: tuple[Model, ...] = ("trees", "network")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--ratio", type=float, default=0.5, help="signal to noise")
    arguments = parser.parse_args()
    for kind in KINDS:
        planted = plant(seed=arguments.seed, ratio=arguments.ratio, kind=kind)
        told: list[Selection] = []
        for model in MODELS:
            study = read_study(planted.frame, Roles(TARGET, time=TIME), table="planted")
            began = time.process_time()
            told.append(select(study, Settings(seed=arguments.seed, model=model), Experts()))
            spent = time.process_time() - began
            marks = mark(planted, [study.names[column] for column in told[-1].selected])
            print(
                f"simulated, {kind}: {model}: {spent:.0f} s, F1 {marks.f1:.2f}, score out of fold"
                f" {told[-1].measured.score.mean():.3f}",
                flush=True,
            )
        print(
            f"  rank agreement over {len(told[0].columns)} columns {_agreement(*told):.2f}, selected the same:"
            f" {set(told[0].selected) == set(told[1].selected)}"
        )


def _agreement(one: Selection, other: Selection) -> float:
    means = [selection.measured.strength.mean(axis=0) for selection in (one, other)]
    return float(stats.spearmanr(*(np.asarray(mean) for mean in means))[0])


if __name__ == "__main__":
    main()
