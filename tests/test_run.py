"""One experiment, one run directory: repeatable, unfinished until sealed, found by name."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import numpy.testing as npt
import pandas as pd
import pytest

from features.flows import FlowSettings
from training import decision, experiment, run
from training.experiment import Experiment
from training.run import Fitted


def table(rows: int = 800, seed: int = 0) -> pd.DataFrame:
    """Lamps and locks, four units of each, a row an hour; bytes tell them apart, not quite."""
    rng = np.random.default_rng(seed)
    unit = np.arange(rows) % 8
    return pd.DataFrame(
        {
            "unit": [f"unit-{number}" for number in unit],
            "at": pd.date_range("2026-01-01", periods=rows, freq="h", tz="UTC"),
            "up_bytes": np.where(unit % 2 == 0, 100, 200) + rng.normal(0, 40, rows),
            "protocol": rng.choice(["coap", "mqtt"], rows),
            "kind": np.where(unit % 2 == 0, "lamp", "lock"),
        }
    )


def config(path: Path, **changes: Any) -> Experiment:
    trees = {"rounds": 10, "min_data_in_leaf": 3}
    return Experiment(
        name="kinds", table=path, target="kind", group="unit", time="at", trees=trees, **changes
    )


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tables") / "kinds.csv"
    table().to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def fitted(kinds: Path) -> Fitted:
    return run.fit(config(kinds), kinds.parent / "ws")


def test_a_run_directory_holds_model_and_predictions_and_is_unfinished(fitted: Fitted) -> None:
    assert fitted.directory.parent == fitted.directory.parents[2] / "runs" / "kinds"
    assert {file.name for file in fitted.directory.iterdir()} == {
        "model.txt",
        "model.json",
        "predictions.parquet",
    }
    stored = pd.read_parquet(fitted.directory / "predictions.parquet")
    pd.testing.assert_frame_equal(stored, fitted.predictions, check_dtype=False)


def test_predictions_are_those_of_models_that_did_not_see_the_row(fitted: Fitted) -> None:
    predictions = fitted.predictions
    assert set(predictions["split"]) == {"random", "time", "device"}
    for name, part in fitted.splits.items():
        for number, fold in enumerate(part.folds):
            mine = (predictions["split"] == name) & (predictions["fold"] == number)
            npt.assert_array_equal(predictions["row"][mine], fold.test)
    npt.assert_array_equal(predictions["y_true"], fitted.dataset.y[predictions["row"]])
    npt.assert_array_equal(
        predictions["device_id"], fitted.dataset.keys["device_id"].iloc[predictions["row"]]
    )


def test_a_fold_is_judged_by_a_model_fitted_on_its_training_rows_alone(
    fitted: Fitted, tmp_path: Path
) -> None:
    (fold,) = fitted.splits["time"].folds
    table().iloc[fold.train].to_csv(tmp_path / "early.csv", index=False)
    alone = run.fit(config(tmp_path / "early.csv"), tmp_path).model
    raw = alone.weights.predict_proba(fitted.dataset.X[fold.test])
    given = fitted.predictions.query("split == 'time'")
    npt.assert_array_equal(given["label"], np.array(alone.manifest.classes)[raw.argmax(axis=1)])


def test_predictions_answer_by_the_one_decision(fitted: Fitted) -> None:
    proba = fitted.predictions[["p_lamp", "p_lock"]].to_numpy()
    expected = decision.answer(fitted.model, proba).drop(columns="top")
    pd.testing.assert_frame_equal(fitted.predictions[expected.columns], expected)


def test_thresholds_come_from_later_rows_outside_training(fitted: Fitted) -> None:
    thresholds = fitted.model.manifest.thresholds
    judged = fitted.predictions.query("split == 'time'")
    assert (thresholds.split, thresholds.rows) == ("time", len(judged))
    assert thresholds.false_rejections == judged["unknown"].mean() <= 0.05


def test_few_later_rows_leave_the_thresholds_to_the_random_split(tmp_path: Path) -> None:
    table(rows=400).to_csv(tmp_path / "few.csv", index=False)  # 100 later rows: 5 % are 5
    assert run.fit(config(tmp_path / "few.csv"), tmp_path).model.manifest.thresholds.split == "random"


def test_two_runs_of_one_config_are_the_same_model_and_predictions(fitted: Fitted, tmp_path: Path) -> None:
    again = run.fit(fitted.experiment, tmp_path)
    for name in ("model.txt", "predictions.parquet"):
        assert (again.directory / name).read_bytes() == (fitted.directory / name).read_bytes()
    assert again.model.manifest.model_copy(update={"created": None}) == fitted.model.manifest.model_copy(
        update={"created": None}
    )


def test_the_model_version_is_that_of_the_answers(fitted: Fitted, kinds: Path, tmp_path: Path) -> None:
    shuffled = table()[["protocol", "kind", "up_bytes", "at", "unit"]]
    shuffled.to_csv(tmp_path / "moved.csv", index=False)
    moved = run.fit(config(tmp_path / "moved.csv"), tmp_path).model.manifest
    other = run.fit(config(kinds, seed=1), tmp_path).model.manifest
    assert moved.model_version == fitted.model.manifest.model_version  # neither file name nor column order
    assert re.fullmatch(r"kinds-[0-9a-f]{12}", moved.model_version)
    assert other.model_version != moved.model_version


def test_other_flows_of_the_same_packets_are_another_version(fitted: Fitted) -> None:
    manifest = fitted.model.manifest
    cut = [manifest.model_copy(update={"flow_settings": FlowSettings(idle_timeout_s=s)}) for s in (7, 7, 8)]
    first, same, other = map(run._content, cut)
    assert first == same != other


def test_the_manifest_tells_where_the_model_came_from(fitted: Fitted) -> None:
    told = json.loads((fitted.directory / "model.json").read_text())
    assert told["feature_service"] is None and told["window"] is None
    assert [feature["name"] for feature in told["features"]] == ["protocol", "up_bytes"]
    assert told["features"][0]["categories"] == ["coap", "mqtt"]
    assert (told["classes"], told["rows"], told["seed"]) == (["lamp", "lock"], 800, 0)
    assert told["experiment"]["trees"]["rounds"] == 10
    assert {"python", "lightgbm", "numpy"} <= set(told["libraries"])


def test_a_held_out_device_is_not_in_the_model(kinds: Path, fitted: Fitted, tmp_path: Path) -> None:
    held = run.fit(config(kinds, split={"hold_out_devices": ["unit-7"]}), tmp_path)
    assert held.model.manifest.rows == 700
    without = table().query("unit != 'unit-7'")
    without.to_csv(tmp_path / "without.csv", index=False)
    alone = run.fit(config(tmp_path / "without.csv"), tmp_path)
    assert held.model.weights == alone.model.weights != fitted.model.weights


def test_an_unfinished_run_is_never_found(kinds: Path, tmp_path: Path) -> None:
    killed = run.fit(config(kinds), tmp_path).directory
    for ref in ("latest", killed.name, str(killed)):
        with pytest.raises(LookupError, match=r"no finished run|must be finished"):
            run.find(tmp_path, ref)
    assert run.seal(killed) == killed
    assert {run.find(tmp_path, ref) for ref in ("latest", killed.name, str(killed))} == {killed}


def test_a_run_is_found_by_its_model_version(fitted: Fitted) -> None:
    run.seal(fitted.directory)
    assert run.find(fitted.directory.parents[2], fitted.model.manifest.model_version) == fitted.directory


def sealed(workspace: Path, experiment_name: str, name: str) -> Path:
    directory = workspace / "runs" / experiment_name / name
    directory.mkdir(parents=True)
    (directory / "model.json").touch()  # by which a run of devices is known
    (directory / run.DONE).write_text("version\n")
    return directory


def test_latest_is_the_newest_of_the_experiment(tmp_path: Path) -> None:
    names = ["20260101T000000Z", "20260102T000000Z", "20260102T000000Z-2", "20260102T000000Z-10"]
    directories = [sealed(tmp_path, "a", name) for name in names]
    other = sealed(tmp_path, "b", "20260103T000000Z")
    (tmp_path / "runs" / "a" / "20260104T000000Z").mkdir()  # killed
    assert run.find(tmp_path, "a/latest") == directories[-1]
    assert run.find(tmp_path, "latest") == run.find(tmp_path, "b/latest") == other
    with pytest.raises(LookupError, match="no finished run 'c/latest'"):
        run.find(tmp_path, "c/latest")


def test_latest_alone_is_the_newest_that_can_be_used(fitted: Fitted, tmp_path: Path) -> None:
    for day in (1, 2):
        shutil.copytree(fitted.directory, sealed(tmp_path, "a", f"2026010{day}T000000Z"), dirs_exist_ok=True)
    hourly = fitted.model.manifest.model_copy(update={"window": "1h"})
    first, last = sorted((tmp_path / "runs" / "a").iterdir())
    (first / "model.json").write_text(hourly.model_dump_json())
    assert run.find(tmp_path, "latest") == run.find(tmp_path, "a/latest") == last
    assert run.find(tmp_path, "latest", suits=lambda manifest: manifest.window == "1h") == first
    with pytest.raises(LookupError, match=r"no finished run 'latest' that can be used here.*there are: a/"):
        run.find(tmp_path, "latest", suits=lambda manifest: manifest.window == "7d")


def test_an_id_of_two_experiments_is_refused_without_the_experiment(tmp_path: Path) -> None:
    first, _ = sealed(tmp_path, "a", "20260101T000000Z"), sealed(tmp_path, "b", "20260101T000000Z")
    with pytest.raises(ValueError, match=f"must name one run.*write EXPERIMENT/{first.name}"):
        run.find(tmp_path, first.name)
    assert run.find(tmp_path, f"a/{first.name}") == first
    assert run.find(tmp_path, "a/version") == first


def test_an_unknown_run_is_answered_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(LookupError, match="none; run iotlens train"):
        run.find(tmp_path, "latest")
    sealed(tmp_path, "a", "20260101T000000Z")
    with pytest.raises(LookupError, match=r"no finished run 'x'.*there are: a/20260101T000000Z"):
        run.find(tmp_path, "x")


def test_runs_of_one_second_have_directories_of_their_own(tmp_path: Path) -> None:
    directories = [run.new_directory(tmp_path / "runs" / "a") for _ in range(3)]
    assert len(set(directories)) == 3
    assert sorted(directories, key=lambda directory: run._order(directory.name)) == directories


def test_a_run_that_answers_otherwise_than_when_fitted_is_not_sealed(kinds: Path, tmp_path: Path) -> None:
    directory = run.fit(config(kinds), tmp_path).directory
    manifest = json.loads((directory / "model.json").read_text())
    (directory / "model.json").write_text(json.dumps(manifest | {"temperature": 9.0}))
    with pytest.raises(ValueError, match="self-test"):
        run.seal(directory)
    assert not (directory / run.DONE).exists()


def test_a_class_of_one_row_is_learnt_if_asked_for_and_judged_by_nobody(tmp_path: Path) -> None:
    frame = table()
    frame.loc[0, "kind"] = "siren"
    frame.to_csv(tmp_path / "rare.csv", index=False)
    kept = run.fit(config(tmp_path / "rare.csv", min_rows_per_class=1), tmp_path)
    assert "siren" in kept.model.manifest.classes
    assert "siren" not in set(kept.predictions["y_true"])
    assert kept.splits["random"].dropped["unseen_class"] == 1
    left_out = run.fit(config(tmp_path / "rare.csv"), tmp_path)
    assert left_out.dataset.left_out["rare_class"] == 1 and "siren" not in left_out.model.manifest.classes


def test_rows_that_no_split_can_judge_still_make_a_model_that_promises_nothing(tmp_path: Path) -> None:
    pd.DataFrame({"x": [1.0] * 4, "kind": ["lamp", "lamp", "lock", "lock"]}).to_csv(
        tmp_path / "t.csv", index=False
    )
    fitted = run.fit(Experiment(name="t", table=tmp_path / "t.csv", target="kind"), tmp_path)
    assert all(part.refused for part in fitted.splits.values())
    assert fitted.predictions.empty
    assert fitted.model.manifest.thresholds.split is None and fitted.model.manifest.temperature == 1.0
    run.seal(fitted.directory)


def test_holding_out_all_of_a_class_but_one_leaves_nothing_to_learn(kinds: Path, tmp_path: Path) -> None:
    held = {"hold_out_devices": [f"unit-{number}" for number in (1, 3, 5, 7)]}
    with pytest.raises(ValueError, match=r"two classes, but the devices not held out have \['lamp'\]"):
        run.fit(config(kinds, split=held), tmp_path)
    assert not (tmp_path / "runs").exists()


def test_the_network_is_chosen_by_one_word(kinds: Path, tmp_path: Path) -> None:
    (tmp_path / "kinds.yaml").write_text("name: kinds\nnetwork: {hidden: [8], epochs: 2}\n")
    words = [f"table={kinds}", "target=kind", "time=at", "features=[up_bytes]", "model=network"]
    fitted = run.fit(experiment.read(tmp_path / "kinds.yaml", words), tmp_path)
    assert (fitted.directory / "weights.safetensors").is_file()
    assert run.predict_table(kinds, run.seal(fitted.directory), tmp_path / "out.csv") == 800


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("tres.rounds=3", "unknown key 'tres'; the nearest known one is 'trees'"),
        ("trees.round=3", "unknown key 'trees.round'; the nearest known one is 'rounds'"),
        ("group=unit", "name columns of a table"),
        ("target=kind", "without a table, target must be in"),
        ("name=../up", "name"),
        ("trees.boosting=rf", "bagging_freq"),
    ],
)
def test_a_wrong_word_is_answered_with_the_right_one(tmp_path: Path, word: str, says: str) -> None:
    (tmp_path / "kinds.yaml").write_text("name: kinds\n")
    with pytest.raises(ValueError, match=says):
        experiment.read(tmp_path / "kinds.yaml", [word])
