"""What a run of user marking tells of itself: against whom its rules and models were held, and what moves them."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from evaluation import mark_rules, marks
from evaluation.judgement import Json
from evaluation.mark_rules import Mark, UserMarks
from evaluation.metrics import wilson
from features.table import Column
from training.mark_models import Lesson, MarkModels

TOP = 5  # features told of each mark
RULES, EXPERTS = "its rule", "experts"  # against whom
_EXPERIMENT = {"task", "trees", "network"}  # told apart from the keys of an experiment, or not of this run


def summarize(models: MarkModels, lesson: Lesson, told: UserMarks, *, columns: Mapping[str, Column]) -> Json:
    """Return all that report.json and the page tell of a run just fitted.

    told: the marks that taught; columns: what can be known of a device, for units. Against a rule it is agreement, and
    no truth; against experts it is as true as they are.
    """
    manifest = models.manifest
    tried = [one for one in told.marks if one.source != "rule"]
    return {
        "headline": {"sentence": _sentence(models, tried)},
        "simulated": manifest.simulated,
        "model_version": manifest.model_version,
        "at": f"{manifest.at:%Y-%m-%dT%H:%M:%SZ}",
        "devices": manifest.rows,
        "held_at": told.held_at,
        "experts": int(lesson.expert.to_numpy().any(axis=1).sum()),
        "marks": [
            one.model_dump(exclude={"row", "answer", "features", "file", "sha256"}) for one in manifest.marks
        ],
        "without": manifest.without,
        "rows": [_mark(one, models, lesson) for one in told.marks],
        "judged": [row for one in tried for row in judged(one, models, lesson, held_at=told.held_at)],
        "features": [_features(one, models, lesson, columns) for one in tried if one.id in models.weights],
        "made": _made(models),
    }


def judged(one: Mark, models: MarkModels, lesson: Lesson, *, held_at: float) -> list[Json]:
    """Return how well each way tells a mark: a row per way and against whom.

    A mark is held from `held_at` on, by itself: before marks of an exclusive group share their probability. Models
    speak of devices that they did not see. What a way knows nothing of it does not hold.
    """
    unseen = models.again.get(one.id)
    if unseen is None:
        return []
    sure = one.probability
    taught = unseen if one.rule is None else sure.when_false + unseen * (sure.when_true - sure.when_false)
    by_rule = marks.rule_probability(one, lesson.frame)
    skill = models.skill(one.id) or _skill(lesson.labels[one.id].to_numpy(), unseen)
    ways = {"rules": by_rule, "model": taught, "both": marks.both(by_rule, taught, weight=skill)}
    labels = lesson.labels[one.id].to_numpy(dtype=np.float64)
    expert = lesson.expert[one.id].to_numpy(dtype=bool)
    rows = []
    if one.rule is not None:  # the rule against itself tells nothing, nor do both
        rows.append(_against(RULES, "model", taught >= held_at, np.where(expert, np.nan, labels)))
    if expert.any():
        known = np.where(expert, labels, np.nan)
        kept = [way for way in ways if way == "model" or one.rule is not None]
        rows += [_against(EXPERTS, way, ways[way] >= held_at, known) for way in kept]
    return [{"mark": one.id, "kept": one.id in models.weights, **row} for row in rows]


def _against(whom: str, way: str, held: np.ndarray, labels: np.ndarray) -> Json:
    """Return precision, recall and the share of false marks with 95 % intervals. labels: (n,) 1, 0 or NaN."""
    yes, no = labels == 1, labels == 0
    hit, false = int((held & yes).sum()), int((held & no).sum())
    return {
        "way": way,
        "against": whom,
        "have": int(yes.sum()),
        "of": int((yes | no).sum()),
        "precision": _share(hit, hit + false),
        "recall": _share(hit, int(yes.sum())),
        "false": _share(false, int(no.sum())),
    }


def _share(hits: int, of: int) -> Json | None:
    """Return a share with its interval (Wilson), None of nothing."""
    if not of:
        return None
    return asdict(wilson(hits / of, of))


def _skill(labels: np.ndarray, unseen: np.ndarray) -> float:
    """Return Youden's index of a model that was not kept, 0 to 1."""
    again = [float(((unseen >= 0.5) == code)[labels == code].mean()) for code in (0, 1)]
    return max(sum(again) - 1.0, 0.0)


def _mark(one: Mark, models: MarkModels, lesson: Lesson) -> Json:
    """Return what a mark is, whom its rule holds of, and whether a model was learnt of it."""
    true = mark_rules.rule_holds(one, lesson.frame)
    return {
        "mark": one.id,
        "name": one.name,
        "source": one.source,
        "when_true": None if one.rule is None else one.probability.when_true,
        "when_false": None if one.rule is None else one.probability.when_false,
        "expires_h": one.expires_h,
        "rule_true": None if one.rule is None else int(true.fillna(False).sum()),
        "rule_unknown": None if one.rule is None else int(true.isna().sum()),
        "experts": int(lesson.expert[one.id].sum()) if one.id in lesson.expert else 0,
        "skill": models.skill(one.id) if one.id in models.weights else None,
        "why": models.manifest.without.get(
            one.id, "" if one.id in models.weights else "told by its rule alone"
        ),
    }


def _features(one: Mark, models: MarkModels, lesson: Lesson, columns: Mapping[str, Column]) -> Json:
    """Return the features that move the model of a mark most: mean change of its log odds, either way."""
    services = next(told.services for told in models.manifest.marks if told.mark == one.id)
    frame = lesson.frame
    if services and "service" in frame:
        frame = frame[frame["service"].isin(services)]
    strength = models.moved(one.id, frame).abs().mean().sort_values(ascending=False, kind="stable")
    total = float(strength.sum()) or 1.0
    rows = [
        {
            "feature": str(name),
            "unit": columns[str(name)].unit if str(name) in columns else "-",
            "description": columns[str(name)].description if str(name) in columns else "",
            "moved": float(value),
            "share": float(value) / total,
            "usual": _usual(models, str(name)),
        }
        for name, value in strength.head(TOP).items()
        if value > 0
    ]
    return {"mark": one.id, "devices": len(frame), "features": len(strength), "rows": rows}


def _usual(models: MarkModels, name: str) -> list[float] | None:
    told = models.manifest.usual.get(name)
    return None if told is None else [told.low, told.high]


def _sentence(models: MarkModels, tried: list[Mark]) -> str:
    learnt, devices = len(models.manifest.marks), models.manifest.rows
    return f"{learnt} of {len(tried)} marks learnt of {devices:,} devices, as rules and experts tell them"


def _made(models: MarkModels) -> Json:
    manifest, recipe = models.manifest, models.manifest.experiment
    settings: dict[str, Any] = recipe.model_dump(mode="json", exclude=_EXPERIMENT)  # Any: as JSON has it
    own = getattr(recipe, manifest.kind).model_dump(mode="json")
    return {
        "kind": manifest.kind,
        "rules": manifest.rules,
        "seed": manifest.seed,
        "data_hash": manifest.data_hash,
        "git_commit": manifest.git_commit,
        "libraries": manifest.libraries,
        "experiment": {**settings, **{f"{manifest.kind}.{key}": value for key, value in own.items()}},
    }
