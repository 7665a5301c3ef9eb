"""What the rows of a folder of the lake were made from, kept beside them: the next build looks there first."""

import json
from dataclasses import asdict, fields
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    Record = TypeVar("Record", bound=DataclassInstance)

FILE = "built.json"


def recall(folder: Path, kind: "type[Record]", *, file: str = FILE) -> "Record | None":
    """Return what was remembered in a folder; None where nothing was, or an older version of the program did it."""
    path = folder / file
    told = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return kind(**told) if set(told) == {field.name for field in fields(kind)} else None


def remember(folder: Path, built: "DataclassInstance", *, file: str = FILE) -> None:
    """Write down what the rows of a folder were made from, whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    written = (folder / file).with_suffix(".new")
    written.write_text(json.dumps(asdict(built), indent=1) + "\n", encoding="utf-8")
    written.replace(folder / file)


def now_after(created: str | None) -> datetime:
    """Return now, but later than `created` (ISO 8601) of the newest rows: the newest version is the one created last.

    The clock may have been set back since they were written.
    """
    now = datetime.now(UTC)
    return max(now, datetime.fromisoformat(created) + timedelta(microseconds=1)) if created else now
