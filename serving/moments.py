"""Moments that a person gives to a command: UTC, where no offset is named."""

from datetime import UTC, datetime


def utc(moment: datetime) -> datetime:
    """Return the same moment in UTC; one without an offset is of UTC already.

    >>> utc(datetime.fromisoformat("2026-03-02T06:15")).isoformat()
    '2026-03-02T06:15:00+00:00'
    >>> utc(datetime.fromisoformat("2026-03-02T14:15+08:00")).isoformat()
    '2026-03-02T06:15:00+00:00'
    """
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
