"""Days of the lake: UTC, from one midnight to the next."""

from datetime import UTC, date, datetime, timedelta

DAY = timedelta(days=1)
DAY_S = 86_400


def start_of(day: date) -> datetime:
    """Return the first instant of a day."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC)
