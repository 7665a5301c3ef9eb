"""What areas leave for whoever adds up the elements they share: counted arrays, as plain files of numpy."""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import cast

import numpy as np

from evaluation.simulation.province.tally import Counted
from features.indicators import Scope

Key = tuple[Scope, int]  # a scope, and the length of its window in s; 0 where the scope alone says it


def leave(path: Path, counted: Mapping[Key, Counted]) -> None:
    """Write counted arrays, each under scope.length.field."""
    arrays = {
        f"{scope}.{length}.{one.name}": getattr(some, one.name)
        for (scope, length), some in counted.items()
        for one in fields(Counted)
    }
    np.savez(path, **arrays)


def take(path: Path) -> dict[Key, Counted]:
    """Return what `leave` wrote."""
    parts: dict[Key, dict[str, np.ndarray]] = {}
    with np.load(path) as arrays:
        for name in arrays.files:
            scope, length, field = name.split(".")
            parts.setdefault((cast(Scope, scope), int(length)), {})[field] = arrays[name]
    return {key: Counted(**some) for key, some in parts.items()}
