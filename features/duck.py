"""DuckDB as the project uses it: one way to connect, to name files in SQL, and to take an answer as a frame."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import pyarrow as pa

from features.table import Column

if TYPE_CHECKING:
    import duckdb


def connect(*, threads: int, scratch: Path | None = None) -> "duckdb.DuckDBPyConnection":
    """Return a DuckDB of its own that knows no time zone but UTC and loads nothing from outside.

    scratch: where it may put what does not fit in memory; nowhere if None.
    """
    import duckdb

    spill = "" if scratch is None else str(scratch / "spilled")
    connection = duckdb.connect(
        config={"autoinstall_known_extensions": False, "threads": threads, "temp_directory": spill}
    )
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute("SET preserve_insertion_order = false")
    shown = "true" if sys.stdout.isatty() else "false"  # DuckDB draws on stdout, which others may read
    connection.execute(f"SET enable_progress_bar = {shown}")
    return connection


def listed(names: Iterable[Path | str]) -> str:
    """Return paths or texts as SQL literals in a list."""
    return ", ".join("'{}'".format(str(name).replace("'", "''")) for name in names)


def as_frame(table: pa.Table, columns: Sequence[Column]) -> pd.DataFrame:
    """Return an Arrow table of ours as a frame with the dtypes of its contract."""
    ours = table.select([column.name for column in columns])
    frame: pd.DataFrame = ours.to_pandas(types_mapper={pa.string(): pd.StringDtype()}.get)
    return frame


@contextmanager
def files_stay() -> Iterator[None]:
    """Raise OSError that says what to do where a file of a query is gone that was there a moment ago."""
    import duckdb

    try:
        yield
    except duckdb.IOException as error:
        fact = str(error).partition("\n")[0]
        raise OSError(f"the lake must not lose files while it is read, but {fact}; try again") from error
