"""One experiment -> one run directory: fitted here, judged by evaluation, sealed last; found again by name.

A directory without DONE is unfinished: killed, or still being judged. Nobody finds it, and it may be deleted.
"""

import hashlib
import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from training import (
    artifact,
    dataset,
    decision,
    mark_models,
    provenance,
    splits,
    tables,
    usual,
    validation,
)
from training.artifact import Manifest, Model, SelfTest, Thresholds, WeightsFile
from training.dataset import Dataset
from training.experiment import Experiment
from training.splits import Split
from training.weights import Weights, tempered

log = logging.getLogger(__name__)

DONE = "DONE"
PREDICTIONS = "predictions.parquet"
LATEST = "latest"
ROWS_AT_ONCE = 10_000  # of a table predicted: some seconds of a forest, the slowest model
REJECTIONS_TO_SEE = (
    10  # on n rows a share of 5 % is known within sqrt(0.05 * 0.95 / n): 1.5 points at 200 rows
)


@dataclass(frozen=True)
class Fitted:
    """An unfinished run: what it learnt from, how that was split, what it answered on test rows, the model.

    predictions: one row per test row of each split, as in predictions.parquet: split, fold, row (position in
    dataset), its keys, y_true, the answer (`decision.answer` without top), and p_<class> for every class.
    """

    directory: Path
    experiment: Experiment
    dataset: Dataset
    splits: dict[str, Split]
    predictions: pd.DataFrame
    model: Model


@dataclass(frozen=True)
class _Judged:
    """Every test row of every split: its split, fold and row (m,), and uncalibrated probabilities (m, k)."""

    split: np.ndarray
    fold: np.ndarray
    row: np.ndarray
    proba: np.ndarray


def fit(experiment: Experiment, workspace: Path) -> Fitted:
    """Fit one model per fold to judge, and one on every row that is not held out to keep.

    Leaves an unfinished directory with weights, model.json and predictions.parquet; `seal` finishes it.
    Raises ValueError or LookupError, before anything is written, where there is nothing to learn.
    """
    data = dataset.load(experiment, workspace)
    parts = splits.all_splits(data, experiment.split, seed=experiment.seed)
    learnable = splits.trainable(data, experiment.split)
    classes, codes = np.unique(data.y[learnable], return_inverse=True)
    if len(classes) < 2:
        raise ValueError(f"a model needs two classes, but the devices not held out have {classes.tolist()}")
    judged = _judge_folds(experiment, data, parts, classes)
    weights = _learn(experiment, data.X[learnable], codes, data)
    manifest = _manifest(experiment, data, weights, classes, _calibration(experiment, data, judged, classes))
    model = Model(manifest, weights)
    predictions = _predictions(model, data, judged)
    directory = new_directory(workspace / "runs" / experiment.name)
    artifact.save(model, directory)
    predictions.to_parquet(directory / PREDICTIONS, index=False)
    return Fitted(directory, experiment, data, parts, predictions, model)


def seal(directory: Path) -> Path:
    """Finish a run: check that its model answers as it did, then write DONE. Returns the directory."""
    model = artifact.load(directory)
    model.self_test()
    if not (directory / PREDICTIONS).is_file():
        raise FileNotFoundError(f"a run needs its {PREDICTIONS}, but {directory} has none; train again")
    (directory / DONE).write_text(model.manifest.model_version + "\n", encoding="utf-8")
    return directory


def seal_marks(directory: Path) -> Path:
    """Finish a run of user marking as `seal` does one of devices: its models must answer as they did."""
    models = mark_models.load(directory)
    models.self_test()
    (directory / DONE).write_text(models.manifest.model_version + "\n", encoding="utf-8")
    return directory


def find(
    workspace: Path,
    ref: str,
    *,
    suits: Callable[[Manifest], bool] | None = None,
    manifest: str = artifact.MANIFEST,
) -> Path:
    """Return the directory of a sealed run by path, id, model version or `latest`; EXPERIMENT/ may stand before it.

    suits: what `latest` alone must be, so that a newer run of another kind does not hide it. manifest: the file that
    a run of the wanted task has; others are not looked at.
    Raises LookupError that says what there is instead, ValueError where one id names runs of two experiments.
    """
    experiment, _, name = ref.rpartition("/")
    if name != LATEST and Path(ref).is_dir():
        return _sealed(Path(ref))
    every = sorted((workspace / "runs").glob("*/*/"), key=lambda run: _order(run.name))
    runs = [run for run in every if experiment in ("", run.parent.name)]
    finished = [run for run in runs if (run / DONE).is_file() and (run / manifest).is_file()]
    if ref == LATEST and suits is not None:
        useful = (run for run in reversed(finished) if suits(artifact.read_manifest(run)))
        named = list(islice(useful, 1))
    elif name == LATEST:
        named = finished[-1:]
    else:
        named = [run for run in runs if run.name == name] or _of_version(finished, name)
    if len(named) > 1:
        raise ValueError(
            f"a run id must name one run, but {ref} names {[str(run) for run in named]}; write EXPERIMENT/{ref}"
        )
    if named:
        return _sealed(named[0])
    known = ", ".join(f"{run.parent.name}/{run.name}" for run in finished[-5:]) or "none; run iotlens train"
    fact = " that can be used here" if ref == LATEST and finished else ""
    raise LookupError(f"no finished run {ref!r}{fact} in {workspace / 'runs'}; there are: {known}")


def _of_version(finished: Sequence[Path], version: str) -> list[Path]:
    """Return the newest of the runs that made this model version."""
    return [run for run in finished if (run / DONE).read_text(encoding="utf-8").strip() == version][-1:]


def predict_table(table: Path, run_dir: Path, out: Path) -> int:
    """Write the answer for every row of a CSV or Parquet table, in order, and return their number.

    Columns: label, probability, unknown, then p_<class> for every class.
    Raises ValueError naming file, row and column; OSError, before any work, where `out` cannot be written.
    """
    tables.check_out(out)
    model = artifact.load(run_dir)
    texts = [feature.name for feature in model.manifest.features if feature.dtype == "string"]
    frame = tables.read_table(table, texts=texts)
    X = model.matrix(frame, table=str(table))
    parts = np.array_split(X, len(X) // ROWS_AT_ONCE + 1)
    shown = tqdm(parts, desc=f"predict, {ROWS_AT_ONCE:,} rows each", delay=2, disable=None)
    proba = np.concatenate([model.predict_proba(part) for part in shown])
    answers = decision.answer(model, proba)[["label", "probability", "unknown"]]
    tables.write_table(answers.join(_per_class(model, proba)), out)
    return len(frame)


def _judge_folds(
    experiment: Experiment, data: Dataset, parts: dict[str, Split], classes: np.ndarray
) -> _Judged:
    """Fit every fold of every split; a class that a fold did not learn has probability 0 there."""
    jobs = [(name, i, fold) for name, split in parts.items() for i, fold in enumerate(split.folds)]
    probas = [np.empty((0, len(classes)))]
    for _, _, fold in tqdm(jobs, desc="fit folds", unit="fold", delay=2, disable=None):
        learnt, codes = np.unique(data.y[fold.train], return_inverse=True)
        weights = _learn(experiment, data.X[fold.train], codes, data)
        proba = np.zeros((len(fold.test), len(classes)))
        proba[:, np.searchsorted(classes, learnt)] = weights.predict_proba(data.X[fold.test])
        probas.append(proba)
    sizes = [len(fold.test) for _, _, fold in jobs]
    return _Judged(
        split=np.repeat(np.array([name for name, _, _ in jobs], dtype=object), sizes),
        fold=np.repeat(np.array([i for _, i, _ in jobs], dtype=np.int64), sizes),
        row=np.concatenate([np.empty(0, dtype=np.int64), *(fold.test for _, _, fold in jobs)]),
        proba=np.vstack(probas),
    )


def _learn(experiment: Experiment, X: np.ndarray, codes: np.ndarray, data: Dataset) -> Weights:
    features, seed = data.features, experiment.seed
    if experiment.model == "network":
        from training import network

        return network.fit(X, codes, features=features, settings=experiment.network, seed=seed)
    from training import forest, trees

    grow = forest.fit if experiment.trees.boosting == "extra_trees" else trees.fit
    return grow(X, codes, features=features, settings=experiment.trees, seed=seed)


def _calibration(
    experiment: Experiment, data: Dataset, judged: _Judged, classes: np.ndarray
) -> tuple[float, Thresholds]:
    """Return temperature and thresholds, set on the test rows of time, else random, else the largest split.

    Time and random must hold rows enough to see ten false rejections: see docs/decisions/0005.
    """
    counts = pd.Series(judged.split).value_counts()
    if counts.empty:
        log.warning("no split is possible: probabilities stay uncalibrated, and nothing is ever unknown")
        return 1.0, validation.unset()
    needed = REJECTIONS_TO_SEE / max(experiment.reject.false_rejections, 1 / len(data.y))
    name = next(
        (split for split in ("time", "random") if counts.get(split, 0) >= needed), str(counts.index[0])
    )
    mine = judged.split == name
    codes = np.searchsorted(classes, data.y[judged.row[mine]])
    temperature = validation.temperature(judged.proba[mine], codes)
    thresholds = validation.thresholds(
        tempered(judged.proba[mine], temperature),
        codes,
        family_of_class=np.unique([data.families[name] for name in classes], return_inverse=True)[1],
        settings=experiment.reject,
        split=name,
    )
    return temperature, thresholds


def _manifest(
    experiment: Experiment,
    data: Dataset,
    weights: Weights,
    classes: np.ndarray,
    calibration: tuple[float, Thresholds],
) -> Manifest:
    temperature, thresholds = calibration
    learnable = splits.trainable(data, experiment.split)
    row = data.X[learnable[:1]]
    proba = tempered(weights.predict_proba(row), temperature)
    draft = Manifest(
        model_version="",
        kind=weights.kind,
        features=data.features,
        usual=usual.usual(data.X[learnable], data.features),
        classes=tuple(classes),
        families={name: data.families[name] for name in classes},
        feature_service=data.feature_service,
        window=data.window,
        flow_settings=data.flow_settings,
        target=experiment.target,
        thresholds=thresholds,
        temperature=temperature,
        weights=WeightsFile(file=weights.file, sha256=artifact.sha256(weights.to_bytes())),
        self_test=SelfTest(
            row=tuple(None if np.isnan(value) else value for value in row[0].tolist()),
            probabilities=tuple(proba[0]),
        ),
        rows=len(learnable),
        data_hash=data.data_hash,
        seed=experiment.seed,
        libraries=provenance.libraries(),
        git_commit=provenance.git_commit(),
        experiment=experiment,
        created=datetime.now(UTC).replace(microsecond=0),
    )
    return draft.model_copy(update={"model_version": f"{experiment.name}-{_content(draft)}"})


def _content(manifest: Manifest) -> str:
    """Return 12 hex digits of what decides an answer: flows, weights, names and thresholds; not of when or where."""
    answers = {"features", "classes", "families", "thresholds", "temperature", "weights"}
    asked = {"feature_service", "flow_settings"}  # how a question becomes features
    return hashlib.sha256(manifest.model_dump_json(include=answers | asked).encode()).hexdigest()[:12]


def _predictions(model: Model, data: Dataset, judged: _Judged) -> pd.DataFrame:
    proba = tempered(judged.proba, model.manifest.temperature) if len(judged.proba) else judged.proba
    place = pd.DataFrame({"split": judged.split.astype(str), "fold": judged.fold, "row": judged.row})
    keys = data.keys.iloc[judged.row].reset_index(drop=True)
    truth = pd.DataFrame({"y_true": data.y[judged.row]})
    answers = decision.answer(model, proba).drop(columns="top")
    return pd.concat([place, keys, truth, answers, _per_class(model, proba)], axis=1)


def _per_class(model: Model, proba: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame(proba, columns=[f"p_{name}" for name in model.manifest.classes])


def new_directory(parent: Path) -> Path:
    """Make and return a new directory whose name tells when, UTC; the second one of a second ends in -2."""
    moment = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    attempt = 1
    while True:
        directory = parent / (moment if attempt == 1 else f"{moment}-{attempt}")
        try:
            directory.mkdir(parents=True)
        except FileExistsError:
            attempt += 1
            continue
        return directory


def _order(name: str) -> tuple[str, int]:
    """Return what sorts run ids by age: the moment, then the number within the second."""
    moment, _, number = name.partition("-")
    return moment, int(number) if re.fullmatch(r"\d+", number) else 1


def _sealed(directory: Path) -> Path:
    if not (directory / DONE).is_file():
        raise LookupError(
            f"a run must be finished, but {directory} has no {DONE}; train again and take that run"
        )
    return directory
