"""The indicators of a lake as columns beside the targets of a KQI, joined in bulk and as of each row's moment."""

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import duckdb
import pandas as pd

from evaluation.domain import Domain
from features import indicator_tables
from features.indicator_sums import indicators_of
from features.indicators import Indicator, Mean


class LakeIndicators:
    """Asks for the rows of `asked`, by where they `hung` as their window ended and `stayed` within it."""

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, workspace: Path, domain: Domain, own: str
    ) -> None:
        self._connection, self._workspace, self._domain, self._own = connection, workspace, domain, own
        self._first, self._last = (
            pd.Timestamp(moment)
            for moment in connection.execute(
                "SELECT min(since), max(window_end) FROM stayed JOIN asked USING (no)"
                " UNION ALL SELECT min(window_end), max(window_end) FROM asked ORDER BY 1"
            ).fetchall()[0]
        )
        self._known_then = False

    def settle(self, scopes: Sequence[str]) -> tuple[str, ...]:
        """Settle whether the lake was built while the targets came, so that `created` says what was known when.

        Returns a note where it was not. Raises LookupError where no scope has indicators.
        """
        files = [file for scope in scopes for file in self._files(scope)]
        if not files:
            raise LookupError(
                f"the lake holds no indicator of {self._own} or what it hangs on between {self._first:%F} and"
                f" {self._last:%F}; iotlens indicators build makes them of its counters"
            )
        (created,) = self._connection.execute(
            "SELECT min(created) FROM read_parquet($files, union_by_name = true, hive_partitioning = false)",
            {"files": files},
        ).fetchall()[0]
        self._known_then = pd.Timestamp(created) <= self._last
        if self._known_then:
            return ()
        return (
            f"the indicators were computed after all of it, from {created:%F} on: windows that end by the moment of"
            " the target count, whenever their counters came",
        )

    def values(self, scope: str) -> pd.DataFrame:
        """Return a column per indicator of a scope, by `no`.

        Of a place with windows shorter than the KQI's: over all of that window, weighted by samples. That makes a ratio
        the ratio of sums and a mean the mean; of a quantile it is the mean of the short windows' quantiles. Otherwise
        the newest window that had ended, if it is not older than the scope looks back.
        """
        files = self._files(scope)
        if not files:
            return pd.DataFrame()
        there = self._run("DESCRIBE SELECT * FROM read_parquet($files, union_by_name = true)", files)
        stored = {row[0] for row in there.fetchall()}
        wanted = [one for one in indicators_of(scope, self._domain.indicators) if one.id in stored]
        longer = self._run("SELECT max(epoch(window_end) - epoch(since)) FROM stayed JOIN asked USING (no)")
        over_window = (longer.fetchall()[0][0] or 0) > self._length(scope).total_seconds()
        told = self._over_window if over_window and scope != self._own else self._newest
        return told(scope, files, wanted).df().set_index("no").astype("float64")

    def _run(self, sql: str, files: Sequence[str] = ()) -> duckdb.DuckDBPyConnection:
        return self._connection.execute(sql, {"files": files} if files else None)

    def _length(self, scope: str) -> timedelta:
        lengths = {str(name): one.length_s for name, one in self._domain.standard.windows.items()}
        return timedelta(seconds=lengths[scope])

    def _files(self, scope: str) -> list[str]:
        """Return the files of a scope that hold windows of the time that is asked about."""
        since, until = f"date={self._first - self._length(scope):%F}", f"date={self._last:%F}"
        found = indicator_tables.folder(self._workspace, scope).rglob("*.parquet")
        return sorted(str(file) for file in found if since <= file.parent.name <= until)

    def _newest(
        self, scope: str, files: Sequence[str], wanted: Sequence[Indicator]
    ) -> duckdb.DuckDBPyConnection:
        self._run(
            f"CREATE OR REPLACE TEMP TABLE wanted AS SELECT DISTINCT {scope} AS id, window_end FROM hung"
            f" JOIN asked USING (no) WHERE {scope} IS NOT NULL"
        )
        since = "greatest(window_end, created)" if self._known_then else "window_end"
        age = self._length(scope) // timedelta(microseconds=1)
        self._run(_FOUND.format(since=since, age=age, strict="<=" if scope == "device" else "<"), files)
        cells = ", ".join(f'lake."{one.id}" AS "{one.id}@{scope}"' for one in wanted)
        return self._run(
            f"SELECT no, {cells} FROM found JOIN read_parquet($files, union_by_name = true,"
            " hive_partitioning = false) AS lake"
            " ON lake.file_index = found.file AND lake.file_row_number = found.row"
            f" JOIN hung ON hung.{scope} = found.id JOIN asked USING (no) WHERE asked.window_end = found.window_end",
            files,
        )

    def _over_window(
        self, scope: str, files: Sequence[str], wanted: Sequence[Indicator]
    ) -> duckdb.DuckDBPyConnection:
        sums, cells = [], []
        for one in wanted:
            there = f'"{one.id}" IS NOT NULL'
            weighted = f'{_as_power(one)} * "{one.id}__samples"'
            sums.append(f'sum({weighted}) FILTER ({there}) AS "{one.id}__n"')
            sums.append(f'sum("{one.id}__samples") FILTER ({there}) AS "{one.id}__d"')
            mean = f'sum("{one.id}__n") / nullif(sum("{one.id}__d"), 0)'
            cells.append(f'{_as_level(one, mean)} AS "{one.id}@{scope}"')
        then = "created <= spell.ended AND coalesce(replaced > spell.ended, true)"
        known = then if self._known_then else "replaced IS NULL"
        return self._run(
            _OVER_WINDOW.format(scope=scope, sums=", ".join(sums), cells=", ".join(cells), known=known), files
        )


def _in_milliwatt(indicator: Indicator) -> bool:
    return isinstance(indicator.aggregate, Mean) and indicator.aggregate.average == "milliwatt"


def _as_power(indicator: Indicator) -> str:
    return f'pow(10, "{indicator.id}" / 10)' if _in_milliwatt(indicator) else f'"{indicator.id}"'


def _as_level(indicator: Indicator, mean: str) -> str:
    return f"10 * log10({mean})" if _in_milliwatt(indicator) else mean


# Rows and questions stand in one line, by place and moment, a row before the questions of its moment; the newest row so
# far answers. No ASOF JOIN: it cannot ask for the end of a window and for when the row became known at once.
_FOUND = """
CREATE OR REPLACE TEMP TABLE found AS
WITH line AS (
    SELECT scope_id AS id, {since} AS moment, 0 AS question,
           {{'ended': window_end, 'made': created, 'file': file_index, 'row': file_row_number}} AS place
    FROM read_parquet($files, union_by_name = true, hive_partitioning = false)
    WHERE scope_id IN (SELECT id FROM wanted)
    UNION ALL SELECT id, window_end, 1, NULL FROM wanted
), answered AS (
    SELECT id, moment, question, max(place) OVER (PARTITION BY id ORDER BY moment, question) AS place FROM line
)
SELECT id, moment AS window_end, place.file AS file, place.row AS row FROM answered
WHERE question = 1 AND epoch_us(moment) - epoch_us(place.ended) {strict} {age}
"""

# Stays in one place that follow each other are one, and devices that were there for the same time share a spell; days
# only make the join one of equal keys.
_OVER_WINDOW = """
WITH stay AS (
    SELECT no, {scope} AS id, since, until, window_end AS ended FROM stayed JOIN asked USING (no)
    WHERE {scope} IS NOT NULL
), joined AS (
    SELECT *, coalesce(lag(until) OVER (PARTITION BY no, id ORDER BY since) < since, true)::INTEGER AS came FROM stay
), numbered AS (
    SELECT *, sum(came) OVER (PARTITION BY no, id ORDER BY since) AS time FROM joined
), spent AS (
    SELECT no, id, ended, min(since) AS since, max(until) AS until FROM numbered GROUP BY no, id, ended, time
), spell AS (
    SELECT *, unnest(generate_series(since::DATE, until::DATE, INTERVAL 1 DAY))::DATE AS day
    FROM (SELECT DISTINCT id, since, until, ended FROM spent)
), version AS (
    SELECT *, lead(created) OVER (PARTITION BY scope_id, window_end ORDER BY created) AS replaced
    FROM read_parquet($files, union_by_name = true, hive_partitioning = false)
), summed AS (
    SELECT id, since, until, ended, {sums}
    FROM spell JOIN version
      ON version.scope_id = spell.id AND version.window_end::DATE = spell.day
     AND version.window_end > spell.since AND version.window_end <= spell.until AND {known}
    GROUP BY ALL
)
SELECT no, {cells} FROM spent JOIN summed USING (id, since, until, ended) GROUP BY no
"""
