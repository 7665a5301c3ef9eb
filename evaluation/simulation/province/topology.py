"""Where everything stands: cells and devices of each tracking area, and the elements they share."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from evaluation.simulation.province import radio, shadow
from evaluation.simulation.province.actuators import BY_NAME
from evaluation.simulation.province.catalogue import TrafficPatterns
from evaluation.simulation.province.settings import SERVICES, ProvinceSettings, Thresholds

VENDORS = ("vendor_a", "vendor_b", "vendor_c")
DAY_S = 86_400.0
OUTDOOR, INDOOR, DEEP_INDOOR = "outdoor", "indoor", "deep_indoor"


@dataclass(frozen=True)
class Plan:
    """All that decides the bytes, and how many elements follow from it."""

    settings: ProvinceSettings
    devices: int
    days: int
    seed: int
    patterns: TrafficPatterns

    @property
    def tacs(self) -> int:
        """Tracking areas; each is simulated by itself."""
        return max(1, round(self.devices / (self.settings.devices_per_cell * self.settings.cells_per_tac)))

    @property
    def cells_per_tac(self) -> int:
        """Cells of each tracking area."""
        wanted = round(self.devices / self.tacs / self.settings.devices_per_cell)
        return max(3, min(wanted, 2 * self.settings.cells_per_tac))

    def first_device(self, area: int) -> int:
        """Return the number of the first device of an area within the province."""
        return area * (self.devices // self.tacs) + min(area, self.devices % self.tacs)

    @property
    def start_s(self) -> float:
        """The first instant, seconds since 1970."""
        return self.settings.start.timestamp()

    @cached_property
    def names(self) -> dict[str, tuple[str, ...]]:
        """Ids of the elements that tracking areas share, by scope."""
        settings, nodes = self.settings, max(2, self.devices // self.settings.devices_per_platform_node)
        apps = {s: int(settings.apps.of(s)) for s in SERVICES}
        fleets = {s: int(settings.fleets.of(s)) for s in SERVICES}
        return {
            "mme": _numbered("mme", -(-self.tacs // settings.tacs_per_mme)),
            "platform_node": _numbered("node", nodes),
            "app": tuple(f"app-{s}-{n}" for s in SERVICES for n in range(apps[s])),
            "fleet": tuple(f"fleet-{s}-{n}" for s in SERVICES for n in range(fleets[s])),
            "city": _numbered("city", -(-self.tacs // settings.tacs_per_city)),
            "province": ("province-0",),
            "tac": _numbered("tac", self.tacs),
            "cdn_node": _numbered("cdn", settings.cdn_nodes),
            "program_source": self.patterns.video.sources,
        }

    def first(self, scope: str, service: str) -> int:
        """Return the index of a service's first app or fleet in `names`."""
        return next(i for i, name in enumerate(self.names[scope]) if f"-{service}-" in name)


def _numbered(word: str, count: int) -> tuple[str, ...]:
    return tuple(f"{word}-{n:03d}" for n in range(count))


@dataclass(frozen=True)
class Cells:
    """The cells of a tracking area: NB-IoT ones, and as many LTE ones on the same masts.

    x_km, y_km: (c,). ce1_dbm, ce2_dbm: thresholds. load: of the mean, 1 is average. vendor: index into VENDORS.
    """

    names: tuple[str, ...]
    x_km: np.ndarray
    y_km: np.ndarray
    ce1_dbm: np.ndarray
    ce2_dbm: np.ndarray
    load: np.ndarray
    vendor: np.ndarray

    def __len__(self) -> int:
        return len(self.x_km)


@dataclass(frozen=True)
class Devices:
    """The devices of a tracking area, one value each.

    service: index into SERVICES. x_km, y_km: home. wall_db: penetration loss. shadow_db: (n, c), towards each cell.
    node, app, fleet, cdn: indices into Plan.names. The latent traits mobility, place, power, misuse are drawn here.
    """

    names: np.ndarray
    service: np.ndarray
    x_km: np.ndarray
    y_km: np.ndarray
    wall_db: np.ndarray
    shadow_db: np.ndarray
    node: np.ndarray
    app: np.ndarray
    fleet: np.ndarray
    cdn: np.ndarray
    place: np.ndarray
    heartbeat_s: np.ndarray
    phase_s: np.ndarray
    battery: np.ndarray
    skew_s: np.ndarray
    heavy: np.ndarray
    misused: np.ndarray

    def __len__(self) -> int:
        return len(self.service)


@dataclass(frozen=True)
class Area:
    """One tracking area."""

    plan: Plan
    number: int
    cells: Cells
    devices: Devices
    radius_km: float
    shadow: shadow.ShadowMap

    @property
    def first(self) -> int:
        """Number of its first device within the province."""
        return self.plan.first_device(self.number)

    @property
    def mme(self) -> int:
        """Index of its MME."""
        return self.number // self.plan.settings.tacs_per_mme

    @property
    def city(self) -> int:
        """Index of its city."""
        return self.number // self.plan.settings.tacs_per_city

    @cached_property
    def home_cell(self) -> np.ndarray:
        """Return the cell that each device serves itself from at home."""
        return np.asarray(self.nrsrp(np.arange(len(self.devices))).argmax(axis=1))

    def usual_lifetime(self, lifetime_ratio: np.ndarray) -> np.ndarray:
        """Return LwM2M lifetimes of sensors over their periods: as their file says, moved as far as faults move it."""
        daily = self.plan.patterns.smoke_sensor.timers.lwm2m_lifetime_s / DAY_S
        return np.asarray(lifetime_ratio * daily / BY_NAME["lifetime_ratio"].neutral)

    def nrsrp(
        self, device: np.ndarray, x_km: np.ndarray | None = None, y_km: np.ndarray | None = None
    ) -> np.ndarray:
        """Return the NRSRP of every cell at devices, (n, c), at home or where they are now."""
        at = self.devices
        x = at.x_km[device] if x_km is None else x_km
        y = at.y_km[device] if y_km is None else y_km
        away = np.hypot(x[:, None] - self.cells.x_km, y[:, None] - self.cells.y_km)
        loss = radio.path_loss_db(away) + self.plan.settings.clutter_loss_db + at.wall_db[device, None]
        return radio.nrsrp_dbm(loss + self._shadow_db(device, x, y))

    def _shadow_db(self, device: np.ndarray, x_km: np.ndarray, y_km: np.ndarray) -> np.ndarray:
        """Return the shadow towards every cell: of its place for a device at home, of the map for one that moves."""
        found = self.devices.shadow_db[device]
        home = (x_km == self.devices.x_km[device]) & (y_km == self.devices.y_km[device])
        out = np.flatnonzero(~home | (self.devices.service[device] == 1))
        found[out] = self.plan.settings.shadow_sd_db.outdoor * self.shadow.at(x_km[out], y_km[out])
        return np.asarray(found)


def generator(plan: Plan, *stream: int) -> np.random.Generator:
    """Return the random numbers of one purpose: the same whatever else is drawn, on any number of cores."""
    return np.random.default_rng([plan.seed, *stream])


def build(plan: Plan, number: int) -> Area:
    """Return one tracking area; the same arguments give the same area."""
    rng = generator(plan, 1, number)
    cells, radius = _cells(plan, number, rng)
    count = plan.devices // plan.tacs + (number < plan.devices % plan.tacs)
    first = plan.first_device(number)
    return Area(
        plan, number, cells,
        _devices(plan, rng, numbers=range(first, first + count), radius=radius, cells=cells), radius,
        shadow.drawn(generator(plan, 20, number), len(cells)),
    )  # fmt: skip


def _cells(plan: Plan, number: int, rng: np.random.Generator) -> tuple[Cells, float]:
    settings, count = plan.settings, plan.cells_per_tac
    distance = rng.uniform(*settings.site_distance_km)
    side = int(np.ceil(np.sqrt(count)))
    row, column = np.divmod(np.arange(count), side)
    x = (column + 0.5 * (row % 2)) * distance + rng.normal(0, 0.08 * distance, count)
    y = row * distance * np.sqrt(3) / 2 + rng.normal(0, 0.08 * distance, count)
    own = rng.standard_normal(count)
    load, vendor = rng.lognormal(0, 0.2, count), rng.integers(0, len(VENDORS), count)
    ce1, ce2 = thresholds(settings.ce_threshold_dbm, vendor, own)
    cells = Cells(
        tuple(f"cell-{number:03d}-{n:02d}" for n in range(count)),
        x, y, ce1, ce2, load, vendor,
    )  # fmt: skip
    return cells, float(0.62 * distance)


def thresholds(levels: Thresholds, vendor: np.ndarray, own: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the thresholds of cells, the first always above the second. own: a standard normal draw of each."""
    apart = np.linspace(-1.0, 1.0, len(VENDORS))
    ce1 = levels.ce1 + levels.vendor_sd * (apart / apart.std())[vendor] + levels.sd * own
    ce2 = levels.ce2 + levels.ce2_share * (ce1 - levels.ce1)
    return ce1, np.minimum(ce2, ce1 - levels.least_gap)


def _devices(plan: Plan, rng: np.random.Generator, *, numbers: range, radius: float, cells: Cells) -> Devices:
    first, count = numbers.start, len(numbers)
    settings = plan.settings
    share = np.array([settings.share.of(s) for s in SERVICES])
    service = _dealt(rng, share / share.sum(), count)
    near = rng.integers(0, len(cells), count)
    away, turn = radius * np.sqrt(rng.random(count)), rng.uniform(0, 2 * np.pi, count)
    indoor = (service == 0) | ((service == 2) & (rng.random(count) < 0.6))
    wall, place = _walls(plan, rng, service=service, indoor=indoor)
    shadow_sd = np.where(indoor, settings.shadow_sd_db.indoor, settings.shadow_sd_db.outdoor)
    common = 0.6 * rng.standard_normal((count, 1)) + 0.8 * rng.standard_normal((count, len(cells)))
    of_own = [plan.first("app", s) for s in SERVICES], [plan.first("fleet", s) for s in SERVICES]
    apps, fleets = (np.array([kind.of(s) for s in SERVICES]) for kind in (settings.apps, settings.fleets))
    periods = _periods_s(plan, rng, service)
    return Devices(
        np.array([f"dev-{first + n:07d}" for n in range(count)]),
        service,
        cells.x_km[near] + away * np.cos(turn),
        cells.y_km[near] + away * np.sin(turn),
        wall,
        common * shadow_sd[:, None],
        rng.integers(0, len(plan.names["platform_node"]), count),
        np.array(of_own[0])[service] + (rng.random(count) * apps[service]).astype("int64"),
        np.array(of_own[1])[service] + (rng.random(count) * fleets[service]).astype("int64"),
        rng.integers(0, len(plan.names["cdn_node"]), count),
        place,
        periods,
        rng.random(count) * periods,
        rng.uniform(45, 100, count),
        rng.normal(0, 3, count),
        rng.random(count) < settings.traits.heavy_share,
        (rng.random(count) < settings.traits.misuse_share) & (service != 2),
    )


def _periods_s(plan: Plan, rng: np.random.Generator, service: np.ndarray) -> np.ndarray:
    """Return how often each device reports, s: a sensor as its file says, a lock while it is parked."""
    often = plan.patterns.smoke_sensor.heartbeat_period_s
    share = np.array(list(often.values()))
    drawn = rng.choice(np.array(list(often)), len(service), p=share / share.sum())
    return np.where(service == 0, drawn, plan.patterns.bike_sharing.reports.parked_period_s)


def _dealt(rng: np.random.Generator, share: np.ndarray, count: int) -> np.ndarray:
    """Return indices in exactly these shares, as near as whole numbers allow, in random order."""
    return np.asarray(rng.permutation(np.searchsorted(np.cumsum(share), (np.arange(count) + 0.5) / count)))


def _walls(
    plan: Plan, rng: np.random.Generator, *, service: np.ndarray, indoor: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the penetration loss of each device, dB, and the name of its place."""
    settings, loss_of = plan.settings, plan.patterns.radio_physics.penetration_db
    kinds = list(settings.smoke_place_share)
    if unknown := [kind for kind in kinds if kind not in loss_of]:
        raise ValueError(
            f"smoke_place_share must name places of penetration_db, {', '.join(loss_of)}, but names {unknown[0]}"
        )
    share = np.array([settings.smoke_place_share[kind] for kind in kinds])
    kind = _dealt(rng, share / share.sum(), len(service))
    losses = np.array([loss_of[name] for name in kinds])
    wall = np.where(indoor, losses[kind], 0.0)
    wall = np.where((service == 2) & indoor, np.minimum(wall, 15.0), wall)
    own = np.array([settings.antenna_loss_db.of(s) for s in SERVICES])[service]
    place = np.where(~indoor, OUTDOOR, np.where(wall >= 25, DEEP_INDOOR, INDOOR))
    return wall + own, place
