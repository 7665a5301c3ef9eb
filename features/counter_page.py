"""The generated tables of docs/counters.md: contracts and rules, from what the code reads."""

from collections.abc import Sequence
from pathlib import Path

from features.counter_rules import RULES
from features.counter_tables import COUNTERS
from features.membership import MEMBERSHIP
from features.service_names import RULES as NAMES
from features.table import Column
from features.terminal import TERMINAL


def tables() -> dict[str, str]:
    """Return each table of the page in Markdown, by the name of its mark."""
    rules = [f"| `{rule.name}` | {rule.says} | {'yes' if rule.heals else ''} |" for rule in RULES.values()]
    return {
        "counters": _columns(COUNTERS[:-1]),
        "rules": "\n".join(["| rule | what must hold | heals |", "|---|---|---|", *rules]),
        "membership": _columns(MEMBERSHIP),
        "names": "\n".join(
            [
                "| rule | what must hold |",
                "|---|---|",
                *(f"| `{name}` | {says} |" for name, says in NAMES.items()),
            ]
        ),
        "terminal": _columns(TERMINAL),
    }


def _columns(columns: Sequence[Column]) -> str:
    rows = [
        f"| `{one.name}` | {one.dtype} | {one.unit} | {'yes' if one.empty else 'no'} | {one.description} |"
        for one in columns
    ]
    return "\n".join(["| column | type | unit | may be empty | meaning |", "|---|---|---|---|---|", *rows])


def current(page: str) -> str:
    """Return the page with its generated tables as they are now; a table stands between two marks of its name."""
    for name, table in tables().items():
        mark = f"<!-- {name} -->"
        before, *others = page.split(mark)
        if len(others) not in (1, 2):
            raise ValueError(
                f"the page must have {mark} once or around its table, but has it {len(others)} times"
            )
        page = f"{before}{mark}\n\n{table}\n\n{mark}{others[-1]}"
    return page


def write(path: Path) -> None:
    """Bring the tables of a page up to date."""
    path.write_text(current(path.read_text(encoding="utf-8")), encoding="utf-8")
