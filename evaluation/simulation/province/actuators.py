"""The closed list of causes a fault can act on; docs/simulation.md shows it as a table."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from evaluation.faults import Effect
from features.indicators import Scope

Kind = Literal["sum", "probability", "milliwatt", "factor", "value", "flag"]
Harm = Literal["above", "below", "either"]  # side of neutral on which a cause does harm

EFFECTS: Mapping[Kind, tuple[Effect, ...]] = {  # that a mechanism may have on a kind
    "sum": ("add",),
    "probability": ("add",),
    "milliwatt": ("add",),
    "factor": ("mul",),
    "value": ("set", "add", "mul"),
    "flag": ("set",),
}
IOT, VIDEO, ALL = (
    ("smoke_sensor", "bike_sharing"),
    ("video",),
    ("smoke_sensor", "bike_sharing", "video"),
)
SMOKE, BIKE = ("smoke_sensor",), ("bike_sharing",)
_IOT_SCOPES: tuple[Scope, ...] = (
    "device", "cell", "tac", "mme", "platform_node", "app", "fleet", "city", "province",
)  # fmt: skip  # that attempts of an IoT service have
_VIDEO_SCOPES: tuple[Scope, ...] = (
    "device", "cell", "tac", "mme", "app", "fleet", "city", "province", "program_source", "cdn_node",
)  # fmt: skip  # that sessions have
_LEAST_MW = 1e-3  # of a power in units of the one without faults


@dataclass(frozen=True)
class Actuator:
    """One cause. kind: how faults that overlap add up. neutral: what holds without a fault.

    low, high: of the value in a mechanism; of a `value`, of what it comes to. services: on which it acts. scopes: at
    which, where that is not all that these services have. harm: on which side of neutral it makes something worse.

    sum: values add. probability: of events that are independent. milliwatt: rises in dB of a power, added in mW.
    factor: values multiply. value: the neutral value is moved towards the one given. flag: 1 while a fault lasts,
    whatever its severity.
    """

    name: str
    kind: Kind
    unit: str
    neutral: float
    description: str
    low: float = 0.0
    high: float = 1.0
    services: tuple[str, ...] = IOT
    scopes: tuple[Scope, ...] = ()
    harm: Harm = "above"

    def worse_by(self, values: np.ndarray) -> np.ndarray:
        """Return how far values are on the side of neutral that does harm; 0 on the other."""
        off = values - self.neutral
        if self.harm == "either":
            return np.abs(off)
        return np.maximum(off if self.harm == "above" else -off, 0.0)

    @property
    def limits(self) -> str:
        """Return low and high as a person reads them."""
        if self.low == self.high:
            return f"{self.high:g}"
        return f"{self.low:g} to {self.high:g} {self.unit}".removesuffix(" 1")

    def scopes_of(self, service: str) -> tuple[Scope, ...]:
        """Return the scopes at which a fault moves something of a service by this; none where it never does."""
        if service not in self.services:
            return ()
        return self.scopes or (_VIDEO_SCOPES if service == "video" else _IOT_SCOPES)


ACTUATORS: tuple[Actuator, ...] = (
    Actuator(
        "attenuation_db",
        "sum",
        "dB",
        0,
        "walls around a device: wanted signal and interference, both directions",
        high=60,
        services=ALL,
    ),
    Actuator("antenna_loss_db", "sum", "dB", 0, "loss at the antenna of a cell, both directions", high=60),
    Actuator("noise_power_db", "milliwatt", "dB", 0, "rise of the noise floor at the eNB", high=60),
    Actuator(
        "interference_power_db",
        "milliwatt",
        "dB",
        0,
        "rise of the other cells' power at the device",
        high=60,
        services=ALL,
    ),
    Actuator("cell_outage", "probability", "1", 0, "share of time that a cell does not serve"),
    Actuator("offered_load_ul", "sum", "%", 0, "load offered to NPUSCH, of its capacity", high=1_000),
    Actuator(
        "offered_load_dl",
        "sum",
        "%",
        0,
        "load offered to NPDSCH, or to the LTE downlink",
        high=1_000,
        services=ALL,
    ),
    Actuator("offered_load_nprach", "sum", "%", 0, "preambles offered, of the opportunities", high=1_000),
    Actuator(
        "capacity",
        "factor",
        "1",
        1,
        "radio capacity: offered loads are divided by it",
        low=0.01,
        high=100,
        harm="below",
    ),
    Actuator(
        "heartbeat_alignment",
        "probability",
        "1",
        0,
        "share of heartbeats moved to the burst's first minutes",
        services=SMOKE,
        scopes=("cell", "fleet"),
    ),
    Actuator(
        "backhaul_delay_ms", "sum", "ms", 0, "queue between site and core, each round trip", high=600_000
    ),
    Actuator("backhaul_loss", "probability", "1", 0, "packets lost between site and core"),
    Actuator("mme_load", "sum", "%", 0, "load offered to the MME, of its capacity", high=1_000),
    Actuator("s6a_reject", "probability", "1", 0, "Diameter answers that fail or time out"),
    Actuator("attach_reject", "probability", "1", 0, "attaches refused by the subscription"),
    Actuator("session_reject", "probability", "1", 0, "Create Session refused"),
    Actuator("session_delay_ms", "sum", "ms", 0, "delay of SGW and PGW for each datagram", high=600_000),
    Actuator("paging_loss", "probability", "1", 0, "pages that are sent where the device is not"),
    Actuator("timer_mismatch", "probability", "1", 0, "power saving timers granted other than requested"),
    Actuator(
        "sgi_delay_ms", "sum", "ms", 0, "queue between core and platform, each round trip", high=600_000
    ),
    Actuator("sgi_loss", "probability", "1", 0, "packets lost between core and platform"),
    Actuator(
        "nat_timeout_s",
        "value",
        "s",
        7200,
        "idle time after which the firewall forgets a flow",
        low=1,
        high=604_800,
        services=BIKE,
        harm="below",
    ),
    Actuator("dns_reject", "probability", "1", 0, "queries without an answer", services=BIKE),
    Actuator(
        "access_outage", "probability", "1", 0, "share of time that the platform's access does not answer"
    ),
    Actuator("auth_reject", "probability", "1", 0, "logins that the platform refuses"),
    Actuator("rule_delay_ms", "sum", "ms", 0, "queue of the rule engine", high=600_000),
    Actuator("command_drop", "probability", "1", 0, "commands that never leave the platform"),
    Actuator("command_delay_ms", "sum", "ms", 0, "queue of the command service", high=600_000),
    Actuator("push_reject", "probability", "1", 0, "pushes that the application does not answer with 200"),
    Actuator("push_delay_ms", "sum", "ms", 0, "queue of the application", high=600_000),
    Actuator("sim_absent", "flag", "1", 0, "the SIM cannot be read: no signalling at all", low=1),
    Actuator("account_inactive", "flag", "1", 0, "the subscription is suspended", low=1),
    Actuator("apn_wrong", "flag", "1", 0, "another APN is set than subscribed", low=1),
    Actuator("band_locked", "probability", "1", 0, "searches that miss the cell for a wrong band"),
    Actuator("credentials_wrong", "flag", "1", 0, "endpoint name or code unknown to the platform", low=1),
    Actuator("server_wrong", "flag", "1", 0, "reports go to another address", low=1),
    Actuator("power_saving_wrong", "probability", "1", 0, "share of time asleep when it should listen"),
    Actuator(
        "lifetime_ratio",
        "value",
        "1",
        1.5,
        "LwM2M lifetime over the reporting period",
        low=0.01,
        high=100,
        services=SMOKE,
        harm="below",
    ),
    Actuator("ack_timeout_s", "value", "s", 6, "ACK_TIMEOUT of the device", low=0.1, high=600, harm="either"),
    Actuator("battery_level", "value", "%", 100, "charge is at most this", high=100, harm="below"),
    Actuator("sensor_broken", "flag", "1", 0, "the smoke chamber does not see smoke", low=1, services=SMOKE),
    Actuator("motor_jam", "probability", "1", 0, "unlocks after which the lock stays shut", services=BIKE),
    Actuator("gnss_loss", "probability", "1", 0, "fixes that fail", services=BIKE),
    Actuator(
        "firmware_loop",
        "sum",
        "per day",
        0,
        "reboots of a firmware defect, each with a registration",
        high=1_000,
    ),
    Actuator("misused", "flag", "1", 0, "the SIM is in a phone: the IoT application is silent", low=1),
    Actuator("tampered", "flag", "1", 0, "the device was taken away", low=1),
    Actuator(
        "cdn_load", "sum", "%", 0, "load offered to a CDN node, of its capacity", high=1_000, services=VIDEO
    ),
    Actuator(
        "origin_reject",
        "probability",
        "1",
        0,
        "manifests and segments answered with an error",
        services=VIDEO,
    ),
    Actuator(
        "origin_delay_ms",
        "sum",
        "ms",
        0,
        "delay of the origin for each cache miss",
        high=600_000,
        services=VIDEO,
    ),
    Actuator("cache_miss", "probability", "1", 0, "requests that the edge no longer holds", services=VIDEO),
    Actuator(
        "peering_delay_ms",
        "sum",
        "ms",
        0,
        "queue at a city's exit, each round trip",
        high=600_000,
        services=VIDEO,
    ),
    Actuator("peering_loss", "probability", "1", 0, "segments lost at a city's exit", services=VIDEO),
    Actuator("erab_reject", "probability", "1", 0, "bearers refused by the core", services=VIDEO),
    Actuator("cpu_load", "sum", "%", 0, "load of the phone's processor", high=100, services=VIDEO),
    Actuator("power_saving", "flag", "1", 0, "the phone throttles the app", low=1, services=VIDEO),
    Actuator("vpn", "flag", "1", 0, "traffic takes a detour", low=1, services=VIDEO),
    Actuator("airplane_mode", "flag", "1", 0, "the radio is off", low=1, services=VIDEO),
    Actuator("data_switch_off", "flag", "1", 0, "mobile data is off", low=1, services=VIDEO),
    Actuator(
        "quota_used",
        "flag",
        "1",
        0,
        "the package is used up: video is throttled, a device's datagrams are dropped",
        low=1,
        services=ALL,
    ),
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
        return np.asarray(10 * np.log10(np.maximum(power, _LEAST_MW)))
    moved = _moved(held, strength, effect=effect, value=value)
    return np.clip(moved, actuator.low, actuator.high) if actuator.kind == "value" else moved


def _moved(held: np.ndarray, strength: np.ndarray, *, effect: str, value: float) -> np.ndarray:
    if effect == "mul":
        return np.asarray(held * value**strength)
    if effect == "set":
        return np.asarray(held + (value - held) * strength)
    return np.asarray(held + value * strength)
