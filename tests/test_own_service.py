"""docs/own-service.md, walked from an empty folder to the values of an indicator and a service of one's own."""

import re
import shlex
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest
from test_counters import SKETCH, row, write
from test_readme import commands, run
from typer.testing import CliRunner

from evaluation.indicator_sheet import values
from features import counters, indicator_windows, membership
from serving.cli import app

PAGE = (Path(__file__).parents[1] / "docs" / "own-service.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
SERVICE, INDICATOR = [text for kind, text in BLOCKS if kind == "yaml"]
MEMBERS, COUNTERS = [text for kind, text in BLOCKS if kind == "csv"]
SHOWN, SCORED = (text for kind, text in BLOCKS if kind == "" and not text.startswith("iotlens"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with all that the page has one write."""
    run("iotlens init", tmp_path)
    (tmp_path / "configs" / "services" / "water_meter.yaml").write_text(SERVICE)
    with (tmp_path / "configs" / "indicators.yaml").open("a") as file:
        file.write(INDICATOR)
    (tmp_path / "members.csv").write_text(MEMBERS)
    (tmp_path / "counters.csv").write_text(COUNTERS)
    return tmp_path


def test_an_indicator_and_a_service_of_ones_own_have_values_by_the_commands_of_the_page(folder: Path) -> None:
    lines = [line for line in commands(PAGE) if line.startswith("iotlens ") and line != "iotlens init"]
    told = {line: run(line, folder) for line in lines}
    assert [" ".join(shlex.split(line)[1:3]) for line in lines] == [
        *("indicators list", "indicators show", "counters membership", "counters ingest"),
        *("indicators build", "indicators values", "indicators values", "score --service"),
    ]
    assert "wm_leak_alarm_ratio" in told[lines[0]]
    assert "100 * sum(wm_leaks) / sum(wm_readings)" in told[lines[1]]
    assert "4 rows: 4 used, 0 quarantined" in told[lines[3]]
    meter = {line.split()[0]: line.split()[1] for line in told[lines[5]].splitlines()[1:]}
    assert meter == {"sib_read_success_rate": "95", "wm_leak_alarm_ratio": "25"}
    assert told[lines[6]] == SHOWN
    assert told[lines[7]] == SCORED
    scores = pd.read_parquet(folder / "scores.parquet").set_index("scope_id")["score"]
    assert scores["meter-1"] == pytest.approx(0.6 * 100 * (95 - 80) / (99 - 80), abs=1e-9)
    assert scores["cell-7"] == pytest.approx(scores["meter-1"] / 2, abs=1e-9)  # meter-2 read half, utility 0


def test_values_that_are_not_there_are_told_with_those_that_are(folder: Path) -> None:
    ws = folder / "ws"
    with pytest.raises(
        LookupError, match=r"no indicator of cell 'cell-7' in .*ws; iotlens indicators build makes"
    ):
        values(ws, "cell", "cell-7")
    shutil.copytree(folder / "configs", ws / "configs")
    membership.load([str(folder / "members.csv")], ws)
    counters.ingest([str(folder / "counters.csv")], ws)
    indicator_windows.build(ws)
    with pytest.raises(LookupError, match=r"no indicator of cell 'cell-8' in .*ws; there are 1, as cell-7"):
        values(ws, "cell", "cell-8")
    until = datetime(2026, 3, 2, 6, 0, tzinfo=UTC)
    with pytest.raises(
        LookupError, match=r"ended at or before 2026-03-02 06:00 UTC; the first did at 2026-03-02 06:15"
    ):
        values(ws, "cell", "cell-7", at=until)
    assert "ended 2026-03-02 06:15 UTC" in values(ws, "cell", "cell-7", at=until + timedelta(minutes=20))
    with pytest.raises(LookupError, match="no scope 'cel'; there are device, cell"):
        values(ws, "cel", "cell-7")


def test_a_quantile_is_told_as_exactly_as_its_sketch_and_a_ratio_of_its_denominator(tmp_path: Path) -> None:
    cells = [row(numerator="1999", denominator="2000"), row(**SKETCH | {"numerator": "500"})]
    counters.ingest([write(tmp_path / "a.csv", *cells)], tmp_path / "ws")
    indicator_windows.build(tmp_path / "ws")
    told = [line.split() for line in values(tmp_path / "ws", "cell", "c1").splitlines()[1:]]
    assert ["rrc_setup_success_rate", "99.95", "%", "of", "2,000", "rrc_setup_att"] in told
    (delay,) = [line for line in told if line[-2:] == ["500", "samples"]]
    assert len(delay[1].replace(".", "").lstrip("0")) == 3
    command = ["indicators", "values", "cell", "c1", "--workspace", str(tmp_path / "ws"), "--at"]
    ended = CliRunner().invoke(app, [*command, "2026-03-01T08:00:00"])
    assert isinstance(ended.exception, LookupError)
    assert (
        "window that ended 2026-03-01 08:15 UTC" in CliRunner().invoke(app, [*command, "2026-03-02"]).stdout
    )
