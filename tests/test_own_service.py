"""docs/own-service.md, walked from an empty folder to the values of an indicator and a service of one's own."""

import re
import shlex
import shutil
from pathlib import Path

import pytest
from test_readme import commands, run

from evaluation.indicator_sheet import values
from features import counters, indicator_windows, membership

PAGE = (Path(__file__).parents[1] / "docs" / "own-service.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
SERVICE, INDICATOR = [text for kind, text in BLOCKS if kind == "yaml"]
MEMBERS, COUNTERS = [text for kind, text in BLOCKS if kind == "csv"]
SHOWN = BLOCKS[-1][1]


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
        *("indicators build", "indicators values", "indicators values"),
    ]
    assert "wm_leak_alarm_ratio" in told[lines[0]]
    assert "100 * sum(wm_leaks) / sum(wm_readings)" in told[lines[1]]
    assert "4 rows: 4 used, 0 quarantined" in told[lines[3]]
    meter = {line.split()[0]: line.split()[1] for line in told[lines[5]].splitlines()[1:]}
    assert meter == {"sib_read_success_rate": "95", "wm_leak_alarm_ratio": "25"}
    assert told[lines[6]] == SHOWN


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
    with pytest.raises(LookupError, match="no scope 'cel'; there are device, cell"):
        values(ws, "cel", "cell-7")
