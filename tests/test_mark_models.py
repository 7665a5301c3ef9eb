"""The models of user marks: two kinds by the same promises, taught by rules and overruled by experts."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from evaluation import expert_marks, mark_page, mark_report
from evaluation.mark_rules import UserMarks
from evaluation.mark_training import labels_of
from evaluation.marks import Marking, mark, model_probability
from training import mark_models, run
from training.mark_experiment import MarkExperiment
from training.mark_models import Lesson
from training.mark_models import fit as fit_models

AT = pd.Timestamp("2026-03-06 00:00", tz="UTC")
KINDS = ("trees", "network")
TOLD = UserMarks.model_validate(
    {
        "schema": "user_marks/1",
        "held_at": 0.5,
        "groups": [{"id": "place", "exclusive": False}],
        "marks": [
            {
                "id": "deep", "name": "Deep", "group": "place", "source": "both", "use": "-", "basis": "judgement",
                "rule": {"feature": "ce2_access_ratio", "op": "gt", "value": 30}, "expires_h": 24,
                "probability": {"when_true": 0.8, "when_false": 0.1},
            },
            {
                "id": "rare", "name": "Rare", "group": "place", "source": "both", "use": "-", "basis": "judgement",
                "rule": {"feature": "ce2_access_ratio", "op": "gt", "value": 1000}, "expires_h": 24,
            },
        ],
    }
)  # fmt: skip
EXPERIMENT = {
    "task": "user_marking", "name": "tiny", "seed": 3, "min_rows_per_class": 5,
    "trees": {"rounds": 20, "min_data_in_leaf": 5}, "network": {"hidden": [8], "epochs": 100, "learning_rate": 0.01},
}  # fmt: skip


def a_fleet(size: int = 200) -> pd.DataFrame:
    """Half of the devices stand deep: their repetitions are many, and of a quarter nobody knows the level."""
    dice = np.random.default_rng(1)
    deep = np.arange(size) % 2 == 0
    level = np.where(np.arange(size) % 4 == 3, np.nan, np.where(deep, 60.0, 5.0))
    return pd.DataFrame(
        {
            "device_id": pd.array([f"d{n}" for n in range(size)], dtype="string"),
            "service": pd.array(["smoke_sensor"] * size, dtype="string"),
            "ce2_access_ratio": level,
            "ul_repetition_mean": np.where(deep, 8.0, 1.0) + dice.random(size),
            "term_clock_skew": dice.random(size),
            "term_cpu_load": np.full(size, np.nan),
        }
    )


def a_lesson(frame: pd.DataFrame, said: pd.DataFrame | None = None) -> Lesson:
    words = expert_marks.said(expert_marks.nothing() if said is None else said, TOLD, at=AT)
    labels, expert = labels_of(frame, TOLD, words)
    hidden = {one.id: one.features for one in TOLD.marks}
    return Lesson(frame, labels, expert, hidden, "marks-x", AT, simulated=False)


def recipe(kind: str, **other: object) -> MarkExperiment:
    return MarkExperiment.model_validate({**EXPERIMENT, "model": kind, **other})


@pytest.fixture(scope="module", params=KINDS)
def models(request: pytest.FixtureRequest) -> mark_models.MarkModels:
    return fit_models(recipe(request.param), a_lesson(a_fleet()))


def test_an_unknown_rule_teaches_nothing_and_a_rare_mark_is_named(models: mark_models.MarkModels) -> None:
    (deep,) = models.manifest.marks
    assert (deep.yes, deep.no, deep.expert) == (100, 50, 0)
    assert set(models.manifest.without) == {"rare"}
    assert "0 devices with it and 150 without" in models.manifest.without["rare"]


def test_a_model_does_not_see_its_rule_nor_what_nobody_told(models: mark_models.MarkModels) -> None:
    assert models.manifest.marks[0].features == ("ul_repetition_mean", "term_clock_skew")


def test_a_model_tells_devices_of_which_the_rule_knows_nothing(models: mark_models.MarkModels) -> None:
    frame = a_fleet()
    told = mark(frame, Marking(TOLD, models), at=AT)
    sources = told.held.set_index("device_id")["source"]
    assert sources["d0"] == "both"
    blind = frame.assign(ce2_access_ratio=np.nan)
    found = mark(blind, Marking(TOLD, models), at=AT).held
    assert set(found["source"]) == {"model"}
    deep = frame["device_id"].isin(found["device_id"])
    assert (deep == (np.arange(200) % 2 == 0)).mean() > 0.9
    assert found["evidence"].str.contains("ul_repetition_mean ").mean() > 0.9
    assert found["evidence"].str.contains("usual").all()


def test_a_model_is_as_sure_as_its_teacher_at_most(models: mark_models.MarkModels) -> None:
    proba = model_probability(TOLD.marks[0], a_fleet(), models)
    assert proba.min() >= 0.1
    assert proba.max() <= 0.8


def test_of_a_service_that_taught_nothing_a_model_says_nothing(models: mark_models.MarkModels) -> None:
    foreign = a_fleet().assign(service=pd.array(["video"] * 200, dtype="string"))
    assert np.isnan(model_probability(TOLD.marks[0], foreign, models)).all()


def test_models_answer_the_same_after_they_were_kept_and_nothing_is_pickled(
    models: mark_models.MarkModels, tmp_path: Path
) -> None:
    mark_models.save(models, tmp_path)
    run.seal_marks(tmp_path)
    again = mark_models.load(tmp_path)
    frame = a_fleet()
    np.testing.assert_array_equal(again.taught("deep", frame), models.taught("deep", frame))
    pd.testing.assert_frame_equal(again.moved("deep", frame), models.moved("deep", frame))
    assert {path.suffix for path in tmp_path.rglob("*") if path.is_file()} <= {
        ".json",
        ".txt",
        ".safetensors",
        "",
    }
    changed = next((tmp_path / "marks" / "deep").iterdir())
    changed.write_bytes(changed.read_bytes() + b"\n")
    with pytest.raises(ValueError, match=r"weights of deep in .* are not those that marks.json names"):
        mark_models.load(tmp_path)


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_lesson_and_seed_give_the_same_models(kind: str) -> None:
    first, second = (fit_models(recipe(kind), a_lesson(a_fleet())) for _ in range(2))
    assert first.manifest.model_version == second.manifest.model_version
    assert first.weights["deep"].to_bytes() == second.weights["deep"].to_bytes()
    assert (
        fit_models(recipe(kind, seed=4), a_lesson(a_fleet())).manifest.model_version
        != first.manifest.model_version
    )


@pytest.mark.parametrize("kind", KINDS)
def test_an_expert_overrules_the_rule_that_teaches(kind: str) -> None:
    frame = a_fleet()
    wrong = frame["device_id"][:40]
    deep = [n % 2 == 1 for n in range(40)]  # the opposite of what the rule says
    said = pd.DataFrame(
        {"device_id": wrong, "mark": "deep", "holds": deep, "author": "ada", "date": AT}
    ).astype({"mark": "string", "author": "string"})
    lesson = a_lesson(frame, said)
    assert lesson.labels["deep"][:4].tolist() == [0, 1, 0, 1]  # of the last the rule knows nothing
    models = fit_models(recipe(kind, expert_copies=20, min_skill=0), lesson)
    assert models.manifest.marks[0].expert == 40
    taught = models.taught("deep", frame)
    assert taught is not None
    assert taught[0] < 0.5 < taught[1]


def test_a_report_holds_rules_models_and_both_against_experts_and_models_against_rules() -> None:
    """Of 40 devices experts say the opposite of the rule, which knows nothing of each fourth device."""
    frame = a_fleet()
    said = pd.DataFrame(
        {
            "device_id": frame["device_id"][:40],
            "mark": "deep",
            "holds": [n % 2 == 1 for n in range(40)],
            "author": "ada",
            "date": AT,
        }
    ).astype({"mark": "string", "author": "string"})
    lesson = a_lesson(frame, said)
    models = fit_models(recipe("trees", min_skill=0), lesson)
    summary = mark_report.summarize(models, lesson, TOLD, columns={})
    rows = {(row["way"], row["against"]): row for row in summary["judged"]}
    assert set(rows) == {(way, "experts") for way in ("rules", "model", "both")} | {("model", "its rule")}
    rules = rows["rules", "experts"]
    assert (rules["have"], rules["of"]) == (20, 40)
    assert (rules["precision"]["value"], rules["recall"]["value"], rules["false"]["value"]) == (0, 0, 1)
    assert rows["model", "its rule"]["of"] == 120  # of 160 left, the rule knows three in four
    assert rows["model", "its rule"]["recall"]["value"] > 0.5  # wrong experts taught it too
    assert [row["why"] for row in summary["rows"]] == ["", summary["without"]["rare"]]
    assert summary["features"][0]["rows"][0]["feature"] == "ul_repetition_mean"


def test_a_page_of_marks_is_drawn_from_report_json_and_escapes_names() -> None:
    lesson = a_lesson(a_fleet())
    summary = mark_report.summarize(fit_models(recipe("trees"), lesson), lesson, TOLD, columns={})
    summary["rows"][0]["name"] = "<b>Deep</b>"
    page = mark_page.to_html(summary)
    assert page == mark_page.to_html(json.loads(json.dumps(summary, allow_nan=False)))
    assert "&lt;b&gt;Deep" in page and "<b>Deep" not in page
    assert "no device was labelled by an expert" in page
    assert "http" not in page.replace("http://www.w3.org", "").replace('http-equiv="Content', "")


def test_a_run_of_marks_is_found_by_its_own_kind_and_hides_no_model_of_devices(tmp_path: Path) -> None:
    models = fit_models(recipe("trees"), a_lesson(a_fleet()))
    directory = run.new_directory(tmp_path / "runs" / "user_marking")
    mark_models.save(models, directory)
    run.seal_marks(directory)
    assert run.find(tmp_path, "latest", manifest=mark_models.MANIFEST) == directory
    with pytest.raises(LookupError, match="no finished run 'latest'"):
        run.find(tmp_path, "latest")


def test_no_mark_with_labels_enough_is_refused() -> None:
    with pytest.raises(ValueError, match="no mark can be learnt"):
        fit_models(recipe("trees", min_rows_per_class=500), a_lesson(a_fleet()))


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_that_cannot_tell_its_labels_again_is_not_kept(kind: str) -> None:
    frame = a_fleet().assign(ul_repetition_mean=1.0)  # nothing but the rule's own feature tells the mark
    with pytest.raises(ValueError, match=r"deep.*of labels that it did not see it tells"):
        fit_models(recipe(kind), a_lesson(frame))


def test_the_manifest_tells_who_taught() -> None:
    models = fit_models(recipe("trees"), a_lesson(a_fleet()))
    told = json.loads(models.manifest.model_dump_json())
    assert told["rules"] == "marks-x"
    assert told["marks"][0]["services"] == ["smoke_sensor"]
