"""What `publish` has put online of one window length. It lies in the online store that it tells of."""

import hashlib
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Publication:
    """The layout of the online rows, a mark of each file of the lake they come from, and the devices they are of.

    Kept beside the rows, so that an online store that was lost or put back from a copy never counts as full.
    """

    layout: str = ""
    marks: frozenset[str] = frozenset()
    devices: frozenset[str] = frozenset()

    @classmethod
    def from_bytes(cls, told: bytes) -> "Publication":
        """Return what `to_bytes` told; of b"", that nothing is online."""
        if not told:
            return cls()
        layout, marks, devices = json.loads(zlib.decompress(told))
        return cls(layout, frozenset(marks), frozenset(devices))

    def to_bytes(self) -> bytes:
        """Return the publication as compressed JSON."""
        return zlib.compress(json.dumps([self.layout, sorted(self.marks), sorted(self.devices)]).encode())

    def fresh(self, files: Sequence[Path], layout: str) -> list[Path]:
        """Return the files whose rows are not online yet.

        All of them where the layout is another one, and where a file is gone or was written anew: then rows may
        have been taken out of the lake, and of every device the newest row may be another one, or none.
        """
        marks = {file: mark(file) for file in files}
        if layout != self.layout or not self.marks <= set(marks.values()):
            return list(files)
        return [file for file in files if marks[file] not in self.marks]


def mark(file: Path) -> str:
    """Return 64 bits that tell a file from any other, and from itself written anew."""
    facts = file.stat()
    told = f"{file.parent.name}/{file.name} {facts.st_size} {facts.st_mtime_ns}"
    return hashlib.blake2b(told.encode(), digest_size=8).hexdigest()
