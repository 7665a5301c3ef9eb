"""MAP.csv: which MAC or address is which device, in which capture, and since when."""

import csv
import difflib
import hashlib
import ipaddress
import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from itertools import combinations
from pathlib import Path, PurePosixPath
from typing import Any

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

ATTRIBUTES = ("label", "family", "site")
COLUMNS = ("device_id", "mac", "ip", "capture", *ATTRIBUTES, "valid_from", "valid_to")
_MAC = re.compile(
    r"[0-9a-f]{2}([:-])(?:[0-9a-f]{2}\1){4}[0-9a-f]{2}|(?:[0-9a-f]{4}\.){2}[0-9a-f]{4}|[0-9a-f]{12}"
)
_NO_DEVICE = tuple(map(ipaddress.ip_network, ("0.0.0.0/32", "::/128", "255.255.255.255/32")))
_FIRST, _LAST = (
    datetime(1970, 1, 1, tzinfo=UTC),
    datetime(2106, 1, 1, tzinfo=UTC),
)  # what the clock of pcap can tell
_MOST_FAULTS_TOLD = 20


@dataclass(frozen=True)
class MapRow:
    """One row of MAP.csv: a device by its MAC, by its network (an address is a network of one), or by either of both.

    capture: trailing path parts of the captures that the row is for; none for all. valid_from <= flow start < valid_to.
    """

    line: int
    device_id: str
    mac: str | None = None
    network: Network | None = None
    capture: tuple[str, ...] = ()
    label: str | None = None
    family: str | None = None
    site: str | None = None
    valid_from: datetime = _FIRST
    valid_to: datetime = _LAST

    @property
    def validity(self) -> tuple[datetime | None, datetime | None]:
        """First moment and the moment after the last; None is open."""
        return (
            None if self.valid_from == _FIRST else self.valid_from,
            None if self.valid_to == _LAST else self.valid_to,
        )

    def overlaps(self, other: "MapRow") -> bool:
        """Tell whether there is a moment at which both rows are valid."""
        return self.valid_from < other.valid_to and other.valid_from < self.valid_to


@dataclass(frozen=True)
class DeviceMap:
    """Which end of a flow is which device.

    rows: None is `auto`: each private address, else the initiator, is a device.
    each_address: a row with a network makes one device of each of its addresses, `<device_id>/<address>`.
    """

    rows: tuple[MapRow, ...] | None
    each_address: bool = False

    @staticmethod
    def auto() -> "DeviceMap":
        """Return the map for captures of which nothing is known."""
        return DeviceMap(None)

    @staticmethod
    def read(path: Path, *, each_address: bool = False) -> "DeviceMap":
        """Return the checked rows of a MAP.csv: UTF-8, with a header that names `COLUMNS` in any order.

        Raises ValueError with one line per fault (file, row, column, rule), OSError where there is no such file.
        """
        parsed = list(_parsed(path))
        rows = [row for row in parsed if isinstance(row, MapRow)]
        faults = [fault for fault in parsed if isinstance(fault, str)] + list(_contradictions(rows))
        if not parsed:
            faults = [
                "must name at least one device, but holds no row; for captures without a map say `auto`"
            ]
        if faults:
            more = len(faults) - _MOST_FAULTS_TOLD
            told = faults[:_MOST_FAULTS_TOLD] + ([f"and {more} more faults"] if more > 0 else [])
            raise ValueError("\n".join(f"{path}: {fault}" for fault in told))
        return DeviceMap(tuple(_sharing_attributes(rows)), each_address)

    def for_capture(self, path: Path) -> "DeviceMap":
        """Return the map with the rows for this capture only; its path is compared by whole parts, from the end."""
        if self.rows is None:
            return self
        parts = path.absolute().parts
        named = (row for row in self._rows_by_file[parts[-1]] if parts[-len(row.capture) :] == row.capture)
        return replace(self, rows=(*named, *self._rows_by_file[""]))

    @property
    def specificity(self) -> int:
        """How many parts of a capture's path the most specific row names; 0 where none names any."""
        return max((len(row.capture) for row in self.rows or ()), default=0)

    @property
    def fingerprint(self) -> str:
        """A hash of all that decides whose a flow is; order and layout of the file do not."""
        rows = None if self.rows is None else sorted(map(_without_place, self.rows))
        return hashlib.sha256(json.dumps([self.each_address, rows]).encode()).hexdigest()

    @cached_property
    def _rows_by_file(self) -> dict[str, list[MapRow]]:
        """The rows by the file name of their capture; "" holds those for every capture."""
        rows: dict[str, list[MapRow]] = defaultdict(list)
        for row in self.rows or ():
            rows[row.capture[-1] if row.capture else ""].append(row)
        return rows


def _without_place(row: MapRow) -> str:
    return json.dumps(astuple(replace(row, line=0, capture=("",) * len(row.capture))), default=str)


def _parsed(path: Path) -> Iterator[MapRow | str]:
    """Yield each row, or what is wrong with it."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        lines = csv.reader(file, strict=True)
        try:
            header = [name.strip() for name in next(lines, [])]
            yield from (faults := _header_faults(header))
            for cells in lines if not faults else ():
                if len(cells) > len(header):
                    yield f"row {lines.line_num} has {len(cells)} cells, where the header has {len(header)}"
                elif any(cell.strip() for cell in cells):
                    yield from _row(lines.line_num, dict(zip(header, map(str.strip, cells), strict=False)))
        except (csv.Error, UnicodeDecodeError) as error:
            yield f"row {lines.line_num + 1} is no UTF-8 CSV: {error}"


def _header_faults(header: Sequence[str]) -> list[str]:
    faults = []
    for name in header:
        if name not in COLUMNS:
            near = difflib.get_close_matches(name, COLUMNS, n=1, cutoff=0.0)[0]
            faults.append(f"row 1: unknown column {name!r}; the nearest known one is {near!r}")
    faults.extend(
        f"row 1: column {name!r} stands more than once" for name in COLUMNS if header.count(name) > 1
    )
    if "device_id" not in header or not {"mac", "ip"} & set(header):
        faults.append("row 1 must name the column device_id, and mac or ip or both")
    return faults


def _row(line: int, cells: dict[str, str]) -> Iterator[MapRow | str]:
    values: dict[str, Any] = {}  # of MapRow's fields
    faults = [] if cells.get("device_id") else [f"row {line}, column device_id: must not be empty"]
    if not cells.get("mac") and not cells.get("ip"):
        faults.append(f"row {line}: must give a mac or an ip")
    for column, text in cells.items():
        try:
            if text:
                values["network" if column == "ip" else column] = _READ.get(column, str)(text)
        except ValueError as error:
            faults.append(f"row {line}, column {column}: {error}")
    if not faults and (row := MapRow(line, **values)).valid_from < row.valid_to:
        yield row
    else:
        yield from faults or [f"row {line}, column valid_to: must lie after valid_from"]


def _mac(text: str) -> str:
    """Return a MAC as nfstream writes it, from colons, hyphens, Cisco's dots or bare digits."""
    if not _MAC.fullmatch(text.lower()):
        raise ValueError(f"must be a MAC such as 20:f8:5e:ca:91:52, however: {text!r}")
    octets = bytes.fromhex(re.sub("[.:-]", "", text))
    if octets[0] & 1 or not any(octets):
        raise ValueError(
            f"must be the MAC of one device, but {text!r} is {'a group address' if any(octets) else 'none'}"
        )
    return octets.hex(":")


def _network(text: str) -> Network:
    try:
        network = plain_network(ipaddress.ip_network(text))
    except ValueError as error:
        raise ValueError(
            f"must be an IPv4 or IPv6 address or a network such as 10.20.0.0/16, however: {error}"
        ) from error
    if network.is_multicast or network in _NO_DEVICE:
        raise ValueError(
            f"must be the address of a device, but {text!r} is a group, a broadcast or no address"
        )
    return network


def plain_network(network: Network) -> Network:
    """Return an IPv4-mapped IPv6 network (::ffff:a.b.c.d) as the IPv4 network it stands for, others as they are."""
    mapped = getattr(network.network_address, "ipv4_mapped", None)
    return (
        ipaddress.ip_network((mapped, network.prefixlen - 96))
        if mapped and network.prefixlen >= 96
        else network
    )


def _capture(text: str) -> tuple[str, ...]:
    parts = tuple(part for part in PurePosixPath(text.replace("\\", "/")).parts if part != "/")
    if not parts or ".." in parts:
        raise ValueError(
            f"must be the trailing part of a path, such as Aria/Setup-A-1-STA.pcap, however: {text!r}"
        )
    return parts


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise ValueError(
            f"must be an ISO 8601 time such as 2026-03-01T12:00:00Z, however: {text!r}"
        ) from error
    moment = moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC)
    if not _FIRST <= moment <= _LAST:
        raise ValueError(f"must lie between 1970 and 2106, however: {text!r}; for an open end leave it empty")
    return moment


_READ: dict[str, Callable[[str], object]] = {
    "mac": _mac,
    "ip": _network,
    "capture": _capture,
    "valid_from": _moment,
    "valid_to": _moment,
}


def _contradictions(rows: Sequence[MapRow]) -> Iterator[str]:
    """Yield what rows that are valid at one time cannot all mean."""
    for (end, _), sharing in _grouped(((end, row.capture), row) for row in rows for end in _ends(row)):
        for one, other in _differing(sharing, "device_id"):
            yield (
                f"rows {one.line} and {other.line}: {end} must be one device at a time, "
                f"but is {one.device_id!r} and {other.device_id!r}"
            )
    for (device_id, _), own in _grouped(((row.device_id, row.capture), row) for row in rows):
        for name in ATTRIBUTES:
            for one, other in _differing(own, name):
                yield (
                    f"rows {one.line} and {other.line}: device {device_id!r} must have one {name} at a time, "
                    f"but has {getattr(one, name)!r} and {getattr(other, name)!r}"
                )
            for row, values in _told_beside(own, name):
                if len(values) > 1:
                    yield f"row {row.line}, column {name}: must say which of {sorted(values)} it means: both are valid with it"


def _ends(row: MapRow) -> Iterator[object]:
    return filter(None, (row.mac, row.network))


def _grouped(
    pairs: Iterable[tuple[tuple[Any, ...], MapRow]],
) -> Iterable[tuple[tuple[Any, ...], list[MapRow]]]:
    groups: dict[tuple[Any, ...], list[MapRow]] = defaultdict(list)
    for key, row in pairs:
        groups[key].append(row)
    return groups.items()


def _differing(rows: Sequence[MapRow], name: str) -> Iterator[tuple[MapRow, MapRow]]:
    """Yield the pairs of rows that are valid at one time and tell two values of a field; an empty one tells none."""
    telling = [row for row in rows if getattr(row, name) is not None]
    if len({getattr(row, name) for row in telling}) > 1:
        for one, other in combinations(telling, 2):
            if getattr(one, name) != getattr(other, name) and one.overlaps(other):
                yield one, other


def _told_beside(rows: Sequence[MapRow], name: str) -> Iterator[tuple[MapRow, set[str]]]:
    """Yield each row that leaves a field empty, with what the rows valid at the same time tell in it."""
    telling = [row for row in rows if getattr(row, name) is not None]
    for row in rows:
        if getattr(row, name) is None:
            yield row, {getattr(other, name) for other in telling if row.overlaps(other)}


def _sharing_attributes(rows: Sequence[MapRow]) -> Iterator[MapRow]:
    """Yield the rows with what another row of the same device, valid at the same time, tells in their stead."""
    for _, own in _grouped(((row.device_id, row.capture), row) for row in rows):
        told: dict[MapRow, dict[str, str]] = {row: {} for row in own}
        for name in ATTRIBUTES:
            for row, values in _told_beside(own, name):
                told[row].update({name: value for value in values})
        yield from (replace(row, **attributes) for row, attributes in told.items())
