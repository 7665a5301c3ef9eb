"""What bringing files of counters into the lake came to, as a person reads it."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from features import lake
from features.counter_rules import COMPARED, RULES

_TOLD_BEFORE = frozenset(rule.name for rule in COMPARED)


@dataclass(frozen=True)
class Outcome:
    """What became of one file that could be read. hints: by rule, what would have been right."""

    kind: Literal["new", "unchanged", "replaced"]
    record: lake.Delivery
    hints: dict[str, str]

    @property
    def nothing(self) -> str:
        """Why the file gave nothing; "" where it gave something, held nothing or told what was told before."""
        kept = any(file.startswith("readings/") for file in self.record.files)
        return "" if self.record.used or kept else self._bad()

    @property
    def mostly_bad(self) -> str:
        """Why more than half of the rows of a file that gave something are quarantined; "" where they are not."""
        bad = sum(count for rule, count in self.record.quarantined.items() if rule not in _TOLD_BEFORE)
        if self.nothing or 2 * bad <= self.record.rows:
            return ""
        return f"{bad:,} of {self.record.rows:,} rows are quarantined: {self._bad()}"

    def _bad(self) -> str:
        return "; ".join(
            f"{count:,} {rule}" + (f" ({self.hints[rule]})" if rule in self.hints else "")
            for rule, count in self.record.quarantined.items()
            if rule not in _TOLD_BEFORE
        )


@dataclass(frozen=True)
class CounterSummary:
    """What one call of `ingest` did: files = new + unchanged + replaced + failed, rows = used + quarantined.

    rows, used, quarantined (by rule): of the new and replaced files. superseded: used rows of earlier files whose
    place these took. failures: (path as given, reason). nothing: so of files of which no row was used, unchanged ones
    too, but for rows that other files told. mostly_bad: so of files that gave something of less than half their rows.
    """

    files: int
    new: int
    unchanged: int
    replaced: int
    rows: int
    used: int
    quarantined: dict[str, int]
    superseded: int
    failures: tuple[tuple[str, str], ...]
    nothing: tuple[tuple[str, str], ...] = ()
    mostly_bad: tuple[tuple[str, str], ...] = ()

    @property
    def failed(self) -> bool:
        """Whether a file could not be read or gave nothing."""
        return bool(self.failures or self.nothing)

    def text(self) -> str:
        """Return the summary as a person reads it."""
        bad = sum(self.quarantined.values())
        counts = f"{self.new:,} new, {self.unchanged:,} unchanged, {self.replaced:,} replaced"
        return "\n".join(
            [
                f"{self.files:,} files: {counts}, {len(self.failures):,} failed",
                f"{self.rows:,} rows: {self.used:,} used, {bad:,} quarantined;"
                f" {self.superseded:,} earlier rows superseded",
                *(
                    f"{count:,} {rule}: not so that {RULES[rule].says}"
                    for rule, count in self.quarantined.items()
                ),
                *(f"warning: {path}: {reason}" for path, reason in self.mostly_bad),
                *(f"nothing used of {path}: {reason}" for path, reason in self.nothing),
                *(f"failed: {path}: {reason}" for path, reason in self.failures),
            ]
        )


def summary(files: int, outcomes: Sequence[Outcome], failures: Sequence[tuple[str, str]]) -> CounterSummary:
    """Return the summary of one call. failures: of files that have no outcome."""
    kinds = Counter(one.kind for one in outcomes)
    records = [one.record for one in outcomes if one.kind != "unchanged"]
    quarantined: Counter[str] = Counter()
    for record in records:
        quarantined.update(record.quarantined)
    return CounterSummary(
        files=files,
        new=kinds["new"],
        unchanged=kinds["unchanged"],
        replaced=kinds["replaced"],
        rows=sum(record.rows for record in records),
        used=sum(record.used for record in records),
        quarantined=dict(sorted(quarantined.items())),
        superseded=sum(sum(record.superseded.values()) for record in records),
        failures=tuple(failures),
        nothing=tuple((one.record.path, one.nothing) for one in outcomes if one.nothing),
        mostly_bad=tuple((one.record.path, one.mostly_bad) for one in outcomes if one.mostly_bad),
    )
