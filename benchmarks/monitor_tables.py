"""Results of the benchmark of the monitor as tables, with intervals of 95 % by bootstrap over provinces.

`python benchmarks/monitor_tables.py DIR` prints those of the provinces that are measured.
"""

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import monitor_devices
import numpy as np
import pandas as pd

Way = dict[str, Any]  # JSON: what one way of watching made of one province
DRAWS, SEED = 2000, 1
LASTS_H = ((0, 1), (1, 2), (2, 6), (6, 24), (24, np.inf))  # from, to


def main() -> None:
    """Print the tables of what is measured so far."""
    read = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    read.add_argument("directory", type=Path)
    files = sorted(read.parse_args().directory.glob("[0-9]*.json"))
    print(text([json.loads(one.read_text(encoding="utf-8")) for one in files]))


def text(results: Sequence[dict[str, Any]]) -> str:
    """Return all tables, simulated."""
    ours = [one["ways"]["monitor"] for one in results]
    tables = [
        ways(results),
        by(ours, "lasts", lambda fault: next(f"{a:g} to {b:g} h" for a, b in LASTS_H if fault["hours"] < b)),
        by(ours, "scope", lambda fault: str(fault["scope"])),
        by(ours, "severity", lambda fault: "0.5 or more" if fault["severity"] >= 0.5 else "below 0.5"),
        by(ours, "cause", lambda fault: str(fault["cause"])),
    ]
    size = f"{len(results)} provinces of {results[0]['devices']:,} devices and {results[0]['days']} days, simulated"
    abnormal = monitor_devices.table([one["abnormal"] for one in results], interval)
    return "\n\n".join([size, *(one.to_string(index=False) for one in tables), abnormal])


def ways(results: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """Return a column for each way of watching, and one for the monitor less each rival in the same provinces."""
    names = [*results[0]["ways"]]
    if strange := [one["seed"] for one in results if [*one["ways"]] != names]:
        raise ValueError(
            f"provinces must be watched in the same ways, but those of {strange} were not; remove them"
        )
    found: dict[str, list[Any]] = {"": ["faults", *FIGURES]}
    for way in names:
        of = [one["ways"][way] for one in results]
        found[way] = [len(_all(of)), *(interval(of, figure) for figure in FIGURES.values())]
    for way in names[1:]:
        less = [interval(results, partial(_less, figure=figure, way=way)) for figure in FIGURES.values()]
        found[f"less {way}"] = ["", *less]
    return pd.DataFrame(found)


def _less(results: Sequence[dict[str, Any]], figure: Callable[[Sequence[Way]], float], way: str) -> float:
    ours, theirs = ([one["ways"][name] for one in results] for name in ("monitor", way))
    return figure(ours) - figure(theirs)


def by(of: Sequence[Way], name: str, kind: Callable[[dict[str, Any]], str]) -> pd.DataFrame:
    """Return a row for each kind of fault: how many, the share found, and how soon."""
    rows = []
    for one in sorted({kind(fault) for fault in _all(of)}):
        mine = [{**way, "faults": [f for f in way["faults"] if kind(f) == one]} for way in of]
        rows.append(
            {
                name: one,
                "faults": len(_all(mine)),
                "found": sum(fault["found"] for fault in _all(mine)),
                "share": interval(mine, _found),
                "very place": interval(mine, _exact),
                "minutes": interval(mine, _quantile(0.5)),
            }
        )
    return pd.DataFrame(rows)


def interval(of: Sequence[Any], figure: Callable[[Sequence[Any]], float]) -> str:
    """Return a figure and its 95 % interval over provinces, of three or more."""
    if len(of) < 3:
        return f"{figure(of):.2f}"
    rng = np.random.default_rng(SEED)
    drawn = np.array([figure([of[row] for row in rng.integers(0, len(of), len(of))]) for _ in range(DRAWS)])
    if np.isnan(drawn).all():
        return "-"
    low, high = np.nanquantile(drawn, [0.025, 0.975])
    return f"{figure(of):.2f} ({low:.2f} to {high:.2f})"


def _all(of: Sequence[Way]) -> list[dict[str, Any]]:
    return [fault for one in of for fault in one["faults"]]


def _mean(told: Iterator[float]) -> float:
    values = list(told)
    return float(np.mean(values)) if values else np.nan


def _found(of: Sequence[Way]) -> float:
    return _mean(fault["found"] for fault in _all(of))


def _found_long(of: Sequence[Way]) -> float:
    return _mean(fault["found"] for fault in _all(of) if fault["hours"] >= 2)


def _exact(of: Sequence[Way]) -> float:
    return _mean(fault["exact"] for fault in _all(of))


def _a_day(key: str) -> Callable[[Sequence[Way]], float]:
    return lambda of: float(sum(one[key] for one in of) / sum(one["days"] for one in of))


def _a_found_fault(key: str) -> Callable[[Sequence[Way]], float]:
    return lambda of: _mean(fault[key] for fault in _all(of) if fault["found"])


def _quantile(share: float) -> Callable[[Sequence[Way]], float]:
    def figure(of: Sequence[Way]) -> float:
        told = [fault["minutes"] for fault in _all(of) if fault["found"]]
        return float(np.quantile(told, share)) if told else np.nan

    return figure


def _alarms_a_cause(of: Sequence[Way]) -> float:
    causes = sum(one["causes"] for one in of)
    return float(sum(one["alarms"] for one in of) / causes) if causes else np.nan


FIGURES: dict[str, Callable[[Sequence[Way]], float]] = {
    "found": _found,
    "found, of 2 h or more": _found_long,
    "found at the very place": _exact,
    "false causes a day": _a_day("false"),
    "false alarms a day": _a_day("false_alarms"),
    "causes a day": _a_day("causes"),
    "minutes, lower quartile": _quantile(0.25),
    "minutes, median": _quantile(0.5),
    "minutes, upper quartile": _quantile(0.75),
    "alarms a cause": _alarms_a_cause,
    "alarms a found fault": _a_found_fault("alarms"),
    "causes a found fault": _a_found_fault("causes"),
}


if __name__ == "__main__":
    main()
