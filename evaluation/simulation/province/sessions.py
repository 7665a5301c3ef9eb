"""What people watch in a day: video sessions over LTE cells, CDN nodes and programme sources."""

from dataclasses import dataclass

import numpy as np

from evaluation.simulation.province import queues, radio, streaming
from evaluation.simulation.province.catalogue import VideoTraffic
from evaluation.simulation.province.faults import DAY_S, Exposed, Exposure, Happening, expose
from evaluation.simulation.province.moment import daily_profile
from evaluation.simulation.province.tally import Tally
from evaluation.simulation.province.topology import Area, generator

_STARTS_PER_DAY = 4.0
_OTHERS_PER_CELL_WINDOW = 3  # sessions of people beyond the province's devices, at least one a window
_WINDOW_S = 900.0
_CARRIER_DB = 4.0  # 1800 MHz instead of 900 MHz
_SUBSCRIBED_MBPS = 2.5
_START_RUNG = 1
_GIVEN_UP_S = 15.0  # vid_play_failure_ratio: no first frame until then
_QUOTA_MBPS = 0.3
_LTE_USUAL, _CDN_USUAL = 42.0, 45.0


@dataclass(frozen=True)
class Sessions:
    """One value a session. device: -1 of others. failed_step: of vd_start, 0 where it plays. step_ms: its steps."""

    area: Area
    device: np.ndarray
    at_s: np.ndarray
    cell: np.ndarray
    source: np.ndarray
    node: np.ndarray
    exposure: Exposure
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


@dataclass(frozen=True)
class Gauges:
    """What LTE cells and CDN nodes measure themselves; one row per cell or node and quarter of an hour."""

    tally: Tally
    at_s: np.ndarray
    places: dict[str, np.ndarray]


def live(area: Area, day: int, faults: list[Happening], *, traffic: VideoTraffic) -> Sessions:
    """Return the video sessions of an area on a day."""
    rng = generator(area.plan, 9, area.number, day)
    own = np.flatnonzero(area.devices.service == 2)
    device = np.repeat(own, rng.poisson(_STARTS_PER_DAY, len(own)))
    profile = np.array(traffic.session_hour_profile)
    at = 3600.0 * (rng.choice(24, len(device), p=profile / profile.sum()) + rng.random(len(device)))
    cells, windows = len(area.cells), int(DAY_S / _WINDOW_S)
    others = cells * windows * _OTHERS_PER_CELL_WINDOW
    device = np.concatenate([device, np.full(others, -1)])
    slot = np.repeat(np.tile(np.arange(windows), cells), _OTHERS_PER_CELL_WINDOW)
    at = day * DAY_S + np.concatenate([at, _WINDOW_S * (slot + rng.random(others))])
    near = np.repeat(np.arange(cells), windows * _OTHERS_PER_CELL_WINDOW)
    power = _received(area, device, near, rng)
    cell = power.argmax(axis=1)
    size, known, who = len(device), device >= 0, np.maximum(device, 0)
    source = rng.integers(0, len(area.plan.names["program_source"]), size)
    names = area.plan.names
    node = np.where(known, area.devices.cdn[who], rng.integers(0, len(names["cdn_node"]), size))
    apps = [n for n, name in enumerate(names["app"]) if "-video-" in name]
    places = {
        "device": device, "cell": cell, "tac": np.full(size, area.number), "mme": np.full(size, area.mme),
        "city": np.full(size, area.city), "province": np.zeros(size, "int64"), "program_source": source,
        "cdn_node": node, "fleet": np.where(known, area.devices.fleet[who], -1),
        "app": np.where(known, area.devices.app[who], apps[0]), "platform_node": np.full(size, -1),
    }  # fmt: skip
    exposed = Exposed(at, device, np.ones(size, bool), places)
    exposure = expose(faults, exposed, weekday=area.plan.settings.start.weekday())
    off = exposure.pressure.of("airplane_mode") + exposure.pressure.of("data_switch_off") > 0
    kept = np.flatnonzero(~off | ~known)
    trimmed = Exposed(
        at[kept], device[kept], np.ones(len(kept), bool), {n: v[kept] for n, v in places.items()}
    )
    exposure = expose(faults, trimmed, weekday=area.plan.settings.start.weekday())
    return _played(area, trimmed, exposure, power[kept], rng, traffic)


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


def _played(
    area: Area,
    at: Exposed,
    exposure: Exposure,
    power: np.ndarray,
    rng: np.random.Generator,
    traffic: VideoTraffic,
) -> Sessions:
    pressure, size, cell = exposure.pressure, len(at.at_s), at.places["cell"]
    settings, tally, rows = area.plan.settings, Tally(), np.arange(len(at.at_s))
    use = utilisation(area, at, exposure)
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
    sinr = np.clip(rsrp - radio.to_dbm(noise + 0.6 * others.sum(axis=1) * rise), -12.0, 30.0)
    weak = 1.0 / (1.0 + np.exp(np.clip((sinr + 1.0) / 2.0, -30, 30)))
    vpn = pressure.of("vpn") > 0
    queue = queues.delay_factor(use["lte"]) / queues.delay_factor(_LTE_USUAL)
    client = queues.skewed(rng, 52.0 * queue * (1 + 3.0 * weak) * np.where(vpn, 3.0, 1.0), 0.3, size)
    server = queues.skewed(rng, 15.0, 0.35, size) + pressure.of("peering_delay_ms")
    retx = 0.006 + 0.06 * weak
    lost = 0.0009 + pressure.of("peering_loss")
    cdn = use["cdn"]
    missed = 0.048 + 0.9 * pressure.of("cache_miss")
    origin = queues.skewed(rng, 165.0, 0.4, size) + pressure.of("origin_delay_ms")
    ttfb = queues.skewed(rng, 44.0 * queues.delay_factor(cdn) / queues.delay_factor(_CDN_USUAL), 0.35, size)
    ttfb = ttfb + missed * origin
    rate = streaming.cell_throughput_mbps(
        sinr, use["lte"], settings.lte.capacity_mbps
    ) * streaming.node_share(cdn)
    rate = np.minimum(rate, streaming.transport_limit_mbps(client + server, lost + 0.05 * retx))
    rate = np.where(pressure.of("quota_used") > 0, np.minimum(rate, _QUOTA_MBPS), rate)
    rate = np.maximum(rate * np.exp(0.25 * rng.standard_normal(size)), 0.05)
    segments = np.maximum(2, rng.poisson(60, size))
    packets = segments * 20
    tally.sample("rsrp_dbm", rows, rsrp)
    tally.sample("sinr_db", rows, sinr)
    tally.sample("rtt_client_ms", rows, client)
    tally.sample("vid_rtt_server_ms", rows, server)
    tally.ratio("retx_c/seg_c", rows, rng.binomial(packets, retx), packets)
    tally.ratio("loss_s/seg_s_all", rows, rng.binomial(packets, np.clip(lost, 0, 1)), packets)
    tally.sample("ttfb_ms", rows, ttfb)
    misses = rng.binomial(segments, np.clip(missed, 0, 1))
    tally.ratio("hit/req", rows, segments - misses, segments)
    tally.sample("origin_ms", rows[misses > 0], origin[misses > 0])
    error = np.clip(0.0009 + pressure.of("origin_reject"), 0, 1)
    tally.ratio("http_err/http_all", rows, rng.binomial(segments, error), segments)
    bearer = rng.random(size) < 0.9972 * (1 - pressure.of("erab_reject"))
    tally.ratio("erab_succ/erab_att", rows, bearer)
    opened = rng.random(size) < 0.9945 * (1 - 0.8 * pressure.of("erab_reject")) * (1 - 0.4 * weak * 0.1)
    tally.ratio("tcp_ok/tcp_syn", rows, opened)
    dns = queues.skewed(rng, 30.0, 0.5, size)
    tally.sample("dns_ms", rows, dns)
    cpu = np.clip(rng.normal(35, 8, size) + pressure.of("cpu_load"), 3, 100)
    answered = rng.random(size) >= 1.1 * error
    return _watched(
        area, at, exposure, rng, traffic, tally=tally, rate=rate, client=client, server=server, ttfb=ttfb, dns=dns,
        cpu=cpu, reached=(bearer, opened | (rng.random(size) < 0.6), answered),
    )  # fmt: skip


def _watched(
    area: Area, at: Exposed, exposure: Exposure, rng: np.random.Generator, traffic: VideoTraffic, *, tally: Tally,
    rate: np.ndarray, client: np.ndarray, server: np.ndarray, ttfb: np.ndarray, dns: np.ndarray, cpu: np.ndarray,
    reached: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> Sessions:  # fmt: skip
    size, rows = len(at.at_s), np.arange(len(at.at_s))
    saving = exposure.pressure.of("power_saving")
    rungs = np.array(traffic.bit_rates_mbps)
    rung = streaming.chosen_rung(rate, traffic.bit_rates_mbps)
    rung = np.where(saving > 0, np.maximum(rung - 1, 0), rung)
    played, start = rungs[rung], rungs[np.minimum(rung, _START_RUNG)]
    trip = client + server
    steps = np.stack(
        [
            dns + 3.0 * trip,
            ttfb + 2.0 * trip,
            2.0 * ttfb + 2.0 * trip + 1000.0 * traffic.start_threshold_s * start / rate,
            queues.skewed(rng, 260.0 * (1 + np.maximum(cpu - 80, 0) / 20), 0.2, size),
        ],
        axis=1,
    )
    first_frame = steps.sum(axis=1) / 1000.0
    bearer, opened, answered = reached
    failed = np.where(
        ~(bearer & opened), 1, np.where(~answered, 2, np.where(first_frame > _GIVEN_UP_S, 3, 0))
    )
    ok = failed == 0
    share = streaming.stall_share(rate, played)
    dropped = streaming.dropped_frames(cpu, saving)
    share = np.clip(share * (1 + 8 * np.maximum(dropped - 0.06, 0)), 0, 0.6)
    play = 60.0 * np.minimum(
        traffic.session_min_median * np.exp(traffic.session_sigma * rng.standard_normal(size)), 180
    )
    play = np.where(ok, play, 0.0)
    stall = play * share / (1 - share)
    switches = rng.poisson(play / 600.0 * (0.35 + 3.0 * np.exp(-1.3 * rate / played)))
    tally.ratio("play_fail/play_att", rows, ~ok)
    on = rows[ok]
    tally.sample("init_buffer_s", on, first_frame[on])
    tally.ratio("stall_s/watch_s", on, stall[on], (stall + play)[on])
    tally.ratio("media_mbit/play_s", on, (played * play)[on], play[on])
    tally.ratio("down_switches/play_10min", on, switches[on], play[on] / 600.0)
    frames = np.round(play[on] * 25)
    tally.ratio("frames_drop/frames", on, rng.binomial(frames.astype("int64"), dropped[on]), frames)
    tally.ratio("seg_mbit/seg_s", on, (played * play)[on], (played * play / rate)[on])
    quality = 100 * np.minimum(1, played / _SUBSCRIBED_MBPS) - 5 * switches / np.maximum(play / 600.0, 1.0)
    open_ms = np.stack([queues.skewed(rng, 90.0, 0.3, size), dns + 3 * trip, 250.0 + 2 * trip], axis=1)
    reached_steps = np.where(np.arange(4) < np.where(failed == 0, 4, failed)[:, None], steps, -1.0)
    return Sessions(
        area, at.device, at.at_s, at.places["cell"], at.places["program_source"], at.places["cdn_node"], exposure,
        ok, failed, reached_steps, open_ms, first_frame, play + stall, stall, np.maximum(quality, 0.0), played * play,
        at.places, tally, cpu,
    )  # fmt: skip


def utilisation(area: Area, at: Exposed, exposure: Exposure) -> dict[str, np.ndarray]:
    """Return the utilisation of LTE cell and CDN node at each row, %."""
    usual, evening = area.plan.settings.base_utilisation, daily_profile(at.at_s - 2 * 3600.0)
    load = area.cells.load[np.maximum(at.places["cell"], 0)]
    return {
        "lte": np.minimum(usual.lte * load * evening + exposure.pressure.of("offered_load_dl"), 99.0),
        "cdn": np.minimum(usual.cdn * evening + exposure.pressure.of("cdn_load"), 99.0),
    }


def gauges(area: Area, day: int, faults: list[Happening]) -> Gauges:
    """Return what LTE cells and CDN nodes measure themselves on a day."""
    rng = generator(area.plan, 10, area.number, day)
    windows, cells, nodes = int(DAY_S / _WINDOW_S), len(area.cells), len(area.plan.names["cdn_node"])
    at_s = day * DAY_S + (np.tile(np.arange(windows), cells + nodes) + 0.5) * _WINDOW_S
    place = np.repeat(np.arange(cells + nodes), windows)
    is_cell, nowhere = place < cells, np.full(len(place), -1)
    places = {
        "cell": np.where(is_cell, place, -1), "cdn_node": np.where(is_cell, -1, place - cells),
        "city": np.where(is_cell, area.city, -1), "tac": nowhere, "mme": nowhere, "province": nowhere,
        "program_source": nowhere, "app": nowhere, "fleet": nowhere, "platform_node": nowhere,
    }  # fmt: skip
    at = Exposed(at_s, nowhere, np.ones(len(place), bool), places)
    use = utilisation(area, at, expose(faults, at, weekday=area.plan.settings.start.weekday()))
    tally, noise = Tally(), rng.normal(0, 2.0, len(place))
    for counter, kind, rows in (
        ("prb_used/prb_avail", "lte", np.flatnonzero(is_cell)),
        ("egress/egress_cap", "cdn", np.flatnonzero(~is_cell)),
    ):
        tally.ratio(
            counter, rows, np.clip(use[kind][rows] + noise[rows], 0, 100) * _WINDOW_S, 100.0 * _WINDOW_S
        )
    return Gauges(tally, at_s, places)
