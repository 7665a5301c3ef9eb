"""SCORES: how well a service works for each device and place, in which step it is ill, and how sure that is."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pyarrow as pa

from evaluation.lost_points import LostPoints, known_losses
from evaluation.scoring import BEST, Doubt, Scores, enough, score
from evaluation.scoring_plan import Plan
from features.table import Column, arrow_schema

SCORED, INSUFFICIENT = "scored", "insufficient evidence"
BINS = 20  # of the distribution of a place, equally wide from 0 to 100
_LEAST_LOSS = 1e-9  # points; below, nothing is the worst


def _score(name: str, description: str, *, empty: bool = True) -> Column:
    return Column(name, "float64", "1", description, low=0.0, high=BEST, empty=empty)


SCORES: tuple[Column, ...] = (
    Column("service", "string", "-", "id of the service"),
    Column("scope", "string", "-", "device, or the kind of place: cell, tac, fleet, city ..."),
    Column("scope_id", "string", "-", "which one"),
    Column("window_end", "timestamp", "UTC", "the moment that the score is of"),
    _score("score", "0 worst to 100 best; empty where evidence is insufficient"),
    _score("low", "least that it is, with 95 % of the errors of counting", empty=False),
    _score("high", "most that it is, if what is unknown were excellent", empty=False),
    _score("estimate", "as if the unknown were like what is known"),
    Column("coverage", "float64", "1", "known share of the weight of all indicators", low=0, high=1),
    Column("status", "string", "-", f"{SCORED}, or {INSUFFICIENT}"),
    Column("worst_kqi", "string", "-", "the KQI that costs most points by what is known", empty=True),
    Column("worst_step", "string", "-", "the step that owns most of them: process/number name", empty=True),
    Column("worst_indicator", "string", "-", "the indicator that costs most", empty=True),
    Column("devices", "int64", "1", "how many devices the row is of", low=0),
    Column("scored_devices", "int64", "1", "of these, with sufficient evidence", low=0),
    _score("p10", "a tenth of the scored devices are below; empty for a device"),
    _score("p50", "half are below"),
    _score("p90", "nine tenths are below"),
)  # fmt: skip


def columns(plan: Plan) -> tuple[Column, ...]:
    """Return SCORES of a service: with a column for each of its KQIs at the end."""
    return (
        *SCORES,
        *(_score(kqi.id, f"score of: {kqi.name}") for kqi in plan.service.kqis),
    )


def schema(plan: Plan) -> pa.Schema:
    """Return the Arrow schema of the scores of a service."""
    return arrow_schema(columns(plan))


@dataclass(frozen=True)
class Judged:
    """Scores of some devices or places (n), and the points that each lost by what is known of it."""

    scores: Scores
    lost: LostPoints


def judge(plan: Plan, told: np.ndarray, off: Doubt | None) -> Judged:
    """Return scores and lost points of utilities (f, n)."""
    scores = score(plan, told, off)
    return Judged(scores, known_losses(plan, told, scores))


def own_rows(plan: Plan, scope: str, ids: pa.Array, at: datetime, judged: Judged) -> pa.Table:
    """Return SCORES of what was judged itself: devices, or places of a service whose devices are not told apart."""
    scores, count = judged.scores, len(ids)
    scored = ~np.isnan(scores.score)
    none = np.full(count, np.nan)
    sufficient = enough(plan, scores.kqi_coverage)
    return _table(
        schema(plan),
        _named(plan, scope, ids, at)
        | {name: getattr(scores, name) for name in ("score", "low", "high", "estimate", "coverage")}
        | {"status": _status(scored)}
        | worst(judged.lost)
        | {"devices": np.ones(count, dtype="int64"), "scored_devices": scored.astype("int64")}
        | {"p10": none, "p50": none, "p90": none}
        | {
            kqi.id: row
            for kqi, row in zip(plan.service.kqis, np.where(sufficient, scores.kqi, np.nan), strict=True)
        },
    )


ALONE = ("service", "scope", "scope_id", "window_end", "score", "coverage", "status")


def only_scores(plan: Plan, ids: pa.Array, at: datetime, scores: Scores) -> pa.Table:
    """Return the columns ALONE of SCORES of devices."""
    status = _status(~np.isnan(scores.score))
    told = _named(plan, "device", ids, at) | {
        "score": scores.score,
        "coverage": scores.coverage,
        "status": status,
    }
    return _table(pa.schema([schema(plan).field(name) for name in ALONE]), told)


def worst(lost: LostPoints) -> dict[str, pa.Array]:
    """Return the names of what cost most points by what is known; null where nothing did.

    A step that several processes have by one name is one exchange: what it cost in all of them counts, and the process
    in which it cost most is named.
    """
    plan = lost.plan
    return {
        "worst_kqi": _most(lost.by_kqi(), [kqi.id for kqi in plan.service.kqis]),
        "worst_step": _most(_by_exchange(plan, lost.by_step()), [step.name for step in plan.steps]),
        "worst_indicator": _most(lost.by_indicator(), plan.ids[: plan.weighed]),
    }


def _by_exchange(plan: Plan, points: np.ndarray) -> np.ndarray:
    """Return for each step what all steps of its name cost, and a trace more where it cost most of them itself."""
    whole = np.empty_like(points)
    for rows in plan.exchanges:
        whole[rows] = points[rows].sum(axis=0) + _TRACE * points[rows]
    return whole


_TRACE = 1e-9  # of a step's own points: decides between equals only


def _most(points: np.ndarray, names: Sequence[str]) -> pa.Array:
    first = points.argmax(axis=0)
    nothing = points.max(axis=0) < _LEAST_LOSS
    return pa.DictionaryArray.from_arrays(
        pa.array(first, pa.int32(), mask=nothing), pa.array(names, pa.string())
    )


def _status(scored: np.ndarray) -> pa.Array:
    told = pa.array([SCORED, INSUFFICIENT], pa.string())
    return pa.DictionaryArray.from_arrays(pa.array(np.where(scored, 0, 1), pa.int32()), told)


def _named(plan: Plan, scope: str, ids: pa.Array, at: datetime) -> dict[str, pa.Array]:
    count = len(ids)
    return {
        "service": pa.repeat(pa.scalar(plan.service.id), count),
        "scope": pa.repeat(pa.scalar(scope), count),
        "scope_id": ids,
        "window_end": pa.repeat(pa.scalar(at, pa.timestamp("us", tz="UTC")), count),
    }


def _table(wanted: pa.Schema, told: Mapping[str, pa.Array | np.ndarray]) -> pa.Table:
    cells = []
    for field in wanted:
        values = told[field.name]
        cells.append(pa.array(values, from_pandas=True) if isinstance(values, np.ndarray) else values)
    return pa.table(cells, names=wanted.names).cast(wanted)


class RollUp:
    """The scores of devices as scores of the places of one scope that they hang on, each device with equal weight.

    A device of which too little is known counts with what is proven of it: who falls silent never raises a place.
    """

    def __init__(self, plan: Plan, scope: str) -> None:
        self.plan, self.scope = plan, scope
        self._rows: dict[str, int] = {}
        kqis = len(plan.kqi_weights)
        self._sums = np.zeros((_BINS_AT + BINS + 2 * kqis + len(plan.pairs), 0))
        # The least and the greatest score of each place's devices; NaN: none has one.
        self._ends = np.zeros((2, 0))

    def add(self, hung: pa.Array, judged: Judged) -> None:
        """Count devices. hung: (n,) the place of each; null where it hangs on none."""
        coded = hung.dictionary_encode()
        known = [self._rows.setdefault(one, len(self._rows)) for one in coded.dictionary.to_pylist()]
        codes = np.append(np.array(known, dtype="int64"), -1)[
            coded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
        ]
        here = codes >= 0
        more = ((0, 0), (0, len(self._rows) - self._sums.shape[1]))
        self._sums = np.pad(self._sums, more)
        self._ends = np.pad(self._ends, more, constant_values=np.nan)
        for row, column in enumerate(_counted(self.plan, judged)):
            self._sums[row] += np.bincount(codes[here], column[here], len(self._rows))
        for end, further in zip(self._ends, (np.fmin, np.fmax), strict=True):
            further.at(end, codes[here], judged.scores.score[here])

    def rows(self, at: datetime) -> pa.Table:
        """Return SCORES of the places, ordered by id. A score is the mean over all devices of what is proven.

        It is there, and that of a KQI, where enough of the devices have one.

        low, high: of the mean over all devices, their errors of counting independent of one another.
        """
        ids = sorted(self._rows)
        mine = [self._rows[one] for one in ids]
        sums, (least, most) = self._sums[:, mine], self._ends[:, mine]
        plan, kqis = self.plan, len(self.plan.kqi_weights)
        with np.errstate(divide="ignore", invalid="ignore"):
            devices, scored, estimated = sums[:3]
            estimate = sums[3] / estimated
            floor, ceiling, coverage = sums[4:7] / devices
            below, above = np.sqrt(sums[7:9]) / devices
            after = _BINS_AT + BINS
            kqi, known = sums[after : after + 2 * kqis].reshape(2, kqis, -1) / devices
        sufficient = enough(plan, scored / devices)
        pairs = sums[after + 2 * kqis :]
        tenths = {
            f"p{share}": np.clip(_quantile(sums[_BINS_AT:after], share / 100), least, most)
            for share in (10, 50, 90)
        }
        return _table(
            schema(plan),
            _named(plan, self.scope, pa.array(ids, pa.string()), at)
            | {"score": np.where(sufficient, floor, np.nan)}
            | {"low": (floor - below).clip(0.0), "high": np.minimum(ceiling + above, BEST)}
            | {"estimate": estimate, "coverage": coverage, "status": _status(sufficient)}
            | worst(LostPoints(plan, pairs))
            | {"devices": devices.astype("int64"), "scored_devices": scored.astype("int64")}
            | tenths
            | {
                one.id: row
                for one, row in zip(
                    plan.service.kqis, np.where(enough(plan, known), kqi, np.nan), strict=True
                )
            },
        )


_BINS_AT = 9  # rows of sums before the distribution


def _counted(plan: Plan, judged: Judged) -> Iterator[np.ndarray]:
    """Yield what is summed over devices, in the order that RollUp.rows reads."""
    scores = judged.scores
    scored, estimated = ~np.isnan(scores.score), ~np.isnan(scores.estimate)
    yield np.ones(len(scored))
    yield scored.astype("float64")
    yield estimated.astype("float64")
    yield np.nan_to_num(scores.estimate)
    yield from (scores.floor, scores.ceiling, scores.coverage)
    yield (scores.floor - scores.low) ** 2
    yield (scores.high - scores.ceiling) ** 2
    bins = np.minimum(np.nan_to_num(scores.score) * BINS / BEST, BINS - 1).astype("int64")
    for one in range(BINS):
        yield ((bins == one) & scored).astype("float64")
    yield from scores.kqi
    yield from enough(plan, scores.kqi_coverage).astype("float64")
    yield from judged.lost.pairs


def _quantile(bins: np.ndarray, share: float) -> np.ndarray:
    """Return a quantile of each column of counts in BINS bins, by a straight line inside its bin; NaN of no counts."""
    upto = np.vstack([np.zeros(bins.shape[1]), bins.cumsum(axis=0)])
    wanted = share * upto[-1]
    row = np.minimum((upto[1:] < wanted).sum(axis=0), BINS - 1)
    column = np.arange(bins.shape[1])
    with np.errstate(divide="ignore", invalid="ignore"):
        inside = (wanted - upto[row, column]) / bins[row, column]
    return np.where(upto[-1] > 0, (row + inside) * BEST / BINS, np.nan)
