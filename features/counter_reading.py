"""A file of counters as two relations of DuckDB: `raw`, its rows as they lie there, and `given`, them as COUNTERS.

raw: `row` (its place in the file, from 0) and the file's columns. given: `row`, the columns of COUNTERS but source,
numbers as DOUBLE, what cannot be read empty, and `found`: the rule of features/counter_rules.py that reading showed
to be broken.
"""

import csv
import gzip
import io
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from operator import itemgetter
from pathlib import Path
from typing import TextIO

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv

from features import counter_hints
from features.counter_lines import UNCLOSED, Lines, closed_line, open_lines
from features.duck import listed

TEXTS = ("scope", "scope_id", "counter", "element", "vendor")
TIMES = ("window_start", "received")
NUMBERS = ("window_s", "bin", "numerator", "denominator")
GIVEN = ("scope", "scope_id", "window_start", "window_s", "counter", "bin", "numerator", "denominator")
_OPTIONAL = ("received", "source", "row")  # a lake's own export has the last two
_BLOCK_BYTES = 8 << 20  # of a CSV; a row is shorter
_DELIMITERS = (",", ";", "\t", "|")
_UTC = r"(Z|[+-]00(:?00)?)$"

LeftRow = tuple[int, str, str]  # its place, its text, the rule of reading that it breaks


def open_texts(
    connection: duckdb.DuckDBPyConnection,
    path: Path,
    *,
    delimiter: str = ",",
    encoding: str = "utf-8",
    skip_lines: int = 0,
) -> list[str]:
    """Make `raw` and `ragged` of a CSV, packed with gzip or not, a block at a time; return its header.

    raw: its rows as texts. ragged: row, text and broken rule of those that are no row of it. Raises ValueError: what is
    wrong, to follow the file's name.
    """
    try:
        with open_lines(path, encoding) as text:
            header = _header(text, delimiter=delimiter, skip_lines=skip_lines)
        if repeated := sorted({name for name in header if header.count(name) > 1}):
            raise ValueError(f"has several columns of one name: {', '.join(map(repr, repeated))}")
        with open_lines(path, encoding) as text:
            lines = Lines(text, delimiter=delimiter, skip_lines=skip_lines)
            left: list[LeftRow] = []
            _keep(connection, _blocks(lines, left, header, delimiter=delimiter, skip_lines=skip_lines), left)
    except (UnicodeDecodeError, pa.ArrowException, EOFError, gzip.BadGzipFile) as error:
        raise ValueError(f"is no CSV of counters: {error}") from error
    if not left and not connection.execute("SELECT 1 FROM texts LIMIT 1").fetchall():
        raise ValueError("has a header and no row; an export that was cut short looks so: deliver it whole")
    connection.execute("CREATE OR REPLACE TEMP VIEW raw AS SELECT * FROM texts")
    register_ragged(connection, left)
    return header


def _blocks(
    lines: Lines, left: list[LeftRow], header: Sequence[str], *, delimiter: str, skip_lines: int
) -> pacsv.CSVStreamingReader:
    """Return a CSV as blocks of texts. left: gets each row with another number of fields, as it is met."""

    def leave(row: pacsv.InvalidRow) -> str:
        unclosed = row.text == UNCLOSED and bool(lines.unclosed)
        told = lines.unclosed.popleft() if unclosed else row.text
        left.append((row.number - skip_lines - 2, told, UNCLOSED if unclosed else "ragged_row"))
        return "skip"

    return pacsv.open_csv(
        io.BufferedReader(lines, _BLOCK_BYTES),
        pacsv.ReadOptions(use_threads=False, skip_rows=skip_lines, block_size=_BLOCK_BYTES),
        pacsv.ParseOptions(delimiter=delimiter, invalid_row_handler=leave),
        pacsv.ConvertOptions(column_types=dict.fromkeys(header, pa.string()), strings_can_be_null=False),
    )


def _keep(
    connection: duckdb.DuckDBPyConnection,
    blocks: pacsv.CSVStreamingReader,
    ragged: Sequence[LeftRow],
) -> None:
    """Make `texts` of the blocks of a CSV. ragged: grows while they are read; their places are left out."""

    def placed(block: pa.Table, first: int) -> pa.Table:
        beyond = bisect_left(ragged, first, key=itemgetter(0))  # they are met in their order
        left = [number for number, *_ in ragged[beyond:]]
        places = np.setdiff1d(np.arange(first, first + len(block) + len(left)), left)[: len(block)]
        return block.append_column("row", pa.array(places, pa.int64()))

    connection.register("block", placed(blocks.schema.empty_table(), 0))
    connection.execute("CREATE OR REPLACE TEMP TABLE texts AS SELECT * FROM block")
    first = 0
    for batch in blocks:
        block = placed(pa.Table.from_batches([batch]), first)
        if len(block):
            connection.register("block", block)
            connection.execute("INSERT INTO texts SELECT * FROM block")
            first = block["row"][-1].as_py() + 1
    connection.unregister("block")


def _header(text: TextIO, *, delimiter: str, skip_lines: int) -> list[str]:
    for _ in range(skip_lines):
        text.readline()
    line = text.readline().rstrip("\r\n")
    header = next(csv.reader([line], delimiter=delimiter), [])
    if not any(header):
        raise ValueError("is no CSV of counters: it has no header")
    if not closed_line(delimiter).fullmatch(line.removeprefix("\ufeff")):
        raise ValueError(f"is no CSV of counters: its header opens a quote that it does not close: {line}")
    others = [other for other in _DELIMITERS if other != delimiter and other in line]
    if len(header) == 1 and others:
        raise ValueError(
            f"must have its columns apart by {delimiter!r}, but its header has {others[0]!r}; write it so, or name the"
            " delimiter in the layout of a mapping"
        )
    return [name.removeprefix("\ufeff") for name in header]


def open_long(connection: duckdb.DuckDBPyConnection, path: Path, received: datetime) -> str:
    """Make `raw`, `given` and `flaws` of a file in long form; return which columns it lacks or should not have.

    flaws: row, and the column of it that cannot be read with what it holds. received: where the file does not tell it
    itself. Raises ValueError: what is wrong, to follow its name.
    """
    if path.name.lower().endswith((".csv", ".csv.gz")):
        open_texts(connection, path)
    else:
        read = f"read_parquet([{listed([path])}], hive_partitioning = false, file_row_number = true)"
        try:
            names = [column[0] for column in connection.execute(f"DESCRIBE SELECT * FROM {read}").fetchall()]
            own = ", row" if "row" in names else ""
            connection.execute(
                "CREATE OR REPLACE TEMP VIEW raw AS"
                f" SELECT file_row_number AS row, * EXCLUDE (file_row_number{own}) FROM {read}"
            )
        except duckdb.Error as error:
            raise ValueError(f"is no Parquet of counters: {str(error).partition(chr(10))[0]}") from error
        register_ragged(connection, ())
    kinds = {name: kind for name, kind, *_ in connection.execute("DESCRIBE raw").fetchall()}
    columns = ", ".join(
        f"{_expression(name, kinds, received)} AS {name}" for name in (*TEXTS, *TIMES, *NUMBERS)
    )
    ragged_row = ", ".join(f"{_nothing(name)} AS {name}" for name in (*TEXTS, *TIMES, *NUMBERS))
    connection.execute(
        f"CREATE OR REPLACE TEMP VIEW given AS SELECT row, {_found(kinds)} AS found, {columns} FROM raw"
        f" UNION ALL SELECT row, broken, {ragged_row} FROM ragged"
    )
    connection.execute(f"CREATE OR REPLACE TEMP VIEW flaws AS SELECT row, {_flaw(kinds)} AS flaw FROM raw")
    wanted = [name for name in (*TEXTS, *TIMES, *NUMBERS) if name not in _OPTIONAL]
    strange = [name for name in kinds if name not in (*wanted, *_OPTIONAL)]
    return counter_hints.of_columns(wanted, list(kinds), unknown=strange)


def register_ragged(connection: duckdb.DuckDBPyConnection, left: Sequence[LeftRow]) -> None:
    """Make `ragged` (row, told, broken) of the rows that a CSV reader had to leave."""
    rows, texts, rules = zip(*left, strict=True) if left else ((), (), ())
    table = pa.table(
        {
            "row": pa.array(rows, pa.int64()),
            "told": pa.array(texts, pa.string()),
            "broken": pa.array(rules, pa.string()),
        }
    )
    connection.register("ragged", table)


def _expression(name: str, kinds: Mapping[str, str], received: datetime) -> str:
    kind = kinds.get(name)
    if kind is None:
        return f"TIMESTAMPTZ '{received.isoformat()}'" if name == "received" else _nothing(name)
    if name in TEXTS:
        return f'CAST("{name}" AS VARCHAR)'
    if name in NUMBERS:
        return f'TRY_CAST("{name}" AS DOUBLE)'
    if kind == "TIMESTAMP WITH TIME ZONE":
        return f'"{name}"'
    return f'TRY_CAST("{name}" AS TIMESTAMPTZ)' if kind == "VARCHAR" else "CAST(NULL AS TIMESTAMPTZ)"


def _nothing(name: str) -> str:
    kind = "VARCHAR" if name in TEXTS else "TIMESTAMPTZ" if name in TIMES else "DOUBLE"
    return f"CAST(NULL AS {kind})"


def _found(kinds: Mapping[str, str]) -> str:
    """Return the SQL of the rule that reading a row shows to be broken; NULL where none is."""
    wanted = (*TEXTS, *TIMES, *NUMBERS)
    if any(name not in kinds and name not in _OPTIONAL for name in wanted):
        return "'missing_column'"
    if any(name not in (*wanted, *_OPTIONAL) for name in kinds):
        return "'unknown_column'"
    cases = [f"WHEN {broken} THEN '{rule}'" for rule, _, broken in _unreadable(kinds)]
    return f"CASE {' '.join(cases)} END" if cases else "CAST(NULL AS VARCHAR)"


def _flaw(kinds: Mapping[str, str]) -> str:
    """Return the SQL of the column that reading a row shows to be wrong, with what it holds; NULL where none is."""
    cases = [
        f"WHEN {broken} THEN concat('{name} is ', CAST(\"{name}\" AS VARCHAR))"
        for _, name, broken in _unreadable(kinds)
    ]
    return f"CASE {' '.join(cases)} END" if cases else "CAST(NULL AS VARCHAR)"


def _unreadable(kinds: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    """Yield the rule that a column may break, the column, and the SQL that tells it does."""
    for name in TIMES:
        kind = kinds.get(name, "TIMESTAMP WITH TIME ZONE")
        if kind == "VARCHAR":
            told = f"coalesce(\"{name}\", '') <> ''"
            yield "time_unreadable", name, f'{told} AND TRY_CAST("{name}" AS TIMESTAMPTZ) IS NULL'
            yield "time_not_utc", name, f"{told} AND NOT regexp_matches(\"{name}\", '{_UTC}')"
        elif kind.startswith("TIMESTAMP") and kind != "TIMESTAMP WITH TIME ZONE":
            yield "time_not_utc", name, f'"{name}" IS NOT NULL'
        elif kind != "TIMESTAMP WITH TIME ZONE":
            yield "time_unreadable", name, f'"{name}" IS NOT NULL'
    for name in NUMBERS:
        if kinds.get(name) == "VARCHAR":
            told = f"trim(coalesce(\"{name}\", '')) <> ''"
            yield "text_in_number", name, f'{told} AND TRY_CAST("{name}" AS DOUBLE) IS NULL'
