"""The reports of a workspace: of its runs, and of the selections below reports/. Found by listing, never by a path."""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from serving.schema import Report

PAGE, MARKDOWN = "report.html", "report.md"
FORMATS = {"html": (PAGE, "text/html; charset=utf-8"), "markdown": (MARKDOWN, "text/markdown; charset=utf-8")}
# A report runs nothing and loads nothing; should one ever hold a script, no browser runs it.
POLICY = "; ".join(
    [
        *("default-src 'none'", "style-src 'unsafe-inline'", "img-src data:", "base-uri 'none'"),
        *("form-action 'none'", "frame-ancestors 'none'", "sandbox"),
    ]
)


@dataclass(frozen=True)
class Found:
    """Where a report lies, and what it is. id: `run.EXPERIMENT.RUN` or `selection.NAME`."""

    id: str
    kind: Literal["run", "selection"]
    directory: Path

    @property
    def page(self) -> Path:
        """The HTML page, absolute."""
        return (self.directory / PAGE).resolve()

    @property
    def made(self) -> datetime:
        """When the page was written, UTC."""
        return datetime.fromtimestamp(self.page.stat().st_mtime, UTC).replace(microsecond=0)

    def shown(self) -> Report:
        """Return what a list tells of it."""
        return Report(
            id=self.id,
            kind=self.kind,
            headline=self._headline(),
            made=self.made,
            markdown=_inside(self.directory, MARKDOWN),
        )

    def _headline(self) -> str | None:
        """Return what the report says first: of a run as report.json has it, of a selection as report.md begins."""
        if self.kind == "run" and _inside(self.directory, "report.json"):
            told = json.loads((self.directory / "report.json").read_text(encoding="utf-8"))
            return str(told["headline"]["sentence"]) + (" (simulated)" if told["simulated"] else "")
        if _inside(self.directory, MARKDOWN):
            with (self.directory / MARKDOWN).open(encoding="utf-8") as lines:
                return lines.readline().removeprefix("# ").strip() or None
        return None


def every(workspace: Path) -> list[Found]:
    """Return the reports of the finished runs and of the selections, newest first."""
    return sorted(_found(workspace), key=lambda one: (one.made, one.id), reverse=True)


def find(workspace: Path, report_id: str) -> Found:
    """Return a report by its id, which is compared and never made a path.

    Raises LookupError where there is none.
    """
    for one in _found(workspace):
        if one.id == report_id:
            return one
    raise LookupError(f"no report {report_id!r}; `iotlens report` and GET /reports list those there are")


def listing(workspace: Path) -> str:
    """Return the reports as lines of text: id, when it was made, what it says first.

    Raises LookupError where there is no workspace.
    """
    if not workspace.is_dir():
        raise LookupError(
            f"the workspace must exist, but there is none at {workspace}; name one by --workspace"
        )
    shown = [one.shown() for one in every(workspace)]
    if not shown:
        return f"no report in {workspace}; `iotlens train` and `iotlens indicators select` write them"
    return "\n".join(f"{one.id}\t{one.made:%Y-%m-%dT%H:%M:%SZ}\t{one.headline or '-'}" for one in shown)


def read(found: Found, form: Literal["html", "markdown"]) -> tuple[bytes, str, str]:
    """Return the content of a report, its media type, and a tag that changes with it.

    Raises LookupError where it was not written in this form.
    """
    name, media_type = FORMATS[form]
    if not _inside(found.directory, name):
        raise LookupError(f"{found.id} has no {name}; take the page")
    with (found.directory / name).open("rb") as file:
        told = os.fstat(file.fileno())
        return file.read(), media_type, f'"{told.st_mtime_ns:x}-{told.st_size:x}"'


def _found(workspace: Path) -> Iterator[Found]:
    root = workspace.resolve()
    for done in root.glob("runs/*/*/DONE"):
        run = done.parent
        if _inside(run, PAGE) and run.resolve() == run:
            yield Found(f"run.{run.parent.name}.{run.name}", "run", run)
    for page in root.glob(f"reports/*/{PAGE}"):
        selection = page.parent
        if _inside(selection, PAGE) and selection.resolve() == selection:
            yield Found(f"selection.{selection.name}", "selection", selection)


def _inside(directory: Path, name: str) -> bool:
    """Return whether the directory itself has the file: a link may lead out of the workspace."""
    path = directory / name
    return path.is_file() and not path.is_symlink()
