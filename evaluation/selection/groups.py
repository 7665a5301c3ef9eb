"""Columns that tell the same: clusters, and the election of the one that stands for its group."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from scipy.cluster import hierarchy
from scipy.spatial.distance import squareform

from evaluation.selection.expert import Experts
from evaluation.selection.ranks import Scores
from evaluation.selection.screening import Pair, Screen, Screened

Likeness = Literal["spearman", "mutual-information"]
ALIKE = 0.7  # of columns in one group
STANDS_IN = 0.05  # p-value from which the chosen column adds nothing beyond the one that is to stand for it
_BINS = 16
_WEIGHT, _COST = 1.0, 1.0  # of an indicator of which no expert said anything


@dataclass(frozen=True)
class Group:
    """One thing that the table knows. members: columns with the representative, the likest first.

    ties: members that could have been elected as well: nothing is lost with any of them.
    """

    representative: int
    members: tuple[int, ...]
    ties: tuple[int, ...]


def likeness(scores: Scores, how: Likeness) -> np.ndarray:
    """Return (p, p) in [0, 1]: |Spearman's rho|, or sqrt(1 - exp(-2 I)), which equals |rho| of two normal columns."""
    if how == "spearman":
        return np.asarray(np.abs(scores.rho))
    return _mutual_information(scores)


def tree_order(alike: np.ndarray, columns: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Return the linkage (m - 1, 4) of columns under 1 - likeness, average linkage, and its leaves as columns."""
    leaves = np.asarray(columns)
    if len(leaves) < 2:
        return np.zeros((0, 4)), leaves
    distance = 1 - alike[np.ix_(leaves, leaves)]
    np.fill_diagonal(distance, 0.0)
    linkage = hierarchy.linkage(squareform((distance + distance.T) / 2, checks=False), method="average")
    return linkage, leaves[hierarchy.leaves_list(linkage)]


@dataclass(frozen=True)
class _Poll:
    """What an election looks at. alike: (p, p) likeness of all columns, names: of all columns."""

    screen: Screen
    screened: Screened
    alike: np.ndarray
    names: Sequence[str]
    experts: Experts


def elect(
    screen: Screen, screened: Screened, alike: np.ndarray, names: Sequence[str], experts: Experts
) -> tuple[list[Group], Screened]:
    """Return a group for each column that matters or that experts keep, and the screening with the elected in place.

    A member may stand for the chosen column if that one adds nothing beyond it, but none for one that an expert keeps.
    Of these the expert's weight decides, then the fewest missing values, the lowest cost, the likeness to the other
    members, and what it explains alone.
    """
    groups: list[Group] = []
    screened = _with_kept(_Poll(screen, screened, alike, names, experts))
    for chosen in screened.columns:
        poll = _Poll(screen, screened, alike, names, experts)
        group = _elected(poll, chosen)
        groups.append(group)
        screened = _replaced(screened, chosen, group.representative)
    return groups, screened


def without(found: Sequence[Group], columns: Sequence[int]) -> list[Group]:
    """Return the groups without these members, none of which stands for one."""
    return [
        Group(
            group.representative,
            tuple(one for one in group.members if one not in columns),
            tuple(one for one in group.ties if one not in columns),
        )
        for group in found
    ]


def _with_kept(poll: _Poll) -> Screened:
    """Return the screening with what experts keep: in the place of a chosen column that it can stand for, or added."""
    screened = poll.screened
    kept = [column for column in poll.screen.candidates if poll.names[column] in poll.experts.kept]
    for column in kept:
        if column in screened.columns:
            continue
        free = [
            chosen
            for chosen in screened.columns
            if chosen not in kept
            and column in _members(chosen, screened.columns, poll.screen.candidates, poll.alike)
            and _stands_in(poll.screen, screened, chosen, column)
        ]
        added = replace(screened, chosen=(*screened.chosen, column))
        screened = _replaced(screened, free[0], column) if free else added
    return screened


def _elected(poll: _Poll, chosen: int) -> Group:
    members = _members(chosen, poll.screened.columns, poll.screen.candidates, poll.alike)
    able = [one for one in members if one == chosen or _stands_in(poll.screen, poll.screened, chosen, one)]
    kept = poll.names[chosen] in poll.experts.kept
    elected = chosen if kept else min(able, key=lambda one: _merits(poll, one, members))
    others = sorted((one for one in members if one != elected), key=lambda one: -poll.alike[elected, one])
    return Group(elected, (elected, *others), tuple(one for one in able if one != elected))


def _members(
    chosen: int, all_chosen: Sequence[int], candidates: Sequence[int], alike: np.ndarray
) -> list[int]:
    others = [one for one in candidates if one not in all_chosen and alike[chosen, one] >= ALIKE]
    return [chosen, *(one for one in others if alike[one, list(all_chosen)].max() <= alike[one, chosen])]


def _stands_in(screen: Screen, screened: Screened, chosen: int, other: int) -> bool:
    replaced = _replaced(screened, chosen, other)
    limit = np.log(STANDS_IN)
    if chosen in screened.chosen and screen.beside(replaced.chosen, replaced.pairs, chosen) <= limit:
        return False
    return all(
        screen.product_beside(replaced.chosen, replaced.pairs, pair) > limit
        for pair in screened.pairs
        if chosen in pair
    )


def _replaced(screened: Screened, old: int, new: int) -> Screened:
    def put(columns: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(new if one == old else one for one in columns)

    pairs: list[Pair] = [(put(pair)[0], put(pair)[1]) for pair in screened.pairs]
    return Screened(put(screened.chosen), tuple(pairs), screened.log_p, screened.alone)


def _merits(poll: _Poll, one: int, members: Sequence[int]) -> tuple[float, float, float, float, float, str]:
    said = poll.experts.of(poll.names[one])
    weight = _WEIGHT if said is None or said.weight is None else said.weight
    cost = _COST if said is None or said.cost is None else said.cost
    missing = 1 - float(poll.screen.scores.there[:, one].mean())
    closeness = float(poll.alike[one, list(members)].mean())
    return (
        -weight,
        round(missing, 1),
        cost,
        -round(closeness, 2),
        round(float(poll.screened.alone[one]), 1),
        poll.names[one],
    )


def _mutual_information(scores: Scores) -> np.ndarray:
    """Return sqrt(1 - exp(-2 I)) with I from tables of ranks in _BINS classes, less its bias.

    Source: Miller 1955 (bias), Linfoot 1957 (scale).
    """
    bins = [_classes(scores.z[:, column], scores.there[:, column]) for column in range(scores.z.shape[1])]
    told = np.eye(len(bins))
    for one in range(len(bins)):
        for other in range(one):
            both = (bins[one] >= 0) & (bins[other] >= 0)
            told[one, other] = told[other, one] = _scaled(bins[one][both], bins[other][both])
    return told


def _classes(z: np.ndarray, there: np.ndarray) -> np.ndarray:
    edges = (
        np.unique(np.quantile(z[there], np.linspace(0, 1, _BINS + 1)[1:-1])) if there.any() else np.zeros(0)
    )
    return np.where(there, np.searchsorted(edges, z, side="right"), -1)


def _scaled(one: np.ndarray, other: np.ndarray) -> float:
    if not len(one):
        return 0.0
    table = np.zeros((_BINS, _BINS))
    np.add.at(table, (one, other), 1.0)
    rows, columns = table.sum(axis=1), table.sum(axis=0)
    expected = np.outer(rows, columns) / len(one)
    there = table > 0
    information = float((table[there] * np.log(table[there] / expected[there])).sum() / len(one))
    bias = ((rows > 0).sum() - 1) * ((columns > 0).sum() - 1) / (2 * len(one))
    return float(np.sqrt(1 - np.exp(-2 * max(0.0, information - bias))))
