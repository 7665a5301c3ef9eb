"""What `publish` has put online of one window length. It lies in the online store that it tells of."""

import hashlib
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow.parquet as pq

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True)
class Fresh:
    """Where the rows lie that are not online yet though they had ended. Moments are microseconds since 1970.

    files: all that have a row which had ended by `until`. fresh: those of them that were never looked at.
    due: those that had rows which had not ended by `since`, when they were last looked at, and may have by now.
    anew: whether `fresh` is all there is, so that a device without a row in it has none left.
    """

    files: Sequence[Path]
    fresh: Sequence[Path]
    due: Sequence[Path]
    since: int
    until: int
    anew: bool


@dataclass(frozen=True)
class Publication:
    """The layout of the online rows, a mark of each file of the lake they come from, and the devices they are of.

    until: rows that had ended by then are online, microseconds since 1970.
    pending: of each file with rows that end later, by its mark: its first window_end, microseconds since 1970.
    Kept beside the rows, so that an online store that was lost or put back from a copy never counts as full.
    """

    layout: str = ""
    marks: frozenset[str] = frozenset()
    devices: frozenset[str] = frozenset()
    until: int = 0
    pending: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def from_bytes(cls, told: bytes) -> "Publication":
        """Return what `to_bytes` told; of b"", that nothing is online.

        A ledger without `until` is of a version that also published windows before their end: its rows are in no
        layout that counts, so that they are all written anew.
        """
        if not told:
            return cls()
        layout, marks, devices, *ended = json.loads(zlib.decompress(told))
        return cls(layout if ended else "", frozenset(marks), frozenset(devices), *ended)

    def to_bytes(self) -> bytes:
        """Return the publication as compressed JSON."""
        told = [self.layout, sorted(self.marks), sorted(self.devices), self.until, dict(self.pending)]
        return zlib.compress(json.dumps(told).encode())

    def next(
        self, files: Sequence[Path], layout: str, *, until: datetime
    ) -> tuple[Fresh, "Publication"] | None:
        """Return what is to be written by a moment, and the publication once it is, of the same devices; None: nothing.

        Everything is written where the layout is another one, where the moment lies before the last, and where a file
        is gone or was written anew: then of every device the newest row may be another one, or none.
        """
        moment, marks = _microseconds(until), {file: mark(file) for file in files}
        anew = layout != self.layout or moment < self.until or not self.marks <= set(marks.values())
        seen = Publication() if anew else self
        fresh = [file for file in files if marks[file] not in seen.marks]
        due = [file for file in files if seen.pending.get(marks[file], moment + 1) <= moment]
        if not fresh and not due and self.marks == set(marks.values()):
            return None
        pending = {marked: first for marked, first in seen.pending.items() if first > moment}
        for file in (*fresh, *due):
            first, last = _ends(file)
            if last > moment:
                pending[marks[file]] = first
        ended = {file for file in files if pending.get(marks[file], moment) <= moment}
        after = Publication(layout, frozenset(marks.values()), self.devices, moment, pending)
        new = Fresh(
            files=[file for file in files if file in ended],
            fresh=[file for file in fresh if file in ended],
            due=due,
            since=seen.until,
            until=moment,
            anew=anew,
        )
        return new, after


def mark(file: Path) -> str:
    """Return 64 bits that tell a file from any other, and from itself written anew."""
    facts = file.stat()
    told = f"{file.parent.name}/{file.name} {facts.st_size} {facts.st_mtime_ns}"
    return hashlib.blake2b(told.encode(), digest_size=8).hexdigest()


def _ends(file: Path) -> tuple[int, int]:
    """Return the first and the last window_end of a file by its footer, microseconds since 1970; (0, 0) of no rows."""
    footer = pq.read_metadata(file)
    place = footer.schema.names.index("window_end")
    groups = [footer.row_group(number) for number in range(footer.num_row_groups)]
    told = [group.column(place).statistics for group in groups if group.num_rows]
    if not all(one is not None and one.has_min_max for one in told):
        raise ValueError(f"{file} must have statistics of window_end, but has none; build the features again")
    first, last = (one.min for one in told), (one.max for one in told)
    return min(map(_microseconds, first), default=0), max(map(_microseconds, last), default=0)


def _microseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // _MICROSECOND
