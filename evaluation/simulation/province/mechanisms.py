"""What the mechanism and the rate of a fault may be: whatever would crash, or move nothing, is refused when read."""

from collections.abc import Iterator
from typing import get_args

import numpy as np

from evaluation.faults import PHONE, Burst, DutyBurst, Fault, FaultMechanism
from evaluation.simulation.province.actuators import ALL, BY_NAME, EFFECTS, Actuator
from features.configuration import nearest
from features.indicators import Scope

EVENTS_PER_DEVICE_DAY = {"trip": 3.0, "session": 4.0, "complaint": 0.01}
_EVENT_OF = {
    "trip": ("bike_sharing",),
    "session": ("video",),
    "complaint": (),
}  # services that have such events
_COUNTED = {  # words by which a rate may count the elements of a scope; a fleet's storm counts in each cell
    "device": ("device", "user"), "cell": ("cell", "fleet"), "platform_node": ("node",), "cdn_node": ("node",),
    "program_source": ("source",),
}  # fmt: skip
_WORDS = {*get_args(Scope), *EVENTS_PER_DEVICE_DAY, *(word for words in _COUNTED.values() for word in words)}


def services_of(fault: Fault) -> tuple[str, ...]:
    """Return the services whose attempts a fault acts on; a phone is a terminal of video."""
    return tuple(dict.fromkeys("video" if name == PHONE else name for name in fault.services))


def _known_services(fault: Fault) -> tuple[str, ...]:
    return tuple(service for service in services_of(fault) if service in ALL)


def broken(fault: Fault, *, drawn: bool = True) -> Iterator[str]:
    """Yield each rule that mechanism and rate of a fault break: the id, the actuator, the rule, the fact.

    drawn: whether faults occur by their rates; a rate that is not used need not fit the scope.
    """
    if not fault.mechanism:
        yield f"{fault.id} must have a mechanism to be simulated, but has none"
    for act in fault.mechanism:
        actuator = BY_NAME.get(act.actuator)
        if actuator is None:
            yield (
                f"{fault.id}: actuator must be one of docs/simulation.md, but is {act.actuator};"
                f" {nearest(act.actuator, BY_NAME)}"
            )
        else:
            yield from (f"{fault.id}: {told}" for told in (*_value(act, actuator), *_place(fault, actuator)))
    yield from _unreached(fault)
    yield from _harmless(fault)
    yield from (f"{fault.id}: {told}" for told in _rate(fault, drawn=drawn))


def _value(act: FaultMechanism, actuator: Actuator) -> Iterator[str]:
    name, effects = actuator.name, EFFECTS[actuator.kind]
    if act.effect not in effects:
        yield f"effect of {name} must be {' or '.join(effects)}, but is {act.effect}"
        return
    comes_to = _comes_to(act, actuator)
    given = f"{act.effect} {act.value:g}"
    if actuator.kind == "flag" and act.value == 0:
        yield f"{name} must be set to 1, but {given} is without effect; leave it out"
    elif not actuator.low <= comes_to <= actuator.high:
        yield f"{name} must be {actuator.limits}, but {given} makes it {comes_to:g}"
    elif actuator.kind != "flag" and comes_to == actuator.neutral:
        yield f"{name} must differ from {actuator.neutral:g}, but {given} is without effect; leave it out"


def _comes_to(act: FaultMechanism, actuator: Actuator) -> float:
    """Return what an actuator is limited by: of a `value` what it comes to, of others the value given."""
    if actuator.kind == "value" and act.effect != "set":
        return actuator.neutral + act.value if act.effect == "add" else actuator.neutral * act.value
    return act.value


def _harmless(fault: Fault) -> Iterator[str]:
    """Yield that a fault does no harm: it makes only things better, as an upgrade does."""
    known = [(act, BY_NAME[act.actuator]) for act in fault.mechanism if act.actuator in BY_NAME]
    if any(True for act, by in known for _ in _value(act, by)):
        return  # there is something else to mend first
    if known and not any(by.worse_by(np.array(_comes_to(act, by))) > 0 for act, by in known):
        given = ", ".join(f"{act.effect} {act.value:g} of {by.name}" for act, by in known)
        sides = " and ".join(f"{by.name} {by.harm} {by.neutral:g}" for _, by in known)
        yield f"{fault.id}: a mechanism must do harm, but {given} only helps; harm is {sides}"


def _place(fault: Fault, actuator: Actuator) -> Iterator[str]:
    services, scope = _known_services(fault), fault.granularity
    if services and not any(scope in actuator.scopes_of(service) for service in services):
        places = f" at a {' or '.join(actuator.scopes)}" if actuator.scopes else ""
        yield (
            f"{actuator.name} must act on {' or '.join(services)} at a {scope}, but moves nothing there; it acts on"
            f" {' and '.join(actuator.services)}{places}, and docs/simulation.md tells what each acts on"
        )
    if actuator.name == "heartbeat_alignment" and not isinstance(fault.onset, Burst | DutyBurst):
        yield f"{actuator.name} moves heartbeats to bursts, so onset must be a burst, but is {fault.onset.shape}"


def _unreached(fault: Fault) -> Iterator[str]:
    """Yield the services of a fault on which nothing of its mechanism acts."""
    acting = [BY_NAME[act.actuator] for act in fault.mechanism if act.actuator in BY_NAME]
    for service in _known_services(fault) if acting else ():
        if not any(fault.granularity in actuator.scopes_of(service) for actuator in acting):
            yield (
                f"{fault.id}: the mechanism must act on all of its services, but {', '.join(a.name for a in acting)}"
                f" at a {fault.granularity} moves nothing of {service}; leave that service out"
            )


def _rate(fault: Fault, *, drawn: bool) -> Iterator[str]:
    unit, _, period = fault.base_rate.per.partition("-")
    counted = _COUNTED.get(fault.granularity, (fault.granularity,))
    events = [
        name
        for name, services in _EVENT_OF.items()
        if fault.granularity == "device" and (not services or set(services) & set(services_of(fault)))
    ]
    known = unit in _WORDS if not drawn else unit in counted or (unit in events and not period)
    if known:
        return
    some = [*(f"{word}[-day|-month|-year]" for word in counted), *events]
    yield (
        f"base_rate.per must count what the fault lies at, a {fault.granularity}: {' or '.join(some)}, but is"
        f" {fault.base_rate.per}"
    )
