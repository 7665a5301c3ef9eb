"""The fault of a picture is the one that a KQI shows most, on values small enough to see."""

from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from evaluation.process import read_services
from evaluation.province_day import Happened, draw, worse, worse_outside
from serving.cli import app

ENDS = pd.date_range("2026-03-02 01:00", periods=24, freq="1h", tz="UTC")
FAULT = Happened("f_backhaul_ring", "tac", "tac-003", ENDS[11], ENDS[17])
(DELAY,) = [kqi for service in read_services() for kqi in service.kqis if kqi.id == "bk_unlock_delay"]


def test_a_delay_that_grows_in_a_fault_is_worse_by_as_many_times_what_it_varies_otherwise() -> None:
    values = pd.Series(DELAY.excellent, ENDS)
    values[(FAULT.onset < ENDS) & (FAULT.end >= ENDS)] = DELAY.unacceptable
    assert worse(values, FAULT, DELAY) == pytest.approx(100.0)  # it never varied: 1 % of its scale counts
    values[ENDS[0]] = DELAY.unacceptable
    assert 1 < worse(values, FAULT, DELAY) < 10


def test_a_delay_that_shrinks_in_a_fault_is_not_its_doing() -> None:
    values = pd.Series(DELAY.unacceptable, ENDS)
    values[(FAULT.onset < ENDS) & (FAULT.end >= ENDS)] = DELAY.excellent
    assert worse(values, FAULT, DELAY) < 0


def test_two_values_in_a_fault_show_nothing() -> None:
    values = pd.Series(DELAY.excellent, ENDS).where((ENDS[13] >= ENDS) | (FAULT.end < ENDS))
    values[ENDS[12:14]] = DELAY.unacceptable
    assert worse(values, FAULT, DELAY) == 0.0


def test_a_window_outside_the_fault_that_is_worse_than_any_in_it_is_told() -> None:
    values = pd.Series(DELAY.excellent, ENDS)
    values[(FAULT.onset < ENDS) & (FAULT.end >= ENDS)] = DELAY.unacceptable
    assert worse_outside(values, FAULT, DELAY) == ""
    values[ENDS[3]] = 2 * DELAY.unacceptable
    assert "in the one that ended at 2 March 04:00" in worse_outside(values, FAULT, DELAY)


RING = """
draw: false
faults:
  - id: f_ring
    name: A ring of ones own
    fault_domain: transport
    granularity: tac
    services: [smoke_sensor, bike_sharing]
    onset: {shape: step}
    duration: {dist: lognormal, median: 6, unit: hour, sigma: 0.0}
    base_rate: {value: 1, per: tac-year}
    mechanism: [{actuator: backhaul_loss, scope: tac, effect: add, value: 0.7}]
    signature: []
    physics: A ring without its other half.
    basis: judgement
schedule: [{fault: f_ring, onset_h: 10, duration_h: 8}]
"""


def test_the_command_draws_a_fault_of_ones_own_and_says_what_lacks_before(tmp_path: Path) -> None:
    def told(*arguments: str) -> str:
        ended = CliRunner().invoke(app, [*arguments], catch_exceptions=False)
        assert ended.exit_code == 0
        return ended.stdout

    (tmp_path / "ring.yaml").write_text(RING)
    made, ws, page = (str(tmp_path / name) for name in ("made", "ws", "day.html"))
    told(*("simulate", "province", "--devices", "500", "--days", "1"),
         *("--faults", str(tmp_path / "ring.yaml"), "--out", made))  # fmt: skip
    told("province", "load", made, "--workspace", ws)
    with pytest.raises(
        LookupError, match=f"no KQI in .*; iotlens province load {made} --targets brings them"
    ):
        draw(Path(made), Path(ws))
    told("province", "load", made, "--workspace", ws, "--targets")
    told("indicators", "build", "--workspace", ws)
    shown = told("province", "day", made, "--workspace", ws, "--out", page).splitlines()
    assert shown[0] == "f_ring at tac-000 (simulated)"
    assert shown[1].startswith(
        "What customers saw while the fault lasted (2 March 10:00 to 2 March 18:00 UTC)"
    )
    assert "instead of" in shown[2]
    assert "<h1>f_ring at tac-000 (simulated)</h1>" in Path(page).read_text()
    with pytest.raises(
        LookupError, match=r"no fault 'f_rong' in the catalogue or in .*; the nearest is f_ring$"
    ):
        draw(Path(made), Path(ws), cause="f_rong")
    lasting = r"no KQI shows a f_cell_outage fault .* Shared ones that last: f_ring$"
    with pytest.raises(LookupError, match=lasting):
        draw(Path(made), Path(ws), cause="f_cell_outage")
