"""Which captures a call names, and the content that tells two of them apart."""

import glob
import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from features.captures import BROKEN_GZIP, open_capture
from features.lake import SIMULATED

SUFFIXES = (".pcap", ".pcapng", ".cap")
_SOURCE_DIGITS = 16  # hex digits of the SHA-256 that name a source: 64 bits


@dataclass(frozen=True)
class Content:
    """What a file held when it was hashed.

    source: id of its bytes, as unpacked. bytes: its size, as it lies there. changed_ns: when it was last written.
    """

    source: str
    bytes: int
    changed_ns: int


def find_captures(sources: Sequence[str]) -> list[Path]:
    """Return the captures of `named_captures`, a file of several names once, by the first of them."""
    found: dict[Path, Path] = {}
    for capture in named_captures(sources).values():
        found.setdefault(capture.resolve(), capture)
    return list(found.values())


def named_captures(sources: Sequence[str]) -> dict[str, Path]:
    """Return the captures that files, folders (and those below) and globs name, by name, in the order given.

    A name is the source as it was given; of a folder or a glob, with the rest. In a folder a capture is what ends in
    one of `SUFFIXES`, or in one of them and .gz; a file that is named itself may end in anything. A folder that
    cannot be searched stands for itself: reading it tells so. Raises FileNotFoundError that names a source without
    any capture.
    """
    found: dict[str, Path] = {}
    for source in sources:
        places = [source] if Path(source).exists() else sorted(glob.glob(source, recursive=True))  # noqa: PTH207
        captures = {name: Path(name) for place in places for name in walked(place, is_capture)}
        if not captures:
            raise FileNotFoundError(
                f"no capture ({', '.join(SUFFIXES)}, packed with gzip or not) at {source}"
            )
        found |= captures
    return found


def walked(place: str, is_wanted: Callable[[str], bool]) -> Iterator[str]:
    """Yield the files of a folder, and of those below, whose name is wanted; a file that is named itself is.

    A folder that cannot be searched stands for itself, so that reading it tells so.
    """
    if not Path(place).is_dir():
        yield place
        return
    entered = set[Path]()  # by their real path: a link may lead back up
    closed: list[str] = []
    for folder, below, files in os.walk(
        place, followlinks=True, onerror=lambda error: closed.append(error.filename)
    ):
        entered.add(Path(folder).resolve())
        below[:] = sorted(name for name in below if Path(folder, name).resolve() not in entered)
        yield from (os.path.join(folder, name) for name in sorted(files) if is_wanted(name))  # noqa: PTH118
    yield from closed


def is_capture(name: str) -> bool:
    """Tell whether a file is a capture, by the end of its name."""
    return name.lower().removesuffix(".gz").endswith(SUFFIXES)


def read_content(path: Path) -> Content:
    """Return what a file holds, packed or not. Raises ValueError: what is wrong with the file, to follow its name."""
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise ValueError("has a name that is not UTF-8; rename it") from error
    if os.path.isdir(path):  # noqa: PTH112
        raise ValueError("is a folder that cannot be searched; its captures are not read")
    try:
        if not path.is_file():
            raise ValueError("is no file")
        state = path.stat()
        digest = _digest(path)
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}") from error
    return Content(digest[:_SOURCE_DIGITS], state.st_size, state.st_mtime_ns)


def _digest(path: Path) -> str:
    """Return the SHA-256 of a capture as unpacked, of a damaged gzip file that of its bytes. Raises OSError."""
    try:
        with open_capture(path) as capture:
            return hashlib.file_digest(capture, "sha256").hexdigest()
    except BROKEN_GZIP:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


def check_unchanged(path: Path, content: Content) -> None:
    """Raise ValueError where a file is no longer what was hashed; its capture may still be going on."""
    state = path.stat()
    if (state.st_size, state.st_mtime_ns) != (content.bytes, content.changed_ns):
        raise ValueError("changed while it was read; read it again when it is complete")


def is_simulated(path: Path) -> bool:
    """Tell whether a capture lies in a folder that `iotlens simulate` wrote: the mark is beside or above it."""
    return any(os.path.isfile(folder / SIMULATED) for folder in path.resolve().parents)  # noqa: PTH113  # a closed folder says no
