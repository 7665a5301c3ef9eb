"""One split judged: every number the report shows of it, from its answers beside the truth."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from evaluation import calibration, metrics

CURVE_POINTS = 200  # of the reject curve as it is kept and drawn
Json = dict[str, Any]  # a part of report.json


@dataclass(frozen=True)
class Answers:
    """The answers to one split, row by row.

    rows: y_true, label, family, level, probability, family_probability, unknown, as in predictions.parquet.
    rival: (n,) the names the rival gave. clusters: (n,) what hangs together, see evaluation.metrics.
    """

    rows: pd.DataFrame
    rival: np.ndarray
    clusters: np.ndarray

    @property
    def truth(self) -> np.ndarray:
        """The true class of each row, (n,)."""
        return self.rows["y_true"].to_numpy(dtype=object)

    @property
    def named(self) -> np.ndarray:
        """The best leaf given to each row, (n,), trusted or not."""
        return self.rows["label"].to_numpy(dtype=object)

    @property
    def right(self) -> np.ndarray:
        """Whether the best leaf is the true class, (n,) bool."""
        return np.asarray(self.truth == self.named)

    @property
    def alike(self) -> float | None:
        """How alike rows of one cluster are in being named rightly, see evaluation.metrics."""
        return metrics.likeness(self.right.astype("float64"), self.clusters)


def judge(answers: Answers, *, classes: Sequence[str], families: Mapping[str, str], seed: int) -> Json:
    """Return the numbers of one split.

    classes: in the order of tables and of the confusion matrix. families: family of each class.
    """
    truth, named, clusters = answers.truth, answers.named, answers.clusters
    counts = metrics.confusion(truth, named, classes=classes)
    scores = metrics.per_class(truth, named, clusters=clusters, classes=classes)
    return {
        "test_rows": len(truth),
        "test_classes": len(np.unique(truth)),
        "right_rows": int(answers.right.sum()),
        "accuracy": asdict(metrics.proportion(answers.right, clusters)),
        "macro_f1": asdict(metrics.macro_f1(truth, named, clusters=clusters, seed=seed)),
        "family_accuracy": asdict(
            metrics.proportion(_family_right(answers, families), clusters, alike=answers.alike)
        ),
        "outcomes": _outcomes(answers, families),
        "rival": _rival(answers, seed),
        "per_class": [_nested(row, families) for row in scores.to_dict("records")],
        "confusion": {"classes": list(classes), "counts": counts.tolist()},
        "pairs": _pairs(counts, classes, families=families),
        "calibration": _calibration(answers),
    }


def _family_right(answers: Answers, families: Mapping[str, str]) -> np.ndarray:
    true_family = np.array([families[name] for name in answers.truth], dtype=object)
    return np.asarray(true_family == answers.rows["family"].to_numpy(dtype=object))


def _outcomes(answers: Answers, families: Mapping[str, str]) -> Json:
    """Return the share of rows by what an operator is told: it names the leaf, the family, or nothing."""
    unknown = answers.rows["unknown"].to_numpy(dtype=bool)
    leaf = answers.rows["level"].eq("leaf").to_numpy(dtype=bool) & ~unknown
    family = ~leaf & ~unknown
    leaf_right, family_right = leaf & answers.right, family & _family_right(answers, families)
    wrong = ~(leaf_right | family_right | unknown)
    parts = {"leaf_right": leaf_right, "family_right": family_right, "unknown": unknown, "wrong": wrong}
    shares = {name: float(rows.mean()) for name, rows in parts.items()}
    return {**shares, "leaf": float(leaf.mean()), "family": float(family.mean())}


def _rival(answers: Answers, seed: int) -> Json:
    theirs = np.asarray(answers.truth == answers.rival)
    clusters = answers.clusters
    return {
        "accuracy": asdict(metrics.proportion(theirs, clusters)),
        "macro_f1": asdict(metrics.macro_f1(answers.truth, answers.rival, clusters=clusters, seed=seed)),
        "difference": asdict(metrics.paired_difference(answers.right, theirs, clusters=clusters)),
    }


def _nested(row: Mapping[Any, Any], families: Mapping[str, str]) -> Json:
    scores = {
        name: {"value": row[name], "low": row[f"{name}_low"], "high": row[f"{name}_high"]}
        for name in ("precision", "recall", "f1")
    }
    about = {"class": row["class"], "family": families[row["class"]]}
    return {**about, **{name: row[name] for name in ("support", "named", "right")}, **scores}


def _pairs(counts: np.ndarray, classes: Sequence[str], *, families: Mapping[str, str]) -> list[Json]:
    support = dict(zip(classes, counts.sum(axis=1).tolist(), strict=True))
    pairs = metrics.confused_pairs(counts, classes=classes).to_dict("records")
    return [
        {
            **{str(name): value for name, value in pair.items()},
            "first_support": support[pair["first"]],
            "second_support": support[pair["second"]],
            "same_family": families[pair["first"]] == families[pair["second"]],
        }
        for pair in pairs
    ]


def _calibration(answers: Answers) -> Json:
    """Return reliability of the label's probability, and the reject curve of what `unknown` looks at."""
    rows, right, clusters = answers.rows, answers.right, answers.clusters
    kept = ~rows["unknown"].to_numpy(dtype=bool)
    curve = calibration.reliability(
        rows["probability"].to_numpy(), right, clusters=clusters, alike=answers.alike
    )
    of_family = rows["family_probability"].to_numpy()  # `unknown` is where it is low
    reject = calibration.reject_curve(of_family, right)
    thinned = np.unique(np.linspace(0, len(reject) - 1, CURVE_POINTS).round().astype("int64"))
    return {
        "ece": calibration.expected_calibration_error(curve),
        "mean_probability": float(rows["probability"].mean()),
        "reliability": curve.to_dict("records"),
        "reject": reject.iloc[thinned].to_dict("records"),
        "chosen": {
            "answered": asdict(
                metrics.proportion(kept, clusters, alike=metrics.likeness(of_family, clusters))
            ),
            "accuracy": asdict(metrics.proportion(right[kept], clusters[kept], alike=answers.alike)),
        },
    }
