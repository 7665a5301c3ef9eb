"""Attempts: what devices try to do in a day, before anything is known of how it ends."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import ClassVar

import numpy as np

NOBODY = -1  # the device of an attempt in the background


@dataclass(frozen=True)
class Attempts:
    """One value an attempt. device: index in its area. at_s: seconds since the province began. process: its id.

    x_km, y_km: where. extra_db: loss of the parking place. riding: whether the bike moves. event: the alarm or trip
    an attempt belongs to, -1 for none. retry: whether it repeats one that failed. since_s: seconds since the user or
    sensor began to wait.
    """

    device: np.ndarray
    at_s: np.ndarray
    process: np.ndarray
    x_km: np.ndarray
    y_km: np.ndarray
    extra_db: np.ndarray
    riding: np.ndarray
    event: np.ndarray
    retry: np.ndarray
    since_s: np.ndarray
    copies: ClassVar[int] = 1  # so many of them load a cell as one does

    def __len__(self) -> int:
        return len(self.device)

    def take(self, rows: np.ndarray) -> "Attempts":
        """Return some of them."""
        return Attempts(*(getattr(self, field.name)[rows] for field in fields(self)))


def joined(parts: Sequence[Attempts]) -> Attempts:
    """Return all attempts, part after part."""
    return Attempts(
        *(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Attempts))
    )


def made(
    device: np.ndarray,
    at_s: np.ndarray,
    process: str,
    x_km: np.ndarray,
    y_km: np.ndarray,
    **other: np.ndarray | float | int | bool,
) -> Attempts:
    """Return attempts of one process; what is not given is none of it."""
    size = len(device)
    whole = {"extra_db": 0.0, "riding": False, "event": -1, "retry": False, "since_s": 0.0} | other
    kinds = {"extra_db": float, "riding": bool, "event": np.int64, "retry": bool, "since_s": float}
    rest = {name: np.broadcast_to(np.asarray(whole[name], kinds[name]), size) for name in kinds}
    return Attempts(device, at_s, np.full(size, process, "U20"), x_km, y_km, **rest)
