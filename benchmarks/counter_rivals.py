"""The rivals of benchmarks/counters.py: the same tables by DuckDB SQL and by pandas, written by hand for just this.

They know what the product must find out: nothing moves, no scope counts what lies below it counts too, all windows
are of 15 minutes, nothing was there before. `direct` is one statement a scope straight from the counters; `rolled` sums
each scope from the one below it.
"""

from collections.abc import Iterable
from pathlib import Path

import counter_lakes
import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from features import sketch
from features.counter_tables import FOLDER
from features.indicator_sums import indicators_of
from features.indicators import Indicator, Quantile, Ratio, read_indicators

UP = ("cell", "tac", "city", "province")
OF_DEVICES = ("fleet", "app", "platform_node")
_MADE = {*counter_lakes.RATIOS, counter_lakes.SKETCH, *counter_lakes.OF_DEVICES, counter_lakes.LEVEL}
_EVEN = {*counter_lakes.RATIOS, counter_lakes.SKETCH}


def made(scope: str, shape: str) -> list[Indicator]:
    """Return the indicators of the 55 that a lake of that shape has counters for at a scope."""
    counted = _EVEN if shape == "even" else _MADE
    return [one for one in indicators_of(scope, read_indicators().indicators) if one.counter in counted]


def scopes(shape: str) -> tuple[str, ...]:
    """Return the scopes that a rival makes tables of."""
    return UP if shape == "even" else (*UP, *OF_DEVICES, "device")


def direct(workspace: Path, shape: str) -> None:
    """Build an even lake with one statement a scope, straight from the counters."""
    with _open(workspace) as connection:
        for scope in UP:
            place, join = (
                ("scope_id", "") if scope == "cell" else (f"m.{scope}", "JOIN members m ON m.cell = scope_id")
            )
            sums = (
                f"SELECT {place} AS id, (epoch(window_start) + window_s)::BIGINT AS end_s, counter, bin,"
                f" sum(numerator) AS n, sum(denominator) AS d FROM counters {join} GROUP BY ALL"
            )
            connection.execute(_table(workspace, scope, shape, sums, "direct"))


def rolled(workspace: Path, shape: str) -> None:
    """Build with sums of the finest scopes first, and each scope from the sums of the one below it."""
    sums = "counter, bin, sum(n) AS n, sum(d) AS d"
    end = "(epoch(window_start) + window_s)::BIGINT AS end_s"
    rows = f"{end}, counter, bin, numerator AS n, denominator AS d FROM counters"
    with _open(workspace) as connection:
        own = f"SELECT scope_id AS cell, {rows} WHERE scope = 'cell'"
        if shape == "sparse":
            connection.execute(
                f"CREATE TEMP TABLE of_device AS SELECT scope_id AS device, end_s, {sums}"
                f" FROM (SELECT scope_id, {rows} WHERE scope = 'device') GROUP BY ALL"
            )
            own += " UNION ALL SELECT cell, end_s, counter, bin, n, d FROM of_device JOIN members ON device_id = device"
        connection.execute(
            f"CREATE TEMP TABLE of_cell AS SELECT cell, end_s, {sums} FROM ({own}) GROUP BY ALL"
        )
        for scope, below in (("tac", "cell"), ("city", "cell"), ("province", "city")):
            above = f"SELECT DISTINCT {below}, {scope} FROM members"
            connection.execute(
                f"CREATE TEMP TABLE of_{scope} AS SELECT {scope}, end_s, {sums}"
                f" FROM of_{below} JOIN ({above}) USING ({below}) GROUP BY ALL"
            )
        for scope in UP:
            told = f"SELECT {scope} AS id, * EXCLUDE ({scope}) FROM of_{scope}"
            connection.execute(_table(workspace, scope, shape, told, "rolled"))
        if shape == "sparse":
            _of_devices(connection, workspace)


def _of_devices(connection: duckdb.DuckDBPyConnection, workspace: Path) -> None:
    """Write the tables of devices, and of what only they count in."""
    for scope in OF_DEVICES:
        length = read_indicators().windows[scope].length_s  # type: ignore[index]
        told = (
            f"SELECT {scope} AS id, ceil(end_s / {length})::BIGINT * {length} AS end_s, counter, bin, sum(n) AS n,"
            " sum(d) AS d FROM of_device JOIN members ON device_id = device GROUP BY ALL"
        )
        connection.execute(_table(workspace, scope, "sparse", told, "rolled"))
    told = """
        WITH counted AS (
            SELECT device, end_s, counter, sum(coalesce(d, n))::BIGINT AS events FROM of_device GROUP BY ALL
        ), lasting AS (
            SELECT device, end_s, counter, least(end_s + 604800, coalesce(min(end_s) OVER (
                PARTITION BY device, counter ORDER BY so_far RANGE BETWEEN 20 FOLLOWING AND UNBOUNDED FOLLOWING
            ), 99999999999)) AS until
            FROM (
                SELECT *, sum(events) OVER (PARTITION BY device, counter ORDER BY end_s)::BIGINT AS so_far FROM counted
            )
        ), ends AS (SELECT DISTINCT device, end_s AS seen FROM of_device),
        held AS (
            SELECT device, seen, end_s, counter FROM lasting JOIN ends USING (device)
            WHERE seen >= end_s AND seen < until
        )
        SELECT device AS id, seen AS end_s, counter, bin, sum(n) AS n, sum(d) AS d
        FROM held JOIN of_device USING (device, end_s, counter) GROUP BY ALL"""
    connection.execute(_table(workspace, "device", "sparse", told, "rolled"))


def _open(workspace: Path) -> duckdb.DuckDBPyConnection:
    spill = str(workspace / "spill")
    connection = duckdb.connect(config={"threads": 2, "memory_limit": "3GB", "temp_directory": spill})
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute("SET preserve_insertion_order = false")
    for name, files in (("stored", f"{FOLDER}/*/*.parquet"), ("members", "membership/*.parquet")):
        read = f"read_parquet('{workspace}/lake/{files}', hive_partitioning = false)"
        connection.execute(f"CREATE TEMP VIEW {name} AS SELECT * FROM {read}")
    keys = "scope, scope_id, window_start, window_s, counter"
    connection.execute(
        f"CREATE TEMP VIEW counters AS SELECT {keys}, NULL::INTEGER AS bin, numerator, denominator"
        f" FROM stored WHERE sketch IS NULL UNION ALL SELECT {keys}, ((one >> 44) - 140000)::INTEGER,"
        f" (one & 17592186044415)::DOUBLE, NULL FROM (SELECT {keys}, unnest(sketch) AS one FROM stored"
        " WHERE sketch IS NOT NULL)"
    )
    return connection


def _table(workspace: Path, scope: str, shape: str, sums: str, name: str) -> str:
    """Return the SQL that writes the wide table of a scope. sums: SQL of id, end_s, counter, bin, n, d."""
    wanted = made(scope, shape)
    ranks = {one.counter: one.aggregate.q for one in wanted if isinstance(one.aggregate, Quantile)}
    q = " ".join(f"WHEN '{counter}' THEN {rank}" for counter, rank in ranks.items()) or "WHEN '' THEN 0"
    value = f"pow(2, (abs(first_bin) - 100000) / {sketch._PER_OCTAVE!r}) * {2 / (1 + sketch._GAMMA)!r}"
    cells = ", ".join(_cells(scope, wanted))
    return f"""
        COPY (
            WITH sums AS ({sums}), placed AS (
                SELECT id, end_s, counter, bin, sum(n) OVER (PARTITION BY id, end_s, counter ORDER BY bin) AS up_to,
                       sum(n) OVER (PARTITION BY id, end_s, counter) AS samples
                FROM sums WHERE bin IS NOT NULL
            ), found AS (
                SELECT id, end_s, counter, max(samples) AS samples,
                       min(bin) FILTER (up_to > CASE counter {q} END * (samples - 1)) AS first_bin
                FROM placed GROUP BY ALL
            ), long AS (
                SELECT id, end_s, counter, n / d AS value, d AS samples FROM sums WHERE bin IS NULL
                UNION ALL SELECT id, end_s, counter, sign(first_bin) * {value}, samples FROM found
            )
            SELECT id AS scope_id, to_timestamp(end_s) AS window_end, {cells}
            FROM long GROUP BY id, end_s ORDER BY scope_id, window_end
        ) TO '{workspace}/{name}_{scope}.parquet' (FORMAT parquet, COMPRESSION zstd)"""


def _cells(scope: str, wanted: Iterable[Indicator]) -> Iterable[str]:
    settings = read_indicators()
    for one in wanted:
        least = settings.min_samples_at_device_scope if scope == "device" else one.min_samples
        scale = one.aggregate.scale if isinstance(one.aggregate, Ratio) else 1
        held = f"WHEN counter = '{one.counter}'"
        yield f"max(CASE {held} AND samples >= {least} THEN {scale} * value END) AS {one.id}"
        yield f"coalesce(max(CASE {held} THEN samples END), 0) AS {one.id}__samples"


_READ = ["scope_id", "window_start", "window_s", "counter", "numerator", "denominator", "sketch"]


def _frame(stored: pa.Table) -> pd.DataFrame:
    """Return rows of the lake with a row for each bin; Arrow takes the lists apart, at once."""
    plain = stored.filter(pc.is_null(stored["sketch"])).drop_columns("sketch").to_pandas()
    told = stored.filter(pc.is_valid(stored["sketch"]))
    packed = pc.list_flatten(told["sketch"]).to_numpy()
    rows = told.drop_columns("sketch").take(pc.list_parent_indices(told["sketch"])).to_pandas()
    bins = rows.assign(bin=(packed >> 44) - 140_000, numerator=(packed & (2**44 - 1)).astype("float64"))
    return pd.concat([plain, bins], ignore_index=True)


def by_pandas(workspace: Path, shape: str) -> None:
    """Build an even lake with groupby, as one does in a notebook."""
    members = pd.read_parquet(workspace / "lake" / "membership").set_index("cell")
    rows = pd.concat(
        _frame(pq.read_table(file, columns=_READ, partitioning=None))
        for file in sorted((workspace / "lake" / FOLDER).glob("*/*.parquet"))
    )
    rows["window_end"] = rows["window_start"] + pd.to_timedelta(rows["window_s"], unit="s")
    keys = ["scope_id", "window_end", "counter"]
    for scope in UP:
        place = rows["scope_id"] if scope == "cell" else rows["scope_id"].map(members[scope])
        keyed = rows.assign(scope_id=place)
        plain = keyed[keyed["bin"].isna()].groupby(keys)[["numerator", "denominator"]].sum()
        ratio = (100 * plain["numerator"] / plain["denominator"]).unstack("counter")
        samples = plain["denominator"].unstack("counter")
        bins = (
            keyed[keyed["bin"].notna()].groupby([*keys, "bin"])["numerator"].sum().rename("n").reset_index()
        )
        up_to = bins.groupby(keys)["n"].cumsum()
        total = bins.groupby(keys)["n"].transform("sum")
        reached = bins[up_to > 0.95 * (total - 1)].assign(total=total).groupby(["scope_id", "window_end"])
        ratio[counter_lakes.SKETCH] = pd.Series(
            sketch.values(reached["bin"].min().to_numpy()), index=samples.index
        )
        samples[counter_lakes.SKETCH] = reached["total"].first()
        told = {}
        for one in made(scope, shape):
            told[one.id] = ratio[one.counter].where(samples[one.counter] >= one.min_samples)
            told[f"{one.id}__samples"] = samples[one.counter]
        pd.DataFrame(told).reset_index().to_parquet(workspace / f"pandas_{scope}.parquet")
