"""What a feature is: a column, declared once, and the Ibis expression that fills it."""

from collections.abc import Callable
from dataclasses import dataclass

import ibis
import ibis.expr.types as ir

from features.table import Column, Dtype

KEY = "window_id"  # numbers the (device_id, source, window_start, window_end) of the flows at hand

_MASS = (
    2.0**40
)  # weights are summed as whole numbers of 2**-40, so that the order of rows cannot change a sum


Expression = Callable[
    ..., ir.Value
]  # of one view; a lambda in a loop also binds its loop variable by default


@dataclass(frozen=True)
class Feature:
    """One feature of a window. expression: from the rows of its group's view to one value per window."""

    column: Column
    expression: Expression


@dataclass(frozen=True)
class Group:
    """Features computed from one view. view: from flows placed in windows to the table that is aggregated by KEY."""

    name: str
    view: Callable[[ir.Table], ir.Table]
    features: tuple[Feature, ...]


def count(name: str, description: str, expression: Expression) -> Feature:
    """Declare a count: whole, never empty, 0 where nothing was seen."""
    return Feature(Column(name, "int64", "1", description, low=0), expression)


def number(name: str, unit: str, description: str, expression: Expression) -> Feature:
    """Declare a number that is empty where the window has nothing to measure it on."""
    return Feature(Column(name, "float64", unit, description, empty=True), expression)


def ratio(name: str, description: str, expression: Expression) -> Feature:
    """Declare a share in [0, 1], empty where there is nothing to take it of."""
    dtype: Dtype = "float64"
    return Feature(Column(name, dtype, "1", description, low=0, high=1, empty=True), expression)


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


def of_window(value: ir.Value) -> ir.Value:
    """Spread an aggregate over the rows of its window."""
    return value.over(ibis.window(group_by=[KEY]))


def rank(order_by: list[ir.Value], *, also: tuple[str, ...] = ()) -> ir.Value:
    """Number the rows of a window, or of a part of it, from 0."""
    return ibis.row_number().over(ibis.window(group_by=[KEY, *also], order_by=order_by))
