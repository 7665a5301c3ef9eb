"""A model directory: weights and model.json, checked when read. Text and arrays only, never pickle."""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from pydantic import BaseModel, Field, ValidationError

from features.flows import FlowSettings
from training.experiment import Experiment
from training.weights import Network, Trees, Weights, tempered

log = logging.getLogger(__name__)

MANIFEST = "model.json"
SELF_TEST_TOLERANCE = 1e-9  # another CPU may round the last bits of exp() and of sums differently


class InputFeature(BaseModel, frozen=True, extra="forbid"):
    """One column the model reads. categories: the texts of a string column; their places are its codes."""

    name: str
    dtype: Literal["int64", "float64", "bool", "string"]
    categories: tuple[str, ...] = ()


class Usual(BaseModel, frozen=True, extra="forbid"):
    """What training saw of one feature, and with which others it moves."""

    low: float | None = Field(
        description="5th percentile of the rows fitted on; null: a text, or never there"
    )
    high: float | None = Field(description="95th percentile, likewise")
    group: str = Field(description="the feature that names the group of those that move together")


class Thresholds(BaseModel, frozen=True, extra="forbid"):
    """Where `unknown` and `level` change, and on what they were set."""

    unknown: float = Field(ge=0, le=1, description="`unknown` is true where family_probability is below this")
    leaf: float | None = Field(
        description="in a family of several labels level is `leaf` from this probability on; null: never."
        " A family of one label is always at level leaf"
    )
    split: str | None = Field(description="split whose out-of-fold rows set both; null: none")
    rows: int = Field(ge=0, description="how many rows set both")
    false_rejections: float = Field(description="share of these rows that `unknown` hits")
    leaf_precision: float | None = Field(
        description="share of right labels at level leaf, among these rows with a label of such a family"
    )
    leaf_share: float | None = Field(description="share at level leaf of the same rows; null: there is none")


class WeightsFile(BaseModel, frozen=True, extra="forbid"):
    """The file that holds the weights, and the SHA-256 of its content."""

    file: str
    sha256: str


class SelfTest(BaseModel, frozen=True, extra="forbid"):
    """One row (null: missing) and the probabilities that the model gave for it when it was made."""

    row: tuple[float | None, ...]
    probabilities: tuple[float, ...]


class Manifest(BaseModel, frozen=True, extra="forbid"):
    """model.json: everything needed to ask the model, and to know where it came from.

    `created` alone differs between two runs of one experiment on the same data, libraries and code.
    """

    format: Literal[1] = 1
    model_version: str = Field(description="experiment and content: the same version answers the same")
    kind: Literal["trees", "network"]
    features: tuple[InputFeature, ...] = Field(description="in the order of the columns of X")
    usual: tuple[Usual, ...] | None = Field(
        None, description="of each feature, in the same order; null: the model was made before this was kept"
    )
    classes: tuple[str, ...] = Field(description="in the order of the columns of the probabilities")
    families: dict[str, str] = Field(description="family of each class")
    feature_service: str | None = Field(description="null: a plain table, which no online store can serve")
    window: str | None
    flow_settings: FlowSettings | None = Field(
        description="how the packets learnt from became flows; null: a plain table, or tables of flows did not tell"
    )
    target: str
    thresholds: Thresholds
    temperature: float = Field(gt=0)
    weights: WeightsFile
    self_test: SelfTest
    rows: int = Field(description="rows the final model was fitted on")
    data_hash: str
    seed: int
    libraries: dict[str, str]
    git_commit: str | None = Field(description="null outside a checkout; -dirty with uncommitted changes")
    experiment: Experiment = Field(description="the experiment as resolved")
    created: datetime = Field(description="UTC")


@dataclass(frozen=True)
class Model:
    """A model that answers: its manifest and its weights."""

    manifest: Manifest
    weights: Weights

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        """Return calibrated probabilities, float64 (n, k) in manifest.classes order; each row sums to 1.

        X: float64 (n, f) in manifest.features order, as `matrix` makes it; NaN is a missing value.
        Raises ValueError on any other shape.
        """
        wanted = len(self.manifest.features)
        if X.ndim != 2 or X.shape[1] != wanted:
            raise ValueError(f"X must be (n, {wanted}) in the manifest's feature order, but is {X.shape}")
        if len(X) == 0:
            return np.empty((0, len(self.manifest.classes)))
        return tempered(self.weights.predict_proba(X), self.manifest.temperature)

    def matrix(self, frame: pd.DataFrame, *, table: str = "features") -> np.ndarray:
        """Return X, float64 (n, f), picked from the frame by name; see `matrix`."""
        return matrix(frame, self.manifest.features, table=table)

    def self_test(self) -> None:
        """Answer the stored row again; raises ValueError when the answer is not the stored one."""
        stored = self.manifest.self_test
        row = np.array([[np.nan if value is None else value for value in stored.row]], dtype=np.float64)
        off = float(np.abs(self.predict_proba(row)[0] - np.array(stored.probabilities)).max())
        if not off <= SELF_TEST_TOLERANCE:
            raise ValueError(
                f"{self.manifest.model_version} must repeat its self-test within {SELF_TEST_TOLERANCE:g},"
                f" but is off by {off:g}; it was made with {self.manifest.libraries}"
            )

    @cached_property
    def family_codes(self) -> tuple[np.ndarray, np.ndarray]:
        """The family names (m,), sorted, and the place of each class's family among them (k,)."""
        of_class = [self.manifest.families[name] for name in self.manifest.classes]
        return np.unique(of_class, return_inverse=True)


def sha256(content: bytes) -> str:
    """Return the SHA-256 of the content, in hex."""
    return hashlib.sha256(content).hexdigest()


def save(model: Model, directory: Path) -> None:
    """Write the weights, then model.json, into an existing directory."""
    (directory / model.weights.file).write_bytes(model.weights.to_bytes())
    text = model.manifest.model_dump_json(indent=2)
    (directory / MANIFEST).write_text(text + "\n", encoding="utf-8")


def load(directory: Path) -> Model:
    """Return the model of a run directory, after checking that the weights are those its manifest names.

    Raises FileNotFoundError where a file is missing, ValueError where a file is not what was written.
    """
    manifest = read_manifest(directory)
    kinds: dict[str, type[Trees] | type[Network]] = {"trees": Trees, "network": Network}
    kind = kinds[manifest.kind]
    path = directory / kind.file  # not manifest.weights.file: a file's content must not choose a path
    if not path.is_file():
        raise FileNotFoundError(f"no {path.name} beside {MANIFEST} in {directory}; copy the whole directory")
    content = path.read_bytes()
    if sha256(content) != manifest.weights.sha256:
        raise ValueError(
            f"{path} must have the SHA-256 {manifest.weights.sha256} that {MANIFEST} names, but has"
            f" {sha256(content)}; it was changed or belongs to another run"
        )
    return Model(manifest, kind.from_bytes(content))


def read_manifest(directory: Path) -> Manifest:
    """Return what a run directory says of its model, without its weights.

    Raises FileNotFoundError where it says nothing, ValueError where it is not of this format.
    """
    path = directory / MANIFEST
    if not path.is_file():
        raise FileNotFoundError(f"no {MANIFEST} in {path.parent}; `iotlens train` prints the directory made")
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "content"
        raise ValueError(f"{path} must be a manifest of format 1, but {where}: {first['msg']}") from error


def matrix(frame: pd.DataFrame, features: Sequence[InputFeature], *, table: str) -> np.ndarray:
    """Return X, float64 (n, f): the features picked by name, in their order; other columns are left aside.

    A text that the model has not seen in a string column is a missing value. Raises ValueError naming table,
    column and row (position, from 0) of what is missing, not a number, or infinite.
    """
    names = [feature.name for feature in features]
    missing = [name for name in names if name not in frame.columns]
    if missing:
        raise ValueError(f"{table} must have every feature of the model, but lacks {missing}")
    picked = frame[names]
    if picked.shape[1] != len(names):
        repeated = sorted(set(picked.columns[picked.columns.duplicated()]))
        raise ValueError(f"{table} must have each column once, but repeats {repeated}")
    if all(dtype.kind in "iufb" for dtype in picked.dtypes):
        X = picked.to_numpy(dtype=np.float64, na_value=np.nan)
    else:
        X = np.column_stack([_numbers(picked[feature.name], feature, table) for feature in features])
    infinite = np.argwhere(np.isinf(X))
    if len(infinite):
        row, column = infinite[0]
        value = X[row, column]
        raise ValueError(f"{table}.{names[column]} must be finite or empty, but row {row} has {value}")
    return X


def _numbers(values: "pd.Series[Any]", feature: InputFeature, table: str) -> np.ndarray:
    """Return one column as float64 (n,). Any: a column of a stranger's table holds anything."""
    if feature.dtype == "string":
        codes = pd.Categorical(values.astype("string"), categories=list(feature.categories)).codes
        new = values[(codes < 0) & values.notna().to_numpy()]
        if len(new):
            told = "%s.%s: %d of %d texts were never learnt and count as empty, such as %r"
            log.warning(told, table, feature.name, len(new), len(values), new.iloc[0])
        return np.where(codes < 0, np.nan, codes.astype(np.float64))
    numbers = pd.to_numeric(values, errors="coerce")
    refused = numbers.isna() & values.notna()
    if refused.any():
        row = int(np.flatnonzero(refused)[0])
        raise ValueError(f"{table}.{feature.name} must hold numbers, but row {row} has {values.iloc[row]!r}")
    return np.asarray(numbers.to_numpy(dtype=np.float64, na_value=np.nan))
