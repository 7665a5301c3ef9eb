"""Bins are those of the library, stand in the order of their values, and give any quantile within 1 %."""

import duckdb
import ibis
import numpy as np
import pytest
from ddsketch import DDSketch
from ddsketch.mapping import LogarithmicMapping
from hypothesis import given, settings
from hypothesis import strategies as st

from features import sketch

real = st.floats(min_value=-1e300, max_value=1e300, allow_nan=False)


@given(st.floats(min_value=1e-300, max_value=1e300))
def test_a_bin_is_the_key_of_the_library(value: float) -> None:
    mapping = LogarithmicMapping(sketch.RELATIVE_ACCURACY)
    key = mapping.key(value)
    (found,) = sketch.bins(np.array([value]))
    assert found - 100_000 == key
    assert sketch.values(np.array([found]))[0] == pytest.approx(mapping.value(key), rel=1e-9)
    assert sketch.bins(np.array([-value]))[0] == -found


@given(st.lists(real, min_size=1, max_size=50))
def test_bins_keep_the_order_and_a_value_is_within_the_accuracy(values: list[float]) -> None:
    ordered = np.sort(np.array(values))
    found = sketch.bins(ordered)
    assert (np.diff(found) >= 0).all()
    assert ((found >= sketch.LOWEST_BIN) & (found <= sketch.HIGHEST_BIN)).all()
    np.testing.assert_allclose(
        sketch.values(found), ordered, rtol=sketch.RELATIVE_ACCURACY * (1 + 1e-9), atol=1e-300
    )


@given(
    st.lists(st.floats(min_value=-150, max_value=150), min_size=1, max_size=200), st.sampled_from([0.5, 0.95])
)
def test_merged_rows_give_the_quantile_of_the_library(values: list[float], q: float) -> None:
    theirs = DDSketch(sketch.RELATIVE_ACCURACY)
    for value in values:
        theirs.add(value)
    found, counts = np.unique(sketch.bins(np.array(values)), return_counts=True)
    place = np.searchsorted(np.cumsum(counts), q * (len(values) - 1), side="right")
    ours = sketch.values(found[place : place + 1])[0]
    assert ours == pytest.approx(np.quantile(values, q, method="lower"), rel=0.0101, abs=1e-290)
    expected = theirs.get_quantile_value(q)
    assert expected is not None
    if min(values) >= 0:  # the library rounds the rank of negative values the other way
        assert ours == pytest.approx(expected, rel=1e-9, abs=1e-290)


@settings(deadline=None, max_examples=30)
@given(
    st.lists(st.lists(real, min_size=1, max_size=50), min_size=1, max_size=9),
    st.sampled_from([0.05, 0.5, 0.95]),
)
def test_lists_of_bins_of_any_order_and_length_beside_none_give_the_same_bins(
    parts: list[list[float]], q: float
) -> None:
    random, rows, due = np.random.default_rng(len(parts)), [], []
    for number, values in enumerate(parts):
        found, counts = np.unique(sketch.bins(np.array(values)), return_counts=True)
        twice = random.permutation(np.repeat(np.arange(len(found)), 2))  # a bin may come from two elements
        rows += [(2 * number, int(found[at]), float(counts[at])) for at in twice]
        place = np.searchsorted(np.cumsum(2 * counts), q * (2 * len(values) - 1), side="right")
        due += [(2 * number, int(found[place])), (2 * number + 1, None)]
        rows.append((2 * number + 1, None, 5.0))
    table = ibis.table({"of": "int64", "bin": "int32", "n": "float64"}, name="told")
    bins = sketch.packed(table["bin"], table["n"]).collect(where=table["bin"].notnull())
    held = table.group_by("of").agg(sketch=bins, samples=table["n"].sum())
    answer = held.select("of", at=sketch.bin_at(held["sketch"], q * (held["samples"] - 1)))
    with duckdb.connect() as connection:
        sketch.prepare(connection)
        connection.execute('CREATE TABLE told ("of" BIGINT, bin INTEGER, n DOUBLE)')
        connection.executemany("INSERT INTO told VALUES (?, ?, ?)", rows)
        assert sorted(connection.execute(str(ibis.to_sql(answer, dialect="duckdb"))).fetchall()) == due


def test_what_is_not_finite_has_no_bin() -> None:
    with pytest.raises(ValueError, match="finite"):
        sketch.bins(np.array([1.0, np.inf]))


def test_the_expression_gives_the_same_values() -> None:
    found = sketch.bins(np.array([-110.0, -0.5, 0.0, 0.5, 40.0, 12345.6]))
    table = ibis.memtable({"bin": found})
    told = table.mutate(value=sketch.value_of(table["bin"])).to_pandas()["value"]
    np.testing.assert_allclose(told, sketch.values(found), rtol=1e-12)


@pytest.mark.parametrize("parts", [1, 4095, 4096])
def test_a_bin_of_as_many_samples_as_its_number_can_hold_is_told_and_of_more_refused(parts: int) -> None:
    held = parts * sketch.MOST_SAMPLES
    table = ibis.table({"bin": "int32", "n": "float64"}, name="told")
    lists = table.agg(sketch=sketch.packed(table["bin"], table["n"]).collect(), samples=table["n"].sum())
    answer = str(
        ibis.to_sql(lists.select(at=sketch.bin_at(lists["sketch"], lists["samples"] - 1)), dialect="duckdb")
    )
    with duckdb.connect() as connection:
        sketch.prepare(connection)
        connection.execute(
            f"CREATE TABLE told AS SELECT {sketch.HIGHEST_BIN} AS bin, {held}::DOUBLE AS n"
            f" UNION ALL SELECT {sketch.LOWEST_BIN}, 1"
        )
        if held < 2**44:
            assert connection.execute(answer).fetchall() == [(sketch.HIGHEST_BIN,)]
        else:
            with pytest.raises(duckdb.Error, match="fewer than 2\\^44 samples"):
                connection.execute(answer)
