"""Days of the lake: UTC, from one midnight to the next; and how moments are told in numbers and names of files."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

DAY = timedelta(days=1)
DAY_S = 86_400
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


def start_of(day: date) -> datetime:
    """Return the first instant of a day."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def day_of(end: datetime) -> date:
    """Return the day that a window lies in which ends then: what ends at midnight is of the day before."""
    return (end - MICROSECOND).date()


def us_of(moment: datetime) -> int:
    """Return the microseconds from 1970 to an aware moment."""
    return (moment - EPOCH) // MICROSECOND


def file_of(folder: Path, end: datetime, suffix: str = ".parquet") -> Path:
    """Return where the table of a window's end (UTC) lies: FOLDER/date=DATE/HHMM.parquet."""
    return folder / f"date={end:%F}" / f"{end:%H%M}{suffix}"
