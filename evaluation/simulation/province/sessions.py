"""What people watch in a day: video sessions over LTE cells, CDN nodes and programme sources."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from evaluation.simulation.province import queues, radio, streaming
from evaluation.simulation.province.actuators import Pressure
from evaluation.simulation.province.faults import DAY_S, Exposed, Happening, expose
from evaluation.simulation.province.mechanisms import EVENTS_PER_DEVICE_DAY
from evaluation.simulation.province.moment import daily_profile
from evaluation.simulation.province.tally import Tally
from evaluation.simulation.province.topology import Area, generator

_OTHERS_PER_CELL_WINDOW = 3  # sessions of people beyond the province's devices, at least one a window
_WINDOW_S = 900.0
_CARRIER_DB = 4.0  # 1800 MHz instead of 900 MHz
_SUBSCRIBED_MBPS = 2.5
_START_RUNG = 1
_GIVEN_UP_S = 15.0  # vid_play_failure_ratio: no first frame until then
_QUOTA_MBPS = 0.3
_PACKETS_PER_SEGMENT = 20
_LONGEST_MIN = 180.0
_FRAMES_PER_S = 25
_LTE_USUAL, _CDN_USUAL = 42.0, 45.0
_SLOW_START_S, _BAD_STALL = 6.0, 0.1  # of the time watched


@dataclass(frozen=True)
class Sessions:
    """One value a session. device: -1 of others. failed_step: of vd_start, 0 where it plays. step_ms: its steps.

    dark: the phone sends nothing, so nobody but its user knows of the session. power: RSRP of each cell without faults.
    """

    area: Area
    device: np.ndarray
    at_s: np.ndarray
    cell: np.ndarray
    source: np.ndarray
    node: np.ndarray
    ok: np.ndarray
    failed_step: np.ndarray
    step_ms: np.ndarray
    open_ms: np.ndarray
    first_frame_s: np.ndarray
    watch_s: np.ndarray
    stall_s: np.ndarray
    quality: np.ndarray
    megabit: np.ndarray
    places: dict[str, np.ndarray]
    tally: Tally
    cpu_load: np.ndarray
    dark: np.ndarray
    power: np.ndarray

    @property
    def slow(self) -> np.ndarray:
        """Tell which did not start, or late."""
        return np.asarray(~self.ok | (self.first_frame_s > _SLOW_START_S))

    @property
    def stalls(self) -> np.ndarray:
        """Tell which stood still too much."""
        return np.asarray(self.stall_s > _BAD_STALL * np.maximum(self.watch_s, 1e-9))


@dataclass(frozen=True)
class Way:
    """What each session finds between player and source. weak: 0 to 1, of a poor link; missed: by the cache."""

    rsrp: np.ndarray
    sinr: np.ndarray
    weak: np.ndarray
    client_ms: np.ndarray
    server_ms: np.ndarray
    lost: np.ndarray
    missed: np.ndarray
    origin_ms: np.ndarray
    ttfb_ms: np.ndarray
    dns_ms: np.ndarray
    rate_mbps: np.ndarray
    cpu_load: np.ndarray

    @property
    def trip_ms(self) -> np.ndarray:
        """A round trip from the player to the server."""
        return np.asarray(self.client_ms + self.server_ms)

    @property
    def repeated(self) -> np.ndarray:
        """The share of segments that the client side sends again."""
        return np.asarray(0.006 + 0.06 * self.weak)


def live(area: Area, day: int, faults: list[Happening]) -> Sessions:
    """Return the video sessions of an area on a day."""
    rng = generator(area.plan, 9, area.number, day)
    at, power = _wanted(area, day, rng)
    return play(area, at, power, faults, rng)


def play(
    area: Area, at: Exposed, power: np.ndarray, faults: Sequence[Happening], rng: np.random.Generator
) -> Sessions:
    """Return how sessions go that are wanted somewhere. power: RSRP of each cell at each, without faults."""
    pressure = expose(faults, at, weekday=area.plan.settings.start.weekday())
    way = _way(area, at, pressure, power, rng)
    play_s = 60.0 * np.minimum(
        area.plan.patterns.video.session_min_median
        * np.exp(area.plan.patterns.video.session_sigma * rng.standard_normal(len(at.at_s))),
        _LONGEST_MIN,
    )
    dark = (pressure.of("airplane_mode") + pressure.of("data_switch_off") > 0) & (at.device >= 0)
    viewing = _Viewing(area, at, power, pressure, way, play_s, dark, Tally())
    return _watched(viewing, rng, reached=_count_way(viewing, rng))


@dataclass(frozen=True)
class _Viewing:
    """Sessions that are wanted, one value each: whose way, what presses on it, how long they play, who cannot.

    power: RSRP of each cell at each, without faults. tally: what probes see of them.
    """

    area: Area
    at: Exposed
    power: np.ndarray
    pressure: Pressure
    way: Way
    play_s: np.ndarray
    dark: np.ndarray
    tally: Tally


def _wanted(area: Area, day: int, rng: np.random.Generator) -> tuple[Exposed, np.ndarray]:
    """Return who wants to watch when and where, and the RSRP of each cell there; others stand for the rest of all."""
    own = np.flatnonzero(area.devices.service == 2)
    device = np.repeat(own, rng.poisson(EVENTS_PER_DEVICE_DAY["session"], len(own)))
    profile = np.array(area.plan.patterns.video.session_hour_profile)
    at = 3600.0 * (rng.choice(24, len(device), p=profile / profile.sum()) + rng.random(len(device)))
    cells, windows = len(area.cells), int(DAY_S / _WINDOW_S)
    others = cells * windows * _OTHERS_PER_CELL_WINDOW
    device = np.concatenate([device, np.full(others, -1)])
    slot = np.repeat(np.tile(np.arange(windows), cells), _OTHERS_PER_CELL_WINDOW)
    at = day * DAY_S + np.concatenate([at, _WINDOW_S * (slot + rng.random(others))])
    near = np.repeat(np.arange(cells), windows * _OTHERS_PER_CELL_WINDOW)
    power = _received(area, device, near, rng)
    places = _places(area, device, power.argmax(axis=1), rng)
    return Exposed(at, device, np.ones(len(device), bool), places), power


def _places(
    area: Area, device: np.ndarray, cell: np.ndarray, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    size, known, who, names = len(device), device >= 0, np.maximum(device, 0), area.plan.names
    source = rng.integers(0, len(names["program_source"]), size)
    node = np.where(known, area.devices.cdn[who], rng.integers(0, len(names["cdn_node"]), size))
    apps = [n for n, name in enumerate(names["app"]) if "-video-" in name]
    return {
        "device": device, "cell": cell, "tac": np.full(size, area.number), "mme": np.full(size, area.mme),
        "city": np.full(size, area.city), "province": np.zeros(size, "int64"), "program_source": source,
        "cdn_node": node, "fleet": np.where(known, area.devices.fleet[who], -1),
        "app": np.where(known, area.devices.app[who], apps[0]), "platform_node": np.full(size, -1),
    }  # fmt: skip


def _received(area: Area, device: np.ndarray, near: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return RSRP of each LTE cell at each session, (n, c): homes of devices, anywhere near a cell for others."""
    known = device >= 0
    power = np.empty((len(device), len(area.cells)))
    shift = area.plan.settings.lte.site_power_dbm - radio.NRS_POWER_DBM - _CARRIER_DB
    power[known] = area.nrsrp(device[known]) + shift
    count = int((~known).sum())
    away, turn = area.radius_km * np.sqrt(rng.random(count)), rng.uniform(0, 2 * np.pi, count)
    x, y = area.cells.x_km[near] + away * np.cos(turn), area.cells.y_km[near] + away * np.sin(turn)
    distance = np.hypot(x[:, None] - area.cells.x_km, y[:, None] - area.cells.y_km)
    shadow = 6.0 * rng.standard_normal((count, 1)) + 6.0 * rng.standard_normal(distance.shape)
    wall = np.where(rng.random(count) < 0.6, 10.0, 0.0)[:, None]
    power[~known] = (
        radio.nrsrp_dbm(radio.path_loss_db(distance) + area.plan.settings.clutter_loss_db + shadow + wall)
        + shift
    )
    return power + rng.normal(0, 2.0, (len(device), 1))


def _way(area: Area, at: Exposed, pressure: Pressure, power: np.ndarray, rng: np.random.Generator) -> Way:
    """Return link, delays and throughput of each session."""
    size, settings, use = len(at.at_s), area.plan.settings, utilisation(area, at, pressure)
    rsrp, sinr = _link(area, at, pressure, power)
    weak = 1.0 / (1.0 + np.exp(np.clip((sinr + 1.0) / 2.0, -30, 30)))
    detour = np.where(pressure.of("vpn") > 0, 3.0, 1.0)
    queue = queues.delay_factor(use["lte"]) / queues.delay_factor(_LTE_USUAL)
    client = queues.skewed(rng, 52.0 * queue * (1 + 3.0 * weak) * detour, 0.3, size)
    server = queues.skewed(rng, 15.0, 0.35, size) + pressure.of("peering_delay_ms")
    lost = 0.0009 + pressure.of("peering_loss")
    missed = 0.048 + 0.9 * pressure.of("cache_miss")
    origin = queues.skewed(rng, 165.0, 0.4, size) + pressure.of("origin_delay_ms")
    busy = queues.delay_factor(use["cdn"]) / queues.delay_factor(_CDN_USUAL)
    ttfb = queues.skewed(rng, 44.0 * busy, 0.35, size) + missed * origin
    rate = streaming.cell_throughput_mbps(sinr, use["lte"], settings.lte.capacity_mbps)
    rate = rate * streaming.node_share(use["cdn"])
    repeated = 0.006 + 0.06 * weak
    rate = np.minimum(rate, streaming.transport_limit_mbps(client + server, lost + 0.05 * repeated))
    rate = np.where(pressure.of("quota_used") > 0, np.minimum(rate, _QUOTA_MBPS), rate)
    rate = np.maximum(rate * np.exp(0.25 * rng.standard_normal(size)), 0.05)
    dns, cpu = queues.skewed(rng, 30.0, 0.5, size), rng.normal(35, 8, size) + pressure.of("cpu_load")
    return Way(rsrp, sinr, weak, client, server, lost, missed, origin, ttfb, dns, rate, np.clip(cpu, 3, 100))


def _link(area: Area, at: Exposed, pressure: Pressure, power: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return RSRP and SINR of each session in its cell; interference of the others adds in mW."""
    rows, cell, settings = np.arange(len(at.at_s)), at.places["cell"], area.plan.settings
    busy = daily_profile(at.at_s)
    activity = np.minimum(
        0.1 + settings.base_utilisation.lte / 100 * area.cells.load[None, :] * busy[:, None], 1.0
    )
    others = radio.to_milliwatt(power) * activity
    others[rows, cell] = 0.0
    walls = pressure.of("attenuation_db")
    rsrp = power[rows, cell] - walls
    rise = radio.to_milliwatt(pressure.of("interference_power_db") - walls)
    noise = radio.to_milliwatt(settings.lte.noise_dbm)
    return rsrp, np.clip(rsrp - radio.to_dbm(noise + 0.6 * others.sum(axis=1) * rise), -12.0, 30.0)


def _count_way(viewing: _Viewing, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Count what probes see of each session; return who has a bearer, a connection and an answer."""
    area, way, pressure, tally = viewing.area, viewing.way, viewing.pressure, viewing.tally
    play_s = viewing.play_s
    size, rows = len(play_s), np.arange(len(play_s))
    segments = np.maximum(np.ceil(play_s / area.plan.patterns.video.segment_s), 2).astype("int64")
    packets = segments * _PACKETS_PER_SEGMENT
    tally.sample("rsrp_dbm", rows, way.rsrp)
    tally.sample("sinr_db", rows, way.sinr)
    tally.sample("rtt_client_ms", rows, way.client_ms)
    tally.sample("vid_rtt_server_ms", rows, way.server_ms)
    tally.ratio("retx_c/seg_c", rows, rng.binomial(packets, way.repeated), packets)
    tally.ratio("loss_s/seg_s_all", rows, rng.binomial(packets, np.clip(way.lost, 0, 1)), packets)
    tally.sample("ttfb_ms", rows, way.ttfb_ms)
    misses = rng.binomial(segments, np.clip(way.missed, 0, 1))
    tally.ratio("hit/req", rows, segments - misses, segments)
    tally.sample("origin_ms", rows[misses > 0], way.origin_ms[misses > 0])
    error = np.clip(0.0009 + pressure.of("origin_reject"), 0, 1)
    tally.ratio("http_err/http_all", rows, rng.binomial(segments, error), segments)
    bearer = rng.random(size) < 0.9972 * (1 - pressure.of("erab_reject"))
    tally.ratio("erab_succ/erab_att", rows, bearer)
    opened = rng.random(size) < 0.9945 * (1 - 0.8 * pressure.of("erab_reject")) * (1 - 0.04 * way.weak)
    tally.ratio("tcp_ok/tcp_syn", rows, opened)
    tally.sample("dns_ms", rows, way.dns_ms)
    return bearer, opened | (rng.random(size) < 0.6), rng.random(size) >= 1.1 * error


def _watched(
    viewing: _Viewing, rng: np.random.Generator, *, reached: tuple[np.ndarray, np.ndarray, np.ndarray]
) -> Sessions:
    """Return how the sessions went: who saw the first frame when, what it stalled, how good it looked."""
    area, at, way, tally = viewing.area, viewing.at, viewing.way, viewing.tally
    play_s, dark = viewing.play_s, viewing.dark
    saving, size = viewing.pressure.of("power_saving"), len(play_s)
    played, start = _bit_rates(area, way, saving)
    steps = _steps_ms(area, way, start, rng)
    first_frame = steps.sum(axis=1) / 1000.0
    bearer, opened, answered = reached
    failed = np.where(
        ~(bearer & opened) | dark, 1, np.where(~answered, 2, np.where(first_frame > _GIVEN_UP_S, 3, 0))
    )
    ok = failed == 0
    dropped = streaming.dropped_frames(way.cpu_load, saving)
    share = streaming.stall_share(way.rate_mbps, played)
    share = np.clip(share * (1 + 8 * np.maximum(dropped - 0.06, 0)), 0, 0.6)
    play = np.where(ok, play_s, 0.0)
    stall = play * share / (1 - share)
    switches = rng.poisson(play / 600.0 * (0.35 + 3.0 * np.exp(-1.3 * way.rate_mbps / played)))
    tally.ratio("play_fail/play_att", np.arange(size), ~ok)
    on = np.flatnonzero(ok)
    tally.sample("init_buffer_s", on, first_frame[on])
    tally.ratio("stall_s/watch_s", on, stall[on], (stall + play)[on])
    tally.ratio("media_mbit/play_s", on, (played * play)[on], play[on])
    tally.ratio("down_switches/play_10min", on, switches[on], play[on] / 600.0)
    frames = np.round(play[on] * _FRAMES_PER_S)
    tally.ratio("frames_drop/frames", on, rng.binomial(frames.astype("int64"), dropped[on]), frames)
    tally.ratio("seg_mbit/seg_s", on, (played * play)[on], (played * play / way.rate_mbps)[on])
    quality = 100 * np.minimum(1, played / _SUBSCRIBED_MBPS) - 5 * switches / np.maximum(play / 600.0, 1.0)
    open_ms = [queues.skewed(rng, 90.0, 0.3, size), way.dns_ms + 3 * way.trip_ms, 250.0 + 2 * way.trip_ms]
    walked = np.arange(4) < np.where(ok, 4, np.where(dark, 0, failed))[:, None]
    return Sessions(
        area, at.device, at.at_s, at.places["cell"], at.places["program_source"], at.places["cdn_node"],
        ok, failed, np.where(walked, steps, -1.0), np.stack(open_ms, axis=1), first_frame, play + stall, stall,
        np.maximum(quality, 0.0), played * play, at.places, tally.without(dark), way.cpu_load, dark, viewing.power,
    )  # fmt: skip


def _bit_rates(area: Area, way: Way, saving: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the bit rate that each player settles on, and that it starts with, Mbit/s."""
    rates = area.plan.patterns.video.bit_rates_mbps
    rung = streaming.chosen_rung(way.rate_mbps, rates)
    rung = np.where(saving > 0, np.maximum(rung - 1, 0), rung)
    return np.array(rates)[rung], np.array(rates)[np.minimum(rung, _START_RUNG)]


def _steps_ms(area: Area, way: Way, start_mbps: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the steps to the first frame, ms: at least a whole segment must be there before it plays."""
    video = area.plan.patterns.video
    media_s = np.ceil(video.start_threshold_s / video.segment_s) * video.segment_s
    busy = 260.0 * (1 + np.maximum(way.cpu_load - 80, 0) / 20)
    return np.stack(
        [
            way.dns_ms + 3.0 * way.trip_ms,
            way.ttfb_ms + 2.0 * way.trip_ms,
            2.0 * way.ttfb_ms + 2.0 * way.trip_ms + 1000.0 * media_s * start_mbps / way.rate_mbps,
            queues.skewed(rng, busy, 0.2, len(start_mbps)),
        ],
        axis=1,
    )


def utilisation(area: Area, at: Exposed, pressure: Pressure) -> dict[str, np.ndarray]:
    """Return the utilisation of LTE cell and CDN node at each row, %."""
    usual, evening = area.plan.settings.base_utilisation, daily_profile(at.at_s - 2 * 3600.0)
    load = area.cells.load[np.maximum(at.places["cell"], 0)]
    return {
        "lte": np.minimum(usual.lte * load * evening + pressure.of("offered_load_dl"), 99.0),
        "cdn": np.minimum(usual.cdn * evening + pressure.of("cdn_load"), 99.0),
    }
