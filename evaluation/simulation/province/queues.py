"""Laws of a queue: what load does to delay and to loss."""

import numpy as np

MAX_UTILISATION = 97.0  # %; radio_physics.queue of the fault catalogue
_KNEE = 90.0  # %; below it an element refuses nothing


def delay_factor(utilisation: np.ndarray | float) -> np.ndarray:
    """Return by how much a queue lengthens a service time: 1/(1-u), M/M/1. utilisation: %, any size."""
    return np.asarray(1.0 / (1.0 - np.clip(utilisation, 0.0, MAX_UTILISATION) / 100.0))


def overload_loss(utilisation: np.ndarray | float) -> np.ndarray:
    """Return the share refused by an element: what is offered beyond its capacity, from 90 % on, smoothly.

    utilisation: offered load over capacity, %; above 100 the rest is refused: 1 - 100/u.
    """
    offered = np.asarray(utilisation, dtype="float64")
    beyond = 1.0 - 100.0 / np.maximum(offered, 100.0)
    near = 0.02 * np.clip((offered - _KNEE) / (100.0 - _KNEE), 0.0, 1.0)
    return np.asarray(np.clip(beyond + near, 0.0, 0.9))


def skewed(rng: np.random.Generator, median: np.ndarray | float, sigma: float, size: int) -> np.ndarray:
    """Return lognormal delays around a median, in its unit. sigma: of the logarithm."""
    return np.asarray(median * np.exp(sigma * rng.standard_normal(size)))
