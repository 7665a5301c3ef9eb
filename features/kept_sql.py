"""SQL that Ibis makes, kept from one process to the next: making it takes seconds, and the same code makes the same.

A build every quarter of an hour would else spend more time on making its queries than on running them. What another
version of this package, of Ibis or of SQLGlot made is never used.
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any  # Any: what JSON can tell

from features.whole_file import write_text

FILE = "queries.json"
MOST = 1000  # queries of a file, some kilobytes each; a workspace needs about a hundred
_made: dict[str, Any] = {}


def kept(name: str, *told: object, make: Callable[[], Any]) -> Any:
    """Return what was made under a name of what it was told, or make it. It must be what JSON can tell, with lists.

    told: all that it is made from, whose `repr` tells each from any other.
    """
    key = hashlib.blake2b(f"{name}{told!r}".encode(), digest_size=16).hexdigest()
    if key not in _made:
        _made[key] = make()
    return _made[key]


@contextmanager
def remembered(folder: Path) -> Iterator[None]:
    """Use what was kept in a folder, and keep there what is made meanwhile. The folder's lock must be held."""
    file = folder / FILE
    before = _read(file)
    _made.update(before)
    yield
    if new := _made.keys() - before.keys():
        told = _made if len(_made) <= MOST else {key: _made[key] for key in new}
        write_text(file, json.dumps({"code": _code(), "queries": told}) + "\n")


def _read(file: Path) -> dict[str, Any]:
    """Return what a file keeps; nothing where other code made it."""
    if not file.is_file():
        return {}
    told = json.loads(file.read_text(encoding="utf-8"))
    return dict(told["queries"]) if told["code"] == _code() else {}


@cache
def _code() -> str:
    """Return a hash of all code that SQL may come from."""
    digest = hashlib.blake2b(f"{version('ibis-framework')} {version('sqlglot')}".encode(), digest_size=16)
    for file in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()
