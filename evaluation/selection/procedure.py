"""The selection of a table's indicators, step by step; each indicator that falls keeps the reason."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from scipy import stats
from tqdm import tqdm

from evaluation.selection import (
    boosting,
    contributions,
    groups,
    late_finds,
    leaks,
    networks,
    quality,
    reasons,
    smallest,
)
from evaluation.selection.contributions import Contributions, How, Model
from evaluation.selection.expert import Experts
from evaluation.selection.groups import Group, Likeness
from evaluation.selection.ranks import Scores, score
from evaluation.selection.row_cap import capped
from evaluation.selection.screening import Screen, Screened
from evaluation.selection.shapes import Effect, effect
from evaluation.selection.smallest import Curve
from evaluation.selection.study import Drop, Study, data_hash

log = logging.getLogger(__name__)

OFTEN = 0.25  # share of the subsamples that must choose a group; at 0.5 weak effects are lost too often (measured)
FEWEST_RANKED = 3  # of which two rankings can agree or not
UNUSABLE = {"empty", "constant", "no_number"}  # what no expert can keep


@dataclass(frozen=True)
class Settings:
    """How a selection is made. rows: at most so many are screened and explained; the quality looks at all.

    model: measures the importance. Whatever it is, trees judge: a suspected leak, a late find, and how few suffice.
    """

    seed: int = 0
    rows: int = 20_000
    subsamples: int = contributions.SUBSAMPLES
    likeness: Likeness = "spearman"
    threads: int = 1
    model: Model = "trees"


@dataclass(frozen=True)
class Selection:
    """One audited answer. Columns are places in study.names.

    selected: in order of strength, one of each group that matters; minimal: how many suffice, the best first.
    """

    study: Study  # the rows that were screened and explained
    settings: Settings
    experts: Experts
    columns: tuple[int, ...]  # the candidates after quality, leaks and vetoes
    groups: tuple[Group, ...]  # in the order of `selected`
    frequency: tuple[float, ...]
    selected: tuple[int, ...]
    minimal: tuple[int, ...]
    dropped: tuple[Drop, ...]
    moved: tuple[Drop, ...]
    contradictions: tuple[reasons.Contradiction, ...]
    scores: Scores
    screened: Screened
    measured: Contributions
    effects: tuple[Effect | None, ...]
    curve: Curve
    rows_of_table: int
    data_hash: str  # of the whole table, not of the rows that were screened
    agreement: float | None = None
    agreement_with_trees: float | None = None


@dataclass
class _Work:
    """What the steps hand on."""

    study: Study
    drops: list[Drop]
    columns: list[int] = field(default_factory=list)
    how: How = field(default_factory=boosting.Trees)  # how the model is learnt that measures

    def drop(self, found: Sequence[Drop], experts: Experts) -> None:
        """Take columns out, but for those that an expert keeps and that can be kept."""
        out = [drop for drop in found if drop.indicator not in experts.kept or drop.reason in UNUSABLE]
        self.drops += out
        gone = {drop.indicator for drop in out}
        self.columns = [column for column in self.columns if self.study.names[column] not in gone]


@dataclass(frozen=True)
class _Ground:
    """What the steps stand on. draws: rows of each subsample; alike: (p, p) likeness; trees: who judges."""

    scores: Scores
    trees: boosting.Trees
    alike: np.ndarray
    draws: tuple[np.ndarray, ...]
    experts: Experts


def select(study: Study, settings: Settings, experts: Experts) -> Selection:
    """Return which indicators of a study decide its target, and why each other one fell.

    Raises ValueError where no indicator can be used at all.
    """
    _begin(f"quality of {len(study.names):,} columns in {len(study.X):,} rows")
    inspected = quality.inspect(study)
    sample = replace(study.rows(capped(study, rows=settings.rows, seed=settings.seed)), notes=study.notes)
    work = _usable(study, sample, inspected.drops, experts)
    ground = _ground(work, settings, experts)
    screened = _without_leaks(work, ground)
    work.how = ground.trees if settings.model == "trees" else _layers(work, settings)
    screen = Screen(sample, candidates=work.columns, scores=ground.scores)
    found, screened = groups.elect(screen, screened, ground.alike, study.names, experts)
    often = _frequency(work, ground, found)
    found, often, screened = _repeated(found, often, screen.judged(screened), experts, work)
    found, often, measured = _measured(work, found, often, ground)
    chosen = tuple(group.representative for group in found)
    _begin(f"score against number, of 0 to {len(chosen)} columns in {smallest.FOLDS} folds")
    late = len(set(chosen) - set(screened.columns))
    ballot = smallest.Ballot(tuple(work.columns), settings.likeness, experts, ground.trees, late)
    told = smallest.curve(sample, ground.scores, ballot, sorted(chosen, key=lambda one: screened.alone[one]))
    return Selection(
        study=sample,
        settings=settings,
        experts=experts,
        columns=tuple(work.columns),
        groups=tuple(found),
        frequency=tuple(often),
        selected=chosen,
        minimal=told.order[: told.enough],
        dropped=(*work.drops, *_fell(work, screen, screened, found, measured)),
        moved=inspected.moved,
        contradictions=tuple(reasons.contradictions(screen, screened, found, experts, study.names)),
        scores=ground.scores,
        screened=screened,
        measured=measured,
        effects=tuple(_effects(sample, work.columns, chosen, measured)),
        curve=told,
        rows_of_table=len(study.X),
        data_hash=data_hash(study),
        agreement=_agreement(study, work, measured),
        agreement_with_trees=_agreement_with_trees(work, found, measured, ground),
    )


def _begin(step: str) -> None:
    """Say which step begins: a run without a terminal shows no bars."""
    log.info("selection: %s", step)


def _usable(study: Study, sample: Study, drops: Sequence[Drop], experts: Experts) -> "_Work":
    """Return the work on a sample once what cannot be used is out. Raises ValueError where nothing is left."""
    work = _Work(sample, list(study.dropped), list(range(len(study.names))))
    work.drop([*drops, *_told_by_experts(experts)], experts)
    if not work.columns:
        raise ValueError(
            "a selection needs a usable indicator, but all fell: "
            + "; ".join(f"{drop.indicator}: {drop.detail}" for drop in work.drops[:5])
        )
    return work


def _told_by_experts(experts: Experts) -> list[Drop]:
    drops = []
    for one in experts.statements:
        who = f"{one.author}, {one.date:%Y-%m-%d}: {one.reason}"
        if one.keep is False:
            drops.append(Drop(one.indicator, "veto", who))
        elif one.available_after_s is not None and one.available_after_s > 0:
            late = f"known {one.available_after_s:g} s after the moment of the target ({who})"
            drops.append(Drop(one.indicator, "leak", late))
    return drops


def _ground(work: _Work, settings: Settings, experts: Experts) -> _Ground:
    scores = score(work.study.X)
    return _Ground(
        scores,
        _trees(work.study, work.columns, settings, experts),
        groups.likeness(scores, settings.likeness),
        tuple(contributions.subsamples(work.study, count=settings.subsamples, seed=settings.seed)),
        experts,
    )


def _trees(sample: Study, columns: Sequence[int], settings: Settings, experts: Experts) -> boosting.Trees:
    """Return how trees are grown: experts' directions, and as many rounds as the columns need."""
    signs = {"rising": 1, "falling": -1}
    told = {one.indicator: signs[one.direction] for one in experts.statements if one.direction}
    if told and sample.target.kind == "classes":
        raise ValueError(
            "a direction needs a target that is a number or of two classes, but this one has more"
        )
    monotone = tuple(told.get(name, 0) for name in sample.names) if told else ()
    _begin(f"how many rounds trees of {len(columns):,} columns need")
    grown = boosting.Trees(seed=settings.seed, threads=settings.threads)
    cut = boosting.folds(sample, count=boosting.FOLDS, seed=settings.seed)
    enough = boosting.rounds(sample, sample.X[:, list(columns)], cut, grown)
    return replace(grown, rounds=enough, monotone=monotone)


def _layers(work: _Work, settings: Settings) -> networks.Layers:
    """Return how a network is learnt: as long as the columns need."""
    _begin(f"how long a network of {len(work.columns):,} columns must learn")
    layers = networks.Layers(seed=settings.seed)
    cut = boosting.folds(work.study, count=boosting.FOLDS, seed=settings.seed)
    return replace(layers, epochs=networks.epochs(work.study, work.study.X[:, work.columns], cut, layers))


def _without_leaks(work: _Work, ground: _Ground) -> Screened:
    """Return the screening once the suspected leaks are out; each that goes may uncover another."""
    scores = ground.scores
    while True:
        _begin(f"screening of {len(work.columns):,} columns in {len(work.study.X):,} rows, and leaks")
        screen = Screen(work.study, candidates=work.columns, scores=scores)
        screened = screen.run()
        found = leaks.outdoes_all(work.study, scores, screened.alone, work.columns, ground.trees)
        if all(drop.indicator in ground.experts.kept for drop in found):
            found = leaks.follows_target(work.study, scores, screened, among=screened.columns)
        before = len(work.columns)
        work.drop(found, ground.experts)
        if len(work.columns) == before:
            return screened


def _frequency(work: _Work, ground: _Ground, found: Sequence[Group]) -> list[float]:
    """Return how often each group is chosen from a draw of the rows, by any of its members."""
    _begin(f"screening of {len(ground.draws)} subsamples")
    chosen = []
    for rows in tqdm(ground.draws, desc="screen subsamples", delay=2, disable=None, leave=False):
        screen = Screen(work.study.rows(rows), candidates=work.columns, scores=ground.scores.rows(rows))
        chosen.append(set(screen.run().columns))
    return [float(np.mean([bool(one & set(group.members)) for one in chosen])) for group in found]


def _repeated(
    found: list[Group], often: list[float], screened: Screened, experts: Experts, work: _Work
) -> tuple[list[Group], list[float], Screened]:
    """Return the groups that most subsamples choose, or an expert keeps."""
    stay = [
        place
        for place, group in enumerate(found)
        if often[place] >= OFTEN or work.study.names[group.representative] in experts.kept
    ]
    gone = {group.representative for place, group in enumerate(found) if place not in stay}
    for place, group in enumerate(found):
        if place not in stay:
            told = f"chosen in {100 * often[place]:.0f} % of the subsamples only"
            work.drops.append(Drop(work.study.names[group.representative], "not_repeated", told))
    pairs = tuple(pair for pair in screened.pairs if not gone & set(pair))
    left = replace(screened, chosen=tuple(one for one in screened.chosen if one not in gone), pairs=pairs)
    return [found[place] for place in stay], [often[place] for place in stay], left


def _measure(work: _Work, found: Sequence[Group], draws: Sequence[np.ndarray], how: How) -> Contributions:
    _begin(f"SHAP values of {len(work.columns):,} columns over {len(draws)} subsamples")
    place = {column: number for number, column in enumerate(work.columns)}
    members = [[place[column] for column in group.members] for group in found]
    return contributions.measure(work.study, work.columns, members, draws=draws, how=how)


def _measured(
    work: _Work, found: list[Group], often: list[float], ground: _Ground
) -> tuple[list[Group], list[float], Contributions]:
    """Return the groups and what only the model saw, the strongest first, how often each was chosen, and strength."""
    measured = _measure(work, found, ground.draws, work.how)
    suspects = late_finds.Suspects(
        work.columns, measured.p_values, measured.strength.mean(axis=0), ground.alike
    )
    chosen = [group.representative for group in found]
    _begin("whether the screening missed a column that trees do better with")
    if added := late_finds.find(work.study, chosen, suspects, draws=ground.draws, trees=ground.trees):
        found = [*groups.without(found, list(added)), *(Group(column, (column,), ()) for column in added)]
        often = [*often, *added.values()]
        measured = _measure(work, found, ground.draws, work.how)
    order = np.argsort(-measured.group_strength.mean(axis=0), kind="stable")
    ranked = replace(measured, group_strength=measured.group_strength[:, order])
    return [found[place] for place in order], [often[place] for place in order], ranked


def _fell(
    work: _Work, screen: Screen, screened: Screened, found: Sequence[Group], measured: Contributions
) -> list[Drop]:
    """Return why each candidate is not selected, but for those that are told already."""
    known = {drop.indicator for drop in work.drops}
    judged = reasons.Judged(screen, screened, work.study.names, measured.p_values)
    return reasons.fallen(judged, found, known=known)


def _effects(
    sample: Study, columns: Sequence[int], chosen: Sequence[int], measured: Contributions
) -> list[Effect | None]:
    """Return the effect of each chosen column; of several classes, on the one that it moves most."""
    told = []
    for column in chosen:
        shown = measured.shown[:, list(columns).index(column), :]
        most = int(np.abs(shown).mean(axis=0).argmax())
        told.append(effect(sample.X[measured.shown_rows, column], shown[:, most]))
    return told


def _agreement(study: Study, work: _Work, measured: Contributions) -> float | None:
    """Return the rank correlation of strength with that in the whole table; None: the sample is the whole."""
    if len(study.X) == len(work.study.X) or len(work.columns) < FEWEST_RANKED:
        return None
    _begin(f"importance in all {len(study.X):,} rows")
    whole = contributions.of_whole(study, work.study, work.columns, how=work.how)
    return _rank_agreement(whole, measured.strength)


def _agreement_with_trees(
    work: _Work, found: Sequence[Group], measured: Contributions, ground: _Ground
) -> float | None:
    """Return the rank correlation of the groups' strength with that in trees on one subsample; None: these measured."""
    if work.how is ground.trees or len(found) < FEWEST_RANKED:
        return None
    return _rank_agreement(
        _measure(work, found, ground.draws[:1], ground.trees).group_strength[0], measured.group_strength
    )


def _rank_agreement(one: np.ndarray, draws: np.ndarray) -> float | None:
    """Return Spearman's correlation of strengths (p,) with the mean of others (s, p); None where all are the same."""
    if not np.ptp(one) or not np.ptp(draws.mean(axis=0)):
        return None
    return float(stats.spearmanr(one, draws.mean(axis=0))[0])
