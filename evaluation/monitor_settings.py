"""configs/monitor.yaml: how places and devices are watched, and when an alarm is raised and cleared."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from features.configuration import find_config, read_config
from features.indicators import Frozen, Id

_HOUR_S, _DAY_S, _WEEK_S = 3600, 86400, 604800


class Baseline(Frozen):
    """What a score is held against: the same time of the week, else of the day; and how far it usually is off."""

    weeks: int = Field(ge=1, description="so many weeks back")
    around_s: int = Field(ge=0, lt=_DAY_S // 2, description="so long before and after that time, s")
    least: int = Field(ge=1, description="values that a median needs")
    days: int = Field(ge=1, le=7, description="so many days back where the weeks tell too little")
    scale_every_s: int = Field(gt=0, description="the usual deviation is that of moments so far apart, s")
    scale_s: int = Field(gt=0, description="of so long, s")
    scale_gap_s: int = Field(ge=0, description="that ended so long before, s")
    tail: float = Field(gt=0.5, lt=1, description="share of moments whose deviation tells of its tail")
    floor: float = Field(gt=0, description="least usual deviation, points")


class Siblings(Frozen):
    """When places of one scope are compared with one another."""

    least: int = Field(ge=2, description="places of the scope that are judged")
    below: float = Field(
        ge=0, description="usual deviations that a place must lie below what its siblings do"
    )


class Open(Frozen):
    """An alarm is raised where an indicator lay so many usual deviations too low in `windows` of the last `of`."""

    below: float = Field(gt=0)
    windows: int = Field(ge=1)
    of: int = Field(ge=1)

    @model_validator(mode="after")
    def _some_of_all(self) -> Self:
        if self.windows > self.of:
            raise ValueError(f"windows must be at most of, but are {self.windows} of {self.of}")
        return self


class Close(Frozen):
    """An alarm is cleared where what raised it was less than `above` too low in `windows` windows running.

    So it is where that had no evidence in `unseen` windows running.
    """

    above: float = Field(gt=0)
    windows: int = Field(ge=1)
    unseen: int = Field(ge=1)


class Cause(Frozen):
    """Alarms of places within one another have one cause where the later is raised so soon after the other, s.

    So have those of one service at places that share devices.
    """

    within_s: float = Field(ge=0)
    share: float = Field(
        gt=0, le=1, description="of a place's devices that hang on another one; below, that is not felt there"
    )


class Severity(Frozen):
    """How many points below the baseline are major, and critical."""

    major: float = Field(gt=0)
    critical: float = Field(gt=0)


class Silent(Frozen):
    """No event for so many heartbeats."""

    heartbeats: float = Field(gt=1)


class Chatty(Frozen):
    """More events in a day than `times` the median of its service and fleet, and at least `least`."""

    times: float = Field(gt=1)
    least: int = Field(ge=1)


class FalseAlarms(Frozen):
    """So many alarms of a sensor within a time, while at most `neighbours` others of its cell tell one."""

    processes: tuple[Id, ...] = Field(min_length=1, description="those that tell an alarm")
    alarms: int = Field(ge=2)
    within_s: float = Field(gt=0)
    neighbours: int = Field(ge=0)


class Battery(Frozen):
    """A level below, in %, or fewer days left at the pace at which it fell within a time."""

    level: float = Field(gt=0, lt=100)
    days_left: float = Field(gt=0)
    over_s: float = Field(gt=0, description="how long the level is followed, s")


class Misplaced(Frozen):
    """A static device that `cells` cells serve in a day, or mostly (`share`) by a strange one as few of its cell."""

    cells: int = Field(ge=2)
    share: float = Field(gt=0, le=1)
    peers: float = Field(
        gt=0, le=1, description="share of its cell's devices; if more are away, the cell is ill"
    )


class DeviceRules(Frozen):
    """When a device is abnormal."""

    silent: Silent
    chatty: Chatty
    false_alarms: FalseAlarms
    battery: Battery
    misplaced: Misplaced


class MonitorSettings(Frozen):
    """The whole file."""

    schema_: Literal["monitor/1"] = Field(alias="schema")
    every_s: int = Field(gt=0, description="a window of the monitor ends this often, s")
    pool_s: int = Field(gt=0, description="a score is of what a place counted in so long, s")
    min_coverage: float = Field(
        gt=0, le=1, description="of the weight of a KQI that a place must know itself"
    )
    min_windows: int = Field(
        ge=1,
        description="of those that pool_s holds, in which an indicator must have been told to be evidence",
    )
    learn_s: int = Field(ge=0, description="nothing is raised so long after the first window, s")
    baseline: Baseline
    siblings: Siblings
    open: Open
    close: Close
    cause: Cause
    severity: Severity
    devices: DeviceRules

    @model_validator(mode="after")
    def _whole_windows(self) -> Self:
        if _HOUR_S % self.every_s:
            raise ValueError(f"every_s must divide an hour, but is {self.every_s}")
        if self.min_windows * self.every_s > self.pool_s:
            raise ValueError(
                f"min_windows must be at most those that pool_s holds, {self.pool_s // self.every_s},"
                f" but is {self.min_windows}"
            )
        if self.close.above >= self.open.below:
            raise ValueError(
                f"close.above must be less than open.below, but is {self.close.above:g} of {self.open.below:g}"
            )
        return self

    @property
    def week_lags(self) -> tuple[int, ...]:
        """How many windows back the same time of earlier weeks lies, nearest week first."""
        return self._around(_WEEK_S, self.baseline.weeks)

    @property
    def day_lags(self) -> tuple[int, ...]:
        """How many windows back the same time of earlier days lies."""
        return self._around(_DAY_S, self.baseline.days)

    @property
    def scale_lags(self) -> tuple[int, ...]:
        """How many windows back the moments of the usual deviation lie."""
        first = self.baseline.scale_gap_s // self.every_s + 1
        count = self.baseline.scale_s // self.every_s
        return tuple(range(first, first + count, max(1, self.baseline.scale_every_s // self.every_s)))

    @property
    def memory(self) -> int:
        """How many windows back a judgement looks."""
        return max(*self.week_lags, *self.day_lags)

    def _around(self, period_s: int, count: int) -> tuple[int, ...]:
        near, period = self.baseline.around_s // self.every_s, period_s // self.every_s
        return tuple(n * period + d for n in range(1, count + 1) for d in range(-near, near + 1))


def read_monitor_settings(workspace: Path | None = None) -> MonitorSettings:
    """Return the settings of a workspace. Raises ValueError that names file, key and rule."""
    return read_config(find_config("monitor.yaml", workspace), MonitorSettings)
