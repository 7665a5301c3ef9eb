"""What can be scored here, as a client reads it: services with their steps and weights, indicators, alarms."""

from typing import Literal

from pydantic import BaseModel, Field

from evaluation.process import Kqi, Process, ServiceModel
from evaluation.scoring_plan import Measured
from features.indicators import Indicator, TerminalFlag
from features.value_range import value_range
from serving.problems import Problem
from serving.score import Services


class ServiceLine(BaseModel, frozen=True):
    """A service as a list tells it."""

    id: str
    name: str
    scopes: list[str] = Field(
        description="what it is scored by; with device among them, /score takes a device_id"
    )
    processes: list[str]
    kqis: list[str]
    labels: list[str] = Field(description="of identification, by which a device is taken to run it")


class ServiceLines(BaseModel, frozen=True):
    """The services of the workspace."""

    services: list[ServiceLine]


class StepDetail(BaseModel, frozen=True):
    """One message exchange of a process."""

    seq: int
    name: str
    sender: str
    receiver: str
    interface: str
    protocol: str
    message: str
    indicators: list[str]
    budget_ms: float
    timeout_ms: float | None
    optional: bool = Field(description="outside the budget and the score of the process")


class ProcessDetail(BaseModel, frozen=True):
    """One thing that a device does for its service, step by step."""

    id: str
    name: str
    trigger: str
    success_criterion: str
    p95_ms: float
    max_ms: float
    steps: list[StepDetail]


class Weight(BaseModel, frozen=True):
    """What an indicator contributes to a KQI, of 1."""

    indicator: str
    weight: float


class KqiDetail(BaseModel, frozen=True):
    """What the customer of the service sees, and by which indicators it is scored."""

    id: str
    name: str
    unit: str
    formula: str
    target: float
    excellent: float = Field(description="scores 100")
    unacceptable: float = Field(description="scores 0")
    curve: str
    weight: float = Field(description="in the score of the service")
    processes: list[str]
    weights: list[Weight]


class ServiceDetail(ServiceLine, frozen=True):
    """A service: what its score is made of."""

    min_coverage: float = Field(description="of the weight of each KQI; below, evidence is insufficient")
    process_details: list[ProcessDetail]
    kqi_details: list[KqiDetail]


class IndicatorDetail(BaseModel, frozen=True):
    """One measured quality: what it means, and between which values it is scored."""

    id: str
    name: str
    kind: Literal["network", "terminal"] = Field(description="counted by the network, or told by the device")
    unit: str
    definition: str
    direction: str | None = Field(description="null of a flag")
    excellent: float = Field(description="utility 100; of a flag its healthy value")
    unacceptable: float = Field(description="utility 0")
    curve: str
    points: list[tuple[float, float]] = Field(
        description="(value, utility) where the curve bends, from unacceptable to excellent; empty: one slope"
    )
    usual_low: float | None = Field(description="healthy range; null of a terminal indicator")
    usual_high: float | None
    least: float | None = Field(description="values below are refused; null: there is no least")
    greatest: float | None
    scopes: list[str]
    services: list[str] = Field(description="that name it in a step")


class IndicatorDetails(BaseModel, frozen=True):
    """The indicators that are known here: the standard ones, those of services, those of terminals."""

    indicators: list[IndicatorDetail]


def service_lines(services: Services) -> ServiceLines:
    """Return every service as a list tells it."""
    return ServiceLines(services=[_line(one.service, services) for one in services.plans.values()])


def service_detail(services: Services, service_id: str) -> ServiceDetail:
    """Return what the score of a service is made of. Raises Problem where there is no such service."""
    if service_id not in services.plans:
        known = ", ".join(services.plans)
        raise Problem("unknown-service", f"no service {service_id!r}; there are {known}")
    service = services.plans[service_id].service
    return ServiceDetail(
        **dict(_line(service, services)),
        min_coverage=service.service_score.min_coverage,
        process_details=[_process(one) for one in service.processes],
        kqi_details=[_kqi(one, service.service_score.weights[one.id]) for one in service.kqis],
    )


def indicator_details(services: Services, service_id: str | None) -> IndicatorDetails:
    """Return every indicator, or those of one service. Raises Problem where there is no such service."""
    if service_id is not None:
        service_detail(services, service_id)
    users: dict[str, list[str]] = {name: [] for name in services.known}
    for plan in services.plans.values():
        for name in plan.ids:
            users[name].append(plan.service.id)
    return IndicatorDetails(
        indicators=[
            _indicator(one, users[one.id])
            for one in services.known.values()
            if service_id is None or service_id in users[one.id]
        ]
    )


def _line(service: ServiceModel, services: Services) -> ServiceLine:
    return ServiceLine(
        id=service.id,
        name=service.name,
        scopes=list(service.aggregation_keys),
        processes=[one.id for one in service.processes],
        kqis=[one.id for one in service.kqis],
        labels=[label for label, of in services.of_label.items() if of == service.id],
    )


def _process(process: Process) -> ProcessDetail:
    steps = [
        StepDetail(
            **step.model_dump(exclude={"from_", "to", "indicators"}),
            sender=step.from_,
            receiver=step.to,
            indicators=list(step.indicators),
        )
        for step in process.steps
    ]
    return ProcessDetail(
        id=process.id,
        name=process.name,
        trigger=process.trigger,
        success_criterion=process.success_criterion,
        p95_ms=process.latency_budget.p95_ms,
        max_ms=process.latency_budget.max_ms,
        steps=steps,
    )


def _kqi(kqi: Kqi, weight: float) -> KqiDetail:
    same = ("id", "name", "unit", "formula", "target", "excellent", "unacceptable", "curve")
    return KqiDetail(
        **kqi.model_dump(include=set(same)),
        weight=weight,
        processes=list(kqi.processes),
        weights=[Weight(indicator=one.indicator, weight=one.weight) for one in kqi.expert_weights],
    )


def _indicator(one: Measured, users: list[str]) -> IndicatorDetail:
    best, worst, direction = _anchors(one)
    low, high = one.healthy_range if isinstance(one, Indicator) else (None, None)
    least, greatest = value_range(one)
    return IndicatorDetail(
        id=one.id,
        name=one.name,
        kind="network" if isinstance(one, Indicator) else "terminal",
        unit=one.unit,
        definition=one.definition,
        direction=direction,
        excellent=best,
        unacceptable=worst,
        curve=one.curve if isinstance(one, Indicator) else "linear",
        points=list(one.points) if isinstance(one, Indicator) else [],
        usual_low=low,
        usual_high=high,
        least=_end(least),
        greatest=_end(greatest),
        scopes=list(one.granularity),
        services=users,
    )


def _anchors(one: Measured) -> tuple[float, float, str | None]:
    if isinstance(one, TerminalFlag):
        return one.healthy_value, 1 - one.healthy_value, None
    return one.excellent, one.unacceptable, one.direction


def _end(value: float) -> float | None:
    return None if abs(value) == float("inf") else value
