"""FLOWS of the devices of an area's day: one row per report, command or session, without first packets."""

import hashlib
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from evaluation.simulation.province import payload
from evaluation.simulation.province.attempts import NOBODY
from evaluation.simulation.province.pipeline import Day, Walked
from evaluation.simulation.province.tables import moments, names_at
from evaluation.simulation.province.topology import Area
from features.flows import FLOWS
from features.table import arrow_schema

_UDP, _TCP = 17, 6
_PLATFORM = (
    "100.64.0.{}",
    "203.0.113.{}",
    "198.51.100.{}",
)  # platform, another server, CDN: documentation addresses


def flows(area: Area, day: Day) -> tuple[np.ndarray, pa.Table]:
    """Return FLOWS of an area on a day in the order of start, and the index of the device of each."""
    parts = [_of_attempts(area, walked, day) for walked in day.walks]
    parts += [_of_sessions(area, day), _of_phones(area, day)]
    device, table = np.concatenate([who for who, _ in parts]), pa.concat_tables([some for _, some in parts])
    order = np.argsort(table["start"].cast(pa.int64()).to_numpy(), kind="stable")
    return device[order], table.take(pa.array(order))


def _of_attempts(area: Area, walked: Walked, day: Day) -> tuple[np.ndarray, pa.Table]:
    moment, attempts = walked.moment, walked.moment.attempts
    spoken = moment.own & (
        (walked.outcome.step_ms.max(axis=1, initial=-1.0) >= 0) & (walked.heard | walked.outcome.ok)
    )
    stray = moment.own & (moment.of("server_wrong", np.arange(len(attempts))) > 0)
    rows = np.flatnonzero(spoken | stray)
    rng = np.random.default_rng([area.plan.seed, 14, area.number, day.number, len(attempts)])
    sizes, spread = payload.sizes(attempts.process[rows]), rng.uniform(0.92, 1.12, len(rows))
    udp = moment.lwm2m[rows]
    talks = _Talks(
        attempts.device[rows], attempts.at_s[rows], np.maximum(walked.outcome.took_ms[rows], 50.0),
        up=np.round(sizes[:, 0] * spread), down=np.round(sizes[:, 1] * spread), packets=sizes[:, 2:],
        udp=udp, port=np.where(udp, 5683, 1883), peer=np.where(stray[rows], 1, 0),
        host=1 + moment.places["platform_node"][rows] % 250,
        by_device=np.isin(attempts.process[rows], ("bk_unlock", "ss_command"), invert=True),
    )  # fmt: skip
    return _table(area, day, talks, rng=rng)


def _of_phones(area: Area, day: Day) -> tuple[np.ndarray, pa.Table]:
    """Return what SIMs browse that sit in a phone instead of their device."""
    made, size = day.browsing, len(day.browsing.device)
    rng = np.random.default_rng([area.plan.seed, 26, area.number, day.number])
    talks = _Talks(
        made.device, made.at_s, made.lasts_ms, up=made.up_bytes, down=made.down_bytes,
        packets=np.tile([40, 80], (size, 1)), udp=np.zeros(size, bool), port=np.full(size, 443),
        peer=np.full(size, 2), host=rng.integers(1, 250, size), by_device=np.ones(size, bool),
    )  # fmt: skip
    return _table(area, day, talks, rng=rng)


def _of_sessions(area: Area, day: Day) -> tuple[np.ndarray, pa.Table]:
    video = day.video
    rows = np.flatnonzero((video.device != NOBODY) & video.ok)
    rng = np.random.default_rng([area.plan.seed, 15, area.number, day.number])
    down = np.round(video.megabit[rows] * 125_000.0) + 20_000
    packets = np.stack([down // 2800 + 10, down // 1400 + 12], axis=1)
    talks = _Talks(
        video.device[rows], video.at_s[rows], 1000.0 * (video.watch_s[rows] + video.first_frame_s[rows]),
        up=packets[:, 0] * 60.0, down=down, packets=packets, udp=np.zeros(len(rows), bool),
        port=np.full(len(rows), 443), peer=np.full(len(rows), 2), host=1 + video.node[rows] % 250,
        by_device=np.ones(len(rows), bool),
    )  # fmt: skip
    return _table(area, day, talks, rng=rng)


def address(number: int) -> str:
    """Return the address of a device of the province, by its number: none twice among 16.5 million."""
    rest, last = divmod(number, 254)
    rest, third = divmod(rest, 256)
    return f"10.{rest % 256}.{third}.{1 + last}"


@dataclass(frozen=True)
class _Talks:
    """Conversations, one value each; packets: (n, 2), up and down. peer: a place in _PLATFORM, host: in its network."""

    device: np.ndarray
    at_s: np.ndarray
    lasts_ms: np.ndarray
    up: np.ndarray
    down: np.ndarray
    packets: np.ndarray
    udp: np.ndarray
    port: np.ndarray
    peer: np.ndarray
    host: np.ndarray
    by_device: np.ndarray


def _table(area: Area, day: Day, talks: _Talks, *, rng: np.random.Generator) -> tuple[np.ndarray, pa.Table]:
    device, packets = talks.device, talks.packets
    size = len(device)
    number = np.arange(size)
    source = hashlib.sha256(f"province {area.plan.seed} {area.number} {day.number}".encode()).hexdigest()[:16]
    addresses = np.array([place.format(n) for place in _PLATFORM for n in range(251)])
    own = np.array([address(area.first + n) for n in range(len(area.devices))])
    given = {
        "device_id": names_at(area.devices.names, device),
        "source": pa.array([source]).take(pa.array(np.zeros(size, "int32"))),
        "start": moments(talks.at_s, area.plan.start_s),
        "end": moments(talks.at_s + talks.lasts_ms / 1000.0, area.plan.start_s),
        "initiated_by_device": pa.array(talks.by_device),
        "protocol": pa.array(np.where(talks.udp, _UDP, _TCP)),
        "ip_version": pa.array(np.full(size, 4)),
        "device_port": pa.array(40_000 + rng.integers(0, 20_000, size)),
        "peer_port": pa.array(talks.port.astype("int64")),
        "device_ip": names_at(own, device),
        "peer_ip": names_at(addresses, talks.peer * 251 + talks.host),
        "up_packets": pa.array(packets[:, 0].astype("int64")),
        "down_packets": pa.array(packets[:, 1].astype("int64")),
        "up_bytes": pa.array(talks.up.astype("int64")),
        "down_bytes": pa.array(talks.down.astype("int64")),
        "up_mean_ps": pa.array(talks.up / packets[:, 0]),
        "down_mean_ps": pa.array(talks.down / packets[:, 1]),
    }
    nothing = pa.array(np.zeros(size, "int64"))
    columns = []
    for field in arrow_schema(FLOWS):
        if field.name in given:
            columns.append(given[field.name])
        else:
            columns.append(nothing if field.type == pa.int64() else pa.nulls(number.size, field.type))
    return device, pa.Table.from_arrays(columns, schema=arrow_schema(FLOWS))
