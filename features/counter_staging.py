"""The Parquet files of one delivery of counters, as they are committed together."""

from collections.abc import Mapping
from pathlib import Path

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from features import lake
from features.counter_rules import held
from features.counter_tables import COUNTERS, FOLDER, STORED, gathered_sql
from features.duck import listed

_COLUMNS = ", ".join(column.name for column in STORED)
_ORDER = (
    "window_start, scope, scope_id, counter, row"  # what is summed together lies together: a third faster
)


def stage(
    connection: duckdb.DuckDBPyConnection,
    scratch: Path,
    record: lake.Delivery,
    *,
    paths: Mapping[str, str],
    readings: pd.DataFrame,
) -> dict[str, Path]:
    """Write the files of a delivery; return place in the lake -> file.

    Made of `judged`, `lost`, `raw`, `ragged`, `flaws` and `hints`. paths: by source, of this file and of those
    whose rows it took the place of.
    """
    staged: dict[str, Path] = {}

    def write(place: str, sql: str) -> None:
        staged[place] = scratch / f"{record.source}-{len(staged)}.parquet"
        connection.execute(f"COPY ({sql}) TO {listed([staged[place]])} (FORMAT parquet, COMPRESSION zstd)")

    dates = connection.execute(
        "SELECT DISTINCT CAST(window_start AS DATE) FROM judged WHERE rule IS NULL ORDER BY 1"
    ).fetchall()
    for (date,) in dates:
        day = f"window_start >= TIMESTAMPTZ '{date} 00:00:00+00'"
        day += f" AND window_start < TIMESTAMPTZ '{date} 00:00:00+00' + INTERVAL 1 DAY"
        rows = gathered_sql(f"(SELECT * FROM judged WHERE rule IS NULL AND {day})")
        write(f"{FOLDER}/date={date}", f"SELECT {_COLUMNS} FROM ({rows}) ORDER BY {_ORDER}")
    if record.superseded:
        write("superseded", "SELECT DISTINCT source, row, counter FROM lost ORDER BY ALL")
    if record.quarantined or record.superseded:
        told = {"source": list(paths), "path": list(paths.values())}
        connection.register("paths", pa.table({k: pa.array(v, pa.string()) for k, v in told.items()}))
        write("quarantine", _QUARANTINED)
    if len(readings):
        staged["readings"] = scratch / f"{record.source}-readings.parquet"
        table = pa.Table.from_pandas(readings, preserve_index=False).replace_schema_metadata(None)
        pq.write_table(table, staged["readings"])
    return staged


_OF_A_COLUMN = "'time_unreadable', 'time_not_utc', 'text_in_number'"
# The texts of numbers and times are DuckDB's; NULL is left out. Of a line that is no row its text is told.
_QUARANTINED = f"""
    SELECT path AS file, source, row, counter, rule, told, coalesce(flaw, hint, held) AS hint
    FROM (
        SELECT source, judged.row, judged.counter, rule, flaw, {held("judged")} AS held,
               coalesce(ragged.told, CAST(to_json(raw) AS VARCHAR)) AS told
        FROM judged LEFT JOIN raw ON raw.row = judged.row
        LEFT JOIN ragged ON ragged.row = judged.row
        LEFT JOIN flaws ON flaws.row = judged.row AND rule IN ({_OF_A_COLUMN})
        WHERE rule IS NOT NULL
        UNION ALL
        SELECT source, row, counter, rule, NULL, NULL, CAST(to_json(struct_pack({
    ", ".join(f"{c.name} := {c.name}" for c in COUNTERS)
})) AS VARCHAR) FROM lost
    ) AS bad JOIN paths USING (source)
    LEFT JOIN hints ON hints.broken = rule AND coalesce(hints.named, counter, '') = coalesce(counter, '')
    ORDER BY ALL"""
