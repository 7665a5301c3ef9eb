"""The lines of a CSV of counters, as a reader of CSV gets them: one row on one line, whatever its quotes.

A quote that is opened and not closed on its line would make a CSV reader swallow every row up to the next quote. A row
of counters has no line break in a value, so such a line is bad by itself and the next line is a row again.
"""

import codecs
import gzip
import io
import re
from collections import deque
from pathlib import Path
from typing import TextIO

UNCLOSED = "unclosed_quote"  # stands, as the one field of its line, for a line whose text is kept
_BLOCK_CHARS = 1 << 20
_OTHER_ENCODINGS = {
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}


class Lines(io.RawIOBase):
    """A CSV as bytes of UTF-8, in which each line that leaves a quote open is UNCLOSED.

    unclosed: their texts, oldest first; whoever meets UNCLOSED takes the first. Lines to the header stay as they are.
    """

    def __init__(self, text: TextIO, *, delimiter: str, skip_lines: int) -> None:
        self.unclosed: deque[str] = deque()
        self._text = text
        self._closed = closed_line(delimiter)
        head = "".join(text.readline() for _ in range(skip_lines + 1))
        self._left = head.encode()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # whoever reads gives a writable one
        if not self._left:
            self._left = self._next()
        count = min(len(buffer), len(self._left))
        buffer[:count] = self._left[:count]
        self._left = self._left[count:]
        return count

    def _next(self) -> bytes:
        lines = self._text.readlines(_BLOCK_CHARS)
        whole = "".join(lines)
        return ("".join(map(self._kept, lines)) if '"' in whole else whole).encode()

    def _kept(self, line: str) -> str:
        text = line.rstrip("\r\n")
        if '"' not in text or self._closed.fullmatch(text):
            return line
        self.unclosed.append(text)
        return UNCLOSED + "\n"


def closed_line(delimiter: str) -> re.Pattern[str]:
    """Return what matches a line of CSV that closes each quote it opens; a quote within a field opens nothing."""
    other = rf"[^{re.escape(delimiter)}]*+"
    field = rf'(?:"(?:[^"]|"")*+"{other}|(?!"){other})'
    return re.compile(rf"{field}(?:{re.escape(delimiter)}{field})*+")


def open_lines(path: Path, encoding: str) -> TextIO:
    """Open a text, packed with gzip or not, at its start. Raises ValueError where it is told in another encoding."""
    opened = gzip.open if path.name.lower().endswith(".gz") else open
    with opened(path, "rb") as file:
        found = _OTHER_ENCODINGS.get(file.read(2))
    if found and encoding.lower().replace("_", "-") in ("utf-8", "utf8"):
        raise ValueError(
            f"is no CSV of counters: it must be UTF-8, but begins as {found} does; write it as UTF-8"
        )
    return opened(path, "rt", encoding=encoding, newline="")
