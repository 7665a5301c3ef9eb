"""User marks: which a device holds, how probably, since when and why. Rules, models and experts made into one table.

`mark` is a pure function of frames: one device of a REST call and a whole province take the same road.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from evaluation import expert_marks, mark_rules
from evaluation.mark_evidence import evidence, usual_of
from evaluation.mark_rules import Mark, UserMarks
from features.device_marks import MARKS, PREFIX
from features.table import Column, check_table, empty_table
from training.mark_models import MarkModels

EXPERT = "expert"
_TINY = 1e-6  # of a probability, so that log-odds are finite


@dataclass(frozen=True)
class Marking:
    """What devices are marked by. columns: what can be known of a device, for the units of evidence."""

    marks: UserMarks
    models: MarkModels | None = None
    experts: pd.DataFrame = field(default_factory=expert_marks.nothing)
    columns: Mapping[str, Column] = field(default_factory=dict)

    @property
    def version(self) -> str:
        """Of the rules, and of the models where there are some."""
        return rules_version(self.marks) + (f" {self.models.manifest.model_version}" if self.models else "")


@dataclass(frozen=True)
class Marked:
    """held: MARKS. probabilities: device_id, then of every mark how probable it is, NaN where nothing is known."""

    held: pd.DataFrame
    probabilities: pd.DataFrame


def rules_version(marks: UserMarks) -> str:
    """Return a name of all that user_marks.yaml says: the same name, the same rules."""
    return f"marks-{hashlib.sha256(marks.model_dump_json().encode()).hexdigest()[:12]}"


def mark(
    frame: pd.DataFrame, marking: Marking, *, at: pd.Timestamp, before: pd.DataFrame | None = None
) -> Marked:
    """Return the marks of devices at a moment.

    frame: device_id and any of what can be known of a device, one row each; a column that lacks is unknown.
    before: MARKS of the moment before, from which on a mark is kept: `since` stays while it is held, and one of which
    nothing is known now stays until it expires, or an expert says no. Raises ValueError of a device of two rows.
    """
    rows = frame.reset_index(drop=True)
    twice = rows["device_id"][rows["device_id"].duplicated()].tolist()
    if twice:
        raise ValueError(f"each device must have one row, but {twice[0]} has several")
    proba, source = _answers(rows, marking)
    moment = _Moment(marking, at, expert_marks.said(marking.experts, marking.marks, at=at))
    proba, source = _overridden(proba, source, rows["device_id"], moment)
    proba = _shared_out(proba, marking.marks)  # after experts: what they deny takes no share
    holds = _holds(proba, marking.marks)
    held = _held(rows, holds, proba, source, moment)
    held = _kept(held, proba, rows["device_id"], before, moment)
    wide = pd.concat([rows[["device_id"]], proba.add_prefix(PREFIX)], axis=1)
    return Marked(check_table(held, MARKS, table="marks"), wide)


def rule_probability(one: Mark, frame: pd.DataFrame) -> np.ndarray:
    """Return how probable a mark is by its rule alone, (n,); NaN where the rule is unknown."""
    true = mark_rules.rule_holds(one, frame)
    told = np.where(true.fillna(False), one.probability.when_true, one.probability.when_false)
    return np.where(true.isna(), np.nan, told)


def model_probability(one: Mark, frame: pd.DataFrame, models: MarkModels | None) -> np.ndarray:
    """Return how probable a mark is by its model alone, (n,); NaN where there is none.

    The model tells what its teacher would say, and a teacher is right as often as `probability` of the mark says.
    """
    taught = models.taught(one.id, frame) if models else None
    if taught is None:
        return np.full(len(frame), np.nan)
    if one.rule is None:
        return taught
    sure = one.probability
    return np.asarray(sure.when_false + taught * (sure.when_true - sure.when_false))


def both(by_rule: np.ndarray, by_model: np.ndarray, *, weight: float = 1.0) -> np.ndarray:
    """Return the mean of the log-odds of two probabilities, as a probability; one alone where the other is NaN.

    weight: what the model counts where the rule counts 1: its skill, as it tells labels again that it did not see.

    >>> both(np.array([0.9, 0.9]), np.array([0.1, np.nan])).round(3).tolist()
    [0.5, 0.9]
    """
    odds = [np.log(p / (1 - p)) for p in (np.clip(one, _TINY, 1 - _TINY) for one in (by_rule, by_model))]
    mean = 1 / (1 + np.exp(-(odds[0] + weight * odds[1]) / (1 + weight)))
    return np.where(np.isnan(by_rule), by_model, np.where(np.isnan(by_model), by_rule, mean))


@dataclass(frozen=True)
class _Moment:
    """A moment of marking. said: what experts had said by then."""

    marking: Marking
    at: pd.Timestamp
    said: pd.DataFrame


def _answers(frame: pd.DataFrame, marking: Marking) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the probability of every mark of every device, and which source told it, as frames (n, marks)."""
    proba, source = {}, {}
    for one in marking.marks.marks:
        by_rule = rule_probability(one, frame) if one.source != "model" else np.full(len(frame), np.nan)
        by_model = (
            model_probability(one, frame, marking.models)
            if one.source != "rule"
            else np.full(len(frame), np.nan)
        )
        told = both(by_rule, by_model, weight=marking.models.skill(one.id) if marking.models else 1.0)
        foreign = (~mark_rules.applies(one, frame)).fillna(False).to_numpy(dtype=bool)
        proba[one.id] = np.where(foreign, 0.0, told)
        alone = np.where(np.isnan(by_model) | foreign, "rule", "model")
        source[one.id] = np.where(np.isnan(by_rule) | np.isnan(by_model) | foreign, alone, "both")
    return pd.DataFrame(proba, index=frame.index), pd.DataFrame(source, index=frame.index, dtype=object)


def _shared_out(proba: pd.DataFrame, marks: UserMarks) -> pd.DataFrame:
    """Return probabilities of which those of an exclusive group are scaled down to a sum of 1, where it is more."""
    shared = proba.copy()
    for group in marks.exclusive():
        names = list(group)
        total = proba[names].sum(axis=1)
        shared[names] = proba[names].div(total.where(total > 1, 1.0), axis=0)
    return shared


def _overridden(
    proba: pd.DataFrame, source: pd.DataFrame, devices: "pd.Series[str]", moment: "_Moment"
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return probabilities and sources with what experts say in the place of what was computed.

    A mark that an expert sees leaves no room for the others of its exclusive group.
    """
    values, sources = proba.to_numpy(copy=True), source.to_numpy(copy=True)
    place = pd.Series(np.arange(len(devices)), index=devices.astype(object))
    row = place.reindex(moment.said["device_id"].astype(object)).to_numpy()
    there = ~np.isnan(row)
    rows = row[there].astype(np.int64)
    columns = proba.columns.get_indexer(pd.Index(moment.said["mark"][there]))
    holds = moment.said["holds"].to_numpy()[there]
    for group in moment.marking.marks.exclusive():
        inside = proba.columns.get_indexer(pd.Index(group))
        seen = rows[holds & np.isin(columns, inside)]
        values[np.ix_(seen, inside)], sources[np.ix_(seen, inside)] = 0.0, EXPERT
    values[rows, columns], sources[rows, columns] = holds.astype(np.float64), EXPERT
    names, index = proba.columns, proba.index
    return pd.DataFrame(values, index, names), pd.DataFrame(sources, index, names)


def _holds(proba: pd.DataFrame, marks: UserMarks) -> pd.DataFrame:
    """Return which marks are held: probable enough, and the most probable one of an exclusive group."""
    holds = proba >= marks.held_at
    for group in marks.exclusive():
        names = list(group)
        there = proba[names].fillna(-1.0)
        first = there.eq(there.max(axis=1), axis=0)
        holds[names] &= first & (first.cumsum(axis=1) == 1)
    return holds


def _held(
    frame: pd.DataFrame, holds: pd.DataFrame, proba: pd.DataFrame, source: pd.DataFrame, moment: _Moment
) -> pd.DataFrame:
    """Return MARKS as if devices were marked for the first time."""
    marking, parts = moment.marking, [empty_table(MARKS)]
    names = sorted({feature for one in marking.marks.marks for feature in one.features})
    usual = usual_of(frame, marking.models, names)
    for one in marking.marks.marks:
        rows = np.flatnonzero(holds[one.id])
        if not len(rows):
            continue
        some, by = frame.iloc[rows], source[one.id].iloc[rows].to_numpy()
        told = evidence(one, some, columns=marking.columns, usual=usual, models=marking.models)
        ends = moment.at + one.expires if one.expires is not None else pd.NaT
        part = pd.DataFrame(
            {
                "device_id": some["device_id"].to_numpy(), "mark": one.id,
                "probability": proba[one.id].iloc[rows].to_numpy(), "since": moment.at,
                "evidence": told, "expires": pd.NaT, "source": by,
                "version": marking.version, "window_end": moment.at,
            }
        )  # fmt: skip
        part["expires"] = pd.Series(ends, index=part.index, dtype="datetime64[us, UTC]")
        parts.append(_as_said(part, moment.said))
    return _together(parts)


def _as_said(part: pd.DataFrame, said: pd.DataFrame) -> pd.DataFrame:
    """Return the rows with evidence and expiry of what an expert said where one did."""
    mine = (part["source"] == EXPERT).to_numpy()
    if not mine.any():
        return part
    words = said.set_index(["device_id", "mark"])
    asked = pd.MultiIndex.from_frame(part.loc[mine, ["device_id", "mark"]])
    told = words.reindex(asked)
    text = [
        f"said by {author} on {date:%Y-%m-%d}"
        for author, date in zip(told["author"], told["date"], strict=True)
    ]
    changed = part.copy()
    changed.loc[mine, "evidence"] = text
    changed["expires"] = changed["expires"].astype("datetime64[us, UTC]")
    changed.loc[mine, "expires"] = told["expires"].to_numpy()
    return changed


def _kept(
    held: pd.DataFrame,
    proba: pd.DataFrame,
    devices: "pd.Series[str]",
    before: pd.DataFrame | None,
    moment: _Moment,
) -> pd.DataFrame:
    """Return MARKS that know those of the moment before: since when each is held, and what still is, though untold."""
    if before is None or before.empty:
        return held
    known_marks = list(proba.columns)
    lasting = before[
        (before["expires"].isna() | (before["expires"] > moment.at)) & before["mark"].isin(known_marks)
    ]
    keys = ["device_id", "mark"]
    since = held[keys].merge(lasting[[*keys, "since"]], on=keys, how="left", validate="1:1")["since"]
    now = held.assign(since=since.set_axis(held.index).fillna(held["since"]))
    place = pd.Series(np.arange(len(devices)), index=devices.astype(object))
    row = place.reindex(lasting["device_id"].astype(object)).to_numpy()
    column = proba.columns.get_indexer(pd.Index(lasting["mark"]))
    absent = np.isnan(row)
    found = proba.to_numpy()[np.where(absent, 0, row).astype(np.int64), column] if len(proba) else np.nan
    untold = lasting[absent | np.isnan(found)]
    untold = untold[~_displaced(untold, now, moment.marking.marks) & ~_denied(untold, moment.said)]
    return _together([now, untold.assign(window_end=moment.at)])


def _displaced(untold: pd.DataFrame, now: pd.DataFrame, marks: UserMarks) -> np.ndarray:
    """Return which marks of the past stand in an exclusive group of which another mark is held now."""
    group_of = {name: place for place, group in enumerate(marks.exclusive()) for name in group}
    taken = set(zip(now["device_id"], now["mark"].map(group_of), strict=True))
    asked = zip(untold["device_id"], untold["mark"].map(group_of), strict=True)
    return np.array([one in taken for one in asked], dtype=bool)


def _denied(untold: pd.DataFrame, said: pd.DataFrame) -> np.ndarray:
    """Return of which marks of the past an expert says that they are not, whether or not the device is known now."""
    keys = ["device_id", "mark"]
    no = pd.MultiIndex.from_frame(said.loc[~said["holds"].to_numpy(dtype=bool), keys].astype(object))
    return np.asarray(pd.MultiIndex.from_frame(untold[keys].astype(object)).isin(no))


def _together(parts: list[pd.DataFrame]) -> pd.DataFrame:
    there = [part for part in parts if len(part)] or parts[:1]
    return pd.concat(there).sort_values(["device_id", "mark"], kind="stable", ignore_index=True)
