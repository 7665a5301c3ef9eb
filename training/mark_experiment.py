"""One experiment of user marking: which features teach which model, on what labels."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal  # Any: as YAML has it

import yaml
from pydantic import AwareDatetime, BaseModel, Field

from features.configuration import read_config
from training.experiment import NetworkSettings, TreeSettings

TASK = "user_marking"


class MarkExperiment(BaseModel, frozen=True, extra="forbid"):
    """One model a mark, learnt from what its rule tells of each device, and from what experts say instead."""

    task: Literal["user_marking"]
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", description="also the folder of its runs")
    seed: int = Field(0, ge=0, le=2**31 - 1)
    at: AwareDatetime | None = Field(None, description="the moment learnt from; null: the newest of the lake")
    features: tuple[str, ...] | None = Field(None, description="null: all that is known of a device")
    hide_rule_features: bool = Field(
        True, description="a model does not see what the rule of its mark reads, so it cannot just repeat it"
    )
    min_rows_per_class: int = Field(10, ge=2, description="devices with, and without, a mark to learn it")
    expert_labels: Path | None = Field(None, description="CSV: device_id, mark, holds, author, date")
    expert_copies: int = Field(5, ge=1, description="a label of an expert weighs as so many of a rule")
    folds: int = Field(3, ge=2, description="of devices, to tell how well the labels can be told again")
    min_skill: float = Field(
        0.5, ge=0, le=1, description="a model that tells labels again less well (Youden's index) is not kept"
    )
    model: Literal["trees", "network"] = "trees"
    trees: TreeSettings = TreeSettings()
    network: NetworkSettings = NetworkSettings()


def is_marking(path: Path) -> bool:
    """Return whether a file is an experiment of user marking; a wrong one is told by whoever reads it."""
    try:
        content: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError):
        return False
    return isinstance(content, dict) and content.get("task") == TASK


def read(path: Path, overrides: Sequence[str] = ()) -> MarkExperiment:
    """Return the experiment of a YAML file; raises as `experiment.read` does."""
    return read_config(path, MarkExperiment, overrides)
