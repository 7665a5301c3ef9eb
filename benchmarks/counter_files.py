"""What one more file of counters costs beside the files that lie there: it should not grow with their number.

Files of one day: of a quarter of an hour each, of an element each (a day at a time, in the long form), and running
counters of a vendor's wide table. A lake is filled in one call; then files are timed that come in one call more, and
alone, each in a call of its own. Told is the time a file, and how many times that of the smallest lake it is.

    python benchmarks/counter_files.py [--files 10 100 1000] [--more 10]
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd

from features import counters

DAY = pd.Timestamp("2026-03-01T00:00:00Z")
HEAD = "scope,scope_id,window_start,window_s,counter,bin,numerator,denominator,element,vendor,received"
COUNTER = "rrc_setup_succ/rrc_setup_att"
CELLS, MINUTES, ELEMENTS = 50, 1440, 2000
MAPPING = """
vendor: made_up
time: {column: begin, format: "%Y-%m-%dT%H:%M:%SZ"}
window_s: 60
scope: cell
scope_id_column: cell
element_column: element
counters:
  - {raw: rrc_setup_att, column: att, cumulative_bits: 32}
  - {raw: rrc_setup_succ, column: succ, cumulative_bits: 32}
"""


def long_rows(minute: int, element: int, cells: Sequence[int]) -> list[str]:
    """Return rows of one minute of one element."""
    start = f"{DAY + pd.Timedelta(minutes=minute):%Y-%m-%dT%H:%M:%SZ}"
    return [
        f"cell,e{element}c{cell},{start},60,{COUNTER},,{90 + cell % 7},100,e{element},made_up,2026-03-09T00:00:00Z"
        for cell in cells
    ]


def by_time(number: int) -> str:
    """Return a file of one minute of 40 elements: more than a commit record lists."""
    rows = [line for element in range(40) for line in long_rows(number, element, range(2))]
    return "\n".join([HEAD, *rows])


def by_element(number: int) -> str:
    """Return a file of an hour of one element."""
    rows = [line for minute in range(60) for line in long_rows(minute, number, range(2))]
    return "\n".join([HEAD, *rows])


def running(number: int) -> str:
    """Return a wide file of one minute of a vendor's running counters."""
    start = f"{DAY + pd.Timedelta(minutes=number):%Y-%m-%dT%H:%M:%SZ}"
    rows = [
        f"{start},c{cell},e{cell % 5},{100 * number + cell},{90 * number + cell}" for cell in range(CELLS)
    ]
    return "\n".join(["begin,cell,element,att,succ", *rows])


KINDS: dict[str, Callable[[int], str]] = {
    "a minute each, long": by_time,
    "an element each, long": by_element,
    "a minute each, running counters": running,
}


def measure(kind: str, files: int, more: int) -> tuple[float, float]:
    """Return the seconds that one more file costs beside `files`: of `more` in one call, and in a call of its own."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "map.yaml").write_text(MAPPING)
        mapping = folder / "map.yaml" if KINDS[kind] is running else None
        for number in range(files + 2 * more):
            part = "held" if number < files else "more" if number < files + more else "alone"
            (folder / part).mkdir(exist_ok=True)
            (folder / part / f"{number:05}.csv").write_text(KINDS[kind](number) + "\n")
        counters.ingest([str(folder / "held")], folder / "ws", mapping=mapping)
        started = time.perf_counter()
        done = counters.ingest([str(folder / "more")], folder / "ws", mapping=mapping)
        together = (time.perf_counter() - started) / more
        if done.new != more or sum(done.quarantined.values()):
            raise SystemExit(f"{kind}: {done.text()}")
        started = time.perf_counter()
        for path in sorted((folder / "alone").iterdir()):
            counters.ingest([str(path)], folder / "ws", mapping=mapping)
        return together, (time.perf_counter() - started) / more


def main() -> None:
    """Print a row of a Markdown table for each kind of files and size of lake."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, nargs="+", default=[10, 100, 1000])
    parser.add_argument("--more", type=int, default=10)
    told = parser.parse_args()
    print(
        "| files of | there before | one more, in a call of several | ratio | in a call of its own | ratio |"
    )
    print("|---|---|---|---|---|---|")
    for kind in KINDS:
        first: tuple[float, float] | None = None
        for files in told.files:
            seconds = measure(kind, files, told.more)
            first = first or seconds
            ratios = [one / least for one, least in zip(seconds, first, strict=True)]
            cells = [
                f"{1000 * one:,.0f} ms | {ratio:.2f}" for one, ratio in zip(seconds, ratios, strict=True)
            ]
            print(f"| {kind} | {files:,} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
