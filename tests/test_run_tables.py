"""A plain table is answered row for row, or refused by file, row and column."""

import io
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import numpy.testing as npt
import pandas as pd
import pyarrow as pa
import pytest
from test_run import config, table

from evaluation import importance
from training import artifact, run, tables
from training.experiment import Experiment
from training.run import Fitted


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tables") / "kinds.csv"
    table().to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def fitted(kinds: Path) -> Fitted:
    return run.fit(config(kinds), kinds.parent / "ws")


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_every_row_of_a_table_is_answered_in_order(fitted: Fitted, tmp_path: Path, suffix: str) -> None:
    asked = table(seed=3).drop(columns="kind").sample(frac=1, random_state=0)
    given, out = tmp_path / f"asked.{suffix}", tmp_path / f"answers.{suffix}"
    asked.to_csv(given, index=False) if suffix == "csv" else asked.to_parquet(given)
    assert run.predict_table(given, fitted.directory, out) == 800
    answers = pd.read_csv(out) if suffix == "csv" else pd.read_parquet(out)
    assert list(answers.columns) == ["label", "probability", "unknown", "p_lamp", "p_lock"]
    model = artifact.load(fitted.directory)
    expected = model.predict_proba(model.matrix(asked))
    npt.assert_allclose(answers[["p_lamp", "p_lock"]], expected, rtol=0, atol=1e-15)
    assert (answers["label"] == np.array(["lamp", "lock"])[expected.argmax(axis=1)]).all()


@pytest.mark.parametrize(
    "kinds_of_value",
    [
        ("true", "false"),
        ("True", "False"),
        ("7", "8"),
        ("0.1", "1e-3"),
        ("coap", "mqtt"),
        ("007", "8x"),
        ("true", "perhaps"),
    ],
)
@pytest.mark.parametrize("gaps", [False, True])
def test_a_csv_is_read_for_answers_as_it_was_for_learning(
    tmp_path: Path, kinds_of_value: tuple[str, str], gaps: bool
) -> None:
    kind = np.tile(["lamp", "lock"], 20)
    frame = pd.DataFrame({"secure": np.where(kind == "lamp", *kinds_of_value), "kind": kind})
    frame.loc[[0, 1, 2, 3] if gaps else [], "secure"] = None
    path = tmp_path / "asked.csv"
    frame.to_csv(path, index=False)
    told = Experiment(name="t", table=path, target="kind", trees={"rounds": 5, "min_data_in_leaf": 1})
    fitted = run.fit(told, tmp_path)
    run.predict_table(path, fitted.directory, tmp_path / "out.csv")
    expected = fitted.model.predict_proba(fitted.dataset.X)
    assert (expected.argmax(axis=1)[4:] == np.tile([0, 1], 18)).all()
    given = pd.read_csv(tmp_path / "out.csv")[["p_lamp", "p_lock"]]
    npt.assert_allclose(given, expected, rtol=0, atol=1e-15)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("words", "fits"),
    [
        ({"model": "trees"}, ["fit trees"]),
        ({"model": "network", "network": {"epochs": 4}}, ["fit network"]),
        ({"trees": {"boosting": "extra_trees", "rounds": 9}}, ["grow forest", "write forest"]),
    ],
)
def test_whatever_takes_longer_than_two_seconds_shows_how_far_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: dict[str, Any], fits: list[str]
) -> None:
    table(rows=80).to_csv(tmp_path / "small.csv", index=False)
    told = config(tmp_path / "small.csv").model_dump() | words
    terminal, clock = Terminal(), itertools.count()
    monkeypatch.setattr("tqdm.std.time", lambda: float(next(clock)))  # each look at the clock takes a second
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setattr(run, "ROWS_AT_ONCE", 10)
    fitted = run.fit(Experiment.model_validate(told), tmp_path)
    importance.explain(fitted.model, fitted.dataset.X, seed=0)
    run.predict_table(tmp_path / "small.csv", fitted.directory, tmp_path / "out.csv")
    for work in [*fits, "explain", "predict"]:
        assert work in terminal.getvalue()


def test_a_table_of_no_rows_has_no_answers(fitted: Fitted, tmp_path: Path) -> None:
    (tmp_path / "none.csv").write_text("up_bytes,protocol\n")
    assert run.predict_table(tmp_path / "none.csv", fitted.directory, tmp_path / "out.csv") == 0
    assert (tmp_path / "out.csv").read_text() == "label,probability,unknown,p_lamp,p_lock\n"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("up_bytes\n1\n", r"asked.csv must have every feature of the model, but lacks \['protocol'\]"),
        (
            "up_bytes,protocol\n1,coap\nmany,coap\n",
            r"asked.csv.up_bytes must hold numbers, but row 1 has 'many'",
        ),
        ("up_bytes,protocol\ninf,coap\n", r"asked.csv.up_bytes must be finite or empty, but row 0 has inf"),
        ("", "asked.csv must be CSV or Parquet"),
    ],
)
def test_a_table_that_cannot_be_answered_is_refused_by_file_row_and_column(
    fitted: Fitted, tmp_path: Path, content: str, says: str
) -> None:
    (tmp_path / "asked.csv").write_text(content)
    with pytest.raises(ValueError, match=says):
        run.predict_table(tmp_path / "asked.csv", fitted.directory, tmp_path / "out.csv")
    assert not (tmp_path / "out.csv").exists()


@pytest.mark.parametrize(
    ("out", "says"), [("gone/out.csv", "no folder .*gone to write out.csv into"), (".", "is a folder")]
)
def test_a_place_for_answers_that_cannot_be_is_told_before_the_work(
    tmp_path: Path, out: str, says: str
) -> None:
    with pytest.raises(OSError, match=says):  # there is not even a run to load
        run.predict_table(tmp_path / "asked.csv", tmp_path / "no run", tmp_path / out)


def test_a_table_that_cannot_be_written_leaves_the_old_one_and_nothing_beside_it(tmp_path: Path) -> None:
    (tmp_path / "out.parquet").write_text("old")
    mixed = pd.DataFrame({"label": ["lamp", 1.5]})  # no column of Parquet holds both
    with pytest.raises(pa.ArrowException):
        tables.write_table(mixed, tmp_path / "out.parquet")
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("out.parquet", "old")]
