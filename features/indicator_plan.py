"""One build of indicators: what it works from, and the rows of counters that it reads."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from functools import cached_property
from pathlib import Path
from typing import get_args

import duckdb
import pyarrow as pa

from features import counter_tables, indicator_sums, lake, membership, sketch
from features.days import DAY, start_of
from features.duck import connect, listed
from features.indicator_changes import Change
from features.indicators import Indicator, IndicatorSet, Scope, ScopeWindow

_MEMORY = "2GB"
_SCOPES: tuple[str, ...] = get_args(Scope)


@dataclass(frozen=True)
class Plan:
    """One build. created: of the rows it writes. until: no window ends later."""

    workspace: Path
    scratch: Path
    settings: IndicatorSet
    indicators: tuple[Indicator, ...]
    created: datetime
    until: datetime | None
    change: Change

    @property
    def windows(self) -> Mapping[str, ScopeWindow]:
        """The window of each scope."""
        return {str(scope): window for scope, window in self.settings.windows.items()}

    @cached_property
    def codes(self) -> dict[str, int]:
        """The number that stands for each counter."""
        return indicator_sums.codes_of(self.indicators)

    @cached_property
    def _deliveries(self) -> Mapping[str, lake.Delivery]:
        return lake.deliveries(self.workspace, counter_tables.KIND)

    @cached_property
    def files(self) -> Mapping[date, list[Path]]:
        """The files of counters by the date of their rows."""
        found: dict[date, list[Path]] = {}
        for name in (name for record in self._deliveries.values() for name in record.files):
            folder, _, day = name.rpartition("/")[0].partition("/date=")
            if folder in ("counters", counter_tables.FOLDER):
                found.setdefault(date.fromisoformat(day), []).append(self.workspace / "lake" / name)
        return found

    @cached_property
    def added(self) -> Mapping[date, list[Path]]:
        """Those of them that came with new deliveries."""
        return self._from({file for record in self._new for file in record.files})

    def touched_sql(self, day: date) -> str:
        """Return the SQL of the rows of a day that new deliveries brought or hide: scope, window_start, window_s.

        "" where there are none.
        """
        hidden = {source for record in self._new for source in record.superseded}
        others = self._from({file for source in hidden for file in self._deliveries[source].files})
        marks = [name for record in self._new for name in record.files if name.startswith("superseded/")]
        parts = []
        if brought := self.added.get(day):
            parts.append(f"FROM read_parquet([{listed(brought)}], hive_partitioning = false)")
        if told := others.get(day):
            by = listed([self.workspace / "lake" / name for name in marks])
            parts.append(
                f"FROM read_parquet([{listed(told)}], hive_partitioning = false) AS told"
                f" SEMI JOIN read_parquet([{by}], hive_partitioning = false) AS marks USING (source, row, counter)"
            )
        return " UNION ALL ".join(f"SELECT scope, window_start, window_s {part}" for part in parts)

    @property
    def _new(self) -> list[lake.Delivery]:
        return [record for source, record in self._deliveries.items() if source in self.change.added]

    def _from(self, names: Collection[str]) -> Mapping[date, list[Path]]:
        """Return those of `files` that bear some names in the lake."""
        paths = {self.workspace / "lake" / name for name in names}
        return {day: [file for file in files if file in paths] for day, files in self.files.items()}

    def open(self) -> duckdb.DuckDBPyConnection:
        """Return a DuckDB with `codes` (of counters), `ids` (of places) and `stays` (MEMBERSHIP of those days)."""
        connection = connect(threads=2, scratch=self.scratch)
        connection.execute(f"SET memory_limit = '{_MEMORY}'")
        sketch.prepare(connection)
        numbered = {
            "counter": pa.array(list(self.codes)),
            "code": pa.array(list(self.codes.values()), pa.int16()),
        }
        connection.register("codes", pa.table(numbered))
        connection.execute(
            "CREATE TEMP TABLE ids (scope VARCHAR, kind UTINYINT, scope_id VARCHAR, id INTEGER)"
        )
        days = self.change.dates
        span = (start_of(days[0]), start_of(days[-1]) + DAY) if days else None
        _open_stays(
            connection, membership.stays_sql(membership.files(self.workspace) if span else [], span=span)
        )
        return connection

    def rows_sql(self, files: Iterable[Path]) -> str:
        """Return the SQL of the rows that count of files, at least one.

        Columns: scope, scope_id, window_start, end_s, counter (its code), sketch, n, d.
        """
        end = "epoch_us(window_start) // 1000000 + window_s AS end_s"
        numbers = "code AS counter, sketch, numerator AS n, denominator AS d"
        visible = counter_tables.counted_sql(self.workspace, list(files), self._deliveries)
        return f"SELECT scope, scope_id, window_start, {end}, {numbers} FROM ({visible}) JOIN codes USING (counter)"


def number_ids(connection: duckdb.DuckDBPyConnection, places: str) -> None:
    """Give each place its number in `ids`, in the order of their names. places: SQL of scope and scope_id."""
    connection.execute(
        f"INSERT INTO ids SELECT scope, list_position([{listed(_SCOPES)}], scope), scope_id,"
        " (SELECT count(*) FROM ids) + row_number() OVER (ORDER BY scope, scope_id)"
        f" FROM (SELECT DISTINCT scope, scope_id FROM ({places})) ANTI JOIN ids USING (scope, scope_id)"
    )


def kind_of(scope: str) -> int:
    """Return the number that `ids` have for a scope."""
    return _SCOPES.index(scope) + 1


def _open_stays(connection: duckdb.DuckDBPyConnection, held: str) -> None:
    """Make `stays`: MEMBERSHIP by SQL as it holds, places by their ids and times in microseconds."""
    connection.execute(f"CREATE TEMP TABLE told AS {held}")
    places = " UNION ALL ".join(
        f"SELECT DISTINCT '{place}' AS scope, {place} AS scope_id FROM told WHERE {place} IS NOT NULL"
        for place in membership.PLACES
    )
    number_ids(connection, places)
    names = ", ".join(f"of_{place}.id AS {place}" for place in membership.PLACES)
    joins = " ".join(
        f"LEFT JOIN ids AS of_{place} ON of_{place}.kind = {kind_of(place)} AND of_{place}.scope_id = told.{place}"
        for place in membership.PLACES
    )
    connection.execute(
        f"CREATE TEMP TABLE stays AS SELECT device_id, {names}, epoch_us(valid_from) AS valid_from,"
        f" epoch_us(valid_to) AS valid_to FROM told {joins}"
    )
    connection.execute("DROP TABLE told")
