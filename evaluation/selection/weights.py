"""Proposed expert weights of a KQI: what a selection found, written into the text of a service file."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from evaluation.process import Kqi, ServiceModel, read_service_files
from evaluation.selection.record import Json
from evaluation.selection.service_table import indicator_of
from features.whole_file import write_text

WEIGHTS_DIFF = "weights.diff"
_PARTS = 1000  # weights are told to the thousandth


@dataclass(frozen=True)
class Proposal:
    """A service file with the weights of one KQI changed. beyond: selected, but of no step of the KQI's processes."""

    source: Path
    target: Path
    before: str
    after: str
    beyond: tuple[str, ...]

    def diff(self) -> str:
        """Return how the file changes, as a unified diff; empty where it does not."""
        lines = difflib.unified_diff(
            self.before.splitlines(keepends=True),
            self.after.splitlines(keepends=True),
            str(self.source),
            str(self.target),
        )
        return "".join(lines)

    def apply(self) -> None:
        """Write the changed file into the workspace, whole or not at all."""
        write_text(self.target, self.after)


def blended(summary: Json, service: ServiceModel, kqi: Kqi) -> tuple[dict[str, float], tuple[str, ...]]:
    """Return the weight of each indicator, of its scopes together, and what was selected but is in no step of the KQI.

    Weights are whole thousandths that sum to 1; what comes to none has none. Empty where nothing of the steps was
    selected.
    """
    drivers = {driver for process in service.processes_of(kqi) for driver in process.drivers}
    sums: dict[str, float] = {}
    for column, weight in summary["weights"].items():
        sums[indicator_of(column)] = sums.get(indicator_of(column), 0.0) + weight
    beyond = tuple(name for name in sums if name not in drivers)
    told = {name: weight for name, weight in sums.items() if name in drivers and weight > 0}
    if not told:
        return {}, beyond
    exact = {name: weight / sum(told.values()) * _PARTS for name, weight in told.items()}
    parts = {name: int(value) for name, value in exact.items()}
    short = _PARTS - sum(parts.values())
    for name in sorted(exact, key=lambda one: parts[one] - exact[one])[:short]:
        parts[name] += 1
    return {name: count / _PARTS for name, count in parts.items() if count}, beyond


def reweighted(text: str, kqi: str, weights: Mapping[str, float], *, audit: str) -> str:
    """Return the text of a service file with these expert_weights of a KQI, and a comment above them that says why.

    A weight that stays is changed where it stands; what has none goes with its line, what is new follows the last.
    Comments and layout stay. Raises ValueError where the file is written so that this would change anything else.
    """
    key, items = _weights_of(text, kqi)
    edits: list[tuple[int, int, str]] = []
    margin = " " * key.start_mark.column
    start = key.start_mark.index
    edits.append((start, start, f"# {audit}\n{margin}"))
    known = []
    for item in items.value:
        name, weight = (_value(item, part) for part in ("indicator", "weight"))
        known.append(name.value)
        if name.value in weights:
            edits.append((weight.start_mark.index, weight.end_mark.index, f"{weights[name.value]:g}"))
        else:
            edits.append((_line(text, item.start_mark.index), _next_line(text, _end(item)), ""))
    new = [name for name in weights if name not in known]
    dash = " " * max(items.start_mark.column, 0)
    added = "".join(f"{dash}- {{indicator: {name}, weight: {weights[name]:g}}}\n" for name in new)
    place = _next_line(text, _end(items.value[-1]))
    edits.append((place, place, added if text[place - 1] == "\n" else f"\n{added}"))
    changed = text
    for since, until, told in sorted(edits, reverse=True):
        changed = changed[:since] + told + changed[until:]
    _check(text, changed, kqi, weights)
    return changed


def propose(
    summary: Json, workspace: Path, *, service: ServiceModel, kqi: Kqi, audit: str
) -> Proposal | None:
    """Return the service file with the weights that a selection proposes; None where nothing of its steps was selected.

    source: the file that is in force; target: that of the workspace, which stands for it. Raises as `reweighted`.
    """
    weights, beyond = blended(summary, service, kqi)
    source = next(path for path, one in read_service_files(workspace).items() if one.id == service.id)
    if not weights:
        return None
    before = source.read_text(encoding="utf-8")
    after = reweighted(before, kqi.id, weights, audit=audit)
    return Proposal(source, workspace / "configs" / "services" / source.name, before, after, beyond)


def _weights_of(text: str, kqi: str) -> tuple[yaml.Node, yaml.SequenceNode]:
    """Return key and value of the expert_weights of a KQI, with where they stand in the text."""
    for one in _value(yaml.compose(text, yaml.SafeLoader), "kqis").value:
        if _value(one, "id").value == kqi:
            return next((key, value) for key, value in one.value if key.value == "expert_weights")
    raise LookupError(f"no KQI {kqi!r} in the service file")


def _value(node: Any, key: str) -> Any:  # Any: yaml.Node of each kind
    return next(value for name, value in node.value if name.value == key)


def _end(node: Any) -> int:  # Any: as above; the end of a block lies behind the comments that follow it
    if isinstance(node, yaml.ScalarNode) or node.flow_style:
        return int(node.end_mark.index)
    return _end(node.value[-1][1])


def _line(text: str, place: int) -> int:
    return text.rfind("\n", 0, place) + 1


def _next_line(text: str, place: int) -> int:
    found = text.find("\n", place)
    return len(text) if found < 0 else found + 1


def _check(before: str, after: str, kqi: str, weights: Mapping[str, float]) -> None:
    """Refuse a text that does not mean what the one before meant, with these weights of the KQI."""
    wanted = yaml.safe_load(before)
    for one in wanted["kqis"]:
        if one["id"] == kqi:
            kept = [row["indicator"] for row in one["expert_weights"] if row["indicator"] in weights]
            order = [*kept, *(name for name in weights if name not in kept)]
            one["expert_weights"] = [{"indicator": name, "weight": weights[name]} for name in order]
    try:
        found = yaml.safe_load(after)
    except yaml.YAMLError:
        found = None
    if found != wanted:
        raise ValueError(
            f"expert_weights of {kqi} must stand one to a line and for this KQI alone to be changed without a change of"
            f" anything else, but do not; write them by hand: {dict(weights)}"
        )
