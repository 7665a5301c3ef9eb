"""The tables of a province directory that only a simulation has, as contracts; of the others the reader has them."""

import numpy as np
import pyarrow as pa

from features.counter_tables import COUNTERS
from features.table import Column

TRUTH: tuple[Column, ...] = (
    Column("fault_id", "string", "-", "one fault that happened"),
    Column("cause", "string", "-", "its id in the fault catalogue"),
    Column("fault_domain", "string", "-", "who owns it"),
    Column("location_scope", "string", "-", "what kind of element is broken"),
    Column("location_id", "string", "-", "which one"),
    Column("severity", "float64", "1", "of full strength", low=0, high=1),
    Column("onset", "timestamp", "UTC", "when it began; may lie before the first day"),
    Column("end", "timestamp", "UTC", "when it ended; may lie after the last day"),
)
CASES: tuple[Column, ...] = (
    Column("case_id", "string", "-", "one complaint"),
    Column("device_id", "string", "-", "of which device"),
    Column("service", "string", "-", "its service"),
    Column("at", "timestamp", "UTC", "when it was made"),
    Column("kqi", "string", "-", "what was bad"),
    Column("fault_id", "string", "-", "the fault without which it would not have been, or none"),
)
DEVICE_TRUTH: tuple[Column, ...] = (
    Column("device_id", "string", "-", "the device"),
    Column("service", "string", "-", "its service"),
    Column("mobility", "string", "-", "static, nomadic or mobile: how it was made to move"),
    Column("place", "string", "-", "outdoor, indoor or deep_indoor: behind which walls it was put"),
    Column("power", "string", "-", "battery, rechargeable or phone"),
    Column("reachability", "string", "-", "sleepy or always_on"),
    Column("volume", "string", "-", "light or heavy: the drawn appetite"),
    Column("misuse", "bool", "-", "its SIM was used in a phone at some time"),
)
GIVEN_COUNTERS = COUNTERS[:-1]  # without the source: whoever loads the file names it


def names_at(names: np.ndarray, index: np.ndarray) -> pa.Array:
    """Return the names at some indices as an Arrow column."""
    return pa.array(np.asarray(names, dtype=object), pa.string()).take(pa.array(index.astype("int32")))


def moments(seconds: np.ndarray, start_s: float, absent: np.ndarray | None = None) -> pa.Array:
    """Return seconds since the province began as an Arrow column of UTC timestamps."""
    micro = np.round((seconds + start_s) * 1e6).astype("int64")
    return pa.array(micro, pa.int64(), mask=absent).cast(pa.timestamp("us", tz="UTC"))
