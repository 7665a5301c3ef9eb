"""What an earlier build knew and a later one does not: deliveries withdrawn, configurations taken back."""

import math
from datetime import UTC, datetime
from pathlib import Path

import pytest
from test_indicator_windows import NOON, RRC, count, deliver, value

from features import indicator_windows
from features.configuration import find_config


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    return tmp_path / "ws"


class KilledError(Exception):
    """Stands for the end of a process: nothing after it is done."""


def kill_while_remembering(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Build, and stop after the rows are written and before the build is remembered."""
    true = indicator_windows.remember

    def stop(folder: Path, built: object, **more: str) -> None:
        if not more:
            raise KilledError
        true(folder, built, **more)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(indicator_windows, "remember", stop)
        with pytest.raises(KilledError):
            indicator_windows.build(workspace)


def test_a_delivery_withdrawn_before_an_early_end_leaves_nothing_behind_it(workspace: Path) -> None:
    late = [
        count(scope, one, "2026-03-01T20:00:00Z", RRC, 40, 50)
        for scope, one in (("cell", "c1"), ("device", "b1"))
    ]
    deliver(workspace, late, "late.csv")
    early = [{**row, "window_start": "2026-03-01T10:00:00Z"} for row in late]
    deliver(workspace, early, "early.csv")
    indicator_windows.build(workspace)
    gone = next(
        one
        for one in (workspace / "lake" / "deliveries" / "counters").glob("*.json")
        if "late" in one.read_text()
    )
    gone.unlink()
    indicator_windows.build(workspace, window_end=datetime(2026, 3, 1, 12, tzinfo=UTC))
    indicator_windows.build(workspace)
    for scope, one in (("cell", "c1"), ("device", "b1")):
        assert value(workspace, scope, one, "2026-03-01T20:15:00Z", "rrc_setup_success_rate")[1] == 0
        assert value(workspace, scope, one, "2026-03-01T10:15:00Z", "rrc_setup_success_rate") == (80, 50)


def test_a_configuration_taken_back_after_a_killed_build_gives_the_old_rows(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deliver(workspace, [count("cell", "c1", NOON, RRC, 40, 50)])
    indicator_windows.build(workspace)
    (workspace / "configs").mkdir()
    own = workspace / "configs" / "indicators.yaml"
    own.write_text(find_config("indicators.yaml").read_text().replace("min_samples: 30", "min_samples: 60"))
    kill_while_remembering(workspace, monkeypatch)
    assert math.isnan(value(workspace, "cell", "c1", "2026-03-01T12:15:00Z", "rrc_setup_success_rate")[0])
    own.unlink()
    indicator_windows.build(workspace)
    assert value(workspace, "cell", "c1", "2026-03-01T12:15:00Z", "rrc_setup_success_rate") == (80, 50)
