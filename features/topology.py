"""What places lie in, as the devices that hang on them tell: a cell in a TAC, an MME and a city, these in others."""

from collections.abc import Sequence
from datetime import date
from pathlib import Path

from features import membership
from features.days import DAY, start_of
from features.duck import connect
from features.indicator_sums import above

TABLES = {"cell": "cells", "tac": "tacs", "city": "cities"}  # of the places that others lie in


def above_sql(scope: str, stays: str, day: date) -> str:
    """Return the SQL of what each place of a scope lay in on a day, as its newest device tells: id, then what is above.

    stays: a relation of MEMBERSHIP as it holds, with valid_from and valid_to in microseconds since 1970.
    """
    start, end = (int(moment.timestamp()) * 1_000_000 for moment in (start_of(day), start_of(day) + DAY))
    told = ", ".join(f"arg_max({name}, (valid_from, {name})) AS {name}" for name in above(scope))
    return (
        f"SELECT {scope} AS id, {told} FROM {stays} WHERE {scope} IS NOT NULL"
        f" AND valid_from < {end} AND valid_to > {start} GROUP BY {scope}"
    )


def changed(before: Sequence[Path], after: Sequence[Path], days: Sequence[date]) -> frozenset[date]:
    """Return the days on which a place lies elsewhere by some files of MEMBERSHIP than by those before."""
    if not days:
        return frozenset()
    span = (start_of(days[0]), start_of(days[-1]) + DAY)
    found = set()
    with connect(threads=2) as connection:
        for name, paths in (("earlier", before), ("later", after)):
            times = "epoch_us(valid_from) AS valid_from, epoch_us(valid_to) AS valid_to"
            held = f"SELECT * REPLACE ({times}) FROM ({membership.stays_sql(paths, span=span)})"
            connection.execute(f"CREATE TEMP TABLE {name} AS {held}")
        for day in days:
            for scope in TABLES:
                one, other = (above_sql(scope, name, day) for name in ("earlier", "later"))
                differing = f"(({one}) EXCEPT ({other})) UNION ALL (({other}) EXCEPT ({one}))"
                ((count,),) = connection.execute(f"SELECT count(*) FROM ({differing})").fetchall()
                if count:
                    found.add(day)
    return frozenset(found)
