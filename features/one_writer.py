"""One process writes at a time, and readers see a file before or after a change, never within it."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

_WAIT_S = 60  # a first publish of 100,000 devices takes about 20 s


@contextmanager
def one_writer(folder: Path, *, wait_s: float = _WAIT_S) -> Iterator[None]:
    """Hold the lock of a folder; a dead process holds nothing. Raises TimeoutError after `wait_s` seconds."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / ".lock", timeout=wait_s):
            yield
    except Timeout as error:
        raise TimeoutError(
            f"one process writes {folder} at a time, and another one has for {wait_s:g} s; let it end first"
        ) from error


@contextmanager
def changed_whole(file: Path) -> Iterator[Path]:
    """Give a copy of the file to change, which takes its place at once when all went well.

    The copy does not exist where the file does not. The lock of the folder must be held.
    """
    copy = file.with_name(f"{file.name}.changing")
    copy.unlink(missing_ok=True)
    if file.is_file():
        shutil.copyfile(file, copy)
    yield copy
    copy.replace(file)
