"""The closed list of causes a fault can act on; docs/simulation.md shows it as a table."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

Kind = Literal["sum", "probability", "milliwatt", "factor", "value", "flag"]


@dataclass(frozen=True)
class Actuator:
    """One cause. kind: how faults that overlap add up. neutral: what holds without a fault.

    sum: values add. probability: of events that are independent. milliwatt: rises in dB of a power, added in mW.
    factor: values multiply. value: the neutral value is moved towards the one given. flag: 1 while a fault lasts.
    """

    name: str
    kind: Kind
    unit: str
    neutral: float
    description: str


ACTUATORS: tuple[Actuator, ...] = (
    Actuator(
        "attenuation_db",
        "sum",
        "dB",
        0,
        "walls around a device: wanted signal and interference, both directions",
    ),
    Actuator("antenna_loss_db", "sum", "dB", 0, "loss at the antenna of a cell, both directions"),
    Actuator("noise_power_db", "milliwatt", "dB", 0, "rise of the noise floor at the eNB"),
    Actuator("interference_power_db", "milliwatt", "dB", 0, "rise of the other cells' power at the device"),
    Actuator("cell_outage", "probability", "1", 0, "share of time that a cell does not serve"),
    Actuator("offered_load_ul", "sum", "%", 0, "load offered to NPUSCH, of its capacity"),
    Actuator("offered_load_dl", "sum", "%", 0, "load offered to NPDSCH, or to the LTE downlink"),
    Actuator("offered_load_nprach", "sum", "%", 0, "preambles offered, of the opportunities"),
    Actuator("capacity", "factor", "1", 1, "radio capacity: offered loads are divided by it"),
    Actuator(
        "heartbeat_alignment", "probability", "1", 0, "share of heartbeats moved to the burst's first minutes"
    ),
    Actuator("backhaul_delay_ms", "sum", "ms", 0, "queue between site and core, each round trip"),
    Actuator("backhaul_loss", "probability", "1", 0, "packets lost between site and core"),
    Actuator("mme_load", "sum", "%", 0, "load offered to the MME, of its capacity"),
    Actuator("s6a_reject", "probability", "1", 0, "Diameter answers that fail or time out"),
    Actuator("attach_reject", "probability", "1", 0, "attaches refused by the subscription"),
    Actuator("session_reject", "probability", "1", 0, "Create Session refused"),
    Actuator("session_delay_ms", "sum", "ms", 0, "delay of SGW and PGW for each datagram"),
    Actuator("paging_loss", "probability", "1", 0, "pages that are sent where the device is not"),
    Actuator("timer_mismatch", "probability", "1", 0, "power saving timers granted other than requested"),
    Actuator("sgi_delay_ms", "sum", "ms", 0, "queue between core and platform, each round trip"),
    Actuator("sgi_loss", "probability", "1", 0, "packets lost between core and platform"),
    Actuator("nat_timeout_s", "value", "s", 7200, "idle time after which the firewall forgets a flow"),
    Actuator("dns_reject", "probability", "1", 0, "queries without an answer"),
    Actuator(
        "access_outage", "probability", "1", 0, "share of time that the platform's access does not answer"
    ),
    Actuator("auth_reject", "probability", "1", 0, "logins that the platform refuses"),
    Actuator("rule_delay_ms", "sum", "ms", 0, "queue of the rule engine"),
    Actuator("command_drop", "probability", "1", 0, "commands that never leave the platform"),
    Actuator("command_delay_ms", "sum", "ms", 0, "queue of the command service"),
    Actuator("push_reject", "probability", "1", 0, "pushes that the application does not answer with 200"),
    Actuator("push_delay_ms", "sum", "ms", 0, "queue of the application"),
    Actuator("sim_absent", "flag", "1", 0, "the SIM cannot be read: no signalling at all"),
    Actuator("account_inactive", "flag", "1", 0, "the subscription is suspended"),
    Actuator("apn_wrong", "flag", "1", 0, "another APN is set than subscribed"),
    Actuator("band_locked", "probability", "1", 0, "searches that miss the cell for a wrong band"),
    Actuator("credentials_wrong", "flag", "1", 0, "endpoint name or code unknown to the platform"),
    Actuator("server_wrong", "flag", "1", 0, "reports go to another address"),
    Actuator("power_saving_wrong", "probability", "1", 0, "share of time asleep when it should listen"),
    Actuator("lifetime_ratio", "value", "1", 1.5, "LwM2M lifetime over the reporting period"),
    Actuator("ack_timeout_s", "value", "s", 6, "ACK_TIMEOUT of the device"),
    Actuator("battery_level", "value", "%", 100, "charge is at most this"),
    Actuator("sensor_broken", "flag", "1", 0, "the smoke chamber does not see smoke"),
    Actuator("motor_jam", "probability", "1", 0, "unlocks after which the lock stays shut"),
    Actuator("gnss_loss", "probability", "1", 0, "fixes that fail"),
    Actuator("firmware_loop", "sum", "per day", 0, "reboots of a firmware defect, each with a registration"),
    Actuator("misused", "flag", "1", 0, "the SIM is in a phone: the IoT application is silent"),
    Actuator("tampered", "flag", "1", 0, "the device was taken away"),
    Actuator("cdn_load", "sum", "%", 0, "load offered to a CDN node, of its capacity"),
    Actuator("origin_reject", "probability", "1", 0, "manifests and segments answered with an error"),
    Actuator("origin_delay_ms", "sum", "ms", 0, "delay of the origin for each cache miss"),
    Actuator("cache_miss", "probability", "1", 0, "requests that the edge no longer holds"),
    Actuator("peering_delay_ms", "sum", "ms", 0, "queue at a city's exit, each round trip"),
    Actuator("peering_loss", "probability", "1", 0, "segments lost at a city's exit"),
    Actuator("erab_reject", "probability", "1", 0, "bearers refused by the core"),
    Actuator("cpu_load", "sum", "%", 0, "load of the phone's processor"),
    Actuator("power_saving", "flag", "1", 0, "the phone throttles the app"),
    Actuator("vpn", "flag", "1", 0, "traffic takes a detour"),
    Actuator("airplane_mode", "flag", "1", 0, "the radio is off"),
    Actuator("data_switch_off", "flag", "1", 0, "mobile data is off"),
    Actuator("quota_used", "flag", "1", 0, "the package is used up: throttled or stopped"),
)
BY_NAME = {actuator.name: actuator for actuator in ACTUATORS}


class Pressure:
    """What every attempt of a frame of attempts is exposed to: one value per actuator and attempt.

    An actuator that no fault touches costs nothing: it stands as its neutral number.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._values: dict[str, np.ndarray] = {}

    def act(self, name: str, rows: np.ndarray, strength: np.ndarray, *, effect: str, value: float) -> None:
        """Lay one fault over some rows. strength: 0 to 1 for each of them, severity times onset."""
        actuator = BY_NAME[name]
        held = self._values.setdefault(name, np.full(self.size, float(actuator.neutral)))
        held[rows] = combined(actuator, held[rows], strength, effect=effect, value=value)

    def of(self, name: str, rows: np.ndarray | None = None) -> np.ndarray:
        """Return the values of an actuator at some rows, or at all."""
        held = self._values.get(name)
        if held is None:
            size = self.size if rows is None else len(rows)
            return np.full(size, float(BY_NAME[name].neutral))
        return held if rows is None else held[rows]

    def touched(self, name: str) -> bool:
        """Tell whether any fault acts here."""
        return name in self._values


def combined(
    actuator: Actuator, held: np.ndarray, strength: np.ndarray, *, effect: str, value: float
) -> np.ndarray:
    """Return what an actuator is worth after one more fault: add*s, mul^s, or moved by s towards the value."""
    if actuator.kind == "flag":
        return np.where(strength > 0, value, held)
    if actuator.kind == "probability":
        return np.asarray(1.0 - (1.0 - held) * (1.0 - np.clip(value * strength, 0.0, 1.0)))
    if actuator.kind == "milliwatt":
        power = 10 ** (held / 10) + 10 ** (value * strength / 10) - 1.0
        return np.asarray(10 * np.log10(power))
    if effect == "mul":
        return np.asarray(held * value**strength)
    if effect == "set":
        return np.asarray(held + (value - held) * strength)
    return np.asarray(held + value * strength)
