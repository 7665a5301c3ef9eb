"""From what is known of devices to their scores: pure functions of a service's plan, for one row or thousands."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from evaluation import scoring
from evaluation.domain import Domain, read_domain
from evaluation.lost_points import LostPoints, lost_points
from evaluation.score_table import Judged, judge, worst
from evaluation.scoring_plan import Measured, Plan, plan
from evaluation.service_of_label import read_service_of_label
from features.nearest import Told


@dataclass(frozen=True)
class Services:
    """What can be scored here. plans: by service; known: every indicator by id; of_label: the service of a label."""

    domain: Domain
    plans: Mapping[str, Plan]
    known: Mapping[str, Measured]
    of_label: Mapping[str, str]


def load(workspace: Path) -> Services:
    """Return what can be scored, as the configuration of a workspace says.

    Raises ValueError that names file, id and rule of all that is broken.
    """
    domain = read_domain(workspace)
    return Services(
        domain,
        {service.id: plan(service, domain.measured) for service in domain.services},
        {one.id: one for one in domain.measured},
        read_service_of_label([service.id for service in domain.services], workspace),
    )


@dataclass(frozen=True)
class Assessed:
    """Rows of one service as they were scored (n). told: of each indicator of the plan; utilities: (f, n)."""

    plan: Plan
    told: Sequence[Told]
    utilities: np.ndarray
    judged: Judged

    @cached_property
    def worst(self) -> dict[str, list[str | None]]:
        """The KQI, step and indicator of each row that cost most by what is known."""
        return {name: column.to_pylist() for name, column in worst(self.judged.lost).items()}

    @cached_property
    def kqis(self) -> np.ndarray:
        """The score of each KQI (k, n); NaN where too little of it is known."""
        scores = self.judged.scores
        return np.where(scoring.enough(self.plan, scores.kqi_coverage), scores.kqi, np.nan)

    @cached_property
    def steps(self) -> np.ndarray:
        """How well each step works (s, n)."""
        return scoring.step_scores(self.plan, self.utilities)

    @cached_property
    def processes(self) -> np.ndarray:
        """How well each process works (p, n); NaN where too little of it is known."""
        return scoring.process_scores(self.plan, self.steps, self.process_coverage)

    @cached_property
    def step_coverage(self) -> np.ndarray:
        """How much is known of each step (s, n)."""
        return scoring.step_coverage(self.plan, self.utilities)

    @cached_property
    def process_coverage(self) -> np.ndarray:
        """How much is known of each process (p, n)."""
        return scoring.process_coverage(self.plan, self.step_coverage)

    @cached_property
    def lost(self) -> LostPoints:
        """Who owns the points that are missing to 100, what is unknown among them."""
        return lost_points(self.plan, self.utilities, self.judged.scores)

    @cached_property
    def lost_total(self) -> np.ndarray:
        """Points that are missing to 100 (n,)."""
        return self.lost.total()

    @cached_property
    def lost_to_unknown(self) -> np.ndarray:
        """Points that are missing since indicators are not known (n,)."""
        unknown = np.isnan(self.utilities[[pair.indicator for pair in self.plan.pairs]])
        total: np.ndarray = np.minimum((self.lost.pairs * unknown).sum(axis=0), self.lost_total)
        return total

    @cached_property
    def lost_by_kqi(self) -> np.ndarray:
        """Points that each KQI cost (k, n)."""
        return self.lost.by_kqi()

    @cached_property
    def lost_by_step(self) -> np.ndarray:
        """Points that each step owns (s, n)."""
        return self.lost.by_step()

    @cached_property
    def lost_by_indicator(self) -> np.ndarray:
        """Points that each indicator cost (f, n); those that no KQI weighs cost none."""
        weighed = self.lost.by_indicator()
        none = np.zeros((len(self.plan.ids) - len(weighed), weighed.shape[1]))
        return np.concatenate([weighed, none])


def assess(what: Plan, told: Sequence[Told]) -> Assessed:
    """Return rows of a service as they are scored. told: of each indicator of the plan."""
    values = [one.value for one in told]
    weighed = slice(0, what.weighed)
    utilities = scoring.utilities(what, values)
    doubt = scoring.doubt(what, values[weighed], [one.samples for one in told[weighed]])
    return Assessed(what, told, utilities, judge(what, utilities, doubt))


def joined(parts: Sequence[Sequence[Told]]) -> list[Told]:
    """Return the rows of several questions of one service behind one another."""
    if len(parts) == 1:
        return list(parts[0])
    return [
        Told(*(np.concatenate(column) for column in zip(*same, strict=True)))
        for same in zip(*parts, strict=True)
    ]
