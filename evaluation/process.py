"""configs/services/*.yaml: a service as its processes, their steps, the indicators of each, and the KQIs above them."""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Literal

from pydantic import Field

from features.configuration import find_configs, nearest, read_config
from features.indicators import (
    Aggregate,
    Basis,
    Curve,
    Direction,
    Frozen,
    Id,
    Indicator,
    Name,
    Number,
    Scope,
    anchors_broken,
    read_indicators,
    read_terminal,
    refuse,
    rules_broken,
)

_ROUNDING = 1e-9  # what a sum of weights may miss 1 by
TEN_YEARS_S = 315_576_000
NO_PLACES: tuple[Scope, ...] = ("program_source", "cdn_node")  # scopes that no device hangs on by MEMBERSHIP
SCORE_COLUMNS = (  # of the table of scores, in which each KQI has a column of its own
    *("service", "scope", "scope_id", "window_end", "score", "low", "high", "estimate", "coverage", "status"),
    *("worst_kqi", "worst_step", "worst_indicator", "devices", "scored_devices", "p10", "p50", "p90"),
)


class Access(Frozen):
    """How the devices of a service reach it."""

    rat: Name
    mode: str = ""
    apn: str = ""
    transport: Name
    app_protocol: Name
    platform: Name


class DeviceProfile(Frozen):
    """What a device of an IoT service is like, and the timers it should have; null: not used."""

    mobility: Name
    placement: Name
    power: Name
    reachability: Name
    t3324_s: float | None = Field(default=None, ge=0)
    t3412ext_s: float | None = Field(default=None, ge=0)
    drx_s: float | None = Field(default=None, gt=0)
    edrx: str = "off"
    heartbeat_s: float = Field(gt=0, le=TEN_YEARS_S)
    lwm2m_lifetime_s: float | None = Field(default=None, gt=0)
    mqtt_keepalive_s: float | None = Field(default=None, gt=0)


class DataSource(Frozen):
    """A log that the service is known from, and the keys it is joined by."""

    layer: Literal["cloud", "pipe", "device"]
    what: Name
    key: Name


class KqiWindow(Frozen):
    """A KQI value tells of the last length_s, and is made every every_s."""

    length_s: int = Field(ge=60, le=TEN_YEARS_S)
    every_s: int = Field(ge=60)


class StandardCount(Frozen):
    """How many processes and KQIs the standard model of the service has; more may be added."""

    processes: int = Field(ge=0)
    kqis: int = Field(ge=0)


class Step(Frozen):
    """One step of a process. budget_ms: its share of the 95th percentile, for a device on coverage level 0."""

    seq: int = Field(ge=1)
    name: Name
    from_: Name = Field(alias="from")
    to: Name
    interface: Name
    protocol: Name
    message: Name
    indicators: tuple[Id, ...]
    budget_ms: float = Field(gt=0)
    timeout_ms: float | None = Field(default=None, gt=0, description="ends the step as failed; null: never")
    optional: bool = Field(default=False, description="outside the budget of the process")


class LatencyBudget(Frozen):
    """How long a process may take."""

    p95_ms: float = Field(gt=0)
    max_ms: float = Field(gt=0)


class Process(Frozen):
    """One thing that a device does for its service."""

    id: Id
    name: Name
    trigger: Name
    typical_frequency: Name
    steps: tuple[Step, ...] = Field(min_length=1)
    success_criterion: Name
    latency_budget: LatencyBudget
    basis: Basis

    @property
    def drivers(self) -> tuple[str, ...]:
        """The indicators of its steps, each once, in order."""
        return tuple(dict.fromkeys(indicator for step in self.steps for indicator in step.indicators))

    @property
    def budget_ms(self) -> float:
        """The sum of the budgets of the steps that are not optional, ms."""
        return sum(step.budget_ms for step in self.steps if not step.optional)


class ExpertWeight(Frozen):
    """What an expert thinks an indicator contributes to a KQI, of 1."""

    indicator: Id
    weight: float = Field(gt=0, le=1)


class Kqi(Frozen):
    """One key quality indicator: what the customer of the service sees."""

    id: Id
    name: Name
    unit: Name
    direction: Direction
    formula: Name
    aggregate: Aggregate
    target: Number
    excellent: Number
    unacceptable: Number
    curve: Curve
    processes: tuple[Id, ...] = Field(min_length=1)
    expert_weights: tuple[ExpertWeight, ...] = Field(min_length=1)
    typical_faults: tuple[Id, ...] = ()
    basis: Basis
    anchor_basis: Basis
    note: str = ""


class ServiceScore(Frozen):
    """How KQI scores join to the score of the service."""

    method: Literal["weighted_geometric_mean"]
    weights: dict[Id, Number]
    min_coverage: float = Field(
        default=0.5, ge=0, le=1, description="of the weight of each KQI; below, evidence is insufficient"
    )
    basis: Basis


class OpenWhen(Frozen):
    """The score was below score_below in `windows` of the last `of`."""

    score_below: float = Field(ge=0, le=100)
    windows: int = Field(ge=1)
    of: int = Field(ge=1)


class CloseWhen(Frozen):
    """The score was above score_above in `windows` windows running."""

    score_above: float = Field(ge=0, le=100)
    windows: int = Field(ge=1)


class WorkOrder(Frozen):
    """When a bad KQI becomes an order, and when the order is closed."""

    open_when: tuple[OpenWhen, ...] = Field(min_length=1)
    min_sessions: int = Field(ge=1)
    one_open_per: tuple[Name, ...] = Field(min_length=1)
    close_when: CloseWhen


class ServiceModel(Frozen):
    """One service file; the comments at its head say what each field means."""

    schema_: Literal["service_model/1"] = Field(alias="schema")
    id: Id
    name: Name
    access: Access
    device_profile: DeviceProfile | None = None
    data_sources: tuple[DataSource, ...] = ()
    join: str = ""
    aggregation_keys: tuple[Scope, ...] = Field(min_length=1)
    drill_down_keys: tuple[Name, ...] = ()
    kqi_window: KqiWindow
    min_sessions_per_bucket: int = Field(default=1, ge=1)
    local_indicators: tuple[Indicator, ...] = ()
    count: StandardCount = StandardCount(processes=0, kqis=0)
    processes: tuple[Process, ...] = Field(min_length=1)
    kqis: tuple[Kqi, ...] = Field(min_length=1)
    service_score: ServiceScore
    work_order: WorkOrder | None = None
    anchor_note: str = ""
    note: str = ""

    def processes_of(self, kqi: Kqi) -> tuple[Process, ...]:
        """Return the processes a KQI judges."""
        return tuple(process for process in self.processes if process.id in kqi.processes)


def read_services(workspace: Path | None = None) -> tuple[ServiceModel, ...]:
    """Return every service, by file name. Raises ValueError that names file, id and each rule broken."""
    known = {one.id for one in (*read_indicators(workspace).indicators, *read_terminal(workspace))}
    found = read_service_files(workspace)
    refuse(services_broken(found, known))
    return tuple(found.values())


def read_service_files(workspace: Path | None = None) -> dict[Path, ServiceModel]:
    """Return the services by file: their form is checked, their rules are not."""
    return {path: read_config(path, ServiceModel) for path in find_configs("services", workspace)}


def services_broken(found: Mapping[Path, ServiceModel], known: Iterable[str]) -> dict[Path, list[str]]:
    """Return by file each rule that a service breaks: the id, the rule, the fact.

    known: ids that every service may name, those of the 55 and the terminal ones.
    """
    faults = {path: list(_service_broken(service, {*known})) for path, service in found.items()}
    owners: dict[str, Path] = {}
    for path, service in found.items():
        for own in (service.id, *(p.id for p in service.processes), *(k.id for k in service.kqis)):
            if owners.setdefault(own, path) != path:
                faults[path].append(f"{own}: ids must be unique, but {owners[own]} has this one too")
    return faults


def _service_broken(service: ServiceModel, known: set[str]) -> Iterator[str]:
    yield from rules_broken(service.local_indicators)
    known |= {indicator.id for indicator in service.local_indicators}
    ids = [*(process.id for process in service.processes), *(kqi.id for kqi in service.kqis)]
    for own, times in Counter(ids).items():
        if times > 1:
            yield f"{own}: ids must be unique, but {times} processes and KQIs have this one"
    for what, wanted in service.count:
        if len(getattr(service, what)) < wanted:
            yield f"{service.id}: count wants {wanted} {what}, but there are {len(getattr(service, what))}"
    for process in service.processes:
        yield from _process_broken(process, known)
    for kqi in service.kqis:
        yield from _kqi_broken(kqi, service, known)
    yield from _score_broken(service)
    yield from _keys_broken(service)


def _process_broken(process: Process, known: set[str]) -> Iterator[str]:
    numbers = [step.seq for step in process.steps]
    if numbers != list(range(1, len(numbers) + 1)):
        yield f"{process.id}: steps must be numbered 1 to {len(numbers)} in order, but are {numbers}"
    for step in process.steps:
        for indicator in step.indicators:
            if indicator not in known:
                near = nearest(indicator, sorted(known))
                yield f"{process.id}: step {step.seq} must name known indicators, but has {indicator}; {near}"
        if step.timeout_ms is not None and step.timeout_ms < step.budget_ms:
            yield (
                f"{process.id}: timeout_ms of step {step.seq} must be at least its budget_ms {step.budget_ms:g},"
                f" but is {step.timeout_ms:g}"
            )
    budget = process.latency_budget
    if process.budget_ms > budget.p95_ms:
        yield (
            f"{process.id}: the budgets of its steps must sum to at most p95_ms {budget.p95_ms:g},"
            f" but sum to {process.budget_ms:g}"
        )
    if budget.max_ms < budget.p95_ms:
        yield f"{process.id}: max_ms must be at least p95_ms {budget.p95_ms:g}, but is {budget.max_ms:g}"


def _kqi_broken(kqi: Kqi, service: ServiceModel, known: set[str]) -> Iterator[str]:
    yield from anchors_broken(kqi)
    if kqi.id in SCORE_COLUMNS:
        yield f"{kqi.id}: the id of a KQI must be no column of scores: {', '.join(SCORE_COLUMNS)}"
    low, high = sorted((kqi.excellent, kqi.unacceptable))
    if not low <= kqi.target <= high:
        yield f"{kqi.id}: target must be between the anchors {low:g} and {high:g}, but is {kqi.target:g}"
    for process in set(kqi.processes) - {process.id for process in service.processes}:
        yield f"{kqi.id}: processes must be of {service.id}, but {process} is not"
    total = math.fsum(weight.weight for weight in kqi.expert_weights)
    if abs(total - 1) > _ROUNDING:
        yield f"{kqi.id}: expert_weights must sum to 1, but sum to {total:g}"
    drivers = {driver for process in service.processes_of(kqi) for driver in process.drivers}
    for indicator, times in Counter(weight.indicator for weight in kqi.expert_weights).items():
        if times > 1:
            yield f"{kqi.id}: expert_weights must weigh an indicator once, but {indicator} {times} times"
        if indicator not in known:
            near = nearest(indicator, sorted(known))
            yield f"{kqi.id}: expert_weights must name known indicators, but have {indicator}; {near}"
        elif indicator not in drivers:
            yield (
                f"{kqi.id}: each weighted indicator must drive a step of {', '.join(kqi.processes)},"
                f" but {indicator} does not"
            )


def _keys_broken(service: ServiceModel) -> Iterator[str]:
    keys = service.aggregation_keys
    if len(set(keys)) < len(keys):
        yield f"{service.id}: aggregation_keys must be distinct, but are {', '.join(keys)}"
    if "device" in keys and (strange := [key for key in keys if key in NO_PLACES]):
        yield (
            f"{service.id}: aggregation_keys with device must be places that devices hang on, but have"
            f" {', '.join(strange)}"
        )


def _score_broken(service: ServiceModel) -> Iterator[str]:
    weights, kqis = service.service_score.weights, {kqi.id for kqi in service.kqis}
    if set(weights) != kqis:
        yield (
            f"{service.id}: service_score.weights must weigh each KQI {', '.join(sorted(kqis))},"
            f" but weigh {', '.join(sorted(weights))}"
        )
    if min(weights.values(), default=0) <= 0 or abs(math.fsum(weights.values()) - 1) > _ROUNDING:
        yield (
            f"{service.id}: service_score.weights must be above 0 and sum to 1,"
            f" but sum to {math.fsum(weights.values()):g}"
        )
