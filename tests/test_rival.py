"""The rival sees exactly our rows, and its own features only where they fit them."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from evaluation import rival

KEYS = pd.DataFrame({"device_id": ["b", "a", "a"], "source": ["s1", "s1", "s2"]})


def test_the_rival_learns_around_missing_values() -> None:
    X = np.array([[0.0], [0.1], [5.0], [np.nan]])
    y = np.array(["cam", "cam", "plug", "plug"], dtype=object)
    forest = rival.Forest(trees=50, seed=0)
    assert forest.name(X, y, asked=np.array([[0.05], [6.0], [np.nan]])).tolist() == ["cam", "plug", "plug"]


def test_the_same_seed_grows_the_same_forest() -> None:
    rng = np.random.default_rng(0)
    X, y, asked = (
        rng.random((60, 4)),
        rng.choice(np.array(["a", "b"], dtype=object), 60),
        rng.random((500, 4)),
    )
    first = rival.Forest(trees=20, seed=5).name(X, y, asked=asked)
    assert np.array_equal(first, rival.Forest(trees=20, seed=5).name(X, y, asked=asked))
    assert not np.array_equal(first, rival.Forest(trees=20, seed=6).name(X, y, asked=asked))


def test_a_forest_is_bounded_by_its_rows() -> None:
    assert [rival.trees_for(rows) for rows in (0, 400, 1_000, 2_500, 10**6)] == [500, 500, 500, 200, 100]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "rival.parquet"
    values = {
        "device_id": ["a", "a", "b", "c"],
        "source": ["s1", "s2", "s1", "s9"],
        "up_bytes": [1.0, 2, 3, 4],
    }
    pd.DataFrame(values).to_parquet(path)
    return path


def test_external_features_follow_our_rows(table: Path) -> None:
    assert rival.external_features(table, KEYS)["up_bytes"].tolist() == [3.0, 1.0, 2.0]


def test_a_row_of_ours_that_the_rival_lacks_is_an_error(table: Path) -> None:
    keys = pd.DataFrame({"device_id": ["a", "z"], "source": ["s1", "s7"]})
    with pytest.raises(ValueError, match=r"1 are absent, the first: \{'device_id': 'z', 'source': 's7'\}"):
        rival.external_features(table, keys)


def test_external_features_are_numbers_told_once(table: Path) -> None:
    frame = pd.read_parquet(table)
    frame.assign(name="x").to_parquet(table)
    with pytest.raises(ValueError, match=r"others in \['name'\]"):
        rival.external_features(table, KEYS)
    pd.concat([frame, frame.head(1)]).to_parquet(table)
    with pytest.raises(ValueError, match="each device and source once"):
        rival.external_features(table, KEYS)


def test_a_missing_table_of_the_rival_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        rival.external_features(tmp_path / "nowhere.parquet", KEYS)
