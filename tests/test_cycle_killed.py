"""A few windows of a small province, some of them killed at random moments: what an undisturbed walk leaves."""

import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).resolve().parents[1] / "benchmarks" / "cycle.py"


@pytest.mark.slow
def test_a_cycle_killed_at_random_moments_leaves_what_an_undisturbed_one_does(tmp_path: Path) -> None:
    size = {"devices": 300, "history": 1, "windows": 4, "kills": 3, "seed": 7}
    asked = [word for name, number in size.items() for word in (f"--{name}", str(number))]
    done = subprocess.run(
        [sys.executable, BENCHMARK, tmp_path, *asked], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert "\n0 tables differ (simulated)" in done.stdout
    assert " in " in done.stdout.partition("\nkilled: ")[2]  # at least one call was killed, in a step
