"""The fleet: who lives at a site, at which address, with which habits; and the device map of it."""

import csv
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv4Network, IPv6Network
from math import log, sqrt
from pathlib import Path

import numpy as np

from evaluation.simulation.profiles import (
    Firmware,
    FlowProfiles,
    Mixture,
    Periodic,
    Profile,
    Range,
    ServerPort,
    Simulation,
    Site,
)
from evaluation.simulation.wire.conversation import Line
from evaluation.simulation.wire.frames import Ends, Stack
from evaluation.simulation.wire.tap import Link, Tap

DAY_S = 86_400.0
COLUMNS = ("device_id", "ip", "label", "family", "site")
_NINETY_WIDTH = 3.29  # sigmas between the 5th and the 95th percentile of a normal distribution
_BETWEEN = 0.7  # share of a size's log variance that lies between devices, the rest inside one; judgement
_DUAL_STACK = {"phone": 0.6, "video": 0.25}  # share of devices that reach out over IPv6, by family; judgement
_DUAL_STACK_ELSE = 0.1
_JOINS = 0.15  # share of devices put into service during the simulated days; judgement
_SERVERS4, _SERVERS6 = IPv4Network("198.18.0.0/15"), IPv6Network("2001:db8:ffff::/64")  # RFC 2544, RFC 3849
_PLATFORMS = {"lwm2m": 3, "mqtt": 4, "private": 6, "web": 8, "rtsp": 3, "sip": 3, "quic": 2, "dns": 2}
_EPHEMERAL = ((32768, 28232), (49152, 16384), (1024, 64000))  # Linux, IANA, small stacks


@dataclass(frozen=True)
class Size:
    """Payload sizes of one device: its own centre, and a spread around it."""

    centre: float
    sigma: float

    def draw(self, rng: np.random.Generator) -> int:
        """Return bytes of one message."""
        return max(1, round(self.centre * float(rng.lognormal(0, self.sigma))))


@dataclass(frozen=True)
class Server:
    """A packed address, a transport port, and the name that stands for the address."""

    address: bytes
    port: int
    name: str = ""


@dataclass(frozen=True)
class Service:
    """The platform a device talks to, and how."""

    kind: ServerPort
    server: Server
    asks_dns: bool


@dataclass(frozen=True)
class Beat:
    """When a device talks."""

    period_s: float
    phase_s: float
    active_s: float  # period inside a spell of activity
    keepalive_s: float
    lasting: bool  # keeps its session between reports
    polled: bool  # the platform asks first
    flat: bool  # its activity knows no hours of the day
    joins_s: float | None  # put into service then; None: before the first day


@dataclass(frozen=True)
class Device:
    """One device: what it is, where it lives, and everything it does in its own way."""

    device_id: str
    profile: Profile
    site: Site
    address: IPv4Address
    prefix: IPv6Network | None
    seed: np.random.SeedSequence
    firmware: Firmware
    service: Service
    beat: Beat
    up: Size
    down: Size
    stack: Stack
    radio: Link  # its rng is replaced for each activity
    resumes: bool  # keeps TLS tickets, or its DTLS session, between contacts
    maker: int  # 0 or 1: which of two makers' ways it has
    tickets: dict[str, bytes] = field(default_factory=dict)

    def line(self, activity: int) -> Line:
        """Return a line for one activity of the device, with random numbers of its own."""
        return Line(Tap(), replace(self.radio, rng=_random(self.seed, 1, activity)), self.stack)

    def source(self, *, version: int) -> bytes:
        """Return the packed address it sends from."""
        return self.prefix[0x5EED].packed if version == 6 and self.prefix else self.address.packed

    def ends(self, line: Line, server: Server) -> Ends:
        """Return the ends of a new conversation, from a fresh port of the device."""
        own = self.stack.first_port + int(line.link.rng.integers(self.stack.ports))
        source = self.source(version=6 if len(server.address) == 16 else 4)
        return Ends(source, server.address, own, server.port)


def population(
    profiles: FlowProfiles, site: Site, *, seed: int, devices_per_type: int, days: int
) -> list[Device]:
    """Return the devices of one site, in the order of the profiles; addresses know nothing of types."""
    number = profiles.simulation.sites.index(site)
    count = len(profiles.profiles) * devices_per_type
    if count > site.ipv4.num_addresses - 2:
        raise ValueError(
            f"site {site.name} has addresses for {site.ipv4.num_addresses - 2} devices, not for {count}"
        )
    rng = _random(np.random.SeedSequence(seed, spawn_key=(number,)))
    hosts = rng.choice(site.ipv4.num_addresses - 2, count, replace=False) + 1
    offsets = rng.random(len(profiles.profiles))  # where systematic sampling of server ports begins
    devices = []
    for place, host in enumerate(hosts):
        kind, own = divmod(place, devices_per_type)
        birth = _Birth(profiles.simulation, profiles.profiles[kind], site, days)
        lot = np.random.SeedSequence(seed, spawn_key=(number, kind, own))
        devices.append(_born(birth, lot, host=int(host), rank=(own + offsets[kind]) / devices_per_type))
    return devices


def write_map(path: Path, devices: Iterable[Device]) -> None:
    """Write the device map: a row per address, an IPv6 prefix as one device."""
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(COLUMNS)
        for device in sorted(devices, key=lambda device: device.device_id):
            for address in filter(None, (device.address, device.prefix)):
                rows.writerow(
                    [device.device_id, address, device.profile.id, device.profile.family, device.site.name]
                )


def server_address(site: Site, kind: str, *, number: int, version: int = 4) -> bytes:
    """Return the packed address of one server; the same words give the same address."""
    salt = np.random.SeedSequence([*kind.encode(), *site.name.encode(), number]).generate_state(1)[0]
    network = _SERVERS4 if version == 4 else _SERVERS6
    return network[int(salt) % min(network.num_addresses - 2, 2**16) + 1].packed


@dataclass(frozen=True)
class _Birth:
    simulation: Simulation
    profile: Profile
    site: Site
    days: int


def _born(birth: _Birth, lot: np.random.SeedSequence, *, host: int, rank: float) -> Device:
    profile, site = birth.profile, birth.site
    rng = _random(lot, 0)
    firmware = birth.simulation.firmware[_chosen(rng, site.firmware_weight)]
    speaks6 = rng.random() < _DUAL_STACK.get(profile.family, _DUAL_STACK_ELSE)
    factor = firmware.payload * site.payload
    return Device(
        device_id=f"{site.name}-{host:04d}",
        profile=profile,
        site=site,
        address=site.ipv4[host],
        prefix=IPv6Network((int(site.ipv6.network_address) + (host << 64), 64)) if speaks6 else None,
        seed=lot,
        firmware=firmware,
        service=_service(rng, birth, rank=rank % 1.0, version=6 if speaks6 else 4),
        beat=_beat(rng, birth),
        up=_size(rng, profile.report_up_bytes or profile.payload_up_bytes, factor=factor),
        down=_size(rng, profile.report_down_bytes or profile.payload_down_bytes, factor=1.0),
        stack=_stack(rng),
        radio=_radio(rng, birth),
        resumes=bool(rng.random() < 0.5),
        maker=int(rng.integers(2)),
    )


def _service(rng: np.random.Generator, birth: _Birth, *, rank: float, version: int) -> Service:
    """Server ports are shared out by rank, so that a small fleet has them in the profile's shares."""
    shares = np.cumsum([port.share for port in birth.profile.server_ports])
    kind = birth.profile.server_ports[min(int(np.searchsorted(shares, rank, side="right")), len(shares) - 1)]
    if len(kind.ports) == 1 and kind.ports[0][0] == kind.ports[0][1]:
        port = kind.ports[0][0]
    else:
        open_here = [port for port in birth.site.private_ports if kind.holds(port)]
        if not open_here:
            raise ValueError(
                f"site {birth.site.name} must open a private port for {birth.profile.id}, but none fits"
            )
        port = int(rng.choice(open_here))
    number = int(rng.integers(_PLATFORMS[kind.stack]))
    address = server_address(birth.site, kind.stack, number=number, version=version)
    name = f"{kind.stack}{number + 1}.{birth.site.name}.platform.example"
    return Service(kind, Server(address, port, name), bool(rng.random() < birth.profile.dns_share))


def _beat(rng: np.random.Generator, birth: _Birth) -> Beat:
    profile, site, rule = birth.profile, birth.site, birth.profile.flow_period_s
    period_s, active_s, phase_s = DAY_S, 60.0, float(rng.random())
    if isinstance(rule, Periodic):
        period_s = float(rng.choice(rule.values, p=_weights(site.period_weight[: len(rule.values)])))
        phase_s *= rule.jitter_s if rule.clock_grid else period_s - min(rule.jitter_s, period_s / 2)
    elif isinstance(rule, Mixture):
        period_s = rule.idle_s * float(rng.choice((1.0, 0.5, 2.0), p=_weights(site.period_weight)))
        active_s = _log_uniform(rng, rule.active_s)
        phase_s *= period_s
    joins = rng.random() < _JOINS
    return Beat(
        period_s=period_s,
        phase_s=phase_s,
        active_s=active_s,
        keepalive_s=float(rng.choice(site.keepalive_s)),
        lasting=bool(rng.random() < profile.lasting_share),
        polled=bool(rng.random() < site.polled_share),
        flat=bool(rng.random() < profile.activity.flat_share),
        joins_s=float(rng.uniform(0.1, 0.5)) * birth.days * DAY_S if joins else None,
    )


def _size(rng: np.random.Generator, low_high: tuple[int, int], *, factor: float) -> Size:
    low, high = log(low_high[0]), log(low_high[1])
    sigma = (high - low) / _NINETY_WIDTH
    centre = float(rng.lognormal((low + high) / 2, sigma * sqrt(_BETWEEN)))
    return Size(centre * factor, sigma * sqrt(1 - _BETWEEN))


def _stack(rng: np.random.Generator) -> Stack:
    first, ports = _EPHEMERAL[_chosen(rng, (0.5, 0.25, 0.25))]
    return Stack(
        hops=int(rng.choice((64, 128, 255), p=(0.65, 0.1, 0.25))) - 1,
        mss=int(rng.choice((1358, 1370, 1400, 1024))),
        window=int(rng.choice((5840, 14600, 29200, 65535))),
        timestamps=bool(rng.random() < 0.4),
        first_port=first,
        ports=ports,
    )


def _radio(rng: np.random.Generator, birth: _Birth) -> Link:
    radio = birth.simulation.radio[birth.profile.rat[int(rng.integers(len(birth.profile.rat)))]]
    return Link(
        rng=rng,
        round_trip_s=_log_uniform(rng, radio.round_trip_s) * birth.site.round_trip,
        server_s=_log_uniform(rng, (0.004, 0.05)),
        rate_bit_s=radio.rate_bit_s,
        loss=birth.site.loss,
    )


def _log_uniform(rng: np.random.Generator, low_high: Range) -> float:
    return float(np.exp(rng.uniform(log(low_high[0]), log(low_high[1]))))


def _chosen(rng: np.random.Generator, weights: tuple[float, ...]) -> int:
    return int(rng.choice(len(weights), p=_weights(weights)))


def _weights(weights: tuple[float, ...]) -> np.ndarray:
    return np.asarray(weights) / sum(weights)


def _random(seed: np.random.SeedSequence, *key: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(seed.entropy, spawn_key=(*seed.spawn_key, *key)))
