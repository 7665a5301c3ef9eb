"""The models of user marks: one a mark, trees or networks by the same two verbs; text and arrays, never pickle."""

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from pydantic import BaseModel, Field, ValidationError
from tqdm import tqdm

from features.behaviour import OF_THE_LAKE
from training import provenance
from training.artifact import InputFeature, matrix, sha256
from training.mark_experiment import MarkExperiment
from training.usual import HIGH, LOW
from training.weights import Network, Trees, Weights

log = logging.getLogger(__name__)

MANIFEST = "marks.json"  # not model.json: who looks for a model of devices does not find this one
SELF_TEST_TOLERANCE = 1e-9
_KINDS: dict[str, type[Trees] | type[Network]] = {"trees": Trees, "network": Network}


class Range(BaseModel, frozen=True, extra="forbid"):
    """The 5th and 95th percentile of a feature over the devices learnt from."""

    low: float
    high: float


class MarkWeights(BaseModel, frozen=True, extra="forbid"):
    """What was learnt of one mark. again: share of labels told again by folds that did not see the device."""

    mark: str
    features: tuple[str, ...] = Field(description="in the order of the columns of X")
    file: str
    sha256: str
    yes: int = Field(description="devices labelled to have it")
    no: int
    expert: int = Field(description="of these, labelled by an expert")
    services: tuple[str, ...] = Field(
        description="of the devices labelled; of others the model knows nothing"
    )
    again_yes: float = Field(description="of the devices labelled to have it, out of fold")
    again_no: float
    row: tuple[float | None, ...] = Field(description="one row, null where missing, and the answer to it")
    answer: float

    @property
    def skill(self) -> float:
        """How well it tells labels again that it did not see: 1 always, 0 as by chance (Youden's index)."""
        return max(self.again_yes + self.again_no - 1.0, 0.0)


class MarkManifest(BaseModel, frozen=True, extra="forbid"):
    """marks.json: everything needed to ask the models of marks, and to know where they came from."""

    format: Literal[1] = 1
    model_version: str
    kind: Literal["trees", "network"]
    marks: tuple[MarkWeights, ...]
    without: dict[str, str] = Field(description="marks that no model was learnt of, and why")
    usual: dict[str, Range]
    at: datetime = Field(description="the moment learnt from")
    rules: str = Field(description="the version of the marks that taught")
    simulated: bool
    rows: int
    data_hash: str
    seed: int
    libraries: dict[str, str]
    git_commit: str | None
    experiment: MarkExperiment
    created: datetime


@dataclass(frozen=True)
class MarkModels:
    """Models that answer: of each mark that could be learnt, whether a device has it as its teachers would say.

    again: of each mark that was tried, (n,) the answers about the devices learnt from by models that did not see them,
    NaN where nobody labelled one. None are kept in a directory.
    """

    manifest: MarkManifest
    weights: Mapping[str, Weights]
    again: Mapping[str, np.ndarray] = field(default_factory=dict)

    @cached_property
    def _of(self) -> dict[str, MarkWeights]:
        return {one.mark: one for one in self.manifest.marks}

    def taught(self, mark: str, frame: pd.DataFrame) -> np.ndarray | None:
        """Return how probably the label of a mark would be yes, (n,); None where no model was learnt of it.

        A column that the frame lacks is missing in every row. NaN for a device of a service that taught nothing.
        """
        if mark not in self._of:
            return None
        X = _matrix(frame, self._of[mark].features)
        proba = self.weights[mark].predict_proba(X)[:, 1] if len(X) else np.empty(0)
        return np.where(self._foreign(mark, frame), np.nan, proba)

    def _foreign(self, mark: str, frame: pd.DataFrame) -> np.ndarray:
        taught = self._of[mark].services
        if not taught or "service" not in frame:
            return np.zeros(len(frame), dtype=bool)
        return np.asarray(frame["service"].notna() & ~frame["service"].isin(taught), dtype=bool)

    def skill(self, mark: str) -> float:
        """Return how well the model of a mark tells labels again, 0 to 1; 0 where there is none."""
        return self._of[mark].skill if mark in self._of else 0.0

    def moved(self, mark: str, frame: pd.DataFrame) -> pd.DataFrame:
        """Return by how much each feature moves the log-odds of a mark, one row a device, one column a feature.

        Of trees SHAP values; of a network what changes when the feature is as it is on average.
        """
        names = self._of[mark].features
        X, weights = _matrix(frame, names), self.weights[mark]
        by = _tree_moves(weights, X) if isinstance(weights, Trees) else _network_moves(weights, X)
        return pd.DataFrame(by, columns=list(names), index=frame.index)

    def self_test(self) -> None:
        """Answer the stored rows again; raises ValueError where an answer is not the stored one."""
        for one in self.manifest.marks:
            X = np.array([[np.nan if value is None else value for value in one.row]])
            off = abs(float(self.weights[one.mark].predict_proba(X)[0, 1]) - one.answer)
            if not off <= SELF_TEST_TOLERANCE:
                raise ValueError(
                    f"{self.manifest.model_version} must repeat its answer for {one.mark} within"
                    f" {SELF_TEST_TOLERANCE:g}, but is off by {off:g}; made with {self.manifest.libraries}"
                )


@dataclass(frozen=True)
class Lesson:
    """What is learnt from. frame: one row a device. labels: one column a mark, 1, 0 or NaN (nobody knows).

    expert: whether a label is an expert's. hidden: by mark, the features that its rule reads. rules: their version.
    """

    frame: pd.DataFrame
    labels: pd.DataFrame
    expert: pd.DataFrame
    hidden: Mapping[str, Sequence[str]]
    rules: str
    at: pd.Timestamp
    simulated: bool


def fit(recipe: MarkExperiment, lesson: Lesson) -> MarkModels:
    """Return one model a mark that has labels enough. The same lesson and seed give the same models.

    Raises ValueError where no mark has.
    """
    learnt: list[MarkWeights] = []
    weights: dict[str, Weights] = {}
    without: dict[str, str] = {}
    again: dict[str, np.ndarray] = {}
    log.info(
        "marks: a model of each of %d marks, of %s devices",
        len(lesson.labels.columns),
        f"{len(lesson.frame):,}",
    )
    for mark in tqdm(list(lesson.labels.columns), desc="fit marks", delay=2, disable=None):
        if why := _unlearnable(recipe, lesson.labels[mark]):
            without[mark] = why
            continue
        fitted, told, again[mark] = _fit_one(recipe, lesson, mark, _features(recipe, lesson, mark))
        if told.skill < recipe.min_skill:
            without[mark] = (
                f"of labels that it did not see it tells {told.again_yes:.2f} of yes and {told.again_no:.2f} of no"
                f" again, {1 + recipe.min_skill:.2f} in sum are needed"
            )
            continue
        weights[mark] = fitted
        learnt.append(told)
    if not learnt:
        raise ValueError(f"no mark can be learnt: {without}")
    used = sorted({name for one in learnt for name in one.features} | _read(lesson))
    manifest = MarkManifest(
        model_version="", kind=recipe.model, marks=tuple(learnt), without=without,
        usual=ranges(lesson.frame, used), at=lesson.at.to_pydatetime(), rules=lesson.rules,
        simulated=lesson.simulated, rows=len(lesson.frame), data_hash=_hash(lesson), seed=recipe.seed,
        libraries=provenance.libraries(), git_commit=provenance.git_commit(), experiment=recipe,
        created=datetime.now(UTC).replace(microsecond=0),
    )  # fmt: skip
    content = manifest.model_dump_json(include={"marks", "usual", "rules", "kind"})
    version = f"{recipe.name}-{hashlib.sha256(content.encode()).hexdigest()[:12]}"
    return MarkModels(manifest.model_copy(update={"model_version": version}), weights, again)


def ranges(frame: pd.DataFrame, names: Sequence[str]) -> dict[str, Range]:
    """Return the usual range of features over the devices of a frame; none of one that nobody told."""
    there = frame[[name for name in names if name in frame]].astype("float64")
    low, high = there.quantile(LOW), there.quantile(HIGH)
    return {
        str(name): Range(low=float(least), high=float(most))
        for name, least, most in zip(there.columns, low, high, strict=True)
        if not np.isnan(least)
    }


def save(models: MarkModels, directory: Path) -> None:
    """Write the weights, then marks.json, into an existing directory."""
    for one in models.manifest.marks:
        path = directory / one.file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(models.weights[one.mark].to_bytes())
    text = models.manifest.model_dump_json(indent=2)
    (directory / MANIFEST).write_text(text + "\n", encoding="utf-8")


def load(directory: Path) -> MarkModels:
    """Return the models of a run directory, after checking that each weights file is the one its manifest names.

    Raises FileNotFoundError where a file is missing, ValueError where one is not what was written.
    """
    path = directory / MANIFEST
    if not path.is_file():
        raise FileNotFoundError(f"no {MANIFEST} in {directory}; train configs/experiments/user_marking.yaml")
    try:
        manifest = MarkManifest.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "content"
        raise ValueError(
            f"{path} must be a manifest of marks of format 1, but {where}: {first['msg']}"
        ) from error
    kind = _KINDS[manifest.kind]
    weights = {}
    for one in manifest.marks:
        content = (directory / _file(one.mark, kind)).read_bytes()  # not one.file: content chooses no path
        if sha256(content) != one.sha256:
            raise ValueError(
                f"weights of {one.mark} in {directory} are not those that {MANIFEST} names; train again"
            )
        weights[one.mark] = kind.from_bytes(content)
    return MarkModels(manifest, weights)


def _file(mark: str, kind: type[Trees] | type[Network]) -> str:
    return f"marks/{mark}/{kind.file}"


def _unlearnable(recipe: MarkExperiment, labels: "pd.Series[float]") -> str | None:
    yes, no = int((labels == 1).sum()), int((labels == 0).sum())
    if min(yes, no) >= recipe.min_rows_per_class:
        return None
    return (
        f"{yes} devices with it and {no} without are labelled, {recipe.min_rows_per_class} of each are needed"
    )


def _features(recipe: MarkExperiment, lesson: Lesson, mark: str) -> tuple[str, ...]:
    """Return what the model of a mark reads: what differs between devices.

    Left out is what its rule reads where that is hidden, and what tells of the lake rather than of the device.
    """
    numbers = [name for name in lesson.frame.select_dtypes("float64").columns if name not in OF_THE_LAKE]
    wanted = numbers if recipe.features is None else list(recipe.features)
    if unknown := [name for name in wanted if name not in numbers]:
        raise ValueError(f"features must be known of devices, but {unknown} are not")
    hidden = set(lesson.hidden.get(mark, ())) if recipe.hide_rule_features else set()
    return tuple(name for name in wanted if name not in hidden and lesson.frame[name].nunique() > 1)


def _fit_one(
    recipe: MarkExperiment, lesson: Lesson, mark: str, names: tuple[str, ...]
) -> tuple[Weights, MarkWeights, np.ndarray]:
    """Return a model of a mark, what is told of it, and (n,) the answers out of fold, NaN of what nobody labelled."""
    rows = np.flatnonzero(lesson.labels[mark].notna())
    X = _matrix(lesson.frame.iloc[rows], names)
    codes = lesson.labels[mark].to_numpy()[rows].astype(np.int64)
    expert = lesson.expert[mark].to_numpy()[rows]
    weights = _learn(recipe, X, codes, expert, names)
    unseen = np.full(len(lesson.frame), np.nan)
    unseen[rows] = _out_of_fold(recipe, X, codes, expert, names)
    again = unseen[rows] >= 0.5
    content = weights.to_bytes()
    told = MarkWeights(
        mark=mark, features=names, file=_file(mark, _KINDS[recipe.model]), sha256=sha256(content),
        yes=int(codes.sum()), no=int((1 - codes).sum()), expert=int(expert.sum()),
        services=_services(lesson.frame.iloc[rows]),
        again_yes=float(again[codes == 1].mean()), again_no=float((~again[codes == 0]).mean()),
        row=tuple(None if np.isnan(value) else float(value) for value in X[0]),
        answer=float(weights.predict_proba(X[:1])[0, 1]),
    )  # fmt: skip
    return weights, told, unseen


def _learn(
    recipe: MarkExperiment, X: np.ndarray, codes: np.ndarray, expert: np.ndarray, names: Sequence[str]
) -> Weights:
    times = np.where(expert, recipe.expert_copies, 1)
    rows = np.repeat(np.arange(len(X)), times)
    features = [InputFeature(name=name, dtype="float64") for name in names]
    if recipe.model == "network":
        from training import network

        return network.fit(X[rows], codes[rows], features=features, settings=recipe.network, seed=recipe.seed)
    from training import trees

    return trees.fit(X[rows], codes[rows], features=features, settings=recipe.trees, seed=recipe.seed)


def _out_of_fold(
    recipe: MarkExperiment, X: np.ndarray, codes: np.ndarray, expert: np.ndarray, names: Sequence[str]
) -> np.ndarray:
    """Return the answers to each row of a model that did not see it; each fold has its share of both classes."""
    order = np.lexsort([np.random.default_rng(recipe.seed).random(len(X)), codes])
    fold = np.empty(len(X), dtype=np.int64)
    fold[order] = np.arange(len(X)) % recipe.folds
    proba = np.empty(len(X))
    for one in range(recipe.folds):
        seen, judged = fold != one, fold == one
        weights = _learn(recipe, X[seen], codes[seen], expert[seen], names)
        proba[judged] = weights.predict_proba(X[judged])[:, 1]
    return proba


def _matrix(frame: pd.DataFrame, names: Sequence[str]) -> np.ndarray:
    whole = frame.reindex(columns=list(names)).astype("float64")
    return matrix(whole, [InputFeature(name=name, dtype="float64") for name in names], table="known")


def _tree_moves(trees: Trees, X: np.ndarray) -> np.ndarray:
    if not len(X):
        return np.empty_like(X)
    every = np.asarray(trees.booster.predict(X, pred_contrib=True, num_threads=1))
    no, yes = np.split(every, 2, axis=1)
    return np.asarray((yes - no)[:, :-1])


def _network_moves(network: Network, X: np.ndarray) -> np.ndarray:
    """Return the log-odds less those with one feature left out, which is then the mean of what was learnt from."""

    def log_odds(rows: np.ndarray) -> np.ndarray:
        proba = np.clip(network.predict_proba(rows), 1e-12, None)
        return np.asarray(np.log(proba[:, 1]) - np.log(proba[:, 0]))

    moved, whole = np.empty_like(X), log_odds(X) if len(X) else np.empty(0)
    usual = pd.DataFrame(network.background).mean().to_numpy()
    for place in range(X.shape[1]):
        without = X.copy()
        without[:, place] = usual[place]
        moved[:, place] = whole - log_odds(without) if len(X) else 0.0
    return moved


def _services(frame: pd.DataFrame) -> tuple[str, ...]:
    return tuple(sorted(frame["service"].dropna().unique())) if "service" in frame else ()


def _read(lesson: Lesson) -> set[str]:
    return {name for names in lesson.hidden.values() for name in names}


def _hash(lesson: Lesson) -> str:
    parts = [pd.util.hash_pandas_object(one, index=False) for one in (lesson.frame, lesson.labels)]
    told = json.dumps([int(part.sum() % 2**53) for part in parts]).encode()
    return hashlib.sha256(told + b"".join(part.to_numpy().tobytes() for part in parts)).hexdigest()
