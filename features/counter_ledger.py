"""Which deliveries of counters one more file may meet, by their commit records: no other file of a day is opened."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path

from features import lake
from features.counter_tables import LONGEST_S
from features.days import day_of

LISTED_ELEMENTS = 32  # a record that would list more lists none, and may tell of any


@dataclass(frozen=True)
class Reach:
    """What rows tell of: time from `first` to before `end` (UTC), of some elements; of any where none is told."""

    first: datetime
    end: datetime
    elements: frozenset[str]

    def meets(self, other: "Reach") -> bool:
        """Tell whether a row of one may tell of the same as a row of the other."""
        apart = self.elements and other.elements and self.elements.isdisjoint(other.elements)
        return self.first < other.end and other.first < self.end and not apart

    def and_also(self, other: "Reach") -> "Reach":
        """Return what either tells of."""
        both = self.elements | other.elements if self.elements and other.elements else frozenset()
        listed = both if len(both) <= LISTED_ELEMENTS else frozenset()
        return Reach(min(self.first, other.first), max(self.end, other.end), listed)

    def dates(self) -> Iterator[date]:
        """Yield each day of it."""
        day, last = self.first.date(), day_of(self.end)
        while day <= last:
            yield day
            day += timedelta(days=1)


class Ledger:
    """The commit records of counters, by the days of which they tell and the deliveries whose rows they hide."""

    def __init__(self, workspace: Path, records: Mapping[str, lake.Delivery]) -> None:
        self._lake = workspace / "lake"
        self._reaches: dict[str, Reach] = {}
        self._by_day: dict[date, set[str]] = {}
        self._hidden_by: dict[str, set[str]] = {}
        self.records: dict[str, lake.Delivery] = {}
        for record in records.values():
            self.add(record)

    def add(self, record: lake.Delivery) -> None:
        """Take up a record, in the place of a former one of its source."""
        if former := self.records.get(record.source):
            for hidden in former.superseded:
                self._hidden_by[hidden].discard(record.source)
            for day in self._days(record.source):
                self._by_day[day].discard(record.source)
            self._reaches.pop(record.source, None)
        self.records[record.source] = record
        if record.first:
            self._reaches[record.source] = _reach(record)
        for day in self._days(record.source):
            self._by_day.setdefault(day, set()).add(record.source)
        for hidden in record.superseded:
            self._hidden_by.setdefault(hidden, set()).add(record.source)

    def _days(self, source: str) -> Iterable[date]:
        return self._reaches[source].dates() if source in self._reaches else ()

    def near(self, reach: Reach, *, but: str) -> list[str]:
        """Return the sources, but one, that may tell of what `reach` does."""
        sources = {source for day in reach.dates() for source in self._by_day.get(day, ())}
        return sorted(one for one in sources if one != but and reach.meets(self._reaches[one]))

    def files(self, sources: Iterable[str], folder: str) -> list[Path]:
        """Return the files of deliveries in a folder of the lake."""
        named = (file for source in sources for file in self.records[source].files)
        return [self._lake / file for file in named if file.startswith(f"{folder}/")]

    def marks(self, sources: Iterable[str], *, but: str) -> list[Path]:
        """Return the files by which other deliveries than one hide rows of some."""
        by = {one for source in sources for one in self._hidden_by.get(source, ())}
        return self.files(sorted(by - {but}), "superseded")


def _reach(record: lake.Delivery) -> Reach:
    last = datetime.fromisoformat(record.last)
    end = datetime.fromisoformat(record.end) if record.end else last + timedelta(seconds=LONGEST_S)
    return Reach(datetime.fromisoformat(record.first), end, frozenset(record.elements))
