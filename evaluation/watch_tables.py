"""The two tables that `iotlens monitor` writes: ALARMS and ABNORMAL_DEVICES, each whole or not at all."""

from datetime import datetime
from pathlib import Path

from evaluation import abnormal_devices, watch
from evaluation.abnormal_devices import ABNORMAL_DEVICES
from evaluation.alarm_table import ALARMS, as_table
from evaluation.domain import read_domain
from evaluation.monitor_settings import read_monitor_settings
from features import indicator_tables
from features.whole_file import check_suffix, write_frame


def write(workspace: Path, *, until: datetime | None, out: Path, devices_out: Path) -> str:
    """Judge a workspace until a moment (None: the end of its newest window), write both tables, tell what was found."""
    check_suffix(out)
    check_suffix(devices_out)
    domain, settings = read_domain(workspace), read_monitor_settings(workspace)
    moment = until or indicator_tables.newest_end(workspace)
    watched = watch.watch(workspace, domain, settings, until=moment)
    devices = abnormal_devices.find(workspace, domain, settings, at=watched.end)
    write_frame(out, as_table(watched.alarms), ALARMS)
    write_frame(devices_out, devices, ABNORMAL_DEVICES)
    kinds = devices["kind"].value_counts().sort_index()
    told = ", ".join(f"{n:,} {kind}" for kind, n in kinds.items()) or "none"
    return f"{watched.text()}\nabnormal devices: {told}"
