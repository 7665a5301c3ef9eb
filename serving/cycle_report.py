"""What cycles did, one JSON for each window's end: WORKSPACE/cycles/date=DATE/HHMM.json."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from features.days import file_of
from features.whole_file import write_text

FOLDER = "cycles"

Counts = Mapping[str, int | float | str]


@dataclass(frozen=True)
class Report:
    """What one cycle did. steps: by name, counts and `seconds`; `skipped` says why where nothing was done.

    ages_s: by kind of row, from the newest one to the window's end.
    """

    end: datetime
    steps: Mapping[str, Counts]
    ages_s: Mapping[str, float]
    simulated: bool

    def text(self) -> str:
        """Return one line for a person."""
        parts = (f"{name} {_told(counts)}" for name, counts in self.steps.items())
        return f"{self.end:%FT%TZ}: {'; '.join(parts)}{' (simulated)' if self.simulated else ''}"

    def write(self, workspace: Path) -> None:
        """Write the report: the window counts as done from then on."""
        told = {
            "window_end": f"{self.end:%FT%TZ}",
            "simulated": self.simulated,
            "steps": self.steps,
            "ages_s": self.ages_s,
        }
        write_text(path_of(workspace, self.end), json.dumps(told, indent=2) + "\n")


def path_of(workspace: Path, end: datetime) -> Path:
    """Return where the report of a window lies."""
    return file_of(workspace / FOLDER, end, ".json")


def last(workspace: Path) -> datetime | None:
    """Return the newest window's end that was done; None before the first."""
    names = [path.parent.name[5:] + path.stem for path in (workspace / FOLDER).glob("date=*/*.json")]
    return datetime.strptime(f"{max(names)}+0000", "%Y-%m-%d%H%M%z") if names else None


def pending(workspace: Path, until: datetime, *, every: timedelta, most: int) -> list[datetime]:
    """Return the windows' ends after the last that was done, up to the one asked for, oldest first.

    The one asked for is done again where it was done. Before the first cycle it is the only one. Raises ValueError
    for a moment that ends no window, or one before the last that was done; of more than `most` the newest stay.
    """
    seconds = int(every.total_seconds())
    if until.tzinfo is None or until.timestamp() % seconds:
        raise ValueError(
            f"window_end must be aware and end a window, of {seconds // 60} minutes from midnight UTC on, but is"
            f" {until.isoformat()}"
        )
    done = last(workspace)
    if done is None or until == done:
        return [until]
    if until < done:
        raise ValueError(
            f"window_end must not lie before the last cycle, {done:%FT%TZ}, but is {until:%FT%TZ}: a past window keeps"
            " what was known then"
        )
    ends = [done + every * n for n in range(1, (until - done) // every + 1)]
    return ends[-most:]


def _told(counts: Counts) -> str:
    if "skipped" in counts:
        return f"skipped, {counts['skipped']}"
    words = [
        f"{name} {value}" if isinstance(value, str) else f"{value:,} {name}"
        for name, value in counts.items()
        if name != "seconds"
    ]
    return f"{', '.join(words) or 'nothing'} in {counts['seconds']:.1f} s"
