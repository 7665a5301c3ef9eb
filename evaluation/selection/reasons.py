"""Why a candidate is not among the selected, and where the data deny what an expert expected."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from evaluation.selection.expert import Experts, Statement
from evaluation.selection.groups import Group
from evaluation.selection.screening import Screen, Screened
from evaluation.selection.study import Drop

CERTAIN = 0.01  # p-value, shared among the columns, from which a column goes with the target
CONTRADICTED = 0.01  # p-value of an effect opposite to the expert's direction


@dataclass(frozen=True)
class Contradiction:
    """An expert's direction that the data deny."""

    indicator: str
    expected: str
    p_value: float
    statement: Statement


@dataclass(frozen=True)
class Judged:
    """What was asked of the candidates and said. names: of all columns; p_values: of the candidates against probes."""

    screen: Screen
    screened: Screened
    names: Sequence[str]
    p_values: np.ndarray


def fallen(judged: Judged, found: Sequence[Group], *, known: Collection[str]) -> list[Drop]:
    """Return the reason of each candidate that is not selected and not among the known."""
    screen, screened, names = judged.screen, judged.screened, judged.names
    group_of = {column: group for group in found for column in group.members}
    drops = []
    for probe_p, column in zip(judged.p_values, screen.candidates, strict=True):
        group = group_of.get(column)
        if names[column] in known or (group is not None and group.representative == column):
            continue
        alone = f"alone p = {_p(screened.alone[column])}"
        beside = f"beside the selected p = {_p(screened.log_p[column])}"
        if group is not None:
            rho = screen.scores.rho[column, group.representative]
            tie = "; could stand for the group as well" if column in group.ties else ""
            facts = f"rank correlation {rho:+.2f} with {names[group.representative]}; {beside}{tie}"
            drops.append(Drop(names[column], "redundant", facts))
        elif screened.alone[column] < np.log(CERTAIN / len(screen.candidates)):
            drops.append(Drop(names[column], "explained_by_others", f"{alone}; {beside}"))
        else:
            facts = f"{alone}; {beside}; against probes p = {probe_p:.2g}"
            drops.append(Drop(names[column], "no_effect", facts))
    return drops


def contradictions(
    screen: Screen, screened: Screened, found: Sequence[Group], experts: Experts, names: Sequence[str]
) -> list[Contradiction]:
    """Return the directions that the data deny, each column beside the chosen that do not tell the same."""
    denied = []
    for one in experts.statements:
        column = names.index(one.indicator)
        if one.direction is None or column not in screen.candidates:
            continue
        mates = {mate for group in found if column in group.members for mate in group.members}
        others = [chosen for chosen in screened.chosen if chosen not in mates]
        sign, log_p = screen.pull(others, screened.pairs, column)
        if sign == {"rising": -1, "falling": 1}[one.direction] and log_p < np.log(CONTRADICTED):
            denied.append(Contradiction(one.indicator, one.direction, float(np.exp(log_p)), one))
    return denied


def _p(log_p: float) -> str:
    return f"{np.exp(log_p):.2g}" if log_p > -690 else "below 1e-300"
