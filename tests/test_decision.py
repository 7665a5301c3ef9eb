"""From probabilities to an answer, and the thresholds that rows outside training set."""

from datetime import UTC, datetime

import numpy as np
import numpy.testing as npt
import pandas as pd
import pytest

from training import decision, validation
from training.artifact import InputFeature, Manifest, Model, SelfTest, Thresholds, WeightsFile
from training.experiment import Experiment, RejectSettings
from training.weights import Trees, tempered

CLASSES = ("aria", "hs100", "hs110", "kettle")
FAMILIES = {"aria": "scale", "hs100": "plug", "hs110": "plug", "kettle": "kettle"}
FAMILY_OF_CLASS = np.array([2, 1, 1, 0])  # kettle, plug, scale


def model(*, unknown: float = 0.4, leaf: float | None = 0.8) -> Model:
    """A model that is never asked: what it would say is given to `answer` as probabilities."""
    thresholds = Thresholds(
        unknown=unknown,
        leaf=leaf,
        split="time",
        rows=100,
        false_rejections=0.05,
        leaf_precision=0.95,
        leaf_share=0.5,
    )
    manifest = Manifest(
        model_version="app-0",
        kind="trees",
        features=(InputFeature(name="up_bytes", dtype="int64"),),
        classes=CLASSES,
        families=FAMILIES,
        feature_service=None,
        window=None,
        flow_settings=None,
        target="label",
        thresholds=thresholds,
        temperature=1.0,
        weights=WeightsFile(file="model.txt", sha256=""),
        self_test=SelfTest(row=(0.0,), probabilities=(0.25,) * 4),
        rows=100,
        data_hash="",
        seed=0,
        libraries={},
        git_commit=None,
        experiment=Experiment(name="app"),
        created=datetime(2026, 1, 1, tzinfo=UTC),
    )
    return Model(manifest, Trees(""))


def answer(*proba: float, unknown: float = 0.4, leaf: float | None = 0.8) -> pd.Series:
    return decision.answer(model(unknown=unknown, leaf=leaf), np.array([proba])).iloc[0]


def test_a_sure_answer_is_a_leaf_and_known() -> None:
    sure = answer(0.9, 0.05, 0.03, 0.02)
    assert (sure["label"], sure["family"], sure["level"], sure["unknown"]) == ("aria", "scale", "leaf", False)
    assert (sure["probability"], sure["family_probability"]) == (0.9, 0.9)


def test_near_identical_products_are_told_apart_no_further_than_their_family() -> None:
    twins = answer(0.04, 0.5, 0.45, 0.01)
    assert (twins["label"], twins["family"], twins["level"], twins["unknown"]) == (
        "hs100",
        "plug",
        "family",
        False,
    )
    assert twins["probability"] == 0.5
    npt.assert_allclose(twins["family_probability"], 0.95)


def test_the_family_is_that_of_the_label_even_where_another_family_weighs_more() -> None:
    split_vote = answer(0.41, 0.3, 0.29, 0.0)
    assert (split_vote["label"], split_vote["family"], split_vote["family_probability"]) == (
        "aria",
        "scale",
        0.41,
    )


def test_a_row_that_resembles_no_family_is_unknown_and_still_has_its_best_label() -> None:
    stranger = answer(0.3, 0.15, 0.2, 0.35)
    assert (stranger["label"], stranger["unknown"]) == ("kettle", True)


def test_an_answer_on_the_threshold_is_trusted() -> None:
    edge = answer(0.0, 0.8, 0.0, 0.2, unknown=0.8)
    assert (edge["level"], edge["unknown"]) == ("leaf", False)


def test_without_a_leaf_threshold_no_twin_is_trusted() -> None:
    assert answer(0.0, 1.0, 0.0, 0.0, leaf=None)["level"] == "family"


def test_a_type_alone_in_its_family_may_be_trusted_as_far_as_its_family() -> None:
    assert answer(0.5, 0.3, 0.1, 0.1)["level"] == "leaf"
    assert answer(0.5, 0.3, 0.1, 0.1, leaf=None)["level"] == "leaf"


def test_the_top_is_at_most_three_best_first() -> None:
    assert answer(0.1, 0.2, 0.3, 0.4)["top"] == [("kettle", 0.4), ("hs110", 0.3), ("hs100", 0.2)]


def test_equal_chances_are_answered_in_the_order_of_classes() -> None:
    tie = answer(0.25, 0.25, 0.25, 0.25)
    assert tie["label"] == "aria" and [name for name, _ in tie["top"]] == ["aria", "hs100", "hs110"]


def test_no_row_has_no_answer_and_every_column() -> None:
    none = decision.answer(model(), np.empty((0, 4)))
    assert len(none) == 0
    assert list(none.columns) == list(decision.answer(model(), np.full((1, 4), 0.25)).columns)


def test_rows_are_answered_one_by_one() -> None:
    proba = np.random.default_rng(0).dirichlet(np.ones(4) / 2, size=50)
    together = decision.answer(model(), proba)
    alone = pd.concat([decision.answer(model(), row[None]) for row in proba], ignore_index=True)
    pd.testing.assert_frame_equal(together, alone)


def judged(rows: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Calibrated probabilities of validation rows: truth is drawn from them."""
    rng = np.random.default_rng(seed)
    proba = rng.dirichlet(np.ones(4) / 3, size=rows)
    return proba, np.array([rng.choice(4, p=row) for row in proba])


def thresholds(proba: np.ndarray, codes: np.ndarray, **settings: float) -> Thresholds:
    reject = RejectSettings(**settings)
    return validation.thresholds(proba, codes, family_of_class=FAMILY_OF_CLASS, settings=reject, split="time")


@pytest.mark.parametrize("share", [0.0, 0.05, 0.2])
@pytest.mark.parametrize("rows", [3, 19, 20, 21, 400])
def test_unknown_hits_as_many_known_rows_as_may_be_and_no_more(share: float, rows: int) -> None:
    proba, codes = judged(rows)
    found = thresholds(proba, codes, false_rejections=share)
    hit = decision.answer(model(unknown=found.unknown), proba)["unknown"].sum()
    assert hit == np.floor(share * rows)
    assert found.false_rejections == hit / rows


def test_the_leaf_threshold_is_the_lowest_that_keeps_its_precision() -> None:
    proba, codes = judged(400)
    found = thresholds(proba, codes, leaf_precision=0.9)
    assert found.leaf is not None
    plugs = np.isin(proba.argmax(axis=1), [1, 2])
    best, right = proba.max(axis=1)[plugs], (proba.argmax(axis=1) == codes)[plugs]
    precision = {t: right[best >= t].mean() for t in best}
    assert found.leaf == min(t for t, kept in precision.items() if kept >= 0.9)
    assert found.leaf_precision == precision[found.leaf]
    assert found.leaf_share == (best >= found.leaf).mean()


def test_easy_devices_do_not_make_twins_trustworthy() -> None:
    sure = np.tile([0.97, 0.01, 0.01, 0.01], (190, 1))  # scales, always right
    twins = np.tile([0.01, 0.6, 0.38, 0.01], (20, 1))  # plugs, as often wrong as right
    told = np.tile([0.01, 0.9, 0.08, 0.01], (20, 1))  # plugs that show which they are
    proba, codes = np.vstack([sure, twins, told]), np.repeat([0, 1, 2, 1], [190, 10, 10, 20])
    found = thresholds(proba, codes, leaf_precision=0.95)
    assert (proba.argmax(axis=1) == codes).mean() > 0.95  # over all rows every leaf would seem sure
    levels = decision.answer(model(leaf=found.leaf), proba)["level"]
    assert levels.tolist() == ["leaf"] * 190 + ["family"] * 20 + ["leaf"] * 20
    assert (found.leaf, found.leaf_precision, found.leaf_share) == (0.9, 1.0, 0.5)


def test_a_precision_that_no_threshold_reaches_makes_no_leaf() -> None:
    proba = np.array([[0.0, 0.9, 0.1, 0.0]] * 4)
    found = thresholds(proba, np.array([1, 1, 2, 2]), leaf_precision=0.95)
    assert (found.leaf, found.leaf_precision, found.leaf_share) == (None, None, 0.0)


def test_where_no_answer_is_of_several_types_there_is_no_share_to_tell() -> None:
    found = thresholds(np.array([[0.9, 0.1, 0.0, 0.0]] * 4), np.zeros(4, dtype=int))
    assert (found.leaf, found.leaf_precision, found.leaf_share) == (None, None, None)


@pytest.mark.parametrize("sharpness", [0.5, 1.0, 3.0])
def test_the_temperature_undoes_overconfidence(sharpness: float) -> None:
    proba, codes = judged(4000)
    found = validation.temperature(tempered(proba, 1 / sharpness), codes)
    assert found == pytest.approx(sharpness, rel=0.1)


def test_one_row_held_impossible_does_not_set_the_temperature() -> None:
    proba, codes = judged(400)
    calm = validation.temperature(proba, codes)
    proba[0], codes[0] = [1.0, 0.0, 0.0, 0.0], 1
    assert validation.temperature(proba, codes) == pytest.approx(calm, rel=0.1)


def test_without_rows_nothing_is_calibrated_or_rejected() -> None:
    assert validation.temperature(np.empty((0, 4)), np.empty(0, dtype=int)) == 1.0
    unset = validation.unset()
    assert (unset.unknown, unset.leaf, unset.split, unset.rows) == (0.0, None, None, 0)
