"""configs/province.yaml: what a simulated province is made of."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, TypeVar, get_args

from pydantic import AwareDatetime, BaseModel, Field, NonNegativeFloat, field_validator

from features.configuration import packaged_configs, read_config
from features.counter_tables import SHORTEST_S
from features.indicators import Scope

Wall = Literal["window", "one_wall", "deep_indoor", "underground"]
SERVICES = ("smoke_sensor", "bike_sharing", "video")
_DAY_S = 86_400
_FARTHEST_KM = 100  # beyond the longest cell of NB-IoT


Shares = TypeVar("Shares")


def _shares(told: Shares) -> Shares:
    """Return shares as they are: of a whole that is their sum. Raises ValueError where that is 0."""
    if not sum(dict(told).values()) > 0:  # type: ignore[call-overload]
        raise ValueError("one of the shares must be above 0, but none is")
    return told


class Part(BaseModel, frozen=True, extra="forbid", allow_inf_nan=False):
    """A part of the file in which no key is unknown and every figure is finite."""


class PerService(Part):
    """A figure for each of the three services."""

    smoke_sensor: float = Field(ge=0)
    bike_sharing: float = Field(ge=0)
    video: float = Field(ge=0)

    def of(self, service: str) -> float:
        """Return the figure of one service."""
        return float(getattr(self, service))


class CountPerService(Part):
    """How many of a kind each of the three services has."""

    smoke_sensor: int = Field(ge=1, le=1000)
    bike_sharing: int = Field(ge=1, le=1000)
    video: int = Field(ge=1, le=1000)

    def of(self, service: str) -> int:
        """Return the count of one service."""
        return int(getattr(self, service))


class Shadowing(Part):
    """Standard deviation of shadowing, dB."""

    outdoor: float = Field(ge=0)
    indoor: float = Field(ge=0)


class Thresholds(Part):
    """NRSRP at which coverage levels begin, dBm, and how networks of vendors, and cells in one, differ in it, dB.

    ce2_share: of a cell's deviation at the first threshold that it has at the second too.
    """

    ce1: float
    ce2: float
    vendor_sd: float = Field(ge=0)
    sd: float = Field(ge=0)
    ce2_share: float = Field(ge=0, le=1)
    least_gap: float = Field(gt=0)


class Utilisation(Part):
    """Mean utilisation by all devices of the operator, %."""

    ul: float = Field(ge=0, le=90)
    dl: float = Field(ge=0, le=90)
    nprach: float = Field(ge=0, le=90)
    mme: float = Field(ge=0, le=90)
    lte: float = Field(ge=0, le=90)
    cdn: float = Field(ge=0, le=90)


class BackgroundShare(Part):
    """What other devices do."""

    report: float = Field(ge=0)
    login: float = Field(ge=0)
    command: float = Field(ge=0)
    mqtt: float = Field(ge=0)


class Background(Part):
    """Other devices of the operator that share the elements."""

    attempts_per_cell_window: int = Field(ge=1, le=1000)
    share: BackgroundShare

    @field_validator("share")
    @classmethod
    def _are_shares(cls, told: BackgroundShare) -> BackgroundShare:
        return _shares(told)


class Lte(Part):
    """The LTE cells of the video service."""

    site_power_dbm: float
    noise_dbm: float
    capacity_mbps: float = Field(gt=0)


class Complaints(Part):
    """Who complains."""

    failed: float = Field(ge=0, le=1)
    silent_day: float = Field(ge=0, le=1)
    groundless_per_device_day: float = Field(ge=0, le=1)


class Traits(Part):
    """Latent traits that no rule makes."""

    misuse_share: float = Field(ge=0, le=1)
    heavy_share: float = Field(ge=0, le=1)


class ProvinceSettings(Part):
    """The file; its comments say what each figure means."""

    schema_: str = Field(alias="schema", pattern="^province/1$")
    start: AwareDatetime
    share: PerService
    devices_per_cell: int = Field(ge=1)
    cells_per_tac: int = Field(ge=2)
    tacs_per_mme: int = Field(ge=1)
    tacs_per_city: int = Field(ge=1)
    devices_per_platform_node: int = Field(ge=1)
    apps: CountPerService
    fleets: CountPerService
    cdn_nodes: int = Field(ge=1)
    site_distance_km: tuple[float, float]
    clutter_loss_db: float = Field(ge=0)
    shadow_sd_db: Shadowing
    antenna_loss_db: PerService
    smoke_place_share: dict[Wall, NonNegativeFloat]
    ce_threshold_dbm: Thresholds
    base_utilisation: Utilisation
    background: Background
    counter_window_s: dict[Scope, int]
    lte: Lte
    complaint_share: Complaints
    traits: Traits

    @field_validator("start")
    @classmethod
    def _begins_a_day(cls, start: datetime) -> datetime:
        """Return the start in UTC: days, hours of bursts and weekdays are counted from it."""
        utc = start.astimezone(UTC)
        if utc != utc.replace(hour=0, minute=0, second=0, microsecond=0):
            raise ValueError(
                f"start must be a midnight of UTC, from which daily laws count, but is {utc:%F %T}Z; give"
                f" {utc:%F}T00:00:00+00:00"
            )
        return utc

    @field_validator("share", "smoke_place_share")
    @classmethod
    def _are_shares(cls, told: PerService | dict[str, float]) -> PerService | dict[str, float]:
        return _shares(told)

    @field_validator("site_distance_km")
    @classmethod
    def _is_a_range(cls, span: tuple[float, float]) -> tuple[float, float]:
        if not 0 < span[0] <= span[1] <= _FARTHEST_KM:
            raise ValueError(
                f"a range must keep 0 < low <= high <= {_FARTHEST_KM} km, but is [{span[0]:g}, {span[1]:g}]"
            )
        return span

    @field_validator("counter_window_s")
    @classmethod
    def _divides_a_day(cls, windows: dict[Scope, int]) -> dict[Scope, int]:
        if lacking := [scope for scope in get_args(Scope) if scope not in windows]:
            raise ValueError(f"every scope must have a window, but {', '.join(lacking)} has none")
        for scope, seconds in windows.items():
            if seconds < SHORTEST_S or _DAY_S % seconds:
                raise ValueError(
                    f"the window of {scope} must divide the {_DAY_S:,} s of a day and last at least {SHORTEST_S} s, but"
                    f" is {seconds} s; give 300, 900, 3600, 14400 or 86400"
                )
        return windows


def read_settings(path: Path) -> ProvinceSettings:
    """Return the checked file; what it leaves out is as shipped. Raises ValueError that names file, key and rule."""
    return read_config(path, ProvinceSettings, default=packaged_configs() / "province.yaml")
