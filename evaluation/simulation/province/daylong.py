"""What faults do to devices in the course of a day: not only at the moment when records are made."""

from dataclasses import dataclass

import numpy as np

from evaluation.simulation.province.actuators import BY_NAME, Pressure
from evaluation.simulation.province.faults import DAY_S, Exposed, Happening, expose
from evaluation.simulation.province.presence import GRID_S
from evaluation.simulation.province.topology import Area

QUARTERS = int(DAY_S / GRID_S)
_WANTED = (
    "firmware_loop", "battery_level", "lifetime_ratio", "timer_mismatch", "misused", "tampered", "access_outage",
    "sim_absent", "account_inactive", "apn_wrong",
)  # fmt: skip  # what is asked for all day long


@dataclass(frozen=True)
class Daylong:
    """Faults on devices in every quarter of an hour of a day. devices: those that any touches.

    pressure: of each of these in each quarter, in this order.
    """

    size: int
    devices: np.ndarray
    pressure: Pressure

    def quarters(self, actuator: str) -> np.ndarray:
        """Return the values of an actuator, (devices that are touched, quarters)."""
        return self.pressure.of(actuator).reshape(len(self.devices), QUARTERS)

    def at_quarters(self, actuator: str) -> np.ndarray:
        """Return the values of an actuator, (all devices, quarters)."""
        whole = np.full((self.size, QUARTERS), float(BY_NAME[actuator].neutral))
        whole[self.devices] = self.quarters(actuator)
        return whole

    def mean(self, actuator: str) -> np.ndarray:
        """Return the mean over the day, of all devices."""
        whole = np.full(self.size, float(BY_NAME[actuator].neutral))
        whole[self.devices] = self.quarters(actuator).mean(axis=1)
        return whole

    def share(self, actuator: str) -> np.ndarray:
        """Return the share of the day in which a fault moves an actuator, of all devices."""
        whole = np.zeros(self.size)
        whole[self.devices] = (self.quarters(actuator) != BY_NAME[actuator].neutral).mean(axis=1)
        return whole


def observe(area: Area, day: int, faults: list[Happening]) -> Daylong:
    """Return what faults do to the devices of an area on a day, quarter by quarter."""
    acting = [f for f in faults if any(act.actuator in _WANTED for act in f.fault.mechanism)]
    places = places_of(area)
    touched = np.zeros(len(area.devices), bool)
    for one in acting:
        touched |= places[one.scope] == one.location
    touched |= area.devices.misused
    which = np.flatnonzero(touched)
    row = np.repeat(which, QUARTERS)
    at_s = day * DAY_S + (np.tile(np.arange(QUARTERS), len(which)) + 0.5) * GRID_S
    return Daylong(len(area.devices), which, expose_at(area, acting, row, at_s))


def places_of(area: Area) -> dict[str, np.ndarray]:
    """Return the element of each scope that a device belongs to at home."""
    size, devices = len(area.devices), area.devices
    return {
        "device": np.arange(size), "cell": area.home_cell, "tac": np.full(size, area.number),
        "mme": np.full(size, area.mme), "platform_node": devices.node, "app": devices.app, "fleet": devices.fleet,
        "city": np.full(size, area.city), "province": np.zeros(size, "int64"), "cdn_node": devices.cdn,
        "program_source": np.full(size, -1),
    }  # fmt: skip


def expose_at(area: Area, faults: list[Happening], device: np.ndarray, at_s: np.ndarray) -> Pressure:
    """Return what faults do to devices at some moments, each at home."""
    places = {name: element[device] for name, element in places_of(area).items()}
    exposed = Exposed(at_s, device, area.devices.service[device] == 2, places)
    pressure = expose(faults, exposed, weekday=area.plan.settings.start.weekday())
    misuse(area, pressure, device)
    return pressure


def misuse(area: Area, pressure: Pressure, device: np.ndarray) -> None:
    """Let the SIMs that are in phones all along act as those that a fault puts there. device: -1 for none."""
    rows = np.flatnonzero((device >= 0) & area.devices.misused[np.maximum(device, 0)])
    if len(rows):
        pressure.act("misused", rows, np.ones(len(rows)), effect="set", value=1.0)
