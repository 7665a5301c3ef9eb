"""docs/flows.md, made from the declarations: each column of FLOWS, DEVICES and EVENTS, its unit, range and meaning."""

from collections.abc import Sequence

from features.devices import DEVICES
from features.events import EVENTS
from features.flows import FLOWS
from features.table import Column

_HEAD = """# Flows, devices and events

Made from `features/flows.py`, `features/devices.py` and `features/events.py` by `python -m features.flow_page`; a test
keeps it current. docs/captures.md tells how captures and tables become flows, docs/counters.md how a log comes in.
"""


def page() -> str:
    """Return the page as Markdown."""
    flows = _table(
        "FLOWS: one row per bidirectional flow, seen from the device (up = from the device)", FLOWS
    )
    devices = _table("DEVICES: what the map tells of each device seen in a source", DEVICES)
    events = _table("EVENTS: the service event log, one row per attempt of a process", EVENTS)
    return "\n".join([_HEAD, flows, devices, events])


def _table(title: str, columns: Sequence[Column]) -> str:
    head = f"## {title}\n\n| column | type | unit | range | empty | from | meaning |\n|---|---|---|---|---|---|---|\n"
    return head + "".join(map(_line, columns))


def _line(column: Column) -> str:
    bounds = (
        ""
        if column.low is None and column.high is None
        else f"{_number(column.low)} .. {_number(column.high)}"
    )
    empty = "may be" if column.empty else "never"
    cells = [
        f"`{column.name}`",
        column.dtype,
        column.unit,
        bounds,
        empty,
        column.given_by,
        column.description,
    ]
    return f"| {' | '.join(cells)} |\n"


def _number(bound: float | None) -> str:
    return "" if bound is None else f"{bound:g}"


if __name__ == "__main__":
    import sys

    sys.stdout.write(page())
