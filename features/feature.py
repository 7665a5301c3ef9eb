"""What a feature is: a column, declared once, and the Ibis expression that fills it."""

from collections.abc import Callable
from dataclasses import dataclass

import ibis
import ibis.expr.types as ir

from features.table import Column

KEY = "window_id"  # numbers the (device_id, source, window_start, window_end) of the flows at hand
FLOW = "flow_id"  # numbers the flows, each anew in every window it counts in

BEAT = 0.1  # a gap within 10 % of the median one keeps the beat

_MASS = (
    2.0**40
)  # weights are summed as whole numbers of 2**-40, so that the order of rows cannot change a sum

Expression = Callable[[ir.Table], ir.Value]


@dataclass(frozen=True)
class Feature:
    """One feature of a window.

    expression: from the rows of its group's view to one value per window. part: in a group that is split, the rows it
    tells of, by their value in the splitting column; the features of all parts share one expression.
    """

    column: Column
    expression: Expression
    part: str | None = None


@dataclass(frozen=True)
class Group:
    """Features computed from one view. told: what they are about, the heading of their page.

    view: from flows placed in windows to the table that is aggregated by KEY. split: a string column of the view; it is
    then aggregated by KEY and that column, so that one pass serves every part. of: the group whose view this one's
    starts from, instead of the flows; it stands before this one.
    """

    name: str
    told: str
    view: Callable[[ir.Table], ir.Table]
    features: tuple[Feature, ...]
    split: str | None = None
    of: "Group | None" = None


def count(
    name: str, expression: Expression, *, told: str, unit: str = "1", part: str | None = None
) -> Feature:
    """Declare a count: whole, never empty, 0 where nothing was seen."""
    return Feature(Column(name, "int64", unit, told, low=0), expression, part)


def number(name: str, expression: Expression, *, unit: str, told: str, part: str | None = None) -> Feature:
    """Declare a number that is empty where the window has nothing to measure it on."""
    return Feature(Column(name, "float64", unit, told, empty=True), expression, part)


def ratio(name: str, expression: Expression, *, told: str) -> Feature:
    """Declare a share in [0, 1] that is empty where there is nothing to take it of."""
    return Feature(Column(name, "float64", "1", told, low=0, high=1, empty=True), expression)


def part_share(name: str, expression: Expression, *, told: str, part: str | None = None) -> Feature:
    """Declare the share of a part in its window, in [0, 1]: never empty, 0 where the part was not seen."""
    return Feature(Column(name, "float64", "1", told, low=0, high=1), expression, part)


def share(part: ir.Value, whole: ir.Value) -> ir.Value:
    """Return part / whole, empty where the whole is 0."""
    return part / whole.nullif(0)


def rows_where(condition: ir.BooleanValue) -> ir.Value:
    """Count the rows for which a condition holds."""
    return condition.ifelse(1, 0).sum()


def exact_sum(values: ir.Value) -> ir.Value:
    """Sum numbers of about 1 so that the order of the rows does not matter, to 2**-40 each."""
    return (values * _MASS).round().cast("int64").sum() / _MASS


def entropy(weight: ir.Value) -> ir.Value:
    """Return the Shannon entropy, in bit, of shares that sum to 1."""
    return exact_sum(-weight * weight.nullif(0).log2())


def of_window(value: ir.Value, *, also: tuple[str, ...] = ()) -> ir.Value:
    """Spread an aggregate over the rows of its window, or of a part of it."""
    return value.over(ibis.window(group_by=[KEY, *also]))


def rank(order_by: list[ir.Value], *, also: tuple[str, ...] = ()) -> ir.Value:
    """Number the rows of a window, or of a part of it, from 1."""
    return 1 + ibis.row_number().over(ibis.window(group_by=[KEY, *also], order_by=order_by))
