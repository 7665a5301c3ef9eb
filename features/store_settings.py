"""configs/feature_store.yaml: where Feast keeps what, under which name, and how long a window row serves."""

import difflib
import re
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, field_validator

SESSION_TTL_S = 365 * 86_400  # what a device did in a session stays true until it is seen again


class StoreSettings(BaseModel, frozen=True, extra="forbid"):
    """Paths are taken from the workspace."""

    project: str | None = Field(
        default=None, description="Feast's name of the workspace; null: made from its folder"
    )
    registry: str = Field(default="feast/registry.db", description="file of Feast's registry")
    online_store: dict[str, Any] = Field(  # Any: the keys are those of the online store chosen
        default={"type": "sqlite", "path": "feast/online.db"},
        description="any online store of Feast, as it takes it",
    )
    ttl_s: dict[str, float] = Field(
        default={"session": SESSION_TTL_S}, description="by window; one not named here: twice its length"
    )

    @field_validator("online_store")
    @classmethod
    def _corrections_arrive(cls, online_store: dict[str, Any]) -> dict[str, Any]:
        if online_store.get("type") == "redis" and online_store.get("skip_dedup") is not True:
            raise ValueError(
                "redis needs skip_dedup: true, or a corrected row of the same window is not written"
            )
        return online_store

    def ttl(self, lengths_s: Mapping[str, float | None]) -> dict[str, timedelta]:
        """Return how long a row of each window serves after its window_end.

        lengths_s: by window, None where it has no fixed length. Raises ValueError naming window and rule.
        """
        for name in sorted(self.ttl_s.keys() - lengths_s.keys()):
            near = difflib.get_close_matches(name, lengths_s, n=1, cutoff=0.0)
            raise ValueError(
                f"ttl_s must name windows of windows.yaml, but has {name!r}; the nearest is {near}"
            )
        seconds = {name: self.ttl_s.get(name, 2 * (length or 0)) for name, length in lengths_s.items()}
        for name, ttl_s in seconds.items():
            if not ttl_s > 0:
                raise ValueError(f"the TTL of {name} must be above 0 s, but is {ttl_s:g}; set ttl_s.{name}")
        return {name: timedelta(seconds=ttl_s) for name, ttl_s in seconds.items()}


def project_name(workspace: Path) -> str:
    """Return the workspace's name as Feast takes it: ASCII letters, digits, underscores, a letter first."""
    name = re.sub(r"\W", "_", workspace.resolve().name, flags=re.ASCII).strip("_").lower()
    return name if name[:1].isalpha() else f"workspace_{name}".rstrip("_")


def let_readers_in(online_store: Mapping[str, Any]) -> None:
    """Switch SQLite to its write-ahead log, which lasts with the file: readers never wait for a writer."""
    if online_store.get("type") == "sqlite":
        with closing(sqlite3.connect(online_store["path"])) as database:
            database.execute("PRAGMA journal_mode = WAL")
