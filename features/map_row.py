"""A row of MAP.csv: what its cells may say, and what it means."""

import csv
import difflib
import ipaddress
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

ATTRIBUTES = ("label", "family", "site")
COLUMNS = ("device_id", "mac", "ip", "capture", *ATTRIBUTES, "valid_from", "valid_to")
_MAC_NOTATIONS = (  # IEEE with colons or hyphens, Cisco's dots, bare digits
    re.compile(r"[0-9a-f]{2}([:-])(?:[0-9a-f]{2}\1){4}[0-9a-f]{2}"),
    re.compile(r"(?:[0-9a-f]{4}\.){2}[0-9a-f]{4}"),
    re.compile(r"[0-9a-f]{12}"),
)
_NO_DEVICE = tuple(map(ipaddress.ip_network, ("0.0.0.0/32", "::/128", "255.255.255.255/32")))
_FIRST = datetime(1970, 1, 1, tzinfo=UTC)  # what the clock of pcap can tell; an open validity in MapRow
_LAST = datetime(2106, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class MapRow:
    """One row of MAP.csv: a device by its MAC, by its network (an address is a network of one), or by either.

    capture: trailing path parts of the captures that the row is for; none for all.
    valid_from, valid_to: the row counts for flows that start at or after the one and before the other.
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

    @cached_property
    def meaning(self) -> str:
        """All that the row decides, as one string; not where it stands, nor the name of its capture."""
        network = str(self.network) if self.network else None
        what = [len(self.capture), self.device_id, self.mac, network, self.label, self.family, self.site]
        return json.dumps([*what, self.valid_from.isoformat(), self.valid_to.isoformat()])

    @property
    def validity(self) -> tuple[datetime | None, datetime | None]:
        """First moment, and the moment after the last; None is open."""
        since = None if self.valid_from == _FIRST else self.valid_from
        return since, None if self.valid_to == _LAST else self.valid_to

    def overlaps(self, other: "MapRow") -> bool:
        """Tell whether there is a moment at which both rows are valid."""
        return self.valid_from < other.valid_to and other.valid_from < self.valid_to


def parse_rows(path: Path) -> Iterator[MapRow | str]:
    """Yield each row of a MAP.csv, or what is wrong with it (row, column, rule). Raises OSError."""
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
    for name in COLUMNS:
        if header.count(name) > 1:
            faults.append(f"row 1: column {name!r} must stand once")
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
    if faults:
        yield from faults
    elif (row := MapRow(line, **values)).valid_from < row.valid_to:
        yield row
    else:
        yield f"row {line}, column valid_to: must lie after valid_from"


def _mac(text: str) -> str:
    """Return a MAC as nfstream writes it."""
    if not any(notation.fullmatch(text.lower()) for notation in _MAC_NOTATIONS):
        raise ValueError(f"must be a MAC such as 20:f8:5e:ca:91:52, however: {text!r}")
    octets = bytes.fromhex(re.sub("[.:-]", "", text))
    if octets[0] & 1 or not any(octets):
        raise ValueError(f"must be the MAC of one device, but {text!r} is a group address or none at all")
    return octets.hex(":")


def _network(text: str) -> Network:
    try:
        network = plain_network(ipaddress.ip_network(text))
    except ValueError as error:
        raise ValueError(
            f"must be an IP address, or a network such as 10.2.0.0/16, however: {error}"
        ) from error
    if network.is_multicast or network in _NO_DEVICE:
        raise ValueError(f"must be the address of a device, but {text!r} is a group address or none at all")
    return network


def plain_network(network: Network) -> Network:
    """Return an IPv4-mapped IPv6 network (::ffff:a.b.c.d) as the IPv4 network it means, others as they are."""
    mapped = getattr(network.network_address, "ipv4_mapped", None)
    if mapped is None or network.prefixlen < 96:
        return network
    return ipaddress.ip_network((mapped, network.prefixlen - 96))


def _capture(text: str) -> tuple[str, ...]:
    parts = tuple(part for part in PurePosixPath(text.replace("\\", "/")).parts if part != "/")
    if not parts or ".." in parts:
        raise ValueError(f"must be the trailing part of a path, such as Aria/setup-1.pcap, however: {text!r}")
    return parts


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise ValueError(f"must be a time such as 2026-03-01T12:00:00Z, however: {text!r}") from error
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
