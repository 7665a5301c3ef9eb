"""A cause explains another away once the target is known; what comes after the target shows nothing of it."""

import numpy as np
import pandas as pd
import pytest

from evaluation.selection import leaks
from evaluation.selection.boosting import Trees
from evaluation.selection.ranks import score
from evaluation.selection.screening import Screen
from evaluation.selection.study import Drop, Roles, Study, read_study

ROWS = 600


def _two_drivers(*, related: float, binary: bool, seed: int = 0) -> pd.DataFrame:
    """A delay of load and weather, which go together, two columns of noise, and complaints about the delay."""
    rng = np.random.default_rng([seed, 7])
    load, other, *noise = rng.normal(size=(4, ROWS))
    weather = related * load + np.sqrt(1 - related**2) * other
    delay = 1.2 * load + weather + rng.normal(size=ROWS)
    if binary:
        delay = (delay > np.quantile(delay, 0.7)).astype("float64")
    complaints = 1.5 * (delay - delay.mean()) / delay.std() + 0.5 * rng.normal(size=ROWS)
    columns = {"load": load, "weather": weather, "noise0": noise[0], "noise1": noise[1]}
    return pd.DataFrame({**columns, "complaints": complaints, "delay": delay})


def _study(frame: pd.DataFrame, target: str = "delay") -> Study:
    return read_study(frame, Roles(target), table="t")


def _outdoing(frame: pd.DataFrame) -> list[str]:
    study = _study(frame)
    columns = list(range(len(study.names)))
    scores = score(study.X)
    alone = Screen(study, candidates=columns, scores=scores).run().alone
    return [drop.indicator for drop in leaks.outdoes_all(study, scores, alone, columns, Trees(rounds=30))]


def _following(study: Study) -> list[Drop]:
    columns = list(range(len(study.names)))
    screen = Screen(study, candidates=columns)
    return leaks.follows_target(study, screen.scores, screen.run(), among=columns)


@pytest.mark.parametrize(("related", "binary"), [(0.0, False), (0.3, False), (0.0, True)])
def test_neither_of_two_drivers_is_a_leak_also_where_they_go_together(related: float, binary: bool):
    frame = _two_drivers(related=related, binary=binary)
    assert _outdoing(frame.drop(columns="complaints")) == []
    assert _outdoing(frame) == ["complaints"]


@pytest.mark.parametrize("seed", range(3))
def test_what_comes_of_a_coarse_target_is_no_cause_though_the_classes_hide_half_of_it(seed: int):
    """Complaints follow the delay, and the table tells only whether it was long."""
    frame = _two_drivers(related=0.0, binary=False, seed=seed)
    long = (frame["delay"] > frame["delay"].quantile(0.7)).astype("float64")
    assert "complaints" in _outdoing(frame.assign(delay=long))


def test_what_a_kind_of_device_decides_is_no_consequence_of_the_other_columns():
    """Of two kinds or of five, each column knows the others through the kind alone."""
    for kinds in (2, 5):
        rng = np.random.default_rng(kinds)
        kind = rng.integers(kinds, size=ROWS)
        usual = rng.normal(size=(kinds, 8)) * 1.2
        frame = pd.DataFrame(usual[kind] + rng.normal(size=(ROWS, 8)), columns=[f"c{n}" for n in range(8)])
        study = _study(frame.assign(kind=[f"kind{code}" for code in kind]), "kind")
        assert _following(study) == []


def test_a_weak_consequence_of_causes_that_show_themselves_is_told():
    rng = np.random.default_rng(1)
    causes = rng.normal(size=(1500, 4))
    delay = causes.sum(axis=1) + rng.normal(size=1500)
    frame = pd.DataFrame(causes, columns=list("abcd")).assign(
        complaints=0.3 * delay + rng.normal(size=1500), delay=delay
    )
    assert [drop.indicator for drop in _following(_study(frame))] == ["complaints"]


def test_noise_that_beats_noise_is_no_leak():
    """Forty rows of two groups: folds so small that a column scores well by chance."""
    rng = np.random.default_rng(0)
    frames = [pd.DataFrame(rng.normal(size=(40, 4)), columns=list("abcd")) for _ in range(5)]
    assert [_outdoing(frame.assign(delay=np.arange(40) % 2)) for frame in frames] == [[]] * 5


def test_drivers_whose_rows_come_in_groups_show_themselves_causes_by_what_their_groups_say():
    """Sixty groups of ten rows that differ among each other: ten times the evidence of one row of each group."""
    frame = _two_drivers(related=0.0, binary=False).drop(columns="complaints")
    study = read_study(frame.assign(group=np.arange(ROWS) // 10), Roles("delay", "group"), table="t")
    columns = list(range(len(study.names)))
    screen = Screen(study, candidates=columns)
    assert leaks.outdoes_all(study, screen.scores, screen.run().alone, columns, Trees(rounds=30)) == []
