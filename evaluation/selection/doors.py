"""From a table on disk to a written selection, and what is said of it on the screen."""

import itertools
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TypeVar, get_args

from evaluation.selection import page, record
from evaluation.selection.contributions import Model
from evaluation.selection.expert import Experts, read_experts
from evaluation.selection.groups import Likeness
from evaluation.selection.procedure import Settings, select
from evaluation.selection.record import Json
from evaluation.selection.study import FEWEST_ROWS, Kind, Roles, read_study, read_table
from features.whole_file import write_text

log = logging.getLogger(__name__)
Word = TypeVar("Word", bound=str)
LONGEST_NAME = 80  # characters of a target in the name of a directory


@dataclass(frozen=True)
class Request:
    """What a person asks, as typed. task, likeness, model: one of the words that Kind, Likeness and Model list."""

    target: str
    group: str | None = None
    time: str | None = None
    ignored: tuple[str, ...] = ()
    task: str | None = None
    likeness: str = "spearman"
    rows: int = 20_000
    seed: int = 0
    threads: int = 1
    model: str = "trees"

    @property
    def kind(self) -> Kind | None:
        """The task. Raises ValueError for a word that is none."""
        return None if self.task is None else _one_of(self.task, get_args(Kind), "task")

    @property
    def settings(self) -> Settings:
        """How to select. Raises ValueError for a likeness or a model that is none, or numbers out of their range."""
        for name, value, least in (
            ("rows", self.rows, FEWEST_ROWS),
            ("seed", self.seed, 0),
            ("threads", self.threads, 1),
        ):
            if value < least:
                raise ValueError(f"{name} must be at least {least}, but is {value}")
        how: Likeness = _one_of(self.likeness, get_args(Likeness), "likeness")
        model: Model = _one_of(self.model, get_args(Model), "model")
        return Settings(seed=self.seed, rows=self.rows, likeness=how, threads=self.threads, model=model)


def check_form(
    *,
    of_table: Mapping[str, object],
    of_service: Mapping[str, object],
    only_table: Mapping[str, object],
    only_service: Mapping[str, object],
) -> None:
    """Refuse a call that names neither a table nor a KQI, both, half of one, or an option of the other.

    Each maps what a person types to what was given, None for nothing.
    """
    rule = f"a selection needs {' and '.join(of_table)}, or {' and '.join(of_service)}, one of the two"
    given = [name for name, value in {**of_table, **of_service}.items() if value is not None]
    if sorted(given) not in (sorted(of_table), sorted(of_service)):
        raise ValueError(f"{rule}, but was given {' and '.join(given) or 'none of them'}")
    strange = only_service if sorted(given) == sorted(of_table) else only_table
    if wrong := [name for name, value in strange.items() if value is not None]:
        raise ValueError(f"{' and '.join(wrong)} cannot stand beside {' and '.join(given)}; leave it out")


@dataclass(frozen=True)
class Place:
    """Where the files of a selection go. out: the directory, None for a new one below reports/ of the workspace."""

    workspace: Path
    out: Path | None = None

    def check(self) -> None:
        """Raise LookupError where there is neither a directory nor a workspace to make one in."""
        if self.out is None and not self.workspace.is_dir():
            raise LookupError(
                f"a selection goes into a workspace, but there is none at {self.workspace};"
                " name one by --workspace, or a directory by --out"
            )

    def directory(self, target: str, day: date) -> Path:
        """Return `out`, or make `reports/<day>-<target>`, with -2, -3, ... where an earlier selection has that name."""
        if self.out is not None:
            return self.out
        safe = re.sub(r"[^\w.-]+", "-", target, flags=re.ASCII).strip("-.")[:LONGEST_NAME] or "target"
        first = self.workspace / "reports" / f"{day:%F}-{safe}"
        later = (first.with_name(f"{first.name}-{number}") for number in itertools.count(2))
        return next(made for made in itertools.chain([first], later) if _made(made))


def _made(directory: Path) -> bool:
    """Make a directory and return whether it is new: of two that ask at once, one is told so."""
    try:
        directory.mkdir(parents=True)
    except FileExistsError:
        return False
    return True


def of_table(path: Path, request: Request, place: Place, *, experts: Path | None) -> str:
    """Select from a table, write the files into their place, and return what to tell."""
    place.check()
    log.info("selection: reading %s", path)
    frame = read_table(path)
    roles = Roles(request.target, request.group, request.time, request.ignored, request.kind)
    settings = request.settings  # a wrong word is told before the table is worked on
    study = read_study(frame, roles, table=path.name)
    said = Experts() if experts is None else read_experts(experts, study.names)
    selection = select(study, settings, said)
    summary = record.summarize(selection, table=path.name, meanings={}, simulated=False)
    return publish(summary, place.directory(request.target, datetime.now(UTC).date()))


def publish(summary: Json, out: Path) -> str:
    """Write the files of a selection into `out`, and return what to tell."""
    record.write(summary, out)
    write_text(out / page.REPORT_HTML, page.to_html(summary))
    write_text(out / page.REPORT_MD, page.to_markdown(summary))
    return told(summary, out)


def told(summary: Json, out: Path) -> str:
    """Return a selection as lines of text."""
    score, mark = summary["score"], " (simulated)" if summary["simulated"] else ""
    lines = [
        f"{page.headline(summary)}: {score['measure']} {page.spoken(score['selected'])},"
        f" with all {summary['columns']['judged']} usable {page.spoken(score['all'])}{mark}"
    ]
    for place, row in enumerate(summary["groups"], start=1):
        like = [member["indicator"] for member in row["members"][1:]]
        also = f"  (also {', '.join(like)})" if like else ""
        pair = f"  with {', '.join(row['pairs'])}" if row["pairs"] else ""
        lines.append(f"{place:3} {row['representative']}  {100 * row['share']:.0f} %{pair}{also}")
    if page.holds(summary):
        few = ", ".join(summary["minimal"])
        lines.append(f"{len(summary['minimal'])} suffice: {few}: {page.spoken(score['minimal'])}")
    lines += _to_look_at(summary["flagged"])
    lines += [f"note: {note}" for note in summary["notes"]]
    return "\n".join([*lines, str(out / page.REPORT_HTML)])


def _to_look_at(flagged: list[Json]) -> list[str]:
    """Return a line for each suspected leak, and one for all that is unstable: of many, the report has the facts."""
    lines = [
        f"suspected leak: {row['indicator']}: {row['detail']}" for row in flagged if row["reason"] == "leak"
    ]
    if unstable := [row["indicator"] for row in flagged if row["reason"] == "unstable"]:
        lines.append(f"unstable over time, left out: {', '.join(unstable)}")
    if lines:
        lines.append(page.WAY_BACK)
    return lines


def _one_of(given: str, words: tuple[Word, ...], what: str) -> Word:
    for word in words:
        if word == given:
            return word
    raise ValueError(f"{what} must be one of {', '.join(words)}, but is {given!r}")
