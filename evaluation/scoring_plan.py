"""What a service is scored by, as rows of arrays: its indicators, who weighs them, and which steps own them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from evaluation.process import Process, ServiceModel, Step
from features.indicators import Indicator, TerminalIndicator

Measured = Indicator | TerminalIndicator


@dataclass(frozen=True)
class Pair:
    """An indicator that a KQI weighs. kqi, indicator, steps: rows in the plan's kqis, indicators and steps.

    steps: those of the KQI's processes that name the indicator; each owns an equal part of what it costs.
    """

    kqi: int
    indicator: int
    weight: float
    steps: tuple[int, ...]


@dataclass(frozen=True)
class StepRow:
    """A step as its process, a row in the service's processes, and its indicators, rows in the plan's."""

    name: str
    process: int
    optional: bool
    indicators: tuple[int, ...]


@dataclass(frozen=True)
class Plan:
    """What a service is scored by. indicators: those that a KQI weighs first, then all others that a step names."""

    service: ServiceModel
    indicators: tuple[Measured, ...]

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """The ids of the indicators."""
        return tuple(one.id for one in self.indicators)

    @cached_property
    def weighed(self) -> int:
        """How many indicators, from the first on, a KQI weighs: a score needs no others."""
        return len({weight.indicator for kqi in self.service.kqis for weight in kqi.expert_weights})

    @cached_property
    def kqi_weights(self) -> tuple[float, ...]:
        """The weight of each KQI in the score of the service; they sum to 1 where those of the file nearly do."""
        weights = [self.service.service_score.weights[kqi.id] for kqi in self.service.kqis]
        return tuple(weight / math.fsum(weights) for weight in weights)

    @cached_property
    def steps(self) -> tuple[StepRow, ...]:
        """Each step of each process; its name is `process/number name`."""
        row = {one: at for at, one in enumerate(self.ids)}
        return tuple(
            StepRow(
                f"{process.id}/{step.seq} {step.name}",
                self.service.processes.index(process),
                step.optional,
                tuple(row[one] for one in dict.fromkeys(step.indicators)),
            )
            for process, step in self._steps()
        )

    @cached_property
    def exchanges(self) -> tuple[list[int], ...]:
        """The rows of the steps of each name: one exchange, whichever process it is told in."""
        named: dict[str, list[int]] = {}
        for at, step in enumerate(self.steps):
            named.setdefault(step.name.partition(" ")[2], []).append(at)
        return tuple(named.values())

    @cached_property
    def pairs(self) -> tuple[Pair, ...]:
        """What each KQI weighs, in the order of the service file; weights of a KQI sum to 1, as `kqi_weights`."""
        row = {one: at for at, one in enumerate(self.ids)}
        totals = [math.fsum(one.weight for one in kqi.expert_weights) for kqi in self.service.kqis]
        return tuple(
            Pair(
                at,
                row[weight.indicator],
                weight.weight / total,
                self._owners(kqi.processes, weight.indicator),
            )
            for at, (kqi, total) in enumerate(zip(self.service.kqis, totals, strict=True))
            for weight in kqi.expert_weights
        )

    def _steps(self) -> list[tuple[Process, Step]]:
        return [(process, step) for process in self.service.processes for step in process.steps]

    def _owners(self, processes: Sequence[str], indicator: str) -> tuple[int, ...]:
        return tuple(
            at
            for at, (process, step) in enumerate(self._steps())
            if process.id in processes and indicator in step.indicators
        )


def plan(service: ServiceModel, known: Sequence[Measured]) -> Plan:
    """Return what a service is scored by. known: every indicator and terminal indicator of the domain.

    Raises LookupError for one that the service names and that is not known.
    """
    by_id = {one.id: one for one in known}
    weighed = [weight.indicator for kqi in service.kqis for weight in kqi.expert_weights]
    drivers = [driver for process in service.processes for driver in process.drivers]
    wanted = tuple(dict.fromkeys([*weighed, *drivers]))
    if strange := [one for one in wanted if one not in by_id]:
        raise LookupError(f"{service.id} must name known indicators, but has {', '.join(strange)}")
    return Plan(service, tuple(by_id[one] for one in wanted))
