"""FLOWS of the devices of an area's day: one row per report, command or session, without first packets."""

import hashlib

import numpy as np
import pyarrow as pa

from evaluation.simulation.province.attempts import NOBODY
from evaluation.simulation.province.pipeline import Day, Walked
from evaluation.simulation.province.tables import moments, names_at
from evaluation.simulation.province.topology import Area
from features.flows import FLOWS
from features.table import arrow_schema

_UDP, _TCP = 17, 6
_PAYLOAD = {  # bytes up, bytes down, packets up, packets down: payload_bytes of the fault catalogue, with IP, UDP, CoAP
    "ss_heartbeat": (106, 62, 2, 2), "ss_alarm": (81, 62, 2, 2), "ss_onboarding": (420, 300, 6, 6),
    "ss_command": (120, 140, 3, 3), "bk_unlock": (190, 170, 4, 4), "bk_lock_settlement": (180, 92, 3, 2),
    "bk_ride_position": (160, 92, 3, 2), "bk_lock_online": (480, 380, 8, 7),
}  # fmt: skip
_PLAIN = (150, 100, 3, 3)
_PLATFORM = (
    "100.64.0.{}",
    "203.0.113.{}",
    "198.51.100.{}",
)  # platform, another server, CDN: documentation addresses
_WEB_FLOWS = 12  # of a SIM that sits in a phone, for each attempt it would have made


def flows(area: Area, day: Day) -> pa.Table:
    """Return FLOWS of an area on a day, in the order of start."""
    parts = [_of_attempts(area, walked, day) for walked in (day.first, day.again)]
    table = pa.concat_tables([*parts, _of_sessions(area, day)])
    return table.take(pa.array(np.argsort(table["start"].cast(pa.int64()).to_numpy(), kind="stable")))


def _of_attempts(area: Area, walked: Walked, day: Day) -> pa.Table:
    moment, attempts = walked.moment, walked.moment.attempts
    spoken = moment.own & (
        (walked.outcome.step_ms.max(axis=1, initial=-1.0) >= 0) & (walked.heard | walked.outcome.ok)
    )
    stray = moment.own & (moment.of("server_wrong", np.arange(len(attempts))) > 0)
    phone = moment.own & (moment.of("misused", np.arange(len(attempts))) > 0)
    rows = np.concatenate([np.flatnonzero(spoken | stray), np.repeat(np.flatnonzero(phone), _WEB_FLOWS)])
    web = np.arange(len(rows)) >= int((spoken | stray).sum())
    rng = np.random.default_rng([area.plan.seed, 14, area.number, day.number, len(attempts)])
    size = len(rows)
    names, kind = np.unique(attempts.process[rows], return_inverse=True)
    sizes = np.array([_PAYLOAD.get(name, _PLAIN) for name in names] or [_PLAIN])[kind]
    sizes = np.where(web[:, None], np.array([6_000, 90_000, 40, 80]), sizes)
    spread = np.where(web, rng.lognormal(0, 1, size), rng.uniform(0.92, 1.12, size))
    udp = moment.lwm2m[rows] & ~web
    node = np.where(stray[rows], 1, 0)
    host = np.where(web, rng.integers(1, 250, size), 1 + moment.places["platform_node"][rows] % 250)
    return _table(
        area, day, attempts.device[rows], attempts.at_s[rows] + np.where(web, rng.uniform(0, 600, size), 0.0),
        np.maximum(walked.outcome.took_ms[rows], 50.0) * np.where(web, 4.0, 1.0),
        up=np.round(sizes[:, 0] * spread), down=np.round(sizes[:, 1] * spread), packets=sizes[:, 2:],
        udp=udp, port=np.where(web, 443, np.where(udp, 5683, 1883)), peer=np.where(web, 2, node), host=host,
        by_device=np.isin(attempts.process[rows], ("bk_unlock", "ss_command"), invert=True), rng=rng,
    )  # fmt: skip


def _of_sessions(area: Area, day: Day) -> pa.Table:
    video = day.video
    rows = np.flatnonzero((video.device != NOBODY) & video.ok)
    rng = np.random.default_rng([area.plan.seed, 15, area.number, day.number])
    down = np.round(video.megabit[rows] * 125_000.0) + 20_000
    packets = np.stack([down // 2800 + 10, down // 1400 + 12], axis=1)
    return _table(
        area, day, video.device[rows], video.at_s[rows], 1000.0 * (video.watch_s[rows] + video.first_frame_s[rows]),
        up=packets[:, 0] * 60.0, down=down, packets=packets, udp=np.zeros(len(rows), bool),
        port=np.full(len(rows), 443), peer=np.full(len(rows), 2), host=1 + video.node[rows] % 250,
        by_device=np.ones(len(rows), bool), rng=rng,
    )  # fmt: skip


def _table(
    area: Area, day: Day, device: np.ndarray, at_s: np.ndarray, lasts_ms: np.ndarray, *, up: np.ndarray,
    down: np.ndarray, packets: np.ndarray, udp: np.ndarray, port: np.ndarray, peer: np.ndarray, host: np.ndarray,
    by_device: np.ndarray, rng: np.random.Generator,
) -> pa.Table:  # fmt: skip
    size = len(device)
    number = np.arange(size)
    source = hashlib.sha256(f"province {area.plan.seed} {area.number} {day.number}".encode()).hexdigest()[:16]
    addresses = np.array([place.format(n) for place in _PLATFORM for n in range(251)])
    own = np.array(
        [f"10.{area.number % 256}.{n // 250 % 256}.{1 + n % 250}" for n in range(len(area.devices))]
    )
    given = {
        "device_id": names_at(area.devices.names, device),
        "source": pa.array([source]).take(pa.array(np.zeros(size, "int32"))),
        "start": moments(at_s, area.plan.start_s),
        "end": moments(at_s + lasts_ms / 1000.0, area.plan.start_s),
        "initiated_by_device": pa.array(by_device),
        "protocol": pa.array(np.where(udp, _UDP, _TCP)),
        "ip_version": pa.array(np.full(size, 4)),
        "device_port": pa.array(40_000 + rng.integers(0, 20_000, size)),
        "peer_port": pa.array(port.astype("int64")),
        "device_ip": names_at(own, device),
        "peer_ip": names_at(addresses, peer * 251 + host),
        "up_packets": pa.array(packets[:, 0].astype("int64")),
        "down_packets": pa.array(packets[:, 1].astype("int64")),
        "up_bytes": pa.array(up.astype("int64")),
        "down_bytes": pa.array(down.astype("int64")),
        "up_mean_ps": pa.array(up / packets[:, 0]),
        "down_mean_ps": pa.array(down / packets[:, 1]),
    }
    nothing = pa.array(np.zeros(size, "int64"))
    columns = []
    for field in arrow_schema(FLOWS):
        if field.name in given:
            columns.append(given[field.name])
        else:
            columns.append(nothing if field.type == pa.int64() else pa.nulls(number.size, field.type))
    return pa.Table.from_arrays(columns, schema=arrow_schema(FLOWS))
