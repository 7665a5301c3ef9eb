"""The two tables that `iotlens monitor` writes: ALARMS and ABNORMAL_DEVICES, each whole or not at all."""

from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from evaluation import abnormal_devices, monitor_state, watch
from evaluation.abnormal_devices import ABNORMAL_DEVICES
from evaluation.alarm_table import ALARMS, as_table
from evaluation.domain import read_domain
from evaluation.monitor_settings import MonitorSettings, read_monitor_settings
from evaluation.watch import Watched
from features import indicator_tables
from features.days import file_of
from features.whole_file import check_suffix, write_frame


@dataclass(frozen=True)
class Written:
    """What was found, and where it lies. kinds: how many abnormal devices there are of each kind."""

    watched: Watched
    kinds: dict[str, int]
    out: Path
    devices_out: Path

    def text(self) -> str:
        """Return two lines for a person."""
        told = ", ".join(f"{n:,} {kind}" for kind, n in self.kinds.items()) or "none"
        return f"{self.watched.text()}\nabnormal devices: {told}"


def alarms_path(workspace: Path) -> Path:
    """Return where the alarms of a workspace lie: what GET /alarms tells."""
    return workspace / "alarms" / "alarms.parquet"


def devices_path(workspace: Path, end: datetime) -> Path:
    """Return where the abnormal devices of a moment lie."""
    return file_of(workspace / "abnormal", end)


def write(
    workspace: Path, *, until: datetime | None, out: Path | None = None, devices_out: Path | None = None
) -> Written:
    """Judge a workspace until a moment (None: the end of its newest window), write both tables, tell what was found.

    out, devices_out: None for the workspace's own. Raises ValueError of another name than one of Parquet, and of a
    past moment without `out`: its alarms must not take the place of those that stand now.
    """
    for path in (out, devices_out):
        if path is not None:
            check_suffix(path)
    domain, settings = read_domain(workspace), read_monitor_settings(workspace)
    moment = until or indicator_tables.newest_end(workspace)
    if out is None:
        _refuse_the_past(workspace, settings, moment)
    watched = watch.watch(workspace, domain, settings, until=moment)
    devices = abnormal_devices.find(workspace, domain, settings, at=watched.end)
    alarms_out = out or alarms_path(workspace)
    beside = devices_out or devices_path(workspace, watched.end)
    write_frame(alarms_out, as_table(watched.alarms), ALARMS)
    write_frame(beside, devices, ABNORMAL_DEVICES)
    kinds = dict(sorted(Counter(devices["kind"]).items()))
    return Written(watched, kinds, alarms_out, beside)


def _refuse_the_past(workspace: Path, settings: MonitorSettings, moment: datetime) -> None:
    end = monitor_state.load(workspace, settings).end
    if end is not None and moment < end:
        raise ValueError(
            f"{alarms_path(workspace)} must tell the newest alarms, and windows until {end:%FT%TZ} are judged, but"
            f" --window-end is {moment:%FT%TZ}; name another file by --out"
        )
