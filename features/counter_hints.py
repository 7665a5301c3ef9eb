"""What would have been right where a file of counters, or its mapping, bears a name that nobody knows."""

import difflib
from collections.abc import Iterable, Sequence

import duckdb
import pyarrow as pa

_TOLD_COUNTERS = 100  # of a file full of unknown ones


def nearest(name: str, known: Iterable[str]) -> str:
    """Return, to stand behind a name, which known one is nearest to it; "" where none is."""
    by_lower = {one.lower(): one for one in known}
    near = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.5)
    return f" (the nearest is {by_lower[near[0]]!r})" if near else ""


def of_columns(wanted: Sequence[str], told: Sequence[str], *, unknown: Sequence[str]) -> str:
    """Return which wanted columns a file lacks, each with the nearest it has, and which of its are unknown.

    unknown: those of `told` that the file should not have.
    """
    lacking = [f"{name!r}{nearest(name, set(told) - set(wanted))}" for name in wanted if name not in told]
    strange = [f"{name!r}{nearest(name, wanted)}" for name in unknown]
    parts = {"lacks": lacking, "has unknown": strange}
    return "; ".join(f"{what} {', '.join(names)}" for what, names in parts.items() if names)


def tell(connection: duckdb.DuckDBPyConnection, flaw: str, counters: Sequence[str]) -> dict[str, str]:
    """Make `hints` (broken, named, hint) of what `judged` breaks; return one for each rule that has some.

    flaw: of the columns of the file. counters: those that are known.
    """
    unknown = connection.execute(
        "SELECT DISTINCT counter FROM judged WHERE rule = 'unknown_counter' ORDER BY 1 LIMIT $count",
        {"count": _TOLD_COUNTERS},
    ).fetchall()
    rows: list[tuple[str, str | None, str]] = [
        ("unknown_counter", name, f"{name!r}{nearest(name, counters)}") for (name,) in unknown
    ]
    if flaw:
        rows += [(rule, None, flaw) for rule in ("missing_column", "unknown_column")]
    names = ("broken", "named", "hint")
    columns = {name: pa.array([row[at] for row in rows], pa.string()) for at, name in enumerate(names)}
    connection.register("hints", pa.table(columns))
    return {rule: hint for rule, _, hint in reversed(rows)}
