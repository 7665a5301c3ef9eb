"""What `publish` has put online of one window length. It lies in the online store that it tells of."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Publication:
    """The layout of the online rows, and a mark of each file of the lake whose rows are online.

    Kept beside the rows, so that an online store that was lost or put back from a copy never counts as full.
    """

    layout: str = ""
    marks: frozenset[str] = frozenset()

    @classmethod
    def of(cls, files: Sequence[Path], layout: str) -> "Publication":
        """Return the publication of these files."""
        return cls(layout, frozenset(_mark(file) for file in files))

    @classmethod
    def from_json(cls, text: bytes) -> "Publication":
        """Return what `to_json` told; of an empty text, that nothing is online."""
        told = json.loads(text or b'{"layout": "", "files": []}')
        return cls(told["layout"], frozenset(told["files"]))

    def to_json(self) -> bytes:
        """Return the publication as JSON."""
        return json.dumps({"layout": self.layout, "files": sorted(self.marks)}).encode()

    def lacks(self, files: Sequence[Path], layout: str) -> list[Path]:
        """Return the files whose rows are not online yet in this layout."""
        return [file for file in files if layout != self.layout or _mark(file) not in self.marks]


def _mark(file: Path) -> str:
    """Return 64 bits that tell a file from any other, and from itself written anew."""
    facts = file.stat()
    told = f"{file.parent.name}/{file.name} {facts.st_size} {facts.st_mtime_ns}"
    return hashlib.blake2b(told.encode(), digest_size=8).hexdigest()
