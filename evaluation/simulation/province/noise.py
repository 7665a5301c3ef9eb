"""configs/noise.yaml: what is lost, late, skewed or mismeasured between the network and the files."""

from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import AfterValidator, BaseModel, Field

from features.configuration import packaged_configs, read_config


def _ordered(span: tuple[float, float]) -> tuple[float, float]:
    low, high = span
    if not 0 <= low <= high < float("inf"):
        raise ValueError(
            f"a range must keep 0 <= low <= high, but is [{low:g}, {high:g}]; nothing comes early"
        )
    return span


Span = Annotated[tuple[float, float], AfterValidator(_ordered)]  # low and high


class Part(BaseModel, frozen=True, extra="forbid", allow_inf_nan=False):
    """A part of the file in which no key is unknown and every figure is finite."""


class CounterNoise(Part):
    """Of counters; windows of an element are lost and late together."""

    lost_share: float = Field(ge=0, le=1)
    late_share: float = Field(ge=0, le=1)
    late_h: Span
    collected_s: Span


class TerminalNoise(Part):
    """Of terminal records; records of a device and day are lost and late together."""

    lost_share: float = Field(ge=0, le=1)
    late_share: float = Field(ge=0, le=1)
    late_h: Span
    skewed_share: float = Field(ge=0, le=1)
    skew_s: float = Field(ge=0)
    measure_error: float = Field(ge=0)


class LogNoise(Part):
    """Of a log, row by row; a late row comes with those of the day on which it arrives, after the last one never."""

    lost_share: float = Field(ge=0, le=1)
    late_share: float = Field(ge=0, le=1)
    late_h: Span
    skewed_share: float = Field(ge=0, le=1)
    skew_s: float = Field(ge=0)


class Noise(Part):
    """The file; its comments say what each figure means."""

    schema_: str = Field(alias="schema", pattern="^noise/1$")
    counters: CounterNoise
    terminal: TerminalNoise
    events: LogNoise
    flows: LogNoise


def read_noise(path: Path) -> Noise:
    """Return the checked file; what it leaves out is as shipped. Raises ValueError that names file, key and rule."""
    return read_config(path, Noise, default=packaged_configs() / "noise.yaml")


def delivery(noise: CounterNoise, rng: np.random.Generator, slots: int) -> tuple[np.ndarray, np.ndarray]:
    """Return of each window of an element how long after its end it arrives, s, and whether it arrives at all."""
    wait = rng.uniform(*noise.collected_s, slots)
    late = rng.random(slots) < noise.late_share
    wait = np.where(late, 3600.0 * rng.uniform(*noise.late_h, slots), wait)
    return wait, rng.random(slots) >= noise.lost_share
