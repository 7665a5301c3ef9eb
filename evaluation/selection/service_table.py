"""The table that a KQI of a service is explained by: a row per place and window, a column per indicator and scope.

Everything in a row was so by the last instant of its window: the places that a device hung on, their newest windows,
what the device had told of itself. What came later never enters. A place whose windows are shorter than those of the
KQI is told over all of the KQI's window, wherever the device was then: a KQI of a day is not explained by its last
quarter of an hour.
"""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd

from evaluation.domain import Domain, read_domain
from evaluation.process import Kqi, ServiceModel
from evaluation.selection.record import Meaning
from evaluation.selection.service_lake import LakeIndicators
from features import lake, membership, terminal
from features.configuration import nearest
from features.duck import connect, files_stay, listed
from features.indicator_sums import ROLLED_UP, above
from features.province import TARGETS_KIND

MOST_ROWS = 200_000  # of a table: more than a selection screens, and it fits in memory beside 300 columns
GROUP, TIME = "scope_id", "window_end"
_DIGITS = 10  # of a value: far more than any counter tells


@dataclass(frozen=True)
class ServiceTable:
    """frame: scope_id, window_end, a column named as the KQI, then `<indicator>@<scope>`, NaN where unknown."""

    frame: pd.DataFrame
    meanings: Mapping[str, Meaning]
    service: ServiceModel
    kqi: Kqi
    scope: str
    notes: tuple[str, ...]


def service_table(
    workspace: Path, service: str, kqi: str, *, scope: str | None = None, seed: int = 0
) -> ServiceTable:
    """Return the table of a KQI from the lake; seed: of the draw of places where there are more than MOST_ROWS rows.

    Without `scope` a row is a device, or else the scope with the most targets. What is older than a scope looks back is
    left empty. Raises LookupError for a service, KQI or scope that is not known, with the nearest that
    is, and where the lake has no targets or no indicators.
    """
    domain = read_domain(workspace)
    model, wanted = _named(domain, service, kqi)
    files = lake.delivered(workspace, TARGETS_KIND, TARGETS_KIND)
    with tempfile.TemporaryDirectory(prefix="iotlens-") as scratch, files_stay():
        connection = connect(threads=1, scratch=Path(scratch))  # several add in another order each time
        connection.execute(_TARGETS.format(files=listed(files)) if files else _NO_TARGETS)
        own = _scope(connection, model, wanted, scope)
        notes = _ask(connection, model, wanted, own, seed)
        scopes = _scopes(model, own)
        _hang(connection, workspace, own, scopes, _length_s(connection, model))
        joined = LakeIndicators(connection, workspace, domain, own)
        told = joined.settle(scopes)
        frame = connection.execute(
            f'SELECT no, scope_id, epoch_us(window_end) AS window_end, value AS "{kqi}" FROM asked ORDER BY no'
        ).df()
        parts = [joined.values(one) for one in scopes]
    frame[TIME] = pd.to_datetime(frame[TIME], unit="us", utc=True)
    frame = pd.concat([frame.set_index("no"), *parts], axis=1)
    if own == "device":
        frame = _with_terminal(frame, workspace, domain)
    frame, empty = _with_evidence(_rounded(frame), model, wanted)
    return ServiceTable(
        frame, _meanings(domain, wanted, list(frame.columns[3:])), model, wanted, own, (*notes, *told, *empty)
    )


_TARGETS = """
CREATE TEMP VIEW targets AS SELECT DISTINCT service, kqi, scope, scope_id, window_end, value
FROM read_parquet([{files}], hive_partitioning = false)
"""
_NO_TARGETS = """
CREATE TEMP VIEW targets AS SELECT '' AS service, '' AS kqi, '' AS scope, '' AS scope_id, now() AS window_end,
0.0 AS value WHERE false
"""


def _named(domain: Domain, service: str, kqi: str) -> tuple[ServiceModel, Kqi]:
    services = {one.id: one for one in domain.services}
    if service not in services:
        raise LookupError(f"no service {service!r} in configs/services; {nearest(service, services)}")
    kqis = {one.id: one for one in services[service].kqis}
    if kqi not in kqis:
        raise LookupError(f"{service} has no KQI {kqi!r}; {nearest(kqi, kqis)}")
    return services[service], kqis[kqi]


def _scope(connection: duckdb.DuckDBPyConnection, service: ServiceModel, kqi: Kqi, wanted: str | None) -> str:
    """Return the scope of the rows: what was asked, else the device, else that of which most is known."""
    counts = dict(
        connection.execute(
            "SELECT scope, count(*) FROM targets WHERE service = ? AND kqi = ? AND value IS NOT NULL GROUP BY 1"
            " ORDER BY 2 DESC, 1",
            [service.id, kqi.id],
        ).fetchall()
    )
    if not counts:
        raise LookupError(
            f"the lake holds no target of {kqi.id}, the values that indicators are to explain, {_others(connection)};"
            " iotlens province load DIR --targets brings those of a simulated province"
        )
    if wanted is not None and wanted not in counts:
        raise LookupError(
            f"the lake holds no target of {kqi.id} at scope {wanted!r}; {nearest(wanted, counts)}"
        )
    return wanted or ("device" if "device" in counts else str(next(iter(counts))))


def _others(connection: duckdb.DuckDBPyConnection) -> str:
    """Return of which KQIs the lake holds targets, in words."""
    held = connection.execute(
        "SELECT DISTINCT kqi FROM targets WHERE value IS NOT NULL ORDER BY 1"
    ).fetchall()
    return f"but of {', '.join(kqi for (kqi,) in held)}" if held else "nor of any other KQI"


def _scopes(service: ServiceModel, own: str) -> list[str]:
    """Return whose indicators make columns: the scope itself and all above it.

    City and province sum what a TAC tells: they count only for a service that has no cells.
    """
    summed = set(ROLLED_UP) if "cell" in service.aggregation_keys else set()
    return [own, *(one for one in above(own) if one not in summed)]


def _ask(
    connection: duckdb.DuckDBPyConnection, service: ServiceModel, kqi: Kqi, scope: str, seed: int
) -> list[str]:
    """Make `asked` (no, scope_id, window_end, value): all targets, or those of places drawn up to MOST_ROWS."""
    connection.execute(
        "CREATE TEMP TABLE every AS SELECT scope_id, window_end, value FROM targets"
        " WHERE service = ? AND kqi = ? AND scope = ? AND value IS NOT NULL",
        [service.id, kqi.id, scope],
    )
    connection.execute(
        "CREATE TEMP TABLE drawn AS SELECT scope_id, sum(count(*)) OVER (ORDER BY md5(scope_id || ?), scope_id) AS rows"
        " FROM every GROUP BY scope_id",
        [f"/{seed}"],
    )
    connection.execute(
        "CREATE TEMP TABLE asked AS SELECT (row_number() OVER (ORDER BY window_end, scope_id, value))::BIGINT AS no, *"
        " FROM every SEMI JOIN (SELECT scope_id FROM drawn WHERE rows <="
        f" greatest({MOST_ROWS}, (SELECT min(rows) FROM drawn))) USING (scope_id)"
    )
    (whole,), (taken,) = (
        connection.execute(f"SELECT count(*) FROM {table}").fetchall()[0] for table in ("every", "asked")
    )
    return [f"{taken:,} of {whole:,} rows were taken, of places drawn at random"] if taken < whole else []


def _length_s(connection: duckdb.DuckDBPyConnection, service: ServiceModel) -> int:
    """Return how long the windows of the targets are: from one to the next, or where there is one, as configured."""
    (gap,) = connection.execute(
        "SELECT min(gap) FROM (SELECT epoch(window_end) - lag(epoch(window_end)) OVER (ORDER BY window_end) AS gap"
        " FROM (SELECT DISTINCT window_end FROM every))"
    ).fetchall()[0]
    return int(gap or service.kqi_window.length_s)


def _hang(
    connection: duckdb.DuckDBPyConnection, workspace: Path, own: str, scopes: Sequence[str], length_s: int
) -> None:
    """Make `hung` (no, a column per scope): the one place that all devices of a row hung on as its window ended.

    And `stayed` (no, since, until, a column per scope): where it was in the window, each stay of a device by itself.
    """
    places = "".join(
        f", CASE WHEN count(DISTINCT stays.{one}) = 1 THEN min(stays.{one}) END AS {one}"
        for one in scopes[1:]
    )
    whose, above_it = "device_id" if own == "device" else own, ", ".join(scopes[1:]) or "1"
    stays = (
        f"({membership.stays_sql(membership.files(workspace))}) AS stays ON stays.{whose} = asked.scope_id"
    )
    connection.execute(
        f"CREATE TEMP TABLE hung AS SELECT no, asked.scope_id AS {own}{places} FROM asked LEFT JOIN {stays}"
        " AND valid_from < window_end AND valid_to >= window_end GROUP BY no, asked.scope_id"
    )
    begun = f"window_end - INTERVAL {length_s} SECOND"
    whole = f"SELECT no, {begun} AS since, window_end AS until, hung.* EXCLUDE (no) FROM asked JOIN hung USING (no)"
    each = (
        f"SELECT no, greatest(valid_from, {begun}) AS since, least(valid_to, window_end) AS until,"
        f" asked.scope_id AS device, {above_it} FROM asked JOIN {stays}"
        f" AND valid_from < window_end AND valid_to > {begun}"
    )
    connection.execute(f"CREATE TEMP TABLE stayed AS {each if own == 'device' else whole}")


def _with_terminal(frame: pd.DataFrame, workspace: Path, domain: Domain) -> pd.DataFrame:
    asked = pd.DataFrame({"device_id": frame[GROUP].astype("string"), "event_timestamp": frame[TIME]})
    told = terminal.as_of(asked, workspace, known_only=True)
    ids = [one.id for one in domain.terminal]
    named = told[ids].add_suffix("@device").dropna(axis="columns", how="all")
    whole: pd.DataFrame = pd.concat([frame, named], axis=1)
    return whole


def _rounded(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the values to _DIGITS digits: sums that differ in the last bit are a tie, and no rank apart."""
    values = frame.iloc[:, 3:].to_numpy(dtype="float64", na_value=np.nan)
    size = np.where(values == 0, 1.0, np.abs(values))  # a zero has no first digit
    scale = 10.0 ** (_DIGITS - 1 - np.floor(np.log10(size)))
    rounded = np.round(values * scale) / scale
    return pd.concat([frame.iloc[:, :3], pd.DataFrame(rounded, frame.index, frame.columns[3:])], axis=1)


def _with_evidence(frame: pd.DataFrame, service: ServiceModel, kqi: Kqi) -> tuple[pd.DataFrame, list[str]]:
    """Return rows and columns that hold something; columns of the KQI's own steps stay, to be told as empty."""
    notes, filled = [], frame.iloc[:, 3:].notna()
    known = filled.any(axis=1)
    if not known.all():
        notes.append(f"{(~known).sum():,} of {len(frame):,} rows have no indicator known by then: left out")
    drivers = {driver for process in service.processes_of(kqi) for driver in process.drivers}
    void = [one for one in map(str, filled) if not filled[one].any() and indicator_of(one) not in drivers]
    if void:
        notes.append(f"{len(void)} columns that no step of the KQI names hold no value in any row: left out")
    return frame[known].drop(columns=void).reset_index(drop=True), notes


def indicator_of(column: str) -> str:
    """Return the indicator of a column.

    >>> indicator_of("nrsrp_median@cell")
    'nrsrp_median'
    """
    return column.rpartition("@")[0]


def _meanings(domain: Domain, kqi: Kqi, columns: Sequence[str]) -> dict[str, Meaning]:
    known = {one.id: (one.name, one.unit, str(one.domain)) for one in domain.indicators}
    known |= {one.id: (one.name, one.unit, "terminal") for one in domain.terminal}
    told = {name: Meaning(*known[indicator_of(name)], name.rpartition("@")[2]) for name in columns}
    return told | {kqi.id: Meaning(kqi.name, kqi.unit)}
