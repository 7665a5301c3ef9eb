"""The module feast, imported without what it does to a process."""

import logging
import sqlite3
import sys
import warnings
from datetime import datetime
from functools import cache
from typing import Any  # Any: whatever feast makes; it has no types


@cache
def load() -> Any:
    """Return it; the first call takes a second of processor time (docs/feature-store.md).

    Typeguard instruments 19 of its modules and torch comes in for tensors nobody asks for (together 4 s, 180 MB),
    it warns as it is imported, and it takes every SQLite `timestamp` of the process for seconds since 1970.
    """
    import typeguard

    instrument, torch_is_there = typeguard.typechecked, "torch" in sys.modules
    typeguard.typechecked = lambda target=None, **_: target or (lambda late: late)  # type: ignore[assignment]
    if not torch_is_there:
        sys.modules["torch"] = None  # type: ignore[assignment]  # as if not installed, which feast allows
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import feast
            import feast.data_format
            import feast.infra.online_stores.sqlite  # here, for later it would take `timestamp` over again
            import feast.types
    finally:
        typeguard.typechecked = instrument
        if not torch_is_there:
            del sys.modules["torch"]
    sqlite3.register_converter("timestamp", _sqlite_moment)
    logging.getLogger("feast").setLevel(logging.WARNING)  # it tells of every look at the registry
    return feast


def _sqlite_moment(value: bytes) -> datetime:
    """Return a `timestamp` of SQLite, naive: seconds since 1970 as Feast writes it, ISO 8601 as others do."""
    text = value.decode()
    if text.lstrip("-").isdigit():
        return datetime.fromtimestamp(int(text))  # noqa: DTZ006  # as Feast: it wrote local time
    return datetime.fromisoformat(text)
