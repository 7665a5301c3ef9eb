"""The tails of the tests: as SciPy has them where a float can, and finite and ordered beyond."""

import numpy as np
import pandas as pd
import pytest
from scipy import special

from evaluation.selection.screening import Screen
from evaluation.selection.study import Roles, read_study
from evaluation.selection.tails import log_f_tail


@pytest.mark.parametrize("freedom", [1, 3, 20])
@pytest.mark.parametrize("left", [300, 5_000, 500_000])
def test_the_tail_beyond_the_switch_is_the_one_that_scipy_still_knows(freedom: int, left: int) -> None:
    statistic = np.geomspace(1, 1e6, 40_000)
    known = np.asarray(special.fdtrc(freedom, left, statistic))
    beyond = (known < 1e-281) & (known > 1e-290)  # nearer to its end SciPy is inexact
    assert beyond.any()
    np.testing.assert_allclose(
        log_f_tail(statistic, freedom, left)[beyond], np.log(known[beyond]), atol=0.002 * freedom
    )


def test_a_stronger_effect_has_a_smaller_p_value_however_small_both_are() -> None:
    told = log_f_tail(np.geomspace(0.1, 1e6, 2_000), 3, 20_000)
    assert np.isfinite(told).all()
    assert (np.diff(told) < 0).all()


def test_drivers_that_decide_a_large_table_keep_finite_p_values_in_their_order() -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(5_000, 4)), columns=["strong", "weaker", "noise", "other"])
    frame["target"] = 3 * frame["strong"] + frame["weaker"] + 0.1 * rng.normal(size=len(frame))
    study = read_study(frame, Roles("target"), table="table")
    strong, weaker, *others = Screen(study, candidates=range(4)).run().log_p
    assert -np.inf < strong < weaker < np.log(1e-280)
    assert min(others) > np.log(1e-3)
