"""Shadow of houses and trees as a map: who moves comes into another one, who comes back finds the same."""

from dataclasses import dataclass

import numpy as np

_WAVES = 12  # of which a map is the sum
_CORRELATION_KM = 0.05  # over which shadow changes; ITU-R M.2135 gives 37 to 50 m for streets of a town
_SHARED = 0.6  # of the amplitude that is the same towards all cells; the rest, 0.8, is of each cell alone


@dataclass(frozen=True)
class ShadowMap:
    """Normal values of one unit, alike within some tens of metres: (cells + 1, waves) of direction and phase."""

    east: np.ndarray
    north: np.ndarray
    phase: np.ndarray

    def at(self, x_km: np.ndarray, y_km: np.ndarray) -> np.ndarray:
        """Return the shadow towards each cell at some places, (n, cells), of standard deviation 1."""
        east, north = x_km.astype("float32")[:, None, None], y_km.astype("float32")[:, None, None]
        waves = np.cos(east * self.east + north * self.north + self.phase).sum(axis=2) * np.sqrt(2.0 / _WAVES)
        return np.asarray(_SHARED * waves[:, :1] + np.sqrt(1 - _SHARED**2) * waves[:, 1:], "float64")


def drawn(rng: np.random.Generator, cells: int) -> ShadowMap:
    """Return the map of an area of so many cells."""
    size = (cells + 1, _WAVES)
    east, north = (rng.standard_normal(size).astype("float32") / _CORRELATION_KM for _ in range(2))
    return ShadowMap(
        np.asarray(east, "float32"),
        np.asarray(north, "float32"),
        rng.uniform(0, 2 * np.pi, size).astype("float32"),
    )
