"""Everything the report says of a run, as plain data: made once, then written as JSON and drawn as a page."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from evaluation import importance, rival, wording
from evaluation.judgement import Answers, Json, judge
from evaluation.wording import SPLITS, Nouns
from training.run import Fitted
from training.splits import Leak

FORMAT = 1  # of report.json
SHOWN_FEATURES = 30


def summarize(fitted: Fitted, *, simulated: bool) -> Json:
    """Return the summary of a fitted run: JSON types only, and the same for two runs of one experiment."""
    nouns, manifest = _nouns(fitted), fitted.model.manifest
    parts = [_part(fitted, kind, nouns=nouns) for kind in SPLITS if fitted.splits[kind].folds]
    head = wording.hardest(parts, classes=len(manifest.classes))
    summary = {
        "format": FORMAT,
        "simulated": simulated,
        "experiment": manifest.experiment.name,
        "model_version": manifest.model_version,
        "window": manifest.window,
        "nouns": asdict(nouns),
        "headline": _headline(fitted, parts, head=head, nouns=nouns),
        "data": _data(fitted),
        "splits": parts,
        "refused": _refused(fitted, nouns),
        "importance": _importance(fitted),
        "made": _made(fitted),
    }
    summary["limits"] = wording.limits(summary)
    return dict(_plain(summary))


def _nouns(fitted: Fitted) -> Nouns:
    window, group = fitted.model.manifest.window, fitted.experiment.group
    if window is not None:
        keys = fitted.dataset.keys
        shared = keys.duplicated("source").any()  # a session is then less than its capture
        sessions = "sessions" if shared else "captures"
        return Nouns(sessions if window == "session" else "windows", "devices")
    return Nouns("rows", "groups" if group else None)


def _part(fitted: Fitted, kind: str, *, nouns: Nouns) -> Json:
    """Return the judgement of one split, numbers and sentences."""
    manifest, split = fitted.model.manifest, fitted.splits[kind]
    classes = sorted(manifest.classes, key=lambda name: (manifest.families[name].lower(), name.lower(), name))
    answers = _answers(fitted, kind)
    part: Json = {
        "kind": kind,
        "title": wording.title(kind, nouns),
        "folds": len(split.folds),
        "train_rows": int(np.median([len(fold.train) for fold in split.folds])),
        **judge(answers, classes=classes, families=manifest.families, seed=fitted.experiment.seed),
        "clusters": _clusters_told(answers.rows, _cluster_column(fitted, kind)),
        "leaks": _leaks(kind, split.leak, window=manifest.window),
        "dropped": dict(split.dropped),
    }
    return {
        **part,
        **wording.lines(part, nouns, rival=_rival_name(fitted), limit=manifest.thresholds.unknown),
    }


def _answers(fitted: Fitted, kind: str) -> Answers:
    """Return our answers and the rival's to the test rows of one split, in the order of its folds."""
    rows = fitted.predictions[fitted.predictions["split"] == kind].reset_index(drop=True)
    folds = fitted.splits[kind].folds
    if not np.array_equal(rows["row"].to_numpy(), np.concatenate([fold.test for fold in folds])):
        raise ValueError(f"predictions of split {kind} must be its test rows in the order of its folds")
    X, y = _rival_features(fitted), fitted.dataset.y
    names = [
        _rival(fitted).name(X[fold.train], y[fold.train], asked=X[fold.test])
        for fold in tqdm(folds, desc=f"fit rival, {kind}", unit="fold", delay=2, disable=None)
    ]
    return Answers(rows, np.concatenate(names), _clusters(rows, _cluster_column(fitted, kind)))


def _rival_features(fitted: Fitted) -> np.ndarray:
    if fitted.experiment.rival is None:
        return np.asarray(fitted.dataset.X)
    return rival.external_features(fitted.experiment.rival, fitted.dataset.keys).to_numpy(dtype="float64")


def _rival(fitted: Fitted) -> rival.Forest:
    """Return the rival: one size of forest for every fold of every split."""
    return rival.Forest(rival.trees_for(_most_rows(fitted)), fitted.experiment.seed)


def _most_rows(fitted: Fitted) -> int:
    folds = [fold for split in fitted.splits.values() for fold in split.folds]
    return max((len(fold.train) for fold in folds), default=0)


def _rival_name(fitted: Fitted) -> str:
    path = fitted.experiment.rival
    features = "the same features" if path is None else f"its own features, {path.name}"
    most = rival.ROWS_PER_TREE
    drawn = f", each learning from {most:,} of the rows" if _most_rows(fitted) > most else ""
    return f"a random forest of {_rival(fitted).trees} trees on {features}{drawn}"


def _cluster_column(fitted: Fitted, kind: str) -> str | None:
    """Return the key whose rows hang together: the capture, or the device where devices or sites are new."""
    keys = fitted.dataset.keys
    device = None if keys["device_id"].isna().any() else "device_id"
    if fitted.model.manifest.window == "session" and kind in ("random", "time"):
        return "source"
    return device


def _clusters(rows: pd.DataFrame, column: str | None) -> np.ndarray:
    """Return what hangs together, (n,); one cluster alone cannot be drawn again, so its rows stand alone."""
    if column is None or rows[column].nunique() < 2:
        return np.arange(len(rows))
    return rows[column].to_numpy(dtype=object)


def _clusters_told(rows: pd.DataFrame, column: str | None) -> Json:
    return {"column": column, "count": len(rows) if column is None else int(rows[column].nunique())}


def _headline(fitted: Fitted, parts: list[Json], *, head: str | None, nouns: Nouns) -> Json:
    part = next((part for part in parts if part["kind"] == head), None)
    if part is None:
        return {"split": None, "sentence": "The data allows no split, so nothing was judged.", "why": None}
    why = wording.why_headline(part, parts, classes=len(fitted.model.manifest.classes))
    failed = wording.failed_checks(part)
    return {"split": head, "sentence": wording.headline(part, nouns), "why": " ".join([*failed, why])}


def _refused(fitted: Fitted, nouns: Nouns) -> list[Json]:
    refused = [kind for kind in SPLITS if not fitted.splits[kind].folds]
    return [
        {"kind": kind, "title": wording.title(kind, nouns), "why": fitted.splits[kind].refused}
        for kind in refused
    ]


def _leaks(kind: str, leak: Leak | None, *, window: str | None) -> list[Json]:
    """Return what was counted on both sides, and the state of each check, of wording.LEAK_STATES.

    A device on both sides is the very question of random and time. A capture of several devices cannot be on one
    side where its devices are on both; of one device it can. Windows of a device span captures.
    """
    if leak is None:
        return []
    counts = {what: getattr(leak, what) for what in wording.LEAKS}
    states = {what: "fail" if count else "pass" for what, count in counts.items() if count is not None}
    if leak.device_units is not None and kind in ("random", "time"):
        states["device_units"] = "as_meant"
    elif leak.captures and not leak.captures_of_one_device and leak.device_units == 0:
        states["captures"] = "shared"
    if window not in (None, "session"):
        states["captures"] = "untold"
    return [{"what": what, "count": counts[what], "state": states[what]} for what in counts if what in states]


def _data(fitted: Fitted) -> Json:
    keys, manifest = fitted.dataset.keys, fitted.model.manifest
    first, last = keys["window_start"].min(), keys["window_end"].max()
    per_class = pd.Series(fitted.dataset.y).groupby(fitted.dataset.y)
    return {
        "rows": len(keys),
        "classes": len(manifest.classes),
        "families": len(set(manifest.families.values())),
        "devices": _distinct(keys["device_id"]),
        "captures": _distinct(keys["source"]),
        "sites": _distinct(keys["site"]),
        "first_day": None if pd.isna(first) else f"{first:%Y-%m-%d}",
        "last_day": None if pd.isna(last) else f"{last:%Y-%m-%d}",
        "fewest_rows": int(per_class.size().min()),
        "most_rows": int(per_class.size().max()),
        "left_out": dict(fitted.dataset.left_out),
    }


def _distinct(names: "pd.Series[Any]") -> int | None:
    return None if names.isna().all() else int(names.nunique())


def _importance(fitted: Fitted) -> Json:
    """Return the features that move the final model most, with unit and meaning where one is declared."""
    manifest, data, seed = fitted.model.manifest, fitted.dataset, fitted.experiment.seed
    explained = importance.explain(fitted.model, data.X, seed=seed)
    clusters = _clusters(data.keys.iloc[explained.rows], _cluster_column(fitted, "device"))
    ranked = importance.importance(
        explained.values,
        features=[feature.name for feature in manifest.features],
        classes=manifest.classes,
        clusters=clusters,
        seed=seed,
    )
    shown = ranked.head(SHOWN_FEATURES)
    total = float(ranked["importance"].sum())
    share = float(shown["importance"].sum()) / total if total else 0.0
    rows = [_feature(row, _declared(fitted)) for row in shown.to_dict("records")]
    return {
        "unit": explained.unit,
        "explained_rows": len(explained.rows),
        "explained_trees": explained.trees,
        "features": len(ranked),
        "share": share,
        "rows": rows,
        "line": wording.about_importance(rows, share),
    }


def _declared(fitted: Fitted) -> dict[str, tuple[str, str]]:
    """Return unit and description by name of the features that windows declare; none for a plain table."""
    if fitted.model.manifest.feature_service is None:
        return {}
    from features.windows import FEATURES

    return {feature.column.name: (feature.column.unit, feature.column.description) for feature in FEATURES}


def _feature(row: Mapping[Any, Any], declared: Mapping[str, tuple[str, str]]) -> Json:
    unit, description = declared.get(row["feature"], (None, None))
    return {**row, "unit": unit, "description": description, "serves_line": ", ".join(row["serves"])}


def _made(fitted: Fitted) -> Json:
    manifest = fitted.model.manifest
    kept = ("model_version", "kind", "feature_service", "target", "seed", "data_hash", "git_commit")
    return {
        **{name: getattr(manifest, name) for name in kept},
        "features": len(manifest.features),
        "trained_rows": manifest.rows,
        "temperature": manifest.temperature,
        "thresholds": manifest.thresholds.model_dump(mode="json"),
        "libraries": dict(manifest.libraries),
        "experiment": _flat(manifest.experiment.model_dump(mode="json")),
        "rival": _rival_name(fitted),
    }


def _flat(content: Mapping[str, Any], prefix: str = "") -> list[list[str]]:
    """Return a nested configuration as [a.b, text] pairs in its order, which a JSON object would not keep."""
    flat: list[list[str]] = []
    for key, value in content.items():
        deeper = isinstance(value, dict)
        flat.extend(_flat(value, f"{prefix}{key}.") if deeper else [[f"{prefix}{key}", str(value)]])
    return flat


def _plain(value: Any) -> Any:
    """Return JSON types: six significant digits hide the last bits of another CPU, NaN becomes null.

    Any: JSON nests anything.
    """
    if isinstance(value, dict):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, float | np.floating):
        return float(f"{value:.6g}") if np.isfinite(value) else None
    return value.item() if isinstance(value, np.generic) else value
