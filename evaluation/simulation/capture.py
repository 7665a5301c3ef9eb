"""Captures: the packets of a site in time order, one pcap file per virtual day."""

import heapq
from collections.abc import Iterable, Iterator
from itertools import groupby
from operator import itemgetter
from pathlib import Path

import dpkt

from evaluation.simulation.wire.tap import Packet

_DAY_US = 86_400_000_000
_SNAP_LENGTH = 65_535


def in_order(chunks: Iterable[list[Packet]]) -> Iterator[Packet]:
    """Yield the packets of chunks in time order.

    chunks: each sorted, none starting before the one before it; they may overlap. Only what overlaps is held.
    Raises ValueError when a chunk starts too early.
    """
    waiting: list[tuple[int, int, bytes]] = []
    count, floor = 0, 0
    for chunk in chunks:
        if not chunk:
            continue
        if chunk[0][0] < floor:
            raise ValueError(
                f"chunks must start in time order, but one starts at {chunk[0][0]} us after one at {floor} us"
            )
        floor = chunk[0][0]
        while waiting and waiting[0][0] < floor:
            at, _, frame = heapq.heappop(waiting)
            yield at, frame
        for at, frame in chunk:
            heapq.heappush(waiting, (at, count, frame))
            count += 1
    for at, _, frame in sorted(waiting):
        yield at, frame


def merged(streams: Iterable[Iterable[Packet]]) -> Iterator[Packet]:
    """Yield the packets of several streams, each in time order, as one."""
    return heapq.merge(*streams, key=itemgetter(0))


def write_days(
    packets: Iterable[Packet], folder: Path, *, names: list[str], epoch_s: int
) -> Iterator[tuple[Path, int]]:
    """Write one pcap per day and yield its path and packet count; packets beyond the last name are dropped.

    packets: in time order, microseconds since epoch_s (Unix time of midnight of the first day).
    Every name gets a file, also a day without a packet.
    """
    days = groupby(packets, key=lambda packet: packet[0] // _DAY_US)
    day, group = next(days, (len(names), iter(())))
    for number, name in enumerate(names):
        path = folder / f"{name}.pcap"
        content: Iterable[Packet] = ()
        if day == number:
            content = group
        yield path, _write(path, content, epoch_s=epoch_s)
        if day == number:
            day, group = next(days, (len(names), iter(())))


def _write(path: Path, packets: Iterable[Packet], *, epoch_s: int) -> int:
    count = 0
    with path.open("wb") as file:
        writer = dpkt.pcap.Writer(file, snaplen=_SNAP_LENGTH)
        for at, frame in packets:
            writer.writepkt(frame, ts=epoch_s + at / 1e6)
            count += 1
    return count
