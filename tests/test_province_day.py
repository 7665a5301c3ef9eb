"""The fault of a picture is the one that a KQI shows most, on values small enough to see."""

import pandas as pd
import pytest

from evaluation.process import read_services
from evaluation.province_day import Happened, worse

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
