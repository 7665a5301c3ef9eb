"""A model directory: what is written is what is read, and what is not is refused."""

import json
import pickletools
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import numpy.testing as npt
import pandas as pd
import pytest

from training import artifact, run
from training.artifact import InputFeature, Model, matrix
from training.experiment import Experiment, NetworkSettings, TreeSettings

FEATURES = (
    InputFeature(name="up_bytes", dtype="int64"),
    InputFeature(name="piat_ms", dtype="float64"),
    InputFeature(name="secure", dtype="bool"),
    InputFeature(name="protocol", dtype="string", categories=("coap", "mqtt")),
)


def table(rows: int = 60) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    lamp = np.arange(rows) % 2 == 0
    return pd.DataFrame(
        {
            "kind": np.where(lamp, "lamp", "lock"),
            "up_bytes": np.where(lamp, 100, 900) + rng.integers(0, 50, rows),
            "piat_ms": np.where(rng.random(rows) < 0.2, np.nan, rng.exponential(5, rows)),
            "secure": rng.random(rows) < 0.5,
            "protocol": rng.choice(["coap", "mqtt"], rows),
        }
    )


@pytest.fixture(scope="module", params=["trees", "network"])
def directory(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    workspace = tmp_path_factory.mktemp("ws")
    table().to_csv(workspace / "kinds.csv", index=False)
    experiment = Experiment(
        name="kinds",
        table=workspace / "kinds.csv",
        target="kind",
        model=request.param,
        trees=TreeSettings(rounds=5, min_data_in_leaf=3),
        network=NetworkSettings(hidden=(8,), epochs=5),
    )
    return run.fit(experiment, workspace).directory


@pytest.fixture
def copy(directory: Path, tmp_path: Path) -> Path:
    """The same directory, to spoil."""
    return Path(shutil.copytree(directory, tmp_path / "copy"))


def spoil(directory: Path, **changes: object) -> None:
    manifest = json.loads((directory / "model.json").read_text())
    (directory / "model.json").write_text(json.dumps(manifest | changes))


def test_a_model_read_back_answers_identically(directory: Path, copy: Path) -> None:
    frame = table().drop(columns="kind")
    first, second = artifact.load(directory), artifact.load(copy)
    X = first.matrix(frame)
    npt.assert_array_equal(first.predict_proba(X), second.predict_proba(X))
    npt.assert_allclose(first.predict_proba(X).sum(axis=1), 1.0, atol=1e-12)
    assert first.manifest == second.manifest


def test_a_model_saved_again_is_the_same_files(directory: Path, tmp_path: Path) -> None:
    artifact.save(artifact.load(directory), tmp_path)
    for file in tmp_path.iterdir():
        assert file.read_bytes() == (directory / file.name).read_bytes()


def test_column_order_and_other_columns_do_not_change_the_answer(directory: Path) -> None:
    model, frame = artifact.load(directory), table()
    expected = model.predict_proba(model.matrix(frame.drop(columns="kind")))
    shuffled = frame[["protocol", "kind", "secure", "up_bytes", "piat_ms"]]
    npt.assert_array_equal(model.predict_proba(model.matrix(shuffled)), expected)


def test_a_directory_holds_text_and_arrays_only(directory: Path) -> None:
    weights = {"trees": "model.txt", "network": "weights.safetensors"}[artifact.load(directory).manifest.kind]
    assert {file.name for file in directory.iterdir()} == {weights, "model.json", "predictions.parquet"}
    for file in directory.iterdir():
        with pytest.raises(ValueError):
            list(pickletools.genops(file.read_bytes()))


def test_no_row_has_probabilities_of_no_row(directory: Path) -> None:
    assert artifact.load(directory).predict_proba(np.empty((0, 4))).shape == (0, 2)


@pytest.mark.parametrize("shape", [(4,), (1, 3), (1, 5)])
def test_a_matrix_of_another_shape_is_refused(directory: Path, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"must be \(n, 4\)"):
        artifact.load(directory).predict_proba(np.zeros(shape))


def test_changed_weights_are_refused(copy: Path) -> None:
    weights = copy / artifact.load(copy).manifest.weights.file
    content = bytearray(weights.read_bytes())
    content[-2] ^= 1
    weights.write_bytes(content)
    with pytest.raises(ValueError, match="must have the SHA-256"):
        artifact.load(copy)


def test_missing_files_are_named(copy: Path) -> None:
    (copy / artifact.load(copy).manifest.weights.file).unlink()
    with pytest.raises(FileNotFoundError, match=r"no (model.txt|weights.safetensors) beside"):
        artifact.load(copy)
    (copy / "model.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"no model\.json in"):
        artifact.load(copy)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"format": 2}, "format"),
        ({"colour": "red"}, "colour"),
        ({"temperature": -1}, "temperature"),
        ({"classes": None}, "classes"),
    ],
)
def test_a_manifest_of_another_shape_is_refused(copy: Path, changes: dict[str, object], says: str) -> None:
    spoil(copy, **changes)
    with pytest.raises(ValueError, match=f"manifest of format 1, but {says}"):
        artifact.load(copy)


def test_a_manifest_that_is_not_json_is_refused(copy: Path) -> None:
    (copy / "model.json").write_text("{")
    with pytest.raises(ValueError, match="must be a manifest of format 1, but content"):
        artifact.load(copy)


def test_a_manifest_cannot_point_at_another_file(copy: Path) -> None:
    (copy / "model.txt").write_text("not the weights")
    (copy / "weights.safetensors").write_text("not the weights")
    good = artifact.sha256(b"elsewhere")
    (copy.parent / "elsewhere").write_text("elsewhere")
    spoil(copy, weights={"file": "../elsewhere", "sha256": good})
    with pytest.raises(ValueError, match="must have the SHA-256"):
        artifact.load(copy)


def test_a_model_repeats_its_self_test_and_one_that_answers_otherwise_fails_it(directory: Path) -> None:
    model = artifact.load(directory)
    model.self_test()
    other = Model(model.manifest.model_copy(update={"temperature": 3.0}), model.weights)
    with pytest.raises(ValueError, match="must repeat its self-test"):
        other.self_test()


def test_a_model_is_served_without_torch(directory: Path) -> None:
    code = (
        "import sys, pathlib; from training import artifact, decision;"
        f"artifact.load(pathlib.Path({str(directory)!r})).self_test();"
        "print({'torch', 'training.network', 'training.trees', 'training.run'} & set(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True).stdout == b"set()\n"


def test_missing_values_of_every_kind_of_column_are_nan() -> None:
    frame = pd.DataFrame(
        {
            "up_bytes": pd.array([1, None], dtype="Int64"),
            "piat_ms": [np.nan, 2.5],
            "secure": pd.array([True, None], dtype="boolean"),
            "protocol": ["mqtt", None],
        }
    )
    expected = [[1.0, np.nan, 1.0, 1.0], [np.nan, 2.5, np.nan, np.nan]]
    npt.assert_array_equal(matrix(frame, FEATURES, table="t"), expected)
    npt.assert_array_equal(matrix(frame, FEATURES[:3], table="t"), np.array(expected)[:, :3])


def test_a_text_the_model_has_not_seen_is_a_missing_value() -> None:
    frame = pd.DataFrame({"protocol": ["coap", "quic"]})
    npt.assert_array_equal(matrix(frame, FEATURES[3:], table="t"), [[0.0], [np.nan]])


def test_numbers_written_as_text_are_numbers() -> None:
    frame = pd.DataFrame({"up_bytes": ["1", " 2 ", None], "piat_ms": [0.5, 1.5, 2.5]})
    npt.assert_array_equal(matrix(frame, FEATURES[:2], table="t"), [[1, 0.5], [2, 1.5], [np.nan, 2.5]])


@pytest.mark.parametrize(
    ("frame", "says"),
    [
        ({"up_bytes": [1]}, r"t must have every feature of the model, but lacks \['piat_ms'\]"),
        (
            {"up_bytes": [1, 2], "piat_ms": ["3", "fast"]},
            r"t.piat_ms must hold numbers, but row 1 has 'fast'",
        ),
        (
            {"up_bytes": [1, 2], "piat_ms": [0.0, np.inf]},
            r"t.piat_ms must be finite or empty, but row 1 has inf",
        ),
    ],
)
def test_what_is_no_number_is_named(frame: dict[str, list[object]], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        matrix(pd.DataFrame(frame), FEATURES[:2], table="t")


def test_a_repeated_column_is_refused() -> None:
    frame = pd.DataFrame([[1, 2, 3.0]], columns=["up_bytes", "up_bytes", "piat_ms"])
    with pytest.raises(ValueError, match=r"each column once, but repeats \['up_bytes'\]"):
        matrix(frame, FEATURES[:2], table="t")


def test_a_text_that_was_never_learnt_counts_as_empty_and_is_told(caplog: pytest.LogCaptureFixture) -> None:
    rows = table(4).assign(protocol=["coap", "sctp", "sctp", None])
    X = matrix(rows, FEATURES, table="new.csv")
    assert np.isnan(X[:, 3]).tolist() == [False, True, True, True]
    assert (
        "new.csv.protocol: 2 of 4 texts were never learnt and count as empty, such as 'sctp'" in caplog.text
    )
