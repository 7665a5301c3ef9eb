"""TERMINAL: what a device, its SDK or its LwM2M objects told of itself, one row per indicator and moment."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from features import lake, records
from features.duck import connect, files_stay, listed
from features.indicators import TerminalFlag, TerminalIndicator, read_terminal
from features.table import Column

TERMINAL: tuple[Column, ...] = (
    Column("device_id", "string", "-", "the device"),
    Column("at", "timestamp", "UTC", "when it was measured"),
    Column("indicator", "string", "-", "id of configs/terminal_indicators.yaml"),
    Column("value", "float64", "-", "in the unit of the indicator; of a flag 0 or 1"),
    Column("received", "timestamp", "UTC", "when it became known"),
)
KIND = "terminal"


def load(sources: Sequence[str], workspace: Path) -> records.LoadSummary:
    """Bring files under TERMINAL (Parquet or CSV) into the lake; one that lies there changes nothing.

    A file that breaks the contract is refused as a whole and named in the summary.
    Raises FileNotFoundError of a source, ValueError of the configuration, TimeoutError where another process writes.
    """
    known = {indicator.id: indicator for indicator in read_terminal(workspace)}

    def check(frame: pd.DataFrame) -> None:
        _check(frame, known)

    return records.load(sources, workspace, records.Contract(KIND, TERMINAL, "at", check))


def _check(frame: pd.DataFrame, known: dict[str, TerminalIndicator]) -> None:
    """Refuse unknown indicators, values that are not finite, and flags other than 0 and 1."""
    strange = ~frame["indicator"].isin(list(known)).to_numpy()
    if strange.any():
        row = frame.index[strange][0]
        fact = f"row {row} has {frame['indicator'][row]!r}"
        raise ValueError(f"terminal.indicator must be an id of terminal_indicators.yaml, but {fact}")
    flags = [one.id for one in known.values() if isinstance(one, TerminalFlag)]
    values = frame["value"].to_numpy()
    wrong = ~np.isfinite(values) | (frame["indicator"].isin(flags).to_numpy() & ~np.isin(values, (0.0, 1.0)))
    if wrong.any():
        row = frame.index[wrong][0]
        fact = f"row {row} has {frame['value'][row]} for {frame['indicator'][row]}"
        raise ValueError(f"terminal.value must be finite, and of a flag 0 or 1, but {fact}")


def as_of(entities: pd.DataFrame, workspace: Path, *, known_only: bool = False) -> pd.DataFrame:
    """Return what the devices had last told of themselves by a moment, one column per indicator; NaN is unknown.

    entities: device_id, event_timestamp (aware), any other columns. Every row, order and index stay; a column <id>
    holds the value, <id>__at when it was measured. known_only: also demand that it was received by then.
    """
    names = [indicator.id for indicator in read_terminal(workspace)]
    asked = entities[["device_id", "event_timestamp"]].assign(place=np.arange(len(entities)))
    files = lake.delivered(workspace, KIND, KIND)
    known = f"SELECT * FROM read_parquet([{listed(files)}], hive_partitioning = false)"
    late = " AND received <= event_timestamp" if known_only else ""
    empty = pd.DataFrame({"place": [], "indicator": [], "value": [], "measured": []})
    with files_stay(), connect(threads=2) as connection:
        connection.register("asked", asked)
        newest = "row_number() OVER (PARTITION BY place, indicator ORDER BY told.at DESC, received DESC) = 1"
        sql = (
            f"SELECT place, indicator, value, epoch_us(told.at) AS measured FROM asked JOIN ({known}) told"
            f" USING (device_id) WHERE told.at <= event_timestamp{late} QUALIFY {newest}"
        )
        found = connection.execute(sql).df() if files else empty
    rows = pd.RangeIndex(len(entities))
    wide, times = (
        found.pivot(index="place", columns="indicator", values=what).reindex(index=rows, columns=names)
        for what in ("value", "measured")
    )
    values = wide.astype("float64").set_axis(entities.index)
    measured = times.apply(_moments).add_suffix("__at").set_axis(entities.index)
    joined: pd.DataFrame = pd.concat([entities, values, measured], axis=1)
    return joined


def _moments(microseconds: "pd.Series[float]") -> "pd.Series[pd.Timestamp]":
    """Return microseconds since 1970 as times, UTC; whole numbers below 2**53, so that floats hold them exactly.

    As times they could not be pivoted: pandas 2.3 fails on those of a time zone where no cell is empty.
    """
    there = microseconds.notna().to_numpy()
    whole = np.where(there, microseconds.to_numpy(dtype=np.float64, na_value=0.0), 0.0).astype(
        "datetime64[us]"
    )
    return pd.Series(whole, index=microseconds.index).where(there).dt.tz_localize("UTC")
