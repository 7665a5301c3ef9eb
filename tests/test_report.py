"""The page says what was measured, stands alone, and is the same for the same run."""

import copy
import dataclasses
import doctest
import json
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from evaluation import judgement, report, wording
from evaluation.judgement import Answers
from evaluation.summary import _leaks, summarize
from features import lake
from training import run
from training.experiment import Experiment
from training.splits import Leak

HOSTILE = "<script>alert('plug')</script> & $x$"  # a class name is a stranger's text
SETTINGS: dict[str, Any] = {
    "name": "tiny",
    "group": "unit",
    "time": "seen",
    "trees": {"rounds": 6, "min_data_in_leaf": 2},
    "split": {"folds": 2, "test_fraction": 0.5},
}


def _table(path: Path) -> Path:
    """Write 72 rows: three classes, four units each, six moments; `hub` looks like `cam`."""
    rng = np.random.default_rng(1)
    grid = [(label, unit, day) for label in ("cam", "hub", HOSTILE) for unit in range(4) for day in range(6)]
    frame = pd.DataFrame(grid, columns=["label", "unit", "day"])
    level = frame["label"].map({"cam": 5.0, "hub": 5.6, HOSTILE: 9.0})
    frame["up_bytes"] = level + 0.3 * frame["unit"] + rng.normal(0, 0.5, len(frame))
    frame["<b>peers</b>"] = rng.normal(0, 1, len(frame))
    frame["seen"] = pd.Timestamp("2026-01-01", tz="UTC") + pd.to_timedelta(frame["day"], unit="D")
    frame["unit"] = frame["label"].str[:3] + frame["unit"].astype(str)
    frame.drop(columns="day").to_csv(path, index=False)
    return path


def _fit(folder: Path, **changes: object) -> run.Fitted:
    table = _table(folder / "rows.csv")
    return run.fit(Experiment.model_validate({**SETTINGS, "table": table, **changes}), folder)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> run.Fitted:
    return _fit(tmp_path_factory.mktemp("first"))


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> run.Fitted:
    """A judged run on a table that names neither units nor moments: only a random split is possible."""
    fitted = _fit(tmp_path_factory.mktemp("alone"), group=None, time=None, features=["up_bytes"])
    report.judge(fitted)
    return fitted


@pytest.fixture(scope="module")
def page(fitted: run.Fitted) -> str:
    return report.judge(fitted).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def summary(fitted: run.Fitted, page: str) -> dict[str, Any]:
    assert page
    return json.loads((fitted.directory / report.REPORT_JSON).read_text(encoding="utf-8"))


class _Page(HTMLParser):
    """What a browser would see: tags with attributes, and the text inside captions."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.captions: list[str] = []
        self._inside = 0
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag in ("caption", "figcaption"):
            self.captions.append("")
            self._inside += 1

    def handle_endtag(self, tag: str) -> None:
        self._inside -= tag in ("caption", "figcaption")

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.captions[-1] += data


def test_two_runs_of_one_experiment_write_the_same_bytes(alone: run.Fitted, tmp_path: Path) -> None:
    again = run.fit(alone.experiment, tmp_path)
    same_code = {"git_commit": alone.model.manifest.git_commit}  # somebody may commit between the two runs
    manifest = again.model.manifest.model_copy(update=same_code)
    again = dataclasses.replace(again, model=dataclasses.replace(again.model, manifest=manifest))
    report.judge(again)
    for name in (report.REPORT_JSON, report.REPORT_HTML):
        assert (again.directory / name).read_bytes() == (alone.directory / name).read_bytes()


def test_the_page_is_drawn_from_report_json_alone(summary: dict[str, Any], page: str) -> None:
    assert report.to_html(summary) == page


def test_the_page_loads_nothing_and_runs_nothing(page: str) -> None:
    seen = _Page(page)
    assert not {"script", "link", "img", "iframe", "object"} & {tag for tag, _ in seen.tags}
    ids = Counter(attrs["id"] for _, attrs in seen.tags if attrs.get("id"))
    assert max(ids.values()) == 1
    for tag, attrs in seen.tags:
        assert "src" not in attrs and not [name for name in attrs if name.startswith("on")], tag
        for name in ("href", "xlink:href"):
            assert (attrs.get(name) or "#made").removeprefix("#") in ids
    assert "@import" not in page and page.replace("http://www.w3.org/2000/svg", "").count("://") == 0
    assert "url(#" not in page or all(part.split(")")[0] in ids for part in page.split("url(#")[1:])


def test_each_figure_says_that_it_goes_on_in_a_window_narrower_than_it(page: str) -> None:
    figures = page.count("<figure>")
    assert figures > 0
    assert (
        page.count('<p class="narrow">The figure is wider than this window: push it sideways.</p>') == figures
    )
    assert "@media (max-width: 704px) { .narrow { display: block; } }" in page


def test_a_strangers_names_are_text(page: str) -> None:
    assert HOSTILE not in page and "<b>peers" not in page
    assert "&lt;script&gt;alert(&#39;plug&#39;)&lt;/script&gt; &amp; $x$" in page


def test_every_figure_is_well_formed_and_told_in_words(summary: dict[str, Any], page: str) -> None:
    drawings = [f"<svg{part.split('</svg>')[0]}</svg>" for part in page.split("<svg")[1:]]
    assert len(drawings) == 6
    told = [ElementTree.fromstring(drawing).attrib for drawing in drawings]
    assert all(attrs["role"] == "img" and len(attrs["aria-label"]) > 40 for attrs in told)
    assert summary["splits"][-1]["classes_line"] in [attrs["aria-label"] for attrs in told]


def test_the_hardest_split_stands_in_the_headline(summary: dict[str, Any]) -> None:
    assert [part["kind"] for part in summary["splits"]] == ["random", "time", "device"]
    assert summary["headline"]["split"] == "device"
    assert summary["headline"]["sentence"].startswith("Of 100 rows of groups never seen before, ")
    assert summary["refused"][0]["kind"] == "site" and "two sites" in summary["refused"][0]["why"]


def _answers(wrong: int) -> Answers:
    """Return answers to 12 cams, 12 hubs and 12 plugs, of which `wrong` cams were called hub, surely."""
    truth = np.repeat(np.array(["cam", "hub", "plug"], dtype=object), 12)
    label = truth.copy()
    label[:wrong] = "hub"
    rows = pd.DataFrame(
        {
            "y_true": truth,
            "label": label,
            "family": np.where(label == "plug", "plug", "camera"),
            "level": np.where(np.arange(36) % 2 == 0, "leaf", "family"),
            "probability": 0.75,
            "family_probability": 0.95,
            "unknown": np.arange(36) >= 33,
        }
    )
    return Answers(rows, rival=truth, clusters=np.arange(36))


FAMILIES = {"cam": "camera", "hub": "camera", "plug": "plug"}


def test_figures_are_those_of_the_answers() -> None:
    part = judgement.judge(_answers(9), classes=list(FAMILIES), families=FAMILIES, seed=0)
    assert (part["test_rows"], part["right_rows"]) == (36, 27)
    assert part["accuracy"]["value"] == pytest.approx(0.75)
    assert part["family_accuracy"]["value"] == 1
    assert part["confusion"]["counts"] == [[3, 9, 0], [0, 12, 0], [0, 0, 12]]
    assert part["pairs"] == [
        {
            "first": "cam",
            "second": "hub",
            "first_as_second": 9,
            "second_as_first": 0,
            "rows": 9,
            "first_support": 12,
            "second_support": 12,
            "same_family": True,
        }
    ]
    assert part["calibration"]["ece"] == pytest.approx(0)
    assert part["rival"]["difference"]["only_theirs"] == 9
    sentence = wording.about_confusion(part, wording.Nouns("rows", None))
    assert sentence.startswith("9 of 36 rows got a wrong name; all of these names were of the right family.")
    assert "cam (3 of 12)" in wording.about_classes(part, wording.Nouns("rows", None))


def test_what_an_operator_is_told_adds_up() -> None:
    told = judgement.judge(_answers(9), classes=list(FAMILIES), families=FAMILIES, seed=0)["outcomes"]
    assert told["unknown"] == pytest.approx(3 / 36)  # the last three
    assert told["wrong"] == pytest.approx(5 / 36)  # cams called hub at level leaf: rows 0, 2, 4, 6, 8
    assert told["leaf_right"] == pytest.approx((17 - 5) / 36)
    assert told["family_right"] == pytest.approx(
        16 / 36
    )  # a wrong leaf, but the family was all that was said


def test_answers_in_another_order_than_the_folds_are_refused(fitted: run.Fitted) -> None:
    shuffled = fitted.predictions.iloc[::-1]
    with pytest.raises(ValueError, match="in the order of its folds"):
        summarize(dataclasses.replace(fitted, predictions=shuffled), simulated=False)


def test_a_leak_fails_the_check_unless_it_is_the_question() -> None:
    for kind, device in (("time", "as_meant"), ("device", "fail")):
        told = states(kind, captures=2, captures_of_one_device=0, device_units=12)
        assert told == {"captures": "fail", "device_units": device, "duplicate_rows": "pass"}


def states(kind: str, *, window: str | None = "session", **counted: int | None) -> dict[str, str]:
    nothing = dict.fromkeys(("captures", "captures_of_one_device", "device_units", "overlapping_windows"))
    leak = Leak(**{**nothing, "duplicate_rows": 0, **counted})
    return {row["what"]: row["state"] for row in _leaks(kind, leak, window=window)}


@pytest.mark.parametrize(
    ("kind", "of_one_device", "state"),
    [
        ("random", None, "fail"),
        ("time", None, "fail"),
        ("device", None, "shared"),
        ("site", 0, "shared"),
        ("device", 1, "fail"),
    ],
)
def test_only_a_capture_of_many_devices_may_be_shared_where_devices_are_new(
    kind: str, of_one_device: int | None, state: str
) -> None:
    told = states(kind, captures=2, captures_of_one_device=of_one_device, device_units=0)
    assert told["captures"] == state


def test_captures_of_windows_that_span_them_cannot_be_told() -> None:
    told = states("time", window="1h", device_units=3, overlapping_windows=0)
    assert told["captures"] == "untold" and told["overlapping_windows"] == "pass"
    assert "captures" not in states("time", window=None, device_units=3)  # a plain table has none


def test_what_a_leak_check_found_is_said_in_the_limits_and_drawn(summary: dict[str, Any]) -> None:
    leaky = copy.deepcopy(summary)
    kinds = {"captures": "fail"}, {"captures": "untold"}, {"captures": "shared"}
    for part, states in zip(leaky["splits"], kinds, strict=True):
        counts = {"fail": 2, "untold": None, "shared": 3}
        part["leaks"] = [{"what": w, "count": counts[s], "state": s} for w, s in states.items()]
    random, time, device = (limit["says"] for limit in wording.limits(leaky)[:3])
    assert "The leak check failed: 2 captures are on both sides." in random
    assert "Whether one capture is on both sides cannot be told for windows that span captures." in time
    assert "3 captures are shared, as one capture holds many devices; no device is on both sides." in device
    page = report.to_html(leaky)
    assert '2 <small class="fail">✗ fail</small>' in page
    assert '<td class="n"><small class="untold">cannot be told for windows that span captures</small>' in page
    assert '3 <small class="shared">shared, as one capture holds many devices' in page


def test_a_failed_check_stands_in_the_headline(fitted: run.Fitted) -> None:
    leaky = dataclasses.replace(
        fitted.splits["device"],
        leak=Leak(None, None, device_units=1, overlapping_windows=None, duplicate_rows=4),
    )
    told = summarize(dataclasses.replace(fitted, splits={**fitted.splits, "device": leaky}), simulated=False)
    assert told["headline"]["split"] == "device"
    assert told["headline"]["why"].startswith(
        "The leak check failed: 1 device units and 4 rows with the same features and class are on both sides."
    )


def test_a_check_that_passed_is_seen_on_the_page(page: str) -> None:
    assert "✓ pass" in page and "✗ fail" not in page


def test_simulated_stands_beside_every_figure_and_table(summary: dict[str, Any]) -> None:
    seen = _Page(report.to_html({**summary, "simulated": True}))
    assert len(seen.captions) >= 10
    assert [caption for caption in seen.captions if "simulated" not in caption] == []
    drawn = [attrs["aria-label"] or "" for tag, attrs in seen.tags if tag == "svg"]
    assert all(label.startswith("Simulated. ") for label in drawn)


def test_a_lake_marked_as_simulated_makes_a_simulated_report(fitted: run.Fitted) -> None:
    of_windows = fitted.experiment.model_copy(update={"table": None})
    assert not report._simulated(dataclasses.replace(fitted, experiment=of_windows))
    workspace = fitted.directory.parents[2]
    (workspace / "lake").mkdir()
    lake.mark_simulated(workspace)
    assert report._simulated(dataclasses.replace(fitted, experiment=of_windows))
    assert not report._simulated(fitted)  # a plain table does not come from the lake


def test_a_random_split_alone_promises_nothing(alone: run.Fitted) -> None:
    text = (alone.directory / report.REPORT_HTML).read_text(encoding="utf-8")
    assert "rows drawn at random, " in text
    assert "<strong>This promises nothing of what comes.</strong>" in text
    told = json.loads((alone.directory / report.REPORT_JSON).read_text(encoding="utf-8"))
    assert {split["kind"] for split in told["refused"]} == {"time", "device", "site"}


def test_twenty_seven_classes_make_a_light_page(summary: dict[str, Any]) -> None:
    wide = copy.deepcopy(summary)
    names = [f"a rather long name of device type number {i}" for i in range(27)]
    like = wide["splits"][-1]["per_class"][0]
    for part in wide["splits"]:
        part["per_class"] = [
            {**like, "class": name, "family": f"family {i // 3}"} for i, name in enumerate(names)
        ]
        part["confusion"] = {"classes": names, "counts": np.full((27, 27), 12).tolist()}
    text = report.to_html(wide)
    assert len(text.encode()) < 1_000_000
    assert all(text.count(name) > 3 for name in names)
    assert "12 of 324 rows of a rather long name of device type number 26 named a rather" in text


def test_numbers_of_hundred_never_round_to_all_or_nothing() -> None:
    assert wording.hundred(0.9951) == "99.5" and wording.hundred(0.99999) == "99.9"
    assert wording.hundred(0.00001) == "0.1" and wording.hundred(0) == "0" and wording.hundred(1) == "100"


def test_examples_in_docstrings_hold() -> None:
    results = doctest.testmod(wording)
    assert results.attempted >= 3 and results.failed == 0


def test_a_verdict_on_the_rival_needs_its_interval() -> None:
    def told(low: float, high: float) -> str:
        gap = {"value": (low + high) / 2, "low": low, "high": high}
        return wording.against_rival({"rival": {"difference": gap}}, "a forest")

    assert "better, and more than chance" in told(0.01, 0.05)
    assert "worse, and more than chance" in told(-0.05, -0.01)
    assert "no difference that these rows can tell" in told(-0.01, 0.05)
