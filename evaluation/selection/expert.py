"""What people know of the indicators: a YAML file in which every statement bears author, reason and date."""

from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Literal

from pydantic import Field

from features.configuration import read_config
from features.indicators import Frozen, Name

Direction = Literal["rising", "falling"]


class Statement(Frozen):
    """What a person says of one indicator, and why.

    keep: true keeps it whatever the data say, also a suspected leak; false never takes it. direction: of the target
    with the indicator. weight: prior weight beside 1 for an indicator of which nothing is said. cost: of measuring,
    beside 1. available_after_s: how long after the moment of the target its value is known; more than 0 is a leak.
    """

    indicator: Name
    keep: bool | None = None
    direction: Direction | None = None
    weight: float | None = Field(default=None, gt=0)
    cost: float | None = Field(default=None, ge=0)
    available_after_s: float | None = None
    author: Name
    reason: Name
    date: date


class Experts(Frozen):
    """All statements. alpha: share of the expert in w = normalise(expert^alpha * importance^(1 - alpha))."""

    alpha: float = Field(default=0.5, ge=0, le=1)
    statements: tuple[Statement, ...] = ()

    @property
    def kept(self) -> frozenset[str]:
        """Indicators that are selected whatever the data say."""
        return frozenset(one.indicator for one in self.statements if one.keep)

    def of(self, indicator: str) -> Statement | None:
        """Return what is said of an indicator, or None."""
        return next((one for one in self.statements if one.indicator == indicator), None)


def read_experts(path: Path, indicators: Sequence[str]) -> Experts:
    """Return the statements of a file about columns of the table.

    Raises ValueError naming file, statement and rule: an unknown key, two statements of one indicator; LookupError
    for an indicator that the table does not have.
    """
    experts = read_config(path, Experts)
    names = [one.indicator for one in experts.statements]
    for place, name in enumerate(names):
        if name in names[:place]:
            raise ValueError(f"{path}: an indicator has one statement, but {name} has several")
        if name not in indicators:
            raise LookupError(f"{path}: the table has no indicator {name!r}")
    return experts
