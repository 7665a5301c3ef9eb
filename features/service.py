"""A feature service: what one model reads of the windows of one length; its name always means the same."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest

from features.table import Column


def feature_service_name(model: str, window: str, version: int = 1) -> str:
    """Return the name of a model's feature service, which is bound to one window length."""
    return f"{model}_{window}_v{version}"


def pick(features: Sequence[Column], names: Sequence[str]) -> tuple[Column, ...]:
    """Return the features with these names, in the order of the names.

    Raises ValueError for no name at all, for a repeated one, and for one that no feature has.
    """
    columns = {column.name: column for column in features}
    wrong = sorted({name for name in names if name not in columns or list(names).count(name) > 1})
    if wrong or not names:
        fact = f"these are not: {wrong}" if wrong else "there is none"
        raise ValueError(f"a feature service lists features of the windows, each once, but {fact}")
    return tuple(columns[name] for name in names)


@dataclass(frozen=True)
class FeatureService:
    """The features a model reads, in order, and the window whose rows have them."""

    name: str
    window: str
    features: tuple[Column, ...]

    def require(self, names: Sequence[str]) -> None:
        """Raise ValueError, with the first difference, unless these are the features in their order."""
        for place, (listed, read) in enumerate(zip_longest((one.name for one in self.features), names)):
            if listed != read:
                fact = f"at place {place} it lists {listed!r} and the model reads {read!r}"
                raise ValueError(
                    f"{self.name} must list what the model reads, in its order, but {fact}; train again"
                )


def still_made(
    fields: Sequence[tuple[str, str]], features: Sequence[Column], *, service: str
) -> tuple[Column, ...]:
    """Return the columns of a registered service, given as (name, dtype), among the features made now.

    Raises ValueError for a feature that is no longer made, or of another dtype.
    """
    made: dict[tuple[str, str], Column] = {(column.name, column.dtype): column for column in features}
    lost = [f"{name} ({dtype})" for name, dtype in fields if (name, dtype) not in made]
    if lost:
        raise ValueError(f"{service} must list features that are still made, but has {lost}; train again")
    return tuple(made[pair] for pair in fields)
