"""An experiment of user marking -> a sealed run: rules teach the models, and experts overrule the rules."""

import json
import logging
from pathlib import Path

import numpy as np
import pandas as pd

from evaluation import expert_marks, mark_page, mark_report, mark_rules, marks
from evaluation.mark_rules import UserMarks
from evaluation.report import REPORT_HTML, REPORT_JSON
from features import known, lake
from features.whole_file import write_text
from training import mark_models, run
from training.mark_experiment import MarkExperiment
from training.mark_models import Lesson, MarkModels

log = logging.getLogger(__name__)


def train(recipe: MarkExperiment, workspace: Path) -> Path:
    """Learn the marks of a workspace, and return the sealed run directory.

    Raises ValueError or LookupError, before anything is written, where there is nothing to learn.
    """
    taught = lesson(recipe, workspace)
    models = mark_models.fit(recipe, taught)
    directory = run.new_directory(workspace / "runs" / recipe.name)
    mark_models.save(models, directory)
    _report(models, taught, workspace, directory)
    return run.seal_marks(directory)


def _report(models: MarkModels, taught: Lesson, workspace: Path, directory: Path) -> None:
    """Write report.json and report.html into a run directory."""
    told = mark_rules.read(workspace)
    summary = mark_report.summarize(models, taught, told, columns=known.columns(workspace))
    text = json.dumps(summary, indent=1, ensure_ascii=False, allow_nan=False)
    write_text(directory / REPORT_JSON, text + "\n")
    write_text(directory / REPORT_HTML, mark_page.to_html(summary))
    mark = " (simulated)" if summary["simulated"] else ""
    log.info("%s%s %s", summary["headline"]["sentence"], mark, directory / REPORT_HTML)


def lesson(recipe: MarkExperiment, workspace: Path) -> Lesson:
    """Return what the marks of a workspace are learnt from: features, labels of rules, labels of experts over them."""
    told = mark_rules.read(workspace)
    at = pd.Timestamp(recipe.at).tz_convert("UTC") if recipe.at else known.newest_moment(workspace)
    wanted = told.of_window | {name for name in recipe.features or () if name.startswith(known.WINDOW)}
    frame = known.known(workspace, at=at, window=told.window, of_window=wanted)
    experts = (
        expert_marks.read(recipe.expert_labels, told) if recipe.expert_labels else expert_marks.nothing()
    )
    labels, expert = labels_of(frame, told, expert_marks.said(experts, told, at=at))
    hidden = {one.id: one.features for one in told.marks}
    simulated = lake.is_simulated(workspace)
    return Lesson(frame, labels, expert, hidden, marks.rules_version(told), at, simulated)


def labels_of(frame: pd.DataFrame, told: UserMarks, said: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the labels of every mark that a model learns (1, 0, NaN: nobody knows), and which an expert gave.

    A device that a mark does not apply to teaches nothing of it.
    """
    labels, expert = {}, {}
    for one in told.marks:
        if one.source == "rule":
            continue
        weak = mark_rules.rule_holds(one, frame).mask(~mark_rules.applies(one, frame).fillna(True))
        words = said[said["mark"] == one.id].set_index("device_id")["holds"]
        given = frame["device_id"].map(words.astype("float64")).to_numpy(dtype=np.float64)
        labels[one.id] = np.where(np.isnan(given), weak.to_numpy(dtype=np.float64, na_value=np.nan), given)
        expert[one.id] = ~np.isnan(given)
    return pd.DataFrame(labels, index=frame.index), pd.DataFrame(expert, index=frame.index)
