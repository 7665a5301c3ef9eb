"""What `iotlens ingest` is given: captures and tables of flows, each to the reader of its kind."""

import glob
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from features import flow_tables, ingest
from features.configuration import read_config
from features.flows import FlowSettings
from features.sources import is_capture, walked
from features.table_files import is_table


@dataclass(frozen=True)
class Arrived:
    """What one call of `bring_in` did, by kind. failures: (path as given, reason)."""

    told: tuple[str, ...]
    failures: tuple[tuple[str, str], ...]

    def text(self) -> str:
        """Return the summary as a person reads it."""
        return "\n".join(self.told)


def bring_in(
    sources: Sequence[str],
    workspace: Path,
    *,
    devices: str | None = None,
    each_address: bool = False,
    flow_settings: Path | None = None,
) -> Arrived:
    """Bring captures and tables of flows into the lake of a workspace (`ingest.ingest`, `flow_tables.load`).

    sources: files, folders or globs. A file is a table if its name ends as one; a folder with a capture in it is one
    of captures, whatever tables lie beside them. devices, each_address: of captures. flow_settings: of tables, the
    flows.yaml that they were made with. Raises as the two readers do, before anything has changed.
    """
    captures, tables = _by_kind(sources)
    settings = read_config(flow_settings, FlowSettings) if flow_settings else None
    if captures and devices is None:
        raise ValueError(
            f"captures need a device map, but {captures[0]} has none; tell --devices MAP.csv or auto"
        )
    if captures and tables and settings is None:
        raise ValueError(
            "captures and tables must come with the same flow settings, but nobody told those of"
            f" {tables[0]}; tell --flow-settings, or use two workspaces"
        )
    told: list[str] = []
    failures: tuple[tuple[str, str], ...] = ()
    if captures and devices is not None:
        read = ingest.ingest(captures, workspace, devices=devices, each_address=each_address)
        told, failures = [read.text()], read.failures
    if tables:
        loaded = flow_tables.load(tables, workspace, settings=settings)
        told, failures = [*told, loaded.text()], (*failures, *loaded.failures)
    return Arrived(tuple(told), failures)


def _by_kind(sources: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the captures and the tables among files, folders and what globs stand for.

    What does not exist counts as a capture: its reader says so.
    """
    captures, tables = list[str](), list[str]()
    for source in sources:
        places = [source] if Path(source).exists() else sorted(glob.glob(source, recursive=True))  # noqa: PTH207
        for place in places or [source]:
            (tables if _is_of_tables(place) else captures).append(place)
    return captures, tables


def _is_of_tables(place: str) -> bool:
    if not Path(place).is_dir():
        return is_table(place) and not is_capture(place)
    return not any(walked(place, is_capture)) and any(walked(place, is_table))
