"""Extremely randomised trees, for few rows per class: grown by scikit-learn, written as LightGBM text.

One format for every tree model: the same file is served, explained and checked in the same way. A forest's tree with k
numbers in each leaf becomes k trees of one number, and the mean over trees becomes LightGBM's `average_output`.
Source: Geurts, Ernst & Wehenkel 2006, Machine Learning 63; the text format is LightGBM's own (v4).
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from training.artifact import InputFeature
from training.experiment import TreeSettings
from training.weights import Trees

if TYPE_CHECKING:
    from sklearn.tree._tree import Tree

STEPS = 20  # in which a forest grows, to show how far it is
MISSING = -1.0  # what scikit-learn sees instead of a missing value; sizes are never -1, counts never negative
_NAN_GOES_RIGHT, _NAN_GOES_LEFT = 8, 10  # LightGBM's decision_type: missing type NaN, and default left


def fit(
    X: np.ndarray,
    codes: np.ndarray,
    *,
    features: Sequence[InputFeature],
    settings: TreeSettings,
    seed: int,
) -> Trees:
    """Return `settings.rounds` trees that tell the classes 0..k-1 apart; the same input and seed give the same text.

    X: float64 (n, f), NaN where missing. codes: (n,), every class 0..k-1 present, k >= 2. Of the settings,
    feature_fraction_bynode, min_data_in_leaf, max_depth and class_weight hold here.
    """
    from sklearn.ensemble import ExtraTreesClassifier
    from sklearn.utils.class_weight import compute_sample_weight

    forest = ExtraTreesClassifier(
        max_features=settings.feature_fraction_bynode,
        min_samples_leaf=settings.min_data_in_leaf,
        max_depth=settings.max_depth if settings.max_depth > 0 else None,
        warm_start=True,
        random_state=seed,
        n_jobs=1,
    )
    filled, classes = np.where(np.isnan(X), MISSING, X), int(codes.max()) + 1
    weight = compute_sample_weight("balanced", codes) if settings.class_weight == "balanced" else None
    steps = np.unique(np.linspace(1, settings.rounds, STEPS).astype(int)).tolist()
    for count in tqdm(steps, desc="grow forest", delay=2, disable=None, leave=False):
        forest.set_params(n_estimators=count).fit(filled, codes, sample_weight=weight)
    written = tqdm(forest.estimators_, desc="write forest", unit="tree", delay=2, disable=None, leave=False)
    trees = (text for grown in written for text in _texts(grown.tree_, classes))
    numbered = "".join(f"Tree={number}\n{text}\n\n" for number, text in enumerate(trees))
    return Trees(f"{_head(X, features, classes)}\n{numbered}end of trees\n\npandas_categorical:null\n")


def _head(X: np.ndarray, features: Sequence[InputFeature], classes: int) -> str:
    ranges = [
        f"[{column.min():.17g}:{column.max():.17g}]" if len(column) else "none"
        for column in (X[~np.isnan(X[:, i]), i] for i in range(X.shape[1]))
    ]
    return "\n".join(
        [
            "tree",
            "version=v4",
            f"num_class={classes}",
            f"num_tree_per_iteration={classes}",
            "label_index=0",
            f"max_feature_idx={len(features) - 1}",
            "average_output",
            f"feature_names={' '.join(f'Column_{i}' for i in range(len(features)))}",
            f"feature_infos={' '.join(ranges)}",
            "",
        ]
    )


def _texts(tree: "Tree", classes: int) -> Iterator[str]:
    """Yield one LightGBM tree per class: the same nodes, that class's share in each leaf."""
    inner = tree.children_left >= 0
    place = np.where(inner, np.cumsum(inner) - 1, -np.cumsum(~inner))  # inner from 0, leaves -1, -2, ...
    shares = tree.value[:, 0, :] / tree.value[:, 0, :].sum(axis=1, keepdims=True)
    if not inner.any():
        yield from (f"num_leaves=1\nnum_cat=0\nleaf_value={shares[0, c]:.17g}\n" for c in range(classes))
        return
    nodes = _lines(
        split_feature=tree.feature[inner],
        split_gain=_gain(tree, inner),
        threshold=tree.threshold[inner],
        decision_type=np.where(tree.threshold[inner] >= MISSING, _NAN_GOES_LEFT, _NAN_GOES_RIGHT),
        left_child=place[tree.children_left[inner]],
        right_child=place[tree.children_right[inner]],
    )
    counts = _lines(
        leaf_weight=tree.weighted_n_node_samples[~inner],
        leaf_count=tree.n_node_samples[~inner],
        internal_weight=tree.weighted_n_node_samples[inner],
        internal_count=tree.n_node_samples[inner],
    )
    head = f"num_leaves={int((~inner).sum())}\nnum_cat=0\n"
    for c in range(classes):
        values = _lines(leaf_value=shares[~inner, c], internal_value=shares[inner, c])
        yield f"{head}{nodes}{values}{counts}is_linear=0\nshrinkage=1\n"


def _gain(tree: "Tree", inner: np.ndarray) -> np.ndarray:
    """Return how much each split lowers the Gini impurity, weighted by its rows."""
    weight = tree.weighted_n_node_samples * tree.impurity
    lowered = weight[inner] - weight[tree.children_left[inner]] - weight[tree.children_right[inner]]
    return np.asarray(np.maximum(lowered, 0.0))


def _lines(**fields: "np.ndarray[Any, Any]") -> str:
    return "".join(f"{name}={' '.join(map(_short, values.tolist()))}\n" for name, values in fields.items())


def _short(value: float) -> str:
    """Write a number so that it reads back the same, whole ones without a point."""
    return str(int(value)) if value == int(value) else repr(value)
