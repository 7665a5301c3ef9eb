"""The services and processes that configs/services know; a row that names another is quarantined by a named rule."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd
from pydantic import BaseModel

from features.configuration import find_configs, read_config

RULES: Mapping[str, str] = {  # what must hold
    "unknown_service": "service is the id of a file of configs/services",
    "unknown_process": "process is one of its service",
}


class _Process(BaseModel, frozen=True, extra="ignore"):
    id: str


class _Service(BaseModel, frozen=True, extra="ignore"):
    """Of a service file only its names; evaluation/process.py checks all else."""

    id: str
    processes: tuple[_Process, ...]


def known_processes(workspace: Path | None = None) -> dict[str, frozenset[str]]:
    """Return the ids of the processes of each service of a workspace. Raises ValueError that names file and key."""
    services = (read_config(path, _Service) for path in find_configs("services", workspace))
    return {service.id: frozenset(process.id for process in service.processes) for service in services}


def rules_broken(frame: pd.DataFrame, known: Mapping[str, frozenset[str]]) -> "pd.Series[str]":
    """Return of each row the rule that it breaks, <NA> where it names what is known.

    frame: with `service`, and with `process` where rows are of one.
    """
    names = ["service", *(["process"] if "process" in frame else [])]
    pairs = pd.MultiIndex.from_frame(frame[names]) if len(names) > 1 else pd.Index(frame["service"])
    told = {pair: _rule(pair if isinstance(pair, tuple) else (pair,), known) for pair in pairs.unique()}
    return pd.Series([told[pair] for pair in pairs], frame.index, dtype="string")


def _rule(names: tuple[str, ...], known: Mapping[str, frozenset[str]]) -> str | None:
    service, *process = names
    if service not in known:
        return "unknown_service"
    return None if set(process) <= known[service] else "unknown_process"
