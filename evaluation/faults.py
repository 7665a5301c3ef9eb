"""configs/fault_catalogue.yaml: what can break, how often, for how long, and what it does to the indicators."""

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from features.configuration import find_config, nearest, read_config
from features.indicators import Basis, Frozen, Id, Name, Number, Scope, refuse

FaultDomain = Literal[
    "terminal_setting", "terminal_status", "coverage", "interference", "capacity_congestion",
    "core_network", "platform", "application", "transport",
]  # fmt: skip
Effect = Literal["add", "mul", "set"]
PHONE = "phone"  # a terminal that is judged also without a service of its own

WITHIN: Mapping[
    Scope, tuple[Scope, ...]
] = {  # the scopes that a fault of a scope reaches at its full strength
    "device": ("device",),
    "cell": ("cell", "device"),
    "tac": ("tac", "cell", "device"),
    "mme": ("mme", "tac", "cell", "device"),
    "platform_node": ("platform_node", "device"),
    "app": ("app", "device"),
    "fleet": ("fleet", "device"),
    "city": ("city", "cell", "device"),
    "province": ("province", "city", "cell", "device"),
    "program_source": ("program_source", "device"),
    "cdn_node": ("cdn_node", "device"),
}


class Step(Frozen):
    """The whole fault at once."""

    shape: Literal["step"]


class Ramp(Frozen):
    """Grows evenly to full strength within `hours`."""

    shape: Literal["ramp"]
    hours: float = Field(gt=0)


class Burst(Frozen):
    """Comes at `at_hours` of every period for duration_min, on weekdays only or on every day."""

    shape: Literal["burst"]
    at_hours: tuple[Annotated[float, Field(ge=0, lt=168)], ...] = Field(min_length=1)
    duration_min: float = Field(gt=0)
    period_h: float = Field(default=24, gt=0)
    weekdays: bool = False


class DutyBurst(Frozen):
    """Comes at start_hour of every period and stays for the share `duty` of it."""

    shape: Literal["burst"]
    duty: float = Field(gt=0, le=1)
    start_hour: float = Field(ge=0)
    period_h: float = Field(default=24, gt=0)


def _form(onset: object) -> str:
    keys = onset if isinstance(onset, dict) else vars(onset)
    return "duty" if "duty" in keys else str(keys.get("shape"))


class Duration(Frozen):
    """How long a fault lasts."""

    dist: Literal["lognormal"]
    median: float = Field(gt=0)
    unit: Literal["minute", "hour", "day"]
    sigma: float = Field(ge=0)


class BaseRate(Frozen):
    """How many are expected: `per` an element (and month or year), or per complaint, session, trip."""

    value: float = Field(ge=0)
    per: str = Field(pattern=r"^[a-z_]+(-(day|month|year))?$")


class Movement(Frozen):
    """How one indicator moves from its typical value at full strength."""

    indicator: Id
    effect: Effect
    value: Number


class FaultMechanism(Frozen):
    """What the fault does to a cause: the simulator acts on this, not on the signature."""

    actuator: Name
    scope: Scope
    effect: Effect
    value: Number


class Fault(Frozen):
    """One fault; the comments at the head of the file say what each field means."""

    id: Id
    name: Name
    fault_domain: FaultDomain
    sub_domain: Id | None = None
    granularity: Scope
    services: tuple[Name, ...] = Field(min_length=1)
    onset: Annotated[
        Annotated[Step, Tag("step")]
        | Annotated[Ramp, Tag("ramp")]
        | Annotated[Burst, Tag("burst")]
        | Annotated[DutyBurst, Tag("duty")],
        Discriminator(_form),
    ]
    duration: Duration
    base_rate: BaseRate
    signature: tuple[Movement, ...]
    mechanism: tuple[FaultMechanism, ...] = ()
    physics: Name
    basis: Basis


class FaultCatalogue(Frozen):
    """The whole file."""

    schema_: Literal["fault_catalogue/1"] = Field(alias="schema")
    faults: tuple[Fault, ...]
    traffic_patterns: Any = Field(default={})  # Any: the simulator alone reads it, and checks what it reads


def read_catalogue(path: Path) -> FaultCatalogue:
    """Return the checked file of faults. Raises ValueError that names file, id and each rule broken."""
    catalogue = read_config(path, FaultCatalogue)
    refuse({path: catalogue_broken(catalogue)})
    return catalogue


def find_catalogue(workspace: Path | None = None) -> Path:
    """Return the catalogue that a workspace uses."""
    return find_config("fault_catalogue.yaml", workspace)


def catalogue_broken(catalogue: FaultCatalogue) -> Iterator[str]:
    """Yield each rule that the faults break among themselves: the id, the rule, the fact."""
    for fault_id, times in Counter(fault.id for fault in catalogue.faults).items():
        if times > 1:
            yield f"{fault_id}: ids must be unique, but {times} faults have this one"
    for fault in catalogue.faults:
        for indicator, times in Counter(move.indicator for move in fault.signature).items():
            if times > 1:
                yield f"{fault.id}: a signature moves an indicator once, but {indicator} {times} times"
        for move in fault.signature:
            if move.effect == "mul" and move.value <= 0:
                yield f"{fault.id}: mul of {move.indicator} must be above 0, but is {move.value:g}"
        for act in fault.mechanism:
            if act.scope != fault.granularity:
                yield (
                    f"{fault.id}: a mechanism acts on all of the fault's {fault.granularity}, but the scope of"
                    f" {act.actuator} is {act.scope}; give what acts elsewhere a fault of its own"
                )


def signature_broken(
    catalogue: FaultCatalogue, granularity: Mapping[str, tuple[Scope, ...]], services: frozenset[str]
) -> Iterator[str]:
    """Yield each reference of the faults that leads nowhere.

    granularity: by id of every known indicator, terminal ones too. services: ids of the service files.
    """
    for fault in catalogue.faults:
        for move in fault.signature:
            scopes = granularity.get(move.indicator)
            if scopes is None:
                yield (
                    f"{fault.id}: signature must name known indicators, but has {move.indicator};"
                    f" {nearest(move.indicator, granularity)}"
                )
            elif not set(scopes) & set(WITHIN[fault.granularity]):
                yield (
                    f"{fault.id}: {move.indicator} must exist at {fault.granularity} or inside it, but its"
                    f" granularity is {', '.join(scopes)}"
                )
        for service in fault.services:
            if service not in services | {PHONE}:
                known = sorted(services | {PHONE})
                yield (
                    f"{fault.id}: services must be of {', '.join(known)}, but has {service};"
                    f" {nearest(service, known)}"
                )
