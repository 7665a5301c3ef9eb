"""What is wrong with a column before anyone asks what it explains: empty, constant, doubled, unstable ..."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from evaluation.selection.evidence import least_squares
from evaluation.selection.ranks import normal_scores
from evaluation.selection.rare import few_others, surprise
from evaluation.selection.study import Drop, Study

MOST_MISSING = 0.95
IN_STEP = (
    0.9999  # rank correlation with the order of rows beyond which whole distinct numbers are an identifier
)
MOVED = 0.25  # population stability index that the field calls a shift
BINS = 10
FEWEST_FOR_PSI = 200  # observations in each of the compared stretches
SURE = 0.01


@dataclass(frozen=True)
class Quality:
    """drops: the columns that are out. moved: columns that shifted while their effect held, with the facts."""

    drops: tuple[Drop, ...]
    moved: tuple[Drop, ...]


def inspect(study: Study) -> Quality:
    """Return which columns are out for what they are, whatever they explain."""
    drops: list[Drop] = []
    seen: dict[bytes, str] = {}
    for name, values in zip(study.names, study.X.T, strict=True):
        told = (
            _spoilt(name, values)
            or _rare(name, values, study)
            or _identifier(name, values, study.times)
            or _doubled(name, values, seen)
        )
        if told is not None:
            drops.append(told)
    out = {drop.indicator for drop in drops}
    left = [place for place, name in enumerate(study.names) if name not in out]
    unstable, moved = _shifts(study, left)
    return Quality((*drops, *unstable), moved)


def stability_index(early: np.ndarray, late: np.ndarray) -> float:
    """Return the population stability index of two samples in ten classes of equal size of both.

    Below 0.1 nothing moved, above 0.25 it did. Source: Siddiqi 2006, Credit Risk Scorecards; half a row is added to
    each class, so that an empty one is no infinity.
    """
    edges = np.unique(np.quantile(np.concatenate([early, late]), np.linspace(0, 1, BINS + 1)[1:-1]))
    shares = []
    for sample in (early, late):
        counts = np.bincount(np.searchsorted(edges, sample, side="right"), minlength=len(edges) + 1) + 0.5
        shares.append(counts / counts.sum())
    return float(((shares[1] - shares[0]) * np.log(shares[1] / shares[0])).sum())


def _spoilt(name: str, values: np.ndarray) -> Drop | None:
    there = values[~np.isnan(values)]
    missing = 1 - len(there) / len(values)
    if not len(there):
        return Drop(name, "empty", "no row has a value")
    if missing > MOST_MISSING:
        return Drop(name, "empty", f"{100 * missing:.1f} % of the rows have no value")
    if there.min() == there.max():
        return Drop(name, "constant", f"every value is {there[0]:g}")
    return None


def _rare(name: str, values: np.ndarray, study: Study) -> Drop | None:
    """Return a drop for a column that differs in a few rows only, unless these rows decide the target."""
    others = few_others(values)
    if others is None:
        return None
    responses = study.target.responses
    if study.target.kind == "continuous":
        responses = normal_scores(study.target.values)[:, None]
    residual = least_squares(np.ones((len(responses), 1)), responses).residual
    if surprise(others, study.clusters, residual) < np.log(SURE / len(study.names)):
        return None
    commonest = float(np.median(values[~np.isnan(values)]))
    return Drop(name, "constant", f"all but {len(others)} values are {commonest:g}")


def _identifier(name: str, values: np.ndarray, times: np.ndarray | None) -> Drop | None:
    there = ~np.isnan(values)
    told = values[there]
    if len(np.unique(told)) < len(told) or (told % 1).any():
        return None
    orders = [np.flatnonzero(there)] if times is None else [np.flatnonzero(there), times[there]]
    if any(abs(stats.spearmanr(told, order)[0]) > IN_STEP for order in orders if len(np.unique(order)) > 1):
        return Drop(name, "identifier", "whole numbers, each once, that go with the order of the rows")
    return None


def _doubled(name: str, values: np.ndarray, seen: dict[bytes, str]) -> Drop | None:
    """Return a drop for a column equal to an earlier one, which `seen` remembers."""
    key = np.nan_to_num(values, nan=np.inf).tobytes()
    if (first := seen.setdefault(key, name)) != name:
        return Drop(name, "duplicate", f"the same values as {first}")
    return None


def _shifts(study: Study, columns: Sequence[int]) -> tuple[tuple[Drop, ...], tuple[Drop, ...]]:
    """Return the columns that moved from the first to the last third of the time: effect gone, effect held."""
    if study.times is None:
        return (), ()
    early_rows, _, late_rows = np.array_split(np.argsort(study.times, kind="stable"), 3)
    responses = study.target.responses
    unstable: list[Drop] = []
    moved: list[Drop] = []
    for column in columns:
        early, late = (_there(study.X[rows, column]) for rows in (early_rows, late_rows))
        if min(_observed(early, late)) < FEWEST_FOR_PSI:
            continue
        index = stability_index(early, late)
        if index < MOVED:
            continue
        pulls = [_correlations(study.X[rows, column], responses[rows]) for rows in (early_rows, late_rows)]
        held, told = _held(*pulls)
        facts = f"population stability index {index:.2f} from the first to the last third of the time; {told}"
        (moved if held else unstable).append(Drop(study.names[column], "unstable", facts))
    return tuple(unstable), tuple(moved)


def _observed(early: np.ndarray, late: np.ndarray) -> tuple[int, int]:
    """Return how often each stretch tells something: once a row, but once a value if rows share it and none comes back.

    What a place tells is the same for all rows of its moment; a few moments differ without any drift.
    """
    first, last = np.unique(early), np.unique(late)
    shared = 2 * len(first) <= len(early) and 2 * len(last) <= len(late)
    if shared and not len(np.intersect1d(first, last, assume_unique=True)):
        return len(first), len(last)
    return len(early), len(late)


def _there(values: np.ndarray) -> np.ndarray:
    return np.asarray(values[~np.isnan(values)])


def _correlations(values: np.ndarray, responses: np.ndarray) -> tuple[np.ndarray, int]:
    """Return the rank correlation of a column with each response and the number of rows."""
    there = ~np.isnan(values)
    z = normal_scores(values)[there]
    told = []
    for response in responses[there].T:
        y = normal_scores(response)
        spread = z.std() * y.std()
        told.append(float(((z - z.mean()) * (y - y.mean())).mean() / spread) if spread > 0 else 0.0)
    return np.array(told), int(there.sum())


def _held(early: tuple[np.ndarray, int], late: tuple[np.ndarray, int]) -> tuple[bool, str]:
    """Return whether an effect is sure in both stretches, of one sign and not told apart, and the sentence."""
    (before, rows_before), (after, rows_after) = early, late
    which = int(np.abs(before).argmax())
    one, two = float(before[which]), float(after[which])
    limit = stats.norm.isf(SURE / 2)
    sure = all(
        abs(np.arctanh(np.clip(rho, -0.999999, 0.999999))) * np.sqrt(max(rows - 3, 1)) > limit
        for rho, rows in ((one, rows_before), (two, rows_after))
    )
    apart = abs(np.arctanh(np.clip(one, -0.999999, 0.999999)) - np.arctanh(np.clip(two, -0.999999, 0.999999)))
    spread = np.sqrt(1 / max(rows_before - 3, 1) + 1 / max(rows_after - 3, 1))
    same = apart / spread < limit or abs(two) > 0.5 * abs(one)
    sentence = f"its rank correlation with the target went from {one:+.2f} to {two:+.2f}"
    return bool(sure and one * two > 0 and same), sentence
