"""What two rows tell of one moment of a scope's counter by one element: which of them counts.

Of one window told twice the delivery received last counts, whole. Of windows of two lengths the shorter count
(features/counter_overlaps.py).

What an element told of a counter in a window (one row, or all bins of a sketch) stands or falls together. The same
numbers again are duplicates; of other numbers the ones received last win. Of two received at once the later delivery
wins; within one file nothing says which is right, so neither counts (`contradiction`), in whatever order its rows lie.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import duckdb

from features import counter_overlaps
from features.counter_ledger import LISTED_ELEMENTS, Ledger, Reach
from features.counter_tables import long_sql, stored_sql, unmarked_sql
from features.duck import listed

_KEY = counter_overlaps.KEY
_CONTRADICTION = "contradiction"
_SETTLED = "settled before"  # in place of a rule, while others are asked
_NUMBERS = "coalesce(bin, -1000000), numerator, coalesce(denominator, -1)"
_GROUP = (
    f"SELECT {_KEY}, max(received) AS received, count(*) AS rows,"
    f" sum(hash({_NUMBERS})) AS numbers, any_value(source) AS source"
)  # a sum: of two intervals of a histogram in one bin, told with equal counts, nothing would be left of an xor


def settle(connection: duckdb.DuckDBPyConnection, ledger: Ledger, *, source: str) -> None:
    """Give the rows of `judged` that another delivery beats their rule, and make `lost`: rows of others that they
    beat, with the `rule` by which.

    source: of these rows. Where it lay in the lake before, what others took the place of then stays so.
    """
    _settle_within(connection)
    counter_overlaps.settle_within(connection)
    connection.execute("CREATE OR REPLACE TEMP TABLE lost AS SELECT * FROM judged WHERE false")
    marks = ledger.marks([source], but=source)
    if marks:  # their rows are used rows that a mark hides: they meet nobody again
        connection.execute(
            f"UPDATE judged SET rule = '{_SETTLED}', hidden = true"
            f" FROM read_parquet([{listed(marks)}], hive_partitioning = false) AS mark"
            f" WHERE mark.source = '{source}' AND mark.row = judged.row AND mark.counter = judged.counter"
            " AND rule IS NULL"
        )
        _keep_lost(connection, ledger, source, marks)
    _meet(connection, ledger, source)
    connection.execute(f"UPDATE judged SET rule = NULL WHERE rule = '{_SETTLED}'")


def _keep_lost(
    connection: duckdb.DuckDBPyConnection, ledger: Ledger, source: str, marks: Sequence[Path]
) -> None:
    """Add to `lost` the rows of others that rows of a source beat before `marks` hid these.

    Who hid these never met the others: beaten already, they were not there to be met.
    """
    own, hidden = ledger.files([source], "counters"), ledger.files([source], "superseded")
    others = ledger.files(ledger.records[source].superseded, "counters")
    if not (own and hidden and others):
        return
    for name, rows, by in (("told", others, hidden), ("windows", own, marks)):
        named = f"read_parquet([{listed(by)}], hive_partitioning = false)"
        connection.execute(
            f"CREATE OR REPLACE TEMP TABLE {name} AS SELECT * FROM ({long_sql(stored_sql(rows))}) AS one"
            f" SEMI JOIN {named} AS mark USING (source, row, counter)"
        )
    connection.execute(
        f"""
        INSERT INTO lost BY NAME
        SELECT told.*, 'superseded' AS rule FROM told SEMI JOIN windows USING ({_KEY})
        UNION ALL
        SELECT told.*, '{counter_overlaps.RULE}' FROM told
        SEMI JOIN ({counter_overlaps.longer_sql("told", "windows")}) USING ({_KEY})"""
    )


def _meet(connection: duckdb.DuckDBPyConnection, ledger: Ledger, source: str) -> None:
    reach = reach_of(connection)
    near = ledger.near(reach, but=source) if reach else []
    files = ledger.files(near, "counters")
    if not files:
        return
    _open_there(connection, unmarked_sql(files, ledger.marks(near, but=source)))
    counter_overlaps.settle_across(connection)
    connection.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE meetings AS
        SELECT {_KEY}, new.rows = old.rows AND new.numbers = old.numbers AS same, new.received >= old.received AS wins
        FROM ({_GROUP} FROM judged WHERE rule IS NULL GROUP BY {_KEY}) new
        JOIN ({_GROUP} FROM there GROUP BY {_KEY}) old USING ({_KEY})"""
    )
    connection.execute(
        f"""
        UPDATE judged SET rule = CASE WHEN same THEN 'duplicate_row' ELSE 'superseded' END
        FROM meetings WHERE rule IS NULL AND (same OR NOT wins) AND {_same("judged", "meetings")}"""
    )
    connection.execute(
        f"""
        INSERT INTO lost BY NAME
        SELECT there.*, 'superseded' AS rule FROM there JOIN meetings USING ({_KEY}) WHERE wins AND NOT same
        UNION ALL
        SELECT there.*, '{counter_overlaps.RULE}' FROM there SEMI JOIN overlapped USING ({_KEY})"""
    )


def _open_there(connection: duckdb.DuckDBPyConnection, visible: str) -> None:
    """Make `there`: the rows of others but `lost`, of what `judged` tells of, in the time of which it tells.

    visible: SQL of the rows of others, as they lie in the lake.
    """
    line, end = counter_overlaps.LINE, counter_overlaps.END
    told = "FROM judged WHERE rule IS NULL"
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE met AS"
        f" SELECT * FROM ({visible})"
        f" WHERE window_start < (SELECT max({end}) {told}) AND {end} > (SELECT min(window_start) {told})"
        f" AND ({line}) IN (SELECT ({line}) {told})"
        " AND (source, row, counter) NOT IN (SELECT (source, row, counter) FROM lost)"
    )
    connection.execute(f"CREATE OR REPLACE TEMP TABLE there AS {long_sql('FROM met')}")


def _settle_within(connection: duckdb.DuckDBPyConnection) -> None:
    """Settle what one file tells twice; most files do not, which is cheap to see."""
    told = f"SELECT 1 FROM judged WHERE rule IS NULL GROUP BY {_KEY}"
    twice = (
        f"{told}, bin HAVING count(*) > 1 LIMIT 1",
        f"{told} HAVING min(received) <> max(received) LIMIT 1",  # two sketches may share no bin
    )
    if not any(connection.execute(sql).fetchall() for sql in twice):
        return
    connection.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE again AS
        WITH told AS (
            SELECT {_KEY}, bin, row, received, hash({_NUMBERS}) AS numbers, max(received) OVER (PARTITION BY {_KEY})
            AS newest FROM judged WHERE rule IS NULL
        ), compared AS (
            SELECT *, received = newest AND min(numbers) OVER at_once <> max(numbers) OVER at_once AS differs,
            last_value(row) OVER one AS last, count(*) OVER one > 1 AND numbers = last_value(numbers) OVER one AS same
            FROM told WINDOW at_once AS (PARTITION BY {_KEY}, bin, received), one AS (
                PARTITION BY {_KEY}, bin ORDER BY received, row
                ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING
            )
        ), settled AS (SELECT *, bool_or(differs) OVER (PARTITION BY {_KEY}) AS contradicted FROM compared)
        SELECT row, counter, bin, CASE WHEN contradicted AND received = newest THEN '{_CONTRADICTION}'
            WHEN contradicted OR NOT same THEN 'superseded' ELSE 'duplicate_row' END AS broken
        FROM settled WHERE contradicted OR received < newest OR row < last
        """
    )
    connection.execute(
        """
        UPDATE judged SET rule = broken
        FROM again WHERE judged.rule IS NULL AND judged.row = again.row AND judged.counter = again.counter
        AND judged.bin IS NOT DISTINCT FROM again.bin"""
    )


def reach_of(connection: duckdb.DuckDBPyConnection) -> Reach | None:
    """Return what the good rows of `judged` tell of; None where there is none."""
    good = "FROM judged WHERE rule IS NULL"
    sql = f"SELECT epoch_us(min(window_start)), epoch_us(max({counter_overlaps.END})) {good}"
    first, end = connection.execute(sql).fetchall()[0]
    if first is None:
        return None
    sql = f"SELECT DISTINCT element {good} LIMIT {LISTED_ELEMENTS + 1}"
    elements = frozenset(element for (element,) in connection.execute(sql).fetchall())
    told = elements if len(elements) <= LISTED_ELEMENTS else frozenset()
    start, finish = (datetime.fromtimestamp(moment / 1e6, UTC) for moment in (first, end))
    return Reach(start, finish, told)


def _same(one: str, other: str) -> str:
    return " AND ".join(f"{one}.{name} = {other}.{name}" for name in _KEY.split(", "))
