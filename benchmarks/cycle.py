"""A day of cycles, killed at random moments, against an undisturbed one (simulated), and what a cycle costs.

    python benchmarks/cycle.py DIR [--devices 20000] [--windows 96] [--kills 10] [--seed 7] [--walk killed]

Two copies of one workspace get the same deliveries, a quarter of an hour at a time (benchmarks/cycle_day.py). In one
the cycle of each window is walked in this process. In the other it is the command `iotlens cycle`, and as many windows
as `--kills` says are drawn in which it gets SIGKILL at a moment drawn from the time that the last whole call took, and
is called again. At the end all that cycles wrote must be the same (benchmarks/cycle_same.py); the command ends with 1
where it is not. What may differ: `created` of rows, and in the reports of cycles the seconds and, of a window that was
killed, how much was changed by the call that ended it.

DIR is used again: what is there is not made anew, and a walk goes on after its last whole window. With --walk only one
of the two is walked, so that both can be side by side in two calls; a last call without it compares.
"""

import argparse
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from statistics import median

from cycle_day import QUARTER, Day, deliver, make
from cycle_same import differences

from serving import cycle, cycle_report


@dataclass(frozen=True)
class Call:
    """One call of the command. cpu_s: of processors. peak_mb: of memory, resident. killed: in which step."""

    window_end: str
    seconds: float
    cpu_s: float
    peak_mb: float
    killed: str | None


@dataclass(frozen=True)
class Place:
    """Where a day is walked. start: of the day."""

    folder: Path
    start: datetime

    @property
    def undisturbed(self) -> Path:
        return self.folder / "undisturbed"

    @property
    def killed(self) -> Path:
        return self.folder / "killed"

    @property
    def calls(self) -> Path:
        return self.folder / "calls.jsonl"


def call(workspace: Path, end: datetime, *, kill_after_s: float | None) -> Call:
    """Call `iotlens cycle` for a window; with kill_after_s it gets SIGKILL then, if it has not ended."""
    iotlens = Path(sys.executable).with_name("iotlens")
    with tempfile.TemporaryFile("w+", encoding="utf-8") as told:
        began = time.monotonic()
        process = subprocess.Popen(
            [iotlens, "cycle", "--window-end", f"{end:%FT%T}", "--workspace", workspace],
            stdout=subprocess.DEVNULL,
            stderr=told,
        )
        pid, peak_mb = 0, 0.0
        while not pid:
            peak_mb = max(peak_mb, _resident_mb(process.pid))
            if kill_after_s is not None and time.monotonic() - began >= kill_after_s:
                process.kill()
            time.sleep(0.02)
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        seconds = time.monotonic() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        told.seek(0)
        words = told.read()
    if process.returncode not in (0, -signal.SIGKILL):
        raise RuntimeError(f"iotlens cycle ended with {process.returncode}: {words}")
    steps = re.findall(r"cycle: \S+, (\w+)", words)
    step = (steps[-1] if steps else "start") if process.returncode else None
    cpu_s = usage.ru_utime + usage.ru_stime
    return Call(f"{end:%FT%TZ}", round(seconds, 3), round(cpu_s, 3), round(peak_mb, 1), step)


def _resident_mb(pid: int) -> float:
    """Return the most memory that a process has had; rusage would count what its parent had when it was forked."""
    try:
        told = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    except OSError:
        return 0.0
    found = re.search(r"VmHWM:\s+(\d+) kB", told)
    return int(found[1]) / 1024 if found else 0.0


def walk_undisturbed(place: Place, ends: Sequence[datetime]) -> None:
    """Walk the cycles of the day in this process."""
    for end in _left(place.undisturbed, ends):
        deliver(place.folder, end, place.undisturbed)
        for report in cycle.walk(place.undisturbed, end):
            print(f"undisturbed {report.text()}", flush=True)


def walk_killed(place: Place, ends: Sequence[datetime], *, kills: int, seed: int) -> None:
    """Walk the cycles of the day by the command, killed in some windows drawn at random, and called again."""
    drawn = random.Random(seed)
    moments = {end: drawn.random() for end in sorted(drawn.sample(ends[1:], kills))}
    due: list[float] = []  # a cycle that had ended before its moment leaves the kill to the next
    usual = 0.0
    for end in ends:
        due += [moments[end]] if end in moments else []
        if end not in _left(place.killed, [end]):
            continue
        deliver(place.folder, end, place.killed)
        if due and usual:
            told = _told(place, call(place.killed, end, kill_after_s=due[0] * usual))
            due = due[1:] if told.killed else due
            if not told.killed:
                continue
        usual = _told(place, call(place.killed, end, kill_after_s=None)).seconds


def _left(workspace: Path, ends: Sequence[datetime]) -> list[datetime]:
    last = cycle_report.last(workspace)
    return [end for end in ends if last is None or end > last]


def _told(place: Place, one: Call) -> Call:
    """Print a call and keep it."""
    with place.calls.open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(one)) + "\n")
    ended = f"killed in {one.killed}" if one.killed else "done"
    cost = f"{one.seconds:.1f} s ({one.cpu_s:.1f} s of processors), {one.peak_mb:,.0f} MB"
    print(f"killed {one.window_end}: {ended} after {cost}", flush=True)
    return one


def calls(place: Place) -> list[Call]:
    """Return the calls of the command so far."""
    return [Call(**json.loads(line)) for line in place.calls.read_text(encoding="utf-8").splitlines()]


def tell_costs(place: Place, ends: Sequence[datetime], devices: int) -> None:
    """Print what a cycle that was not killed costs, of the command, and each of its steps."""
    told = calls(place)
    hit = {one.window_end for one in told if one.killed}
    whole = [one for one in told if one.window_end not in hit]
    print("step | median s | longest s")
    steps: dict[str, list[float]] = {}
    for end in ends:
        if f"{end:%FT%TZ}" not in hit:
            report = json.loads(cycle_report.path_of(place.killed, end).read_text(encoding="utf-8"))
            for name, counts in report["steps"].items():
                steps.setdefault(name, []).append(float(counts["seconds"]))
    inside = [sum(step) for step in zip(*steps.values(), strict=True)]
    seconds = [one.seconds for one in whole]
    both = {"the command": seconds, "the command, of processors": [one.cpu_s for one in whole]}
    for name, some in {**steps, "all steps": inside, **both}.items():
        print(f"{name} | {median(some):.2f} | {max(some):.2f}")
    print(f"devices per second of the command (median): {devices / median(seconds):,.0f}")
    print(f"memory of the command, resident, largest: {max(one.peak_mb for one in told):,.0f} MB")
    print(f"killed: {', '.join(f'{one.window_end[11:16]} in {one.killed}' for one in told if one.killed)}")


def compare(place: Place) -> int:
    """Print every table that is compared; return how many differ."""
    print("what | rows | differing rows")
    wrong = 0
    for what, rows, lost in differences(place.undisturbed, place.killed):
        print(f"{what} | {rows:,} | {lost:,}")
        wrong += lost > 0
    print(f"{wrong} tables differ (simulated)")
    return wrong


def main() -> int:
    """Walk the day twice and compare; return 1 where anything differs."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("folder", type=Path)
    for name, default in {"devices": 20_000, "history": 1, "windows": 96, "kills": 10, "seed": 7}.items():
        asked.add_argument(f"--{name}", type=int, default=default)
    asked.add_argument(
        "--walk", choices=["killed", "undisturbed"], help="walk only this one, and compare nothing"
    )
    told = asked.parse_args()
    start = make(told.folder, Day(told.devices, told.history, told.windows, told.seed))
    place = Place(told.folder, start)
    for workspace in (place.undisturbed, place.killed):
        if told.walk in (None, workspace.name) and not workspace.exists():
            shutil.copytree(told.folder / "workspace", workspace.with_suffix(".copying"), dirs_exist_ok=True)
            workspace.with_suffix(".copying").rename(workspace)
    ends = [start + n * QUARTER for n in range(1, told.windows + 1)]
    if told.walk != "undisturbed":
        walk_killed(place, ends, kills=told.kills, seed=told.seed)
    if told.walk != "killed":
        walk_undisturbed(place, ends)
    if told.walk:
        return 0
    tell_costs(place, ends, told.devices)
    return min(compare(place), 1)


if __name__ == "__main__":
    sys.exit(main())
