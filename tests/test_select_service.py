"""`iotlens indicators select --service --kqi`, from a tiny lake to the report and the weights."""

import re
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from test_service_table import DELAY, HOUR, KQI, NOON, SERVICE, hangs, targets, wide
from typer.testing import CliRunner

from evaluation.process import read_services
from evaluation.selection.doors import Place
from evaluation.selection.record import read
from evaluation.selection.service_table import service_table
from features.indicators import all_indicators, find
from serving import reports
from serving.cli import app

DEVICES, HOURS = 40, 8


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """Bikes whose unlock takes as long as their commands do, in cells whose interference is of no matter."""
    made, rng = tmp_path / "ws", np.random.default_rng(1)
    cases = [(f"b{n:02}", NOON + h * HOUR) for n in range(DEVICES) for h in range(HOURS)]
    delay = rng.uniform(1000, 9000, len(cases))
    delay[0] = 0.0
    unlock = delay / 1000 + 1 + rng.normal(0, 0.3, len(cases))
    targets(made, *((*case, float(value)) for case, value in zip(cases, unlock, strict=True)))
    hangs(made, *((f"b{n:02}", f"c{n % 4}", NOON - 24 * HOUR) for n in range(DEVICES)))
    wide(made, "device", [(*c, float(v)) for c, v in zip(cases, delay, strict=True)], indicator=DELAY)
    ends = [(f"c{n}", NOON + h * HOUR, float(rng.normal(-120, 3))) for n in range(4) for h in range(HOURS)]
    wide(made, "cell", ends)
    return made


def test_what_drives_the_kqi_is_selected_with_its_unit_and_proposed_as_weight(workspace: Path) -> None:
    out = workspace.parent / "sel"
    asked = ["indicators", "select", "--service", SERVICE, "--kqi", KQI, "-w", str(workspace), "-o", str(out)]
    # Its own command delay alone is more than all others together: a person says that it is none the less no leak.
    expert = workspace.parent / "expert.yaml"
    expert.write_text(
        f"statements:\n- {{indicator: {DELAY}, keep: true, author: ann, reason: known at once, date: 2026-03-01}}\n"
    )
    done = CliRunner().invoke(app, [*asked, "--expert", str(expert)], catch_exceptions=False)
    assert "--apply writes them into" in done.stdout
    summary = read(out)
    assert summary["selected"] == [f"{DELAY}@device"]
    meaning = summary["groups"][0]["meaning"]
    known = find(DELAY, all_indicators())
    assert meaning == {"name": known.name, "unit": "s", "domain": "platform", "scope": "device"}
    assert summary["simulated"] is False
    assert "computed after all of it" in summary["notes"][0]
    assert f"+      - {{indicator: {DELAY}, weight: 1}}" in (out / "weights.diff").read_text()
    assert "-      - {indicator: paging_success_rate, weight: 0.12}" in (out / "weights.diff").read_text()
    assert not (workspace / "configs").exists()
    assert reports.every(workspace) == []
    apply = [*asked[:-2], "--expert", str(expert), "--apply", "--author", "ann"]
    told = CliRunner().invoke(app, apply, catch_exceptions=False).stdout
    (listed,) = reports.every(workspace)
    assert re.fullmatch(rf"selection\.20\d\d-\d\d-\d\d-{KQI}", listed.id)
    assert f"{listed.directory / 'report.html'}\n" in told
    assert read(listed.directory)["selected"] == summary["selected"]
    service = next(one for one in read_services(workspace) if one.id == SERVICE)
    weights = next(one for one in service.kqis if one.id == KQI).expert_weights
    assert [(one.indicator, one.weight) for one in weights] == [(DELAY, 1.0)]
    assert "# weights by ann, " in (workspace / "configs/services/bike_sharing.yaml").read_text()


@pytest.mark.parametrize(
    ("target", "name"),
    [("stalled", "stalled"), ("../up / ü%", "up"), ("...", "target"), ("x" * 300, "x" * 80)],
)
def test_a_later_selection_of_a_day_lies_beside_the_earlier(target: str, name: str, tmp_path: Path) -> None:
    place, day = Place(tmp_path), date(2026, 3, 2)
    made = [place.directory(target, day) for _ in range(3)]
    first = tmp_path / "reports" / f"2026-03-02-{name}"
    assert made == [first, *(first.with_name(f"{first.name}-{number}") for number in (2, 3))]
    assert all(one.is_dir() for one in made)
    assert place.directory(target, date(2026, 3, 3)).name == f"2026-03-03-{name}"


def test_a_named_directory_is_taken_as_it_is_and_without_one_a_workspace_must_be_there(
    tmp_path: Path,
) -> None:
    assert Place(tmp_path / "no", tmp_path).directory("stalled", date(2026, 3, 2)) == tmp_path
    Place(tmp_path / "no", tmp_path).check()
    asked = ["indicators", "select", "rows.csv", "--target", "y", "-w", str(tmp_path / "no")]
    with pytest.raises(
        LookupError, match=r"there is none at .*no; name one by --workspace, or a directory by --out"
    ):
        CliRunner().invoke(app, asked, catch_exceptions=False)
    assert not (tmp_path / "no").exists()


def test_the_table_of_a_kqi_is_the_same_bytes_each_time_and_a_last_bit_makes_no_rank(workspace: Path) -> None:
    first, second = (service_table(workspace, SERVICE, KQI, seed=0).frame for _ in range(2))
    pd.testing.assert_frame_equal(first, second, check_exact=True)
    values = first.iloc[:, 3:].to_numpy("float64")
    there = values[~np.isnan(values)]
    assert there.tolist() == [float(f"{value:.10g}") for value in there]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ([], "was given none of them"),
        (["t.csv"], "was given TABLE"),
        (["--service", "s"], "was given --service"),
        (
            ["t.csv", "--target", "y", "--service", "s", "--kqi", "k"],
            "TABLE and --target and --service and --kqi",
        ),
        (["t.csv", "--target", "y", "--apply"], "--apply cannot stand beside TABLE and --target"),
        (["--service", "s", "--kqi", "k", "--group", "g"], "--group cannot stand beside --service and --kqi"),
    ],
)
def test_a_call_names_a_table_or_a_kqi(given: list[str], told: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=told):
        CliRunner().invoke(app, ["indicators", "select", *given, "-o", str(tmp_path)], catch_exceptions=False)
