"""What a model keeps to explain its answers: the usual range of each feature, and which features move together."""

import numpy as np
import pytest

from training.artifact import InputFeature
from training.usual import groups, usual


def number(name: str) -> InputFeature:
    return InputFeature(name=name, dtype="float64")


def test_features_that_move_together_or_against_each_other_are_a_group() -> None:
    rng = np.random.default_rng(0)
    x, noise = rng.lognormal(size=500), rng.normal(size=500)
    near = np.log(x) + 0.2 * rng.normal(size=500)
    X = np.column_stack([noise, -near, x, x**3, np.ones(500)])
    assert groups(X).tolist() == [
        0,
        2,
        2,
        2,
        4,
    ]  # x and its cube have the same ranks; the first of them names all


def test_all_pairs_of_a_group_are_alike_so_that_no_chain_joins_strangers() -> None:
    rng = np.random.default_rng(1)
    left, right = rng.normal(size=(2, 4000))
    chain = np.column_stack([left + step * right for step in (0.0, 0.35, 0.8, 1.5)])
    named = groups(chain)
    rho = np.abs(np.corrcoef(np.argsort(np.argsort(chain, axis=0), axis=0).T))
    assert len(set(named)) > 1
    for one, other in zip(*np.nonzero(named[:, None] == named[None, :]), strict=True):
        assert rho[one, other] >= 0.9


def test_columns_that_miss_the_same_rows_are_as_alike_as_where_both_are_there() -> None:
    x = np.random.default_rng(2).normal(size=200)
    gone = np.arange(200) % 3 > 0
    X = np.column_stack([np.where(gone, np.nan, x), np.where(gone, np.nan, 2 * x), x])
    assert groups(X).tolist() == [0, 0, 2]


@pytest.mark.parametrize("X", [np.zeros((3, 1)), np.full((4, 2), np.nan), np.zeros((1, 3))])
def test_what_says_nothing_is_alone(X: np.ndarray) -> None:
    assert groups(X).tolist() == list(range(X.shape[1]))


def test_a_range_is_of_the_numbers_that_are_there_and_a_text_has_none() -> None:
    X = np.column_stack([np.r_[np.arange(101.0), np.nan], np.arange(102) % 2, np.full(102, np.nan)])
    kinds = (
        number("size"),
        InputFeature(name="kind", dtype="string", categories=("a", "b")),
        number("never"),
    )
    size, kind, never = usual(X, kinds)
    assert (size.low, size.high, size.group) == (5.0, 95.0, "size")
    assert (kind.low, kind.high, kind.group) == (None, None, "kind")
    assert (never.low, never.high, never.group) == (None, None, "never")


def test_codes_of_texts_are_no_ranks() -> None:
    codes = np.arange(60.0) % 3
    text = InputFeature(name="kind", dtype="string", categories=("a", "b", "c"))
    told = usual(np.column_stack([codes, codes]), (number("number"), text))
    assert [one.group for one in told] == ["number", "kind"]
