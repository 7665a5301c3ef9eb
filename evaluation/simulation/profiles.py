"""configs/flow_profiles.yaml: what each device type does on the wire, and the sites it is simulated at."""

import datetime as dt
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, Field, model_validator

from features.configuration import read_config

Range = tuple[float, float]
Share = Annotated[float, Field(ge=0, le=1)]
StackName = Literal["lwm2m", "mqtt", "private", "web", "quic", "dns", "rtsp", "sip"]
Rat = Literal["NB-IoT", "LTE-M", "Cat1", "LTE", "Cat4", "5G"]


class _Frozen(BaseModel, frozen=True, extra="forbid"):
    pass


class ServerPort(_Frozen):
    """One way a type reaches its platform; `share` is the part of the devices that do."""

    ports: tuple[tuple[int, int], ...] = Field(min_length=1, description="inclusive ranges of server ports")
    share: Share
    transport: Literal["tcp", "udp"]
    stack: StackName
    secure: bool = Field(default=False, description="under TLS or DTLS")

    def holds(self, port: int) -> bool:
        """Whether a server of this kind may listen on the port."""
        return any(low <= port <= high for low, high in self.ports)


class Periodic(_Frozen):
    """Reports every one of `values` seconds, or once a day inside `window_h`."""

    dist: Literal["periodic"]
    values: tuple[float, ...] = Field(min_length=1)
    jitter_s: float = Field(ge=0)
    window_h: Range | None = None
    clock_grid: bool = Field(
        default=False, description="whole multiples of the period, not a phase of its own"
    )


class Mixture(_Frozen):
    """A slow beat when idle, a fast one inside a spell of activity."""

    dist: Literal["mixture"]
    idle_s: float = Field(gt=0)
    active_s: Range
    jitter_s: float = Field(ge=0)


class Poisson(_Frozen):
    """Independent events."""

    dist: Literal["poisson"]
    per_hour: float = Field(gt=0)


class Continuous(_Frozen):
    """A stream."""

    dist: Literal["continuous"]


class Bursty(_Frozen):
    """Many flows, in bursts."""

    dist: Literal["bursty"]
    flows_per_hour: float = Field(gt=0)


class Activity(_Frozen):
    """Spells beside the regular beat: rides, trips, payments, clips, alarms."""

    per_day: float = Field(ge=0, description="mean count of a day, Poisson")
    duration_s: Range
    hour_weight: tuple[float, ...] = Field(min_length=24, max_length=24, description="relative, hour 0 first")
    flat_share: Share = Field(default=0.0, description="of devices that know no hours of the day")


class Download(_Frozen):
    """Files fetched over HTTP or HTTPS: A-GNSS, firmware."""

    per_day: float = Field(gt=0)
    bytes: tuple[int, int]
    secure: bool


class Profile(_Frozen):
    """One device type. Ranges hold about 5 to 95 percent of the values."""

    id: str
    family: str
    name: str
    rat: tuple[Rat, ...]
    mobility: str
    transport: str
    server_ports: tuple[ServerPort, ...]
    protocol_stack: str
    flow_period_s: Annotated[Periodic | Mixture | Poisson | Continuous | Bursty, Field(discriminator="dist")]
    payload_up_bytes: tuple[int, int]
    payload_down_bytes: tuple[int, int]
    report_up_bytes: tuple[int, int] | None = Field(
        default=None, description="where keep-alives pull the range down"
    )
    report_down_bytes: tuple[int, int] | None = None
    packets_per_flow: Range
    flow_duration_s: Range
    inter_arrival_in_flow_s: Range
    up_down_byte_ratio: Range
    uses_dns: str
    dns_share: Share = Field(description="of devices that ask for a name before they connect")
    lasting_share: Share = Field(description="of devices that keep their session between reports")
    encryption: str
    time_of_day: str
    activity: Activity
    diluted: str | None = Field(default=None, description="where the simulated volume is smaller, and why")
    download: Download | None = None
    typical_marks: tuple[str, ...]
    confused_with: str
    basis: str

    @model_validator(mode="after")
    def _shares_are_whole(self) -> Self:
        total = sum(port.share for port in self.server_ports)
        if abs(total - 1) > 1e-9:
            raise ValueError(f"shares of {self.id}.server_ports must sum to 1, but sum to {total:g}")
        return self


class Radio(_Frozen):
    """The path between device and tap."""

    round_trip_s: Range
    rate_bit_s: float = Field(gt=0)


class Firmware(_Frozen):
    """A module maker's variant, the same over all types."""

    payload: float = Field(gt=0, description="factor on uplink payloads")
    qos: Literal[0, 1]
    report: Literal["notify", "post"]
    tls: Literal["1.2", "1.3"]


class Site(_Frozen):
    """One region behind one tap; comments in the file say what each field means."""

    name: str
    ipv4: IPv4Network
    ipv6: IPv6Network
    switching_h: Range
    payload: float = Field(gt=0)
    round_trip: float = Field(gt=0)
    loss: Share
    period_weight: tuple[float, ...]
    firmware_weight: tuple[float, ...]
    keepalive_s: tuple[float, ...]
    private_ports: tuple[int, ...]
    polled_share: Share
    reconnects_per_day: float = Field(ge=0)
    scans_per_day: float = Field(ge=0)


class Simulation(_Frozen):
    """What the simulator needs beside the types."""

    start: dt.date
    sites: tuple[Site, ...] = Field(min_length=1)
    radio: dict[Rat, Radio]
    firmware: tuple[Firmware, ...]


class FlowFeature(_Frozen):
    """A feature in the words of the domain."""

    name: str
    definition: str


class Rule(_Frozen, populate_by_name=True):
    """A standard identification rule; `if_` is prose over the features."""

    id: str
    if_: str = Field(alias="if")
    then: str
    confidence: Share
    layer: str


class Mark(_Frozen):
    """A user or device mark; its rule is prose."""

    mark: str
    group: str
    rule: str
    use: str


class FlowProfiles(_Frozen):
    """The whole file."""

    schema_: Literal["flow_profiles/2"] = Field(alias="schema")
    profiles: tuple[Profile, ...] = Field(min_length=1)
    simulation: Simulation
    features: tuple[FlowFeature, ...]
    identification_rules: tuple[Rule, ...]
    marks: tuple[Mark, ...]

    @model_validator(mode="after")
    def _sites_are_complete(self) -> Self:
        versions = len(self.simulation.firmware)
        for site in self.simulation.sites:
            if len(site.firmware_weight) != versions:
                raise ValueError(
                    f"site {site.name} must weigh all {versions} firmware, not {len(site.firmware_weight)}"
                )
        wanted = {rat for profile in self.profiles for rat in profile.rat}
        if missing := wanted - set(self.simulation.radio):
            raise ValueError(
                f"simulation.radio must hold every rat of the profiles, but lacks {sorted(missing)}"
            )
        return self


def read_profiles(path: Path) -> FlowProfiles:
    """Return the checked file. Raises ValueError that names file, key and rule."""
    return read_config(path, FlowProfiles)
