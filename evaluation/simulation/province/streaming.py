"""Laws of the video service: LTE link, throughput, the player. Each takes arrays of one value a session."""

import numpy as np

from evaluation.simulation.province import queues

_SHANNON_REFERENCE_DB = 11.0
_USER_SHARE = 0.32  # of what a cell has left
_MATHIS_MBIT_MS = 1.22 * 1460 * 8 / 1000.0  # Mathis et al. 1997: rate <= 1.22 * MSS / (rtt * sqrt(loss))
_PARALLEL = 6  # connections of a player
_SAFETY = 0.8  # of the throughput that a player dares to use
_DECODER_LIMIT = 80.0  # % of the processor, beyond it frames are dropped


def cell_throughput_mbps(sinr_db: np.ndarray, utilisation: np.ndarray, capacity_mbps: float) -> np.ndarray:
    """Return what a cell gives one user: what SINR allows, of what others leave."""
    efficiency = np.log2(1 + 10 ** (sinr_db / 10)) / np.log2(1 + 10 ** (_SHANNON_REFERENCE_DB / 10))
    left = 1.0 - np.clip(utilisation, 0, queues.MAX_UTILISATION) / 100.0
    return np.asarray(capacity_mbps * _USER_SHARE * efficiency * left)


def transport_limit_mbps(rtt_ms: np.ndarray, loss: np.ndarray) -> np.ndarray:
    """Return what TCP reaches on its way: less with a longer round trip and more loss."""
    return np.asarray(_PARALLEL * _MATHIS_MBIT_MS / (rtt_ms * np.sqrt(np.maximum(loss, 1e-5))))


def node_share(utilisation: np.ndarray) -> np.ndarray:
    """Return the share of its throughput that a CDN node still serves: it falls from 85 % of its capacity on."""
    return np.asarray(np.clip(1.0 - (utilisation - 85.0) / 20.0, 0.2, 1.0))


def chosen_rung(throughput_mbps: np.ndarray, rungs: tuple[float, ...]) -> np.ndarray:
    """Return the index of the bit rate a player chooses: the highest it dares, else the lowest."""
    return np.maximum(np.searchsorted(np.array(rungs), _SAFETY * throughput_mbps, "right") - 1, 0)


def stall_share(throughput_mbps: np.ndarray, bit_rate_mbps: np.ndarray) -> np.ndarray:
    """Return the share of time that the buffer is empty: throughput varies, so it falls steadily with the reserve."""
    reserve = throughput_mbps / bit_rate_mbps
    return np.asarray(np.clip(0.003 + 0.5 * np.exp(-2.1 * reserve**0.8), 0.0, 0.6))


def dropped_frames(cpu_load: np.ndarray, power_saving: np.ndarray) -> np.ndarray:
    """Return the share of frames that the decoder drops."""
    return np.asarray(0.004 + 0.8 * np.maximum(cpu_load - _DECODER_LIMIT, 0.0) / 100.0 + 0.05 * power_saving)
