"""FLOWS: one row per bidirectional flow, seen from the device; and nfstream, which meters raw flows."""

import os
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, Field

from features.captures import Contents, copy_records, open_capture
from features.isolated import beat, usable_cores, watched
from features.table import Column

_SIDES = (("up", "from the device"), ("down", "to the device"))
FLAGS = ("syn", "cwr", "ece", "urg", "ack", "psh", "rst", "fin")
STATISTICS = ("min", "mean", "stddev", "max")
_DISSECTED_PACKETS = 20  # nfstream's default: nDPI looks at no more packets of a flow
_MAX_CONFIDENCE = 9  # nDPI 5.0 NDPI_CONFIDENCE_CUSTOM_RULE, the highest of ndpi_confidence_t
_FLOWS_PER_BATCH = 4096  # raw flows that are Python objects before they become Arrow
_LAYER_IP = 1  # nfstream's accounting_mode for IP-layer sizes


METER_MODULES = ("nfstream.meter",)  # what a process imports before it can meter


class FlowSettings(BaseModel, frozen=True, extra="forbid"):
    """How packets become flows (configs/flows.yaml)."""

    idle_timeout_s: int = Field(120, ge=1, le=86_400, description="a silence this long ends a flow")
    active_timeout_s: int = Field(300, ge=1, le=86_400, description="a longer flow is cut here")
    first_packets: int = Field(32, ge=1, le=255, description="N of the first-packet lists")
    decode_tunnels: bool = Field(True, description="look inside GTP-U, CAPWAP and TZSP")


def _one_way(side: str, way: str) -> tuple[Column, ...]:
    return (
        Column(f"{side}_packets", "int64", "1", f"packets {way} (IPFIX packetDeltaCount)", low=0),
        Column(f"{side}_bytes", "int64", "byte", f"IP-layer bytes {way} (IPFIX octetDeltaCount)", low=0),
        *(
            Column(f"{side}_{stat}_ps", "float64", "byte", text, low=0, empty=True, given_by="pcap")
            for stat, text in _statistics(f"IP packet size {way}", "packet", "packets")
        ),
        *(
            Column(f"{side}_{stat}_piat_ms", "float64", "ms", text, low=0, empty=True, given_by="pcap")
            for stat, text in _statistics(f"gap between packets {way}", "gap", "gaps")
        ),
        *(
            Column(
                f"{side}_{flag}_packets", "int64", "1", f"TCP packets {way} with {flag.upper()} set", low=0
            )
            for flag in FLAGS
        ),
    )


def _statistics(what: str, one: str, many: str) -> Iterator[tuple[str, str]]:
    for stat in STATISTICS:
        sample = stat == "stddev"
        yield (
            stat,
            f"{'sample stddev' if sample else stat} {what}; empty "
            + (f"below two {many}" if sample else f"without a {one}"),
        )


FLOWS: tuple[Column, ...] = (
    Column("device_id", "string", "-", "the device the flow is seen from, as the device map names it"),
    Column(
        "source",
        "string",
        "-",
        "content id of the capture or table: first 16 hex digits of its SHA-256, unpacked",
    ),
    Column("start", "timestamp", "UTC", "first packet (IPFIX flowStartMicroseconds; nfstream resolves 1 ms)"),
    Column("end", "timestamp", "UTC", "last packet (IPFIX flowEndMicroseconds; nfstream resolves 1 ms)"),
    Column(
        "initiated_by_device",
        "bool",
        "-",
        "the device began the conversation, of which a timeout may have cut this flow (IPFIX biflowDirection)",
    ),
    Column("protocol", "int64", "1", "L4 protocol number (IPFIX protocolIdentifier)", low=0, high=255),
    Column("ip_version", "int64", "1", "4 or 6 (IPFIX ipVersion)", low=4, high=6),
    Column("device_port", "int64", "1", "transport port on the device; 0 without ports", low=0, high=65535),
    Column("peer_port", "int64", "1", "transport port on the other end; 0 without ports", low=0, high=65535),
    Column("device_ip", "string", "-", "address of the device; never a feature", empty=True),
    Column("peer_ip", "string", "-", "address of the other end; counted, never itself a feature"),
    Column(
        "vlan_id",
        "int64",
        "1",
        "IEEE 802.1Q VLAN, the inner of two; 0 for none (IPFIX vlanId)",
        low=0,
        high=4095,
    ),
    *(column for side, way in _SIDES for column in _one_way(side, way)),
    Column(
        "first_ps",
        "int32[]",
        "byte",
        "IP sizes of the first N packets: positive up, negative down, 0 after the last",
        low=-65535,
        high=65535,
        empty=True,
        given_by="pcap",
    ),
    Column(
        "first_piat_ms",
        "int64[]",
        "ms",
        "gap before each packet of first_ps, either way; 0 for the first, and after the last",
        low=0,
        empty=True,
        given_by="pcap",
    ),
    Column("application", "string", "-", "nDPI application, Master.Sub", empty=True, given_by="pcap"),
    Column("application_category", "string", "-", "nDPI category", empty=True, given_by="pcap"),
    Column(
        "application_confidence",
        "int64",
        "1",
        "nDPI ndpi_confidence_t: 0 unknown, 1 port, 3 in part, 5 from an earlier flow, 6 deep inspection, 7 address",
        low=0,
        high=_MAX_CONFIDENCE,
    ),
)

_RAW_TEXT = ("src_ip", "src_mac", "dst_ip", "dst_mac", "application_name", "application_category_name")
_RAW_WHOLE = (
    *("src_port", "dst_port", "protocol", "ip_version", "vlan_id", "tunnel_id", "application_confidence"),
    *("bidirectional_first_seen_ms", "bidirectional_last_seen_ms"),
    *(f"{way}_{what}" for way in ("src2dst", "dst2src") for what in ("packets", "bytes")),
    *(f"{way}_{flag}_packets" for way in ("src2dst", "dst2src") for flag in FLAGS),
)
_RAW_REAL = tuple(
    f"{way}_{stat}_{what}"
    for way in ("src2dst", "dst2src")
    for what in ("ps", "piat_ms")
    for stat in STATISTICS
)
_RAW_LISTS = {"splt_direction": pa.int8(), "splt_ps": pa.int32(), "splt_piat_ms": pa.int64()}


def raw_schema(first_packets: int) -> pa.Schema:
    """Return the Arrow schema of raw flows: nfstream's names and values, src being who sent the first packet.

    The splt_ lists are `first_packets` long and padded with -1. A statistic without a packet is nfstream's 0.
    """
    return pa.schema(
        [
            *((name, pa.string()) for name in _RAW_TEXT),
            *((name, pa.int64()) for name in _RAW_WHOLE),
            *((name, pa.float64()) for name in _RAW_REAL),
            *((name, pa.list_(kind, first_packets)) for name, kind in _RAW_LISTS.items()),
        ]
    )


@dataclass(frozen=True)
class RawCapture:
    """The unoriented flows of one capture, as `raw_schema` has them, and what to know before trusting them."""

    flows: pa.Table
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class UnreadCapture:
    """A capture of which nothing could be read. reason: a sentence part that follows its name."""

    path: Path
    reason: str


def meter(path: Path, settings: FlowSettings) -> RawCapture:
    """Return the raw flows of one capture. nfstream may crash or hang this process: call it in a worker.

    nfstream's own streamer forks a meter and waits for it without limit: one that dies hangs it, and one whose
    parent dies lives on. So the meter itself is called here; a test holds it against the streamer.
    Raises ValueError where nothing can be read, OSError.
    """
    inlet, outlet = os.pipe()
    batches = _FlowBatches(settings.first_packets)
    with ThreadPoolExecutor(max_workers=1) as threads, watched():
        copying = threads.submit(_copy, path, outlet)
        try:
            _run_meter(f"/dev/fd/{inlet}", settings, batches)
        finally:
            os.close(inlet)  # so that a meter which stopped early does not leave the copier waiting
        try:
            contents = copying.result()
        except BrokenPipeError as error:
            raise ValueError(f"is refused by libpcap: {batches.refusal}") from error
    if batches.refusal:
        raise ValueError(f"is refused by libpcap: {batches.refusal}")
    flows = batches.table()
    if flows.num_rows:
        return RawCapture(flows, contents.warnings)
    if not contents.packets:
        return RawCapture(flows, contents.warnings or ("holds no packet",))
    nothing = f"none of its {contents.packets} packets is IP that nfstream reads"
    return RawCapture(flows, (*contents.warnings, f"{nothing} (link type {contents.link_type})"))


def _copy(path: Path, outlet: int) -> Contents:
    with os.fdopen(outlet, "wb") as pipe, open_capture(path) as capture:

        def write(record: bytes) -> None:
            beat()
            pipe.write(record)

        return copy_records(capture, write)


def _run_meter(source: str, settings: FlowSettings, channel: "_FlowBatches") -> None:
    from nfstream.meter import meter_workflow
    from nfstream.utils import NFMode

    started = threading.Lock()  # the meter releases it once it runs; nobody waits for it here
    started.acquire()
    meter_workflow(
        source=source,
        snaplen=65_535,  # of interfaces only
        decode_tunnels=settings.decode_tunnels,
        bpf_filter=None,
        promisc=False,
        n_roots=1,
        root_idx=0,
        mode=NFMode.SINGLE_FILE,
        idle_timeout=settings.idle_timeout_s * 1000,
        active_timeout=settings.active_timeout_s * 1000,
        accounting_mode=_LAYER_IP,
        udps=(),
        n_dissections=_DISSECTED_PACKETS,
        statistics=True,
        splt=settings.first_packets,
        channel=channel,
        tracker=[SimpleNamespace(value=0) for _ in range(3)],
        lock=started,
        group_id=0,
        system_visibility_mode=0,
        socket_buffer_size=0,
    )


class _FlowBatches:
    """The channel that nfstream's meter puts its flows into; they are kept as Arrow, which is small."""

    def __init__(self, first_packets: int) -> None:
        self.refusal = ""
        self._schema = raw_schema(first_packets)
        self._values = attrgetter(*self._schema.names)
        self._rows: list[tuple[Any, ...]] = []  # as nfstream gives them: str, int, float, list[int]
        self._batches: list[pa.RecordBatch] = []
        self._cores = usable_cores()

    def put(self, item: Any) -> None:  # nfstream is untyped: an NFlow, a state, an error, or None at the end
        """Take what the meter tells: a flow, that it runs, why it cannot, or that it is done."""
        from nfstream.utils import NFEvent

        beat()
        if item is None:
            return
        if item.id == NFEvent.FLOW:
            if not hasattr(item, "tunnel_id"):
                item.tunnel_id = 0  # nfstream leaves it out where tunnels stay closed
            self._rows.append(self._values(item))
            if len(self._rows) == _FLOWS_PER_BATCH:
                self._close_batch()
        elif item.id == NFEvent.ALL_AFFINITY_SET and sys.platform == "linux":
            os.sched_setaffinity(0, self._cores)  # the meter has just pinned this process to two cores
        elif item.id == NFEvent.ERROR:
            self.refusal = item.message

    def table(self) -> pa.Table:
        """Return all flows so far, in the order they ended."""
        self._close_batch()
        return pa.Table.from_batches(self._batches, schema=self._schema)

    def _close_batch(self) -> None:
        if self._rows:
            columns = zip(zip(*self._rows, strict=True), self._schema.types, strict=True)
            arrays = [_array(values, kind) for values, kind in columns]
            self._batches.append(pa.record_batch(arrays, schema=self._schema))
            self._rows.clear()


def _array(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    if not pa.types.is_fixed_size_list(kind):
        return pa.array(values, kind)
    flat = np.array(values, dtype=kind.value_type.to_pandas_dtype()).reshape(-1)
    return pa.FixedSizeListArray.from_arrays(pa.array(flat), kind.list_size)
