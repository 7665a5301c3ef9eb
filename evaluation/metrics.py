"""How good the answers are, and how sure that is: proportions, F1, paired differences, confusion.

Every interval covers 95 %. Rows of one cluster (a capture, a device unit) are not independent: `clusters`
holds one name per row, and an interval is that of as many independent rows as the clusters are worth.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats
from sklearn import metrics

CONFIDENCE = 0.95
RESAMPLES = 1000  # bootstrap resamples; the ends of an interval then move by about 0.002 from seed to seed
_CELLS = 5_000_000  # resamples x clusters drawn at once: 40 MB of counts


@dataclass(frozen=True)
class Estimate:
    """A share or score with its 95 % interval; all three NaN where there was nothing to judge."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """Our accuracy minus a rival's on the same rows, and how many rows only one of the two named rightly."""

    value: float
    low: float
    high: float
    only_ours: int
    only_theirs: int


UNKNOWN = Estimate(float("nan"), float("nan"), float("nan"))


def effective_rows(scores: np.ndarray, clusters: np.ndarray, *, alike: float | None = None) -> float:
    """Return how many independent rows the clustered rows are worth when the mean of `scores` is estimated.

    scores: (n,) any numbers, for instance 1.0 where the answer was right. clusters: (n,) a name per row.
    alike: the `likeness` of another score of these rows, which stands in where all rows score the same and so tell
    nothing of how clusters differ; None: such rows are worth one a cluster. Never less than the number of clusters.
    Returns n where each row is its own cluster, and where there is one cluster only: the caller has to say so.
    Source: Korn & Graubard 1998, Survey Methodology 24 (design effect, degrees of freedom); advised for
    Wilson intervals by Dean & Pagano 2015, Journal of Survey Statistics and Methodology 3.
    """
    n, count = len(scores), len(np.unique(clusters))
    if count in (0, 1, n):
        return float(n)
    effect = _design_effect(scores, clusters)
    if effect is None and alike is None:
        return float(count)
    if effect is None:
        effect = 1 + (_size(clusters) - 1) * (alike or 0.0)
    middle = (1 + CONFIDENCE) / 2
    few = (stats.t.ppf(middle, n - 1) / stats.t.ppf(middle, count - 1)) ** 2
    return float(max(n / max(effect, 1.0) * few, count))


def likeness(scores: np.ndarray, clusters: np.ndarray) -> float | None:
    """Return how alike rows of one cluster score, from 0 (as any two rows) to 1 (the same), or None if none can tell.

    The intraclass correlation that would make the design effect what it is: 1 + (size of a cluster - 1) * likeness.
    Source: Kish 1965, Survey Sampling, section 5.4.
    """
    if len(np.unique(clusters)) in (0, 1, len(scores)):
        return None
    effect = _design_effect(scores, clusters)
    return None if effect is None else float(np.clip((effect - 1) / (_size(clusters) - 1), 0.0, 1.0))


def _design_effect(scores: np.ndarray, clusters: np.ndarray) -> float | None:
    """Return the variance of the mean of clustered rows over that of as many independent ones; None: all are equal."""
    n, (_, cluster) = len(scores), np.unique(clusters, return_inverse=True)
    count, residuals = int(cluster.max()) + 1, scores - scores.mean()
    simple = np.square(residuals).sum() / (n * (n - 1))
    if simple == 0:
        return None
    sums = np.bincount(cluster, weights=residuals)
    return float(count / (count - 1) * np.square(sums).sum() / n**2 / simple)


def _size(clusters: np.ndarray) -> float:
    """Return the size of the cluster that a row is in, averaged over rows."""
    _, sizes = np.unique(clusters, return_counts=True)
    return float(np.square(sizes).sum() / sizes.sum())


def wilson(share: float, n: float) -> Estimate:
    """Return a proportion with its Wilson score interval; `n` may be an effective number, not whole.

    Source: Wilson 1927, JASA 22. scipy's `binomtest(...).proportion_ci("wilson")` takes whole numbers only.
    """
    if n <= 0:
        return UNKNOWN
    z2 = stats.norm.ppf((1 + CONFIDENCE) / 2) ** 2
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = np.sqrt(z2 * (share * (1 - share) / n + z2 / (4 * n**2))) / (1 + z2 / n)
    return Estimate(float(share), float(max(middle - half, 0.0)), float(min(middle + half, 1.0)))


def proportion(hits: np.ndarray, clusters: np.ndarray, *, alike: float | None = None) -> Estimate:
    """Return the share of true rows with its Wilson interval, widened for rows that hang together.

    hits: (n,) bool. clusters: (n,) a name per row. alike: of `effective_rows`, for hits that are all true, or none.
    """
    if not len(hits):
        return UNKNOWN
    scores = np.asarray(hits, dtype="float64")
    return wilson(float(scores.mean()), effective_rows(scores, clusters, alike=alike))


def paired_difference(ours: np.ndarray, theirs: np.ndarray, *, clusters: np.ndarray) -> Difference:
    """Return how much more often we are right than a rival on the same rows, with a paired interval.

    ours, theirs: (n,) bool, right or not, row by row. A low end above 0 means that we are better.
    Source: Agresti & Min 2005, Statistics in Medicine 24: half a row is added to each cell of the 2x2 table,
    so that two equal lists do not pretend to certainty. Cells are scaled to the effective number of rows.
    """
    scores = np.asarray(ours, dtype="float64") - np.asarray(theirs, dtype="float64")
    n = effective_rows(scores, clusters)
    only_ours, only_theirs = int((scores > 0).sum()), int((scores < 0).sum())
    b, c = only_ours * n / len(scores) + 0.5, only_theirs * n / len(scores) + 0.5
    middle = (b - c) / (n + 2)
    half = stats.norm.ppf((1 + CONFIDENCE) / 2) * np.sqrt((b + c) / (n + 2) - middle**2) / np.sqrt(n + 2)
    low, high = float(max(middle - half, -1.0)), float(min(middle + half, 1.0))
    return Difference(float(scores.mean()), low, high, only_ours, only_theirs)


def f1(
    is_it: np.ndarray, called_it: np.ndarray, *, clusters: np.ndarray, alike: float | None = None
) -> Estimate:
    """Return the F1 of one class with its interval; NaN where the class does not occur.

    is_it, called_it: (n,) bool, truly of the class, named so. alike: as of `proportion`. Of the rows that are it
    or are called it, let J be the share that are both: a proportion with a Wilson interval, and F1 = 2J / (1 + J)
    rises with it. So the interval stays honest where a bootstrap has nothing to draw: every row right, or none.
    """
    if not is_it.any():
        return UNKNOWN
    either = is_it | called_it
    both = proportion((is_it & called_it)[either], clusters[either], alike=alike)
    return Estimate(*(2 * end / (1 + end) for end in (both.value, both.low, both.high)))


def macro_f1(truth: np.ndarray, named: np.ndarray, *, clusters: np.ndarray, seed: int) -> Estimate:
    """Return the mean F1 of the classes that occur in `truth`, with a bootstrap interval over clusters.

    truth, named: (n,) class names. A class that never occurs in the test has no F1 of its own; naming it
    wrongly costs the class that it was taken from. Where every row is right, or none, nothing can be drawn
    that differs, and the interval is that of the accuracy.
    """
    if not len(truth):
        return UNKNOWN
    present = np.unique(truth)
    value = metrics.f1_score(truth, named, labels=present, average="macro", zero_division=0.0)
    if value in (0.0, 1.0):
        return proportion(truth == named, clusters)
    drawn = _resampled_f1(truth, named, clusters=clusters, labels=present, seed=seed)
    low, high = interval_ends(np.nanmean(drawn, axis=1)[:, None])
    return Estimate(float(value), float(low[0]), float(high[0]))


def per_class(
    truth: np.ndarray, named: np.ndarray, *, clusters: np.ndarray, classes: Sequence[str]
) -> pd.DataFrame:
    """Return a row per class: support, how often it was named, rightly too, and three scores with intervals.

    Columns class, support, named, right, then <score>, <score>_low, <score>_high for precision, recall, f1;
    NaN where nothing could be judged (no recall without support, no precision where it was never named).
    Of a class without an error, rows are as alike as those of all classes.
    """
    rows, alike = [], likeness((truth == named).astype("float64"), clusters)
    for label in classes:
        is_it, called_it = truth == label, named == label
        hit = is_it & called_it
        scores = {
            "precision": proportion(hit[called_it], clusters[called_it], alike=alike),
            "recall": proportion(hit[is_it], clusters[is_it], alike=alike),
            "f1": f1(is_it, called_it, clusters=clusters, alike=alike),
        }
        counts = {"support": int(is_it.sum()), "named": int(called_it.sum()), "right": int(hit.sum())}
        ends = {f"{name}{end}": v for name, score in scores.items() for end, v in _ends(score)}
        rows.append({"class": label, **counts, **ends})
    return pd.DataFrame(rows)


def confusion(truth: np.ndarray, named: np.ndarray, *, classes: Sequence[str]) -> np.ndarray:
    """Return (k, k) counts: a row per true class, a column per given name, both in the order of `classes`."""
    return np.asarray(metrics.confusion_matrix(truth, named, labels=list(classes)), dtype="int64")


def confused_pairs(counts: np.ndarray, *, classes: Sequence[str]) -> pd.DataFrame:
    """Return the pairs of classes taken for one another, the most rows first.

    counts: (k, k) from `confusion`. Columns first, second, first_as_second, second_as_first, rows (the sum).
    """
    wrong = np.triu(counts + counts.T, k=1)
    pairs = [
        (classes[i], classes[j], int(counts[i, j]), int(counts[j, i]), int(wrong[i, j]))
        for i, j in np.argwhere(wrong > 0)
    ]
    columns = ["first", "second", "first_as_second", "second_as_first", "rows"]
    frame = pd.DataFrame(pairs, columns=columns)
    return frame.sort_values(["rows", "first", "second"], ascending=[False, True, True], ignore_index=True)


def resampled_clusters(scores: np.ndarray, *, clusters: np.ndarray, seed: int) -> np.ndarray:
    """Return (RESAMPLES, c) column sums of `scores` (n, c) when whole clusters are drawn again."""
    _, cluster = np.unique(clusters, return_inverse=True)
    count = int(cluster.max()) + 1
    per_cluster = np.zeros((count, scores.shape[1]))
    np.add.at(per_cluster, cluster, scores)
    return np.concatenate([drawn @ per_cluster for drawn in _draws(count, seed)])


def interval_ends(resampled: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the 95 % percentile interval of each column of (RESAMPLES, c); a NaN resample is left aside."""
    ends = [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]
    known = ~np.isnan(resampled).all(axis=0)
    low, high = np.full((2, resampled.shape[1]), np.nan)
    low[known], high[known] = np.nanquantile(resampled[:, known], ends, axis=0)
    return low, high


def _resampled_f1(
    truth: np.ndarray, named: np.ndarray, *, clusters: np.ndarray, labels: np.ndarray, seed: int
) -> np.ndarray:
    """Return (RESAMPLES, k) F1 of each label when whole clusters are drawn again; NaN without its truth."""
    is_it, called_it = truth[:, None] == labels[None, :], named[:, None] == labels[None, :]
    flags = np.hstack([is_it & called_it, is_it, called_it]).astype("float64")
    hit, support, calls = np.hsplit(resampled_clusters(flags, clusters=clusters, seed=seed), 3)
    return np.where(support > 0, 2 * hit / np.maximum(support + calls, 1), np.nan)


def _draws(clusters: int, seed: int) -> Iterator[np.ndarray]:
    rng, even = np.random.default_rng(seed), np.full(clusters, 1 / clusters)
    parts = max(1, min(RESAMPLES, RESAMPLES * clusters // _CELLS))
    for part in np.array_split(np.arange(RESAMPLES), parts):
        yield rng.multinomial(clusters, even, size=len(part)).astype("float64")


def _ends(part: Estimate) -> tuple[tuple[str, float], ...]:
    return ("", part.value), ("_low", part.low), ("_high", part.high)
