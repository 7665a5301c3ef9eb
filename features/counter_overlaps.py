"""One moment counted in windows of two lengths: of an element's counter the shorter windows count, never both.

Why the shorter: a longer window is as a rule the sum of shorter ones, told once more for another reader; kept, it would
wipe out the shape of a quarter of an hour, or of a day. Which came first would leave the answer to the network. Whether
shorter ones cover all of a longer one cannot be seen: where an element counted nothing it tells no row. So a longer
window falls as soon as a shorter one overlaps it, whichever is delivered first. Of three lengths none of which divides
another the order can matter: a window that fell is not asked again.
"""

import duckdb

RULE = "overlapping_window"
LINE = "scope, scope_id, counter, element"  # what windows follow one another of
KEY = f"{LINE}, window_start, window_s"
END = "window_start + to_seconds(window_s)"


def settle_within(connection: duckdb.DuckDBPyConnection) -> None:
    """Give the rows of `judged` that overlap a shorter window of `judged` their rule."""
    lengths = "SELECT 1 FROM judged WHERE rule IS NULL HAVING min(window_s) <> max(window_s)"
    if not connection.execute(lengths).fetchall():
        return
    mixed = (
        f"SELECT {LINE} FROM judged WHERE rule IS NULL GROUP BY {LINE} HAVING min(window_s) <> max(window_s)"
    )
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE windows AS SELECT DISTINCT {KEY} FROM judged JOIN ({mixed}) USING ({LINE})"
        " WHERE rule IS NULL"
    )
    _quarantine(connection, longer_sql("windows", "windows"))


def settle_across(connection: duckdb.DuckDBPyConnection) -> None:
    """Settle `judged` and `there`, rows of other deliveries: give those of `judged` their rule, make `overlapped`.

    overlapped: the windows of `there` that a shorter one of `judged` overlaps.
    """
    own, others = f"SELECT DISTINCT {KEY} FROM judged", f"SELECT DISTINCT {KEY} FROM there"
    connection.execute(f"CREATE OR REPLACE TEMP TABLE windows AS {own} WHERE rule IS NULL OR rule = '{RULE}'")
    connection.execute(f"CREATE OR REPLACE TEMP TABLE told AS {others}")
    connection.execute(f"CREATE OR REPLACE TEMP TABLE overlapped AS {longer_sql('told', 'windows')}")
    _quarantine(connection, longer_sql("windows", "told"))


def longer_sql(ones: str, others: str) -> str:
    """Return the SQL of those of some windows that a shorter one of others overlaps."""
    same = " AND ".join(f"one.{name} = other.{name}" for name in LINE.split(", "))
    ends = {name: END.replace("window", f"{name}.window") for name in ("one", "other")}
    return (
        f"SELECT one.* FROM {ones} AS one SEMI JOIN {others} AS other ON {same} AND one.window_s > other.window_s"
        f" AND one.window_start < {ends['other']} AND other.window_start < {ends['one']}"
    )


def _quarantine(connection: duckdb.DuckDBPyConnection, windows: str) -> None:
    same = " AND ".join(f"judged.{name} = fallen.{name}" for name in KEY.split(", "))
    connection.execute(
        f"UPDATE judged SET rule = '{RULE}' FROM ({windows}) AS fallen WHERE rule IS NULL AND {same}"
    )
