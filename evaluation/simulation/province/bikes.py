"""What shared bikes do in a day: trips by hour and place, reports while riding and while parked."""

from dataclasses import dataclass, fields, replace

import numpy as np

from evaluation.simulation.province.attempts import Attempts, joined, made
from evaluation.simulation.province.catalogue import BikeTraffic
from evaluation.simulation.province.faults import DAY_S, JUST_AFTER_S, Happening
from evaluation.simulation.province.smoke import due_within
from evaluation.simulation.province.topology import Area

_REGISTRATIONS_PER_DAY = 0.3
_TO_HUB = 0.5  # share of rush hour trips that lead to the metro in the morning, from it in the evening
_LONGEST_TRIP_S = 5400.0
_PARKED_BETWEEN_S = 180.0
_DETOUR = 0.75  # distance as the crow flies over distance ridden


@dataclass
class Parked:
    """Where the bikes of an area stand, one value a device of the area; changes from day to day."""

    x_km: np.ndarray
    y_km: np.ndarray
    extra_db: np.ndarray


@dataclass(frozen=True)
class Trips:
    """Trips in the order of bike and time. event: their number that day."""

    bike: np.ndarray
    start_s: np.ndarray
    end_s: np.ndarray
    from_x: np.ndarray
    from_y: np.ndarray
    to_x: np.ndarray
    to_y: np.ndarray
    from_db: np.ndarray
    to_db: np.ndarray

    def take(self, rows: np.ndarray) -> "Trips":
        """Return some of them."""
        return Trips(*(getattr(self, field.name)[rows] for field in fields(self)))

    @property
    def key(self) -> np.ndarray:
        """A number that grows with bike, then time of day."""
        return self.bike * 2 * DAY_S + self.start_s % DAY_S


def ride(area: Area, day: int, parked: Parked, *, rng: np.random.Generator, weekend: bool) -> Trips:
    """Return the trips of a day."""
    traffic = area.plan.patterns.bike_sharing
    own = np.flatnonzero(area.devices.service == 1)
    profile = np.array(traffic.hour_profile_weekend if weekend else traffic.hour_profile_weekday)
    each = rng.poisson(
        traffic.trips_per_bike_day.weekend if weekend else traffic.trips_per_bike_day.weekday, len(own)
    )
    bike = np.repeat(own, each)
    start = 3600.0 * (rng.choice(24, len(bike), p=profile / profile.sum()) + rng.random(len(bike)))
    order = np.lexsort((start, bike))
    bike, start = bike[order], start[order]
    lasts = (
        60.0
        * traffic.trip.duration_min_median
        * np.exp(traffic.trip.duration_sigma * rng.standard_normal(len(bike)))
    )
    before_next = np.append(np.where(np.diff(bike) == 0, np.diff(start), DAY_S), DAY_S) - _PARKED_BETWEEN_S
    end_of_day = DAY_S - 61.0 - start
    lasts = np.minimum(np.clip(lasts, 120.0, _LONGEST_TRIP_S), np.minimum(before_next, end_of_day))
    kept = lasts >= 90.0
    bike, start, lasts = bike[kept], start[kept], lasts[kept]
    return _routes(area, parked, _Rides(bike, start, lasts), rng=rng, day=day)


@dataclass(frozen=True)
class _Rides:
    """Rides of a day, by bike and start; seconds of the day, and how many it lasts."""

    bike: np.ndarray
    start: np.ndarray
    lasts: np.ndarray


def _routes(area: Area, parked: Parked, rides: _Rides, *, rng: np.random.Generator, day: int) -> Trips:
    bike, start, lasts = rides.bike, rides.start, rides.lasts
    traffic = area.plan.patterns.bike_sharing
    count = len(bike)
    turn = np.arange(count) - np.searchsorted(bike, bike)
    reach = traffic.trip.speed_kmh * lasts / 3600.0 * _DETOUR
    way, hub = rng.uniform(0, 2 * np.pi, count), rng.random(count) < _TO_HUB
    shadow = rng.random(count) < traffic.urban_shadow.share_of_parkings
    deep = rng.normal(traffic.urban_shadow.extra_loss_db_mean, traffic.urban_shadow.extra_loss_db_sd, count)
    to_db = np.where(shadow, np.maximum(deep, 0.0), 0.0)
    ends = {name: np.zeros(count) for name in ("fx", "fy", "tx", "ty", "fdb")}
    x, y, db = parked.x_km.copy(), parked.y_km.copy(), parked.extra_db.copy()
    low_x, high_x = area.cells.x_km.min() - area.radius_km, area.cells.x_km.max() + area.radius_km
    low_y, high_y = area.cells.y_km.min() - area.radius_km, area.cells.y_km.max() + area.radius_km
    for number in range(int(turn.max(initial=-1)) + 1):
        rows = np.flatnonzero(turn == number)
        who, hour = bike[rows], start[rows] / 3600.0
        to_hub = np.arctan2(area.cells.y_km[0] - y[who], area.cells.x_km[0] - x[who])
        rush = hub[rows] & (((hour >= 7) & (hour < 9)) | ((hour >= 17) & (hour < 19)))
        angle = np.where(rush, np.where(hour < 12, to_hub, to_hub + np.pi), way[rows])
        ends["fx"][rows], ends["fy"][rows], ends["fdb"][rows] = x[who], y[who], db[who]
        x[who] = np.clip(x[who] + reach[rows] * np.cos(angle), low_x, high_x)
        y[who] = np.clip(y[who] + reach[rows] * np.sin(angle), low_y, high_y)
        db[who] = to_db[rows]
        ends["tx"][rows], ends["ty"][rows] = x[who], y[who]
    trips = Trips(
        bike, day * DAY_S + start, day * DAY_S + start + lasts,
        ends["fx"], ends["fy"], ends["tx"], ends["ty"], ends["fdb"], to_db,
    )  # fmt: skip
    return trips


def after(parked: Parked, trips: Trips) -> Parked:
    """Return where the bikes stand when the day is over."""
    x, y, db = parked.x_km.copy(), parked.y_km.copy(), parked.extra_db.copy()
    x[trips.bike], y[trips.bike], db[trips.bike] = trips.to_x, trips.to_y, trips.to_db  # the last trip stays
    return Parked(x, y, db)


def live(area: Area, day: int, parked: Parked, trips: Trips, *, rng: np.random.Generator) -> Attempts:
    """Return the attempts of all bikes of an area on a day. parked: where they stood before it."""
    number = np.arange(len(trips.bike))
    unlock = made(
        trips.bike,
        trips.start_s,
        "bk_unlock",
        trips.from_x,
        trips.from_y,
        extra_db=trips.from_db,
        event=number,
    )
    lock = made(
        trips.bike,
        trips.end_s,
        "bk_lock_settlement",
        trips.to_x,
        trips.to_y,
        extra_db=trips.to_db,
        event=number,
    )
    return joined(
        [
            unlock,
            lock,
            _riding(trips, area.plan.patterns.bike_sharing),
            _standing(area, day, parked, trips, rng=rng),
        ]
    )


def _riding(trips: Trips, traffic: BikeTraffic) -> Attempts:
    period = traffic.reports.riding_period_s
    each = np.floor((trips.end_s - trips.start_s - 1.0) / period).astype("int64")
    trip = np.repeat(np.arange(len(each)), each)
    turn = np.arange(len(trip)) - np.repeat(np.cumsum(each) - each, each) + 1
    done = turn * period / (trips.end_s - trips.start_s)[trip]
    x = trips.from_x[trip] + done * (trips.to_x - trips.from_x)[trip]
    y = trips.from_y[trip] + done * (trips.to_y - trips.from_y)[trip]
    return made(
        trips.bike[trip],
        trips.start_s[trip] + turn * period,
        "bk_ride_position",
        x,
        y,
        riding=True,
        event=trip,
    )


def _standing(area: Area, day: int, parked: Parked, trips: Trips, *, rng: np.random.Generator) -> Attempts:
    own = np.flatnonzero(area.devices.service == 1)
    bike, at = due_within(area, own, day * DAY_S, (day + 1) * DAY_S)
    extra = np.repeat(own, rng.poisson(_REGISTRATIONS_PER_DAY, len(own)))
    born = day * DAY_S + rng.random(len(extra)) * (DAY_S - 1)
    report = made(
        bike,
        at,
        "bk_ride_position",
        *where(bike, at, parked, trips)[:2],
        extra_db=where(bike, at, parked, trips)[2],
    )
    online = made(extra, born, "bk_lock_online", *where(extra, born, parked, trips)[:2])
    return joined([report, online])


def where(
    bike: np.ndarray, at_s: np.ndarray, parked: Parked, trips: Trips
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return x, y and the parking's loss of bikes at some moments: where the last trip before led."""
    if not len(trips.bike):
        return parked.x_km[bike], parked.y_km[bike], parked.extra_db[bike]
    last = np.searchsorted(trips.key, bike * 2 * DAY_S + at_s % DAY_S, "right") - 1
    moved = (last >= 0) & (trips.bike[np.maximum(last, 0)] == bike)
    last = np.maximum(last, 0)
    return (
        np.where(moved, trips.to_x[last], parked.x_km[bike]),
        np.where(moved, trips.to_y[last], parked.y_km[bike]),
        np.where(moved, trips.to_db[last], parked.extra_db[bike]),
    )


def left_behind(area: Area, faults: list[Happening], trips: Trips) -> list[Happening]:
    """Return the faults of a day: walls around a parked bike end, with all they do, when it is ridden away."""
    known = []
    for one in faults:
        walls = one.scope == "device" and any(act.actuator == "attenuation_db" for act in one.fault.mechanism)
        if walls and area.devices.service[one.location] == 1:
            away = trips.start_s[(trips.bike == one.location) & (trips.start_s > one.onset_s)]
            ends = min(away.min(initial=np.inf) + JUST_AFTER_S, one.end_s)
            known.append(replace(one, end_s=float(ends)))
        else:
            known.append(one)
    return known
