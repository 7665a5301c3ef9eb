"""INDICATORS as they lie in the lake: wide, in lake/indicators/scope=SCOPE/date=DATE (of window_end), all versions."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd

from features import indicator_sums
from features.duck import as_frame, connect, files_stay, listed
from features.indicators import Indicator, all_indicators, read_indicators
from features.table import Column, arrow_schema, empty_table
from features.windowing import CREATED

KEYS: tuple[Column, ...] = (
    Column("scope_id", "string", "-", "which one"),
    Column("window_end", "timestamp", "UTC", "first instant after the window"),
    CREATED,
)
LONG: tuple[Column, ...] = (
    Column("scope", "string", "-", "device, cell, tac, ..."),
    *KEYS[:2],
    Column("indicator", "string", "-", "id of the indicator"),
    Column("value", "float64", "-", "in the unit of the indicator; empty is no evidence", empty=True),
    Column("samples", "float64", "1", "what the value was made of", low=0),
)


def wide_columns(indicators: Sequence[Indicator]) -> tuple[Column, ...]:
    """Return the columns of the wide rows of a scope: keys, then a value and its samples for each indicator."""
    return (
        *KEYS,
        *(
            column
            for one in indicators
            for column in (
                Column(one.id, "float64", one.unit, one.name, empty=True),
                Column(f"{one.id}__samples", "float64", "1", f"samples of {one.id}", low=0),
            )
        ),
    )


def columns(workspace: Path, scope: str) -> tuple[Column, ...]:
    """Return the columns of the wide rows of a scope, as the configuration of a workspace has them."""
    return wide_columns(indicator_sums.indicators_of(scope, all_indicators(workspace)))


def root(workspace: Path) -> Path:
    """Return where the rows of all scopes lie."""
    return workspace / "lake" / "indicators"


def folder(workspace: Path, scope: str) -> Path:
    """Return where the wide rows of a scope lie, one folder a date of window_end."""
    return root(workspace) / f"scope={scope}"


def newest_sql(files: Sequence[Path], wanted: Sequence[str], *, where: str = "true") -> str:
    """Return the SQL of the newest version of each row, of the wanted columns; `template` has them all.

    where: SQL of scope_id and window_end that the rows keep; only those are sorted by version.
    """
    names = ", ".join(f'"{name}"' for name in wanted)
    newest = "row_number() OVER (PARTITION BY scope_id, window_end ORDER BY created DESC) = 1"
    read = (
        f"FROM read_parquet([{listed(files)}], union_by_name = true, hive_partitioning = false) WHERE {where}"
    )
    return f"SELECT {names} FROM ({read} UNION ALL BY NAME SELECT * FROM template) QUALIFY {newest}"


def rows(workspace: Path, scope: str, scope_id: str | None = None) -> pd.DataFrame:
    """Return the newest version of each wide row of a scope, ordered by its keys; LookupError for a strange scope.

    scope_id: only those of this one.

    Raises OSError where a file goes meanwhile; asked again, it answers.
    """
    known = read_indicators(workspace).windows
    if scope not in known:
        raise LookupError(f"no scope {scope!r}; there are {', '.join(known)}")
    wanted, files = columns(workspace, scope), sorted(folder(workspace, scope).rglob("*.parquet"))
    if not files:
        return empty_table(wanted)
    with files_stay(), connect(threads=2) as connection:
        connection.register("template", arrow_schema(wanted).empty_table())
        names = [one.name for one in wanted]
        newest = newest_sql(files, names, where="scope_id = coalesce($one, scope_id)")
        found = connection.execute(
            f"SELECT * FROM ({newest}) ORDER BY scope_id, window_end", {"one": scope_id}
        ).to_arrow_table()
    return as_frame(found.cast(arrow_schema(wanted)), wanted)


def newest_end(workspace: Path) -> datetime:
    """Return the end of the newest window, of scopes whose windows are short: a day's ends long after what is known.

    Where all windows are long the newest of them counts. Raises LookupError where nothing is built.
    """
    step = indicator_sums.DEVICE_STEP_S
    windows = read_indicators(workspace).windows
    brief = [scope for scope, one in windows.items() if scope == "device" or one.length_s <= step]
    files = [file for scope in brief for file in folder(workspace, scope).rglob("*.parquet")]
    files = files or sorted(root(workspace).rglob("*.parquet"))
    if not files:
        where = f"the lake of {workspace}" if workspace.is_dir() else f"{workspace}, which is no folder"
        raise LookupError(f"no indicators in {where}; run iotlens indicators build first")
    last = max(file.parent.name for file in files)
    newest = [file for file in files if file.parent.name == last]
    with files_stay(), connect(threads=1) as connection:
        ((end,),) = connection.execute(
            f"SELECT max(window_end) FROM read_parquet([{listed(newest)}], hive_partitioning = false)"
        ).fetchall()
    told: datetime = end.astimezone(UTC)
    return told


def newest_ends(workspace: Path, *, until: datetime) -> dict[str, datetime]:
    """Return by scope the end of its newest window that ends by a moment; a scope without one is left out."""
    found = {}
    with files_stay(), connect(threads=1) as connection:
        for place in sorted(root(workspace).glob("scope=*")):
            days = [day for day in place.glob("date=*") if day.name <= f"date={until:%F}"]
            files = [
                file for day in sorted(days)[-2:] for file in day.glob("*.parquet")
            ]  # the last may begin later
            if files:
                ((end,),) = connection.execute(
                    f"SELECT max(window_end) FROM read_parquet([{listed(files)}], hive_partitioning = false)"
                    f" WHERE window_end <= TIMESTAMPTZ '{until.isoformat()}'"
                ).fetchall()
                if end is not None:
                    found[place.name.partition("=")[2]] = end.astimezone(UTC)
    return found


def long(workspace: Path, scope: str) -> pd.DataFrame:
    """Return INDICATORS of a scope in the long view: a row per scope_id, window_end and indicator."""
    wide = rows(workspace, scope)
    ids = [name for name in wide.columns[len(KEYS) :] if not name.endswith("__samples")]
    keys = wide[["scope_id", "window_end"]]
    parts = [
        keys.assign(scope=scope, indicator=one, value=wide[one], samples=wide[f"{one}__samples"])
        for one in ids
    ]
    if not parts or wide.empty:
        return empty_table(LONG)
    told = pd.concat(parts).sort_values(["scope_id", "window_end"], kind="stable", ignore_index=True)
    typed: pd.DataFrame = told.astype({"scope": "string", "indicator": "string"})
    return typed[[column.name for column in LONG]]
