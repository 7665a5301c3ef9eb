"""MAP.csv: which MAC or address is which device, in which capture, and since when."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Any

from features.map_row import ATTRIBUTES, MapRow, parse_rows

_MOST_FAULTS_TOLD = 20


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

        Raises ValueError with one line per fault (file, row, column, rule), OSError where no file is.
        """
        parsed = list(parse_rows(path))
        rows = [row for row in parsed if isinstance(row, MapRow)]
        faults = [fault for fault in parsed if isinstance(fault, str)] + list(_contradictions(rows))
        if not parsed:
            faults = ["must name at least one device, but holds no row; to do without a map say `auto`"]
        if faults:
            more = len(faults) - _MOST_FAULTS_TOLD
            told = faults[:_MOST_FAULTS_TOLD] + ([f"and {more} more faults"] if more > 0 else [])
            raise ValueError("\n".join(f"{path}: {fault}" for fault in told))
        return DeviceMap(tuple(_sharing_attributes(rows)), each_address)

    def for_capture(self, path: Path) -> "DeviceMap":
        """Return the map with the rows for this capture; paths are compared by whole parts, from the end."""
        if not any(self._rows_by_file):  # no row names a capture
            return self
        parts = path.absolute().parts
        named = (row for row in self._rows_by_file[parts[-1]] if parts[-len(row.capture) :] == row.capture)
        return replace(self, rows=(*named, *self._rows_by_file[""]))

    @property
    def specificity(self) -> int:
        """How many parts of a capture's path the most specific row names; 0 where none names any."""
        return max((len(row.capture) for row in self.rows or ()), default=0)

    @cached_property
    def fingerprint(self) -> str:
        """A hash of all that decides whose a flow is; order and layout of the file do not."""
        rows = None if self.rows is None else sorted(row.meaning for row in self.rows)
        return hashlib.sha256(json.dumps([self.each_address, rows]).encode()).hexdigest()

    @cached_property
    def _rows_by_file(self) -> dict[str, list[MapRow]]:
        """The rows by the file name of their capture; "" holds those for every capture."""
        rows: dict[str, list[MapRow]] = defaultdict(list)
        for row in self.rows or ():
            rows[row.capture[-1] if row.capture else ""].append(row)
        return rows


def _contradictions(rows: Sequence[MapRow]) -> Iterator[str]:
    """Yield what rows that are valid at one time cannot all mean."""
    by_end = _grouped((end, row) for row in rows for end in (row.mac, row.network) if end)
    for end, sharing in by_end:
        for one, other in _differing(sharing, "device_id"):
            told = f"{one.device_id!r} and {other.device_id!r}"
            yield f"rows {one.line} and {other.line}: {end} must be one device at a time, but is {told}"
    for device_id, own in _grouped((row.device_id, row) for row in rows):
        for name in ATTRIBUTES:
            for one, other in _differing(own, name):
                told = f"{getattr(one, name)!r} and {getattr(other, name)!r}"
                where = f"rows {one.line} and {other.line}, column {name}"
                yield f"{where}: device {device_id!r} must have one at a time, but has {told}"
            for row, values in _told_beside(own, name):
                if len(values) > 1:
                    yield f"row {row.line}, column {name}: must tell one of {sorted(values)}, valid in its time"


def _grouped(pairs: Iterable[tuple[object, MapRow]]) -> Iterator[tuple[object, list[MapRow]]]:
    """Yield the rows that share a key, and the captures that they are for."""
    groups: dict[object, list[MapRow]] = defaultdict(list)
    for key, row in pairs:
        groups[key, row.capture].append(row)
    for (key, _), rows in groups.items():  # type: ignore[misc]  # a key is a pair, whatever it pairs
        yield key, rows


def _differing(rows: Sequence[MapRow], name: str) -> Iterator[tuple[MapRow, MapRow]]:
    """Yield the pairs that are valid at one time and tell two values of a field; an empty one tells none."""
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
    """Yield the rows, an empty label, family or site filled with what the device's rows beside it tell."""
    for _, own in _grouped((row.device_id, row) for row in rows):
        told: dict[MapRow, dict[str, Any]] = {row: {} for row in own}  # of MapRow's fields
        for name in ATTRIBUTES:
            for row, values in _told_beside(own, name):
                if values:
                    told[row][name] = values.pop()
        yield from (replace(row, **attributes) for row, attributes in told.items())
