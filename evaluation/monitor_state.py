"""What the monitor of a workspace remembers from call to call, in one file: WS/alarms/state.npz (arrays and text)."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

import numpy as np

from evaluation import monitor
from evaluation.alarm_life import Life
from evaluation.alarm_table import OPEN, Alarm, Series, Witness
from evaluation.monitor import State
from evaluation.monitor_settings import MonitorSettings
from features.whole_file import whole

_TIMES = ("raised", "updated", "cleared")


@dataclass(frozen=True)
class Remembered:
    """end: of the last window that was judged; None before the first. alarms: all that were ever raised, by id."""

    end: datetime | None
    state: State
    alarms: Mapping[str, Alarm]


def path_of(workspace: Path) -> Path:
    """Return the file of a workspace."""
    return workspace / "alarms" / "state.npz"


def nothing(settings: MonitorSettings) -> Remembered:
    """Return what is remembered before the first window."""
    return Remembered(None, monitor.nothing_known(settings), {})


def save(workspace: Path, told: Remembered, settings: MonitorSettings) -> None:
    """Write what is remembered, whole or not at all."""
    words = {
        "settings": settings.model_dump_json(),
        "end": told.end.isoformat() if told.end else None,
        "begun": told.state.begun.isoformat() if told.state.begun else None,
        "series": [list(one) for one in told.state.series],
        "witnesses": [list(one) for one in told.state.witnesses],
        "alarms": [asdict(one) for one in told.alarms.values()],
    }
    life = told.state.life
    with whole(path_of(workspace)) as beside, beside.open("wb") as file:
        np.savez(
            file,
            words=np.array(json.dumps(words, default=datetime.isoformat)),
            scores=told.state.scores,
            utilities=told.state.utilities,
            off=told.state.off,
            odd=life.odd,
            calm=life.calm,
            unseen=life.unseen,
            accuses=life.accuses,
        )


def load(workspace: Path, settings: MonitorSettings) -> Remembered:
    """Return what is remembered; nothing where there is no file, or other settings made it: all is judged anew."""
    path = path_of(workspace)
    if not path.exists():
        return nothing(settings)
    with np.load(path, allow_pickle=False) as arrays:
        words = json.loads(str(arrays["words"]))
        if words["settings"] != settings.model_dump_json():
            return nothing(settings)
        alarms = {one["alarm_id"]: _alarm(one) for one in words["alarms"]}
        standing = {one.series: one for one in alarms.values() if one.status == OPEN}
        state = State(
            _moment(words["begun"]),
            tuple(Series(*one) for one in words["series"]),
            arrays["scores"],
            tuple(Witness(*one) for one in words["witnesses"]),
            arrays["utilities"],
            arrays["off"],
            Life(arrays["odd"], arrays["calm"], arrays["unseen"], arrays["accuses"], standing),
        )
    return Remembered(_moment(words["end"]), state, alarms)


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _alarm(told: Mapping[str, object]) -> Alarm:
    times = {name: _moment(str(told[name])) if told[name] else None for name in _TIMES}
    return Alarm(**{**told, **times})  # type: ignore[arg-type]  # as `save` wrote it
