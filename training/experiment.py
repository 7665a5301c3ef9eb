"""One experiment file = one run: data, target, model, split, reject rule. Kept as resolved in model.json."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from features.configuration import find_config, read_config

WINDOW_TARGETS = ("label", "family")  # what the device map can teach


class TreeSettings(BaseModel, frozen=True, extra="forbid"):
    """LightGBM, by its own parameter names. The defaults are LightGBM's, except where the reason is given."""

    boosting: Literal["gbdt", "rf", "dart", "extra_trees"] = Field(
        "gbdt", description="extra_trees: no boosting but a forest of scikit-learn's, kept as LightGBM text"
    )
    rounds: int = Field(300, ge=1, description="boosting rounds, each one tree per class; trees of a forest")
    learning_rate: float = Field(0.05, gt=0, description="0.05: twice the rounds at half the step")
    num_leaves: int = Field(31, ge=2)
    max_depth: int = Field(-1, ge=-1)
    min_data_in_leaf: int = Field(20, ge=1)
    min_data_in_bin: int = Field(3, ge=1)
    min_sum_hessian_in_leaf: float = Field(1e-3, ge=0)
    bagging_fraction: float = Field(1.0, gt=0, le=1)
    bagging_freq: int = Field(0, ge=0, description="draw new rows every so many rounds; 0 never")
    feature_fraction: float = Field(1.0, gt=0, le=1)
    feature_fraction_bynode: float = Field(1.0, gt=0, le=1)
    lambda_l2: float = Field(0.0, ge=0)
    extra_trees: bool = False
    path_smooth: float = Field(0.0, ge=0)
    max_bin: int = Field(255, ge=2)
    class_weight: Literal["none", "balanced"] = "none"
    num_threads: int = Field(1, ge=1, description="fixed, so that the machine does not decide the sums")

    @model_validator(mode="after")
    def _a_forest_draws_its_rows(self) -> Self:
        if self.boosting == "rf" and not (self.bagging_freq and self.bagging_fraction < 1):
            raise ValueError("boosting rf needs bagging_freq > 0 and bagging_fraction < 1")
        return self


class NetworkSettings(BaseModel, frozen=True, extra="forbid"):
    """A small multi-layer perceptron on the same table."""

    hidden: tuple[int, ...] = Field((128, 64), min_length=1, description="units of each hidden layer")
    epochs: int = Field(120, ge=1)
    batch_size: int = Field(64, ge=1)
    learning_rate: float = Field(2e-3, gt=0)
    weight_decay: float = Field(1e-2, ge=0)
    dropout: float = Field(0.2, ge=0, lt=1)
    label_smoothing: float = Field(0.0, ge=0, lt=1)


class SplitSettings(BaseModel, frozen=True, extra="forbid"):
    """How the rows are divided to judge the model."""

    test_fraction: float = Field(0.25, gt=0, lt=1, description="of windows (time), of units (device)")
    folds: int = Field(5, ge=2, description="of the random split; the most that the site split makes")
    hold_out_devices: tuple[str, ...] = Field((), description="never trained on, not even by the final model")


class RejectSettings(BaseModel, frozen=True, extra="forbid"):
    """What `unknown` and `level` promise, as shares of validation rows."""

    false_rejections: float = Field(0.05, ge=0, lt=1, description="known rows that `unknown` may hit")
    leaf_precision: float = Field(
        0.95, gt=0, le=1, description="right labels at level `leaf`, in a family of several"
    )


class Experiment(BaseModel):
    """What to learn from what, how, and how to judge it.

    With `table` the rows come from that CSV or Parquet file; without it from the windows of the workspace.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=True)

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", description="also the folder of its runs")
    seed: int = Field(0, ge=0, le=2**31 - 1)
    window: str = Field("session", description="a window of configs/windows.yaml; not used with a table")
    target: str = Field("label", description="label or family of the device map, or a column of the table")
    features: tuple[str, ...] | None = Field(None, description="null: every feature of the window or table")
    min_rows_per_class: int = Field(2, ge=1, description="a class with fewer rows is left out, and named")
    table: Path | None = Field(None, description="CSV or Parquet; relative to the working directory")
    group: str | None = Field(None, description="column of the table that names the unit a row comes from")
    time: str | None = Field(None, description="column of the table that orders it: ISO 8601 or seconds")
    model: Literal["trees", "network"] = "trees"
    trees: TreeSettings = TreeSettings()
    network: NetworkSettings = NetworkSettings()
    split: SplitSettings = SplitSettings()
    reject: RejectSettings = RejectSettings()
    rival: Path | None = Field(None, description="Parquet: device_id, source, float features")

    @model_validator(mode="after")
    def _columns_belong_to_a_table(self) -> Self:
        if self.table is None and self.target not in WINDOW_TARGETS:
            raise ValueError(f"without a table, target must be in {WINDOW_TARGETS}, however: {self.target!r}")
        given = [key for key in ("group", "time") if getattr(self, key) is not None]
        if self.table is None and given:
            raise ValueError(f"{given} name columns of a table; set table=FILE too")
        return self


def find(config: Path, workspace: Path) -> Path:
    """Return the file of an experiment: `config` itself, or where that is no file the configuration of its name.

    Raises FileNotFoundError that names the places.
    """
    return config if config.is_file() else find_config(f"experiments/{config.stem}.yaml", workspace)


def read(path: Path, overrides: Sequence[str] = ()) -> Experiment:
    """Return the experiment of a YAML file, with `key.sub=value` overrides laid over it.

    Raises FileNotFoundError, or ValueError that names file, key, rule and the nearest known key.
    """
    return read_config(path, Experiment, overrides)
