"""The monitor over a workspace: what is called window by window tells the same as what is called once."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from test_identify import started
from typer.testing import CliRunner

from evaluation import score_history, watch
from evaluation.alarm_table import as_table
from evaluation.domain import Domain, read_domain
from evaluation.monitor_settings import MonitorSettings, read_monitor_settings
from evaluation.scoring_plan import plan
from features import indicator_tables, membership
from features.configuration import packaged_configs
from features.membership import MEMBERSHIP
from features.table import arrow_schema
from serving.cli import app

START = datetime(2026, 3, 2, tzinfo=UTC)
HOURS = 60
ILL = slice(40, 50)  # hours in which cell c1 is ill


@pytest.fixture
def settings(workspace: Path) -> MonitorSettings:
    return read_monitor_settings(workspace)


@pytest.fixture
def domain(workspace: Path) -> Domain:
    return read_domain(workspace)


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """Six cells, told every hour for 60 hours, with 20 sensors each; the settings learn for a day."""
    told = yaml.safe_load((packaged_configs() / "monitor.yaml").read_text(encoding="utf-8"))
    told |= {"every_s": 3600, "learn_s": 86400, "min_windows": 1}
    told["baseline"] |= {"least": 1, "scale_gap_s": 43200}
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "monitor.yaml").write_text(yaml.safe_dump(told), encoding="utf-8")
    columns = indicator_tables.columns(tmp_path, "cell")
    rng = np.random.default_rng(1)
    rows = pd.DataFrame([(f"c{n}", START + timedelta(hours=h + 1)) for h in range(HOURS) for n in range(6)])
    frame = pd.DataFrame({"scope_id": rows[0], "window_end": rows[1], "created": START})
    known = {"rrc_setup_delay_p95": 900.0, "access_side_rtt_p95": 1500.0, "ul_repetition_mean": 2.0}
    ill = (rows[0] == "c1") & rows[1].isin([START + timedelta(hours=h + 1) for h in range(HOURS)[ILL]])
    for column in columns[3:]:
        name = column.name.removesuffix("__samples")
        usual = known.get(name, np.nan) * rng.uniform(0.98, 1.02, len(rows))
        frame[column.name] = 100.0 if column.name != name else np.where(ill, 20.0 * usual, usual)
    table = pa.Table.from_pandas(frame, schema=arrow_schema(columns), preserve_index=False)
    for day, part in frame.groupby(frame["window_end"].dt.strftime("%Y-%m-%d")):
        file = indicator_tables.folder(tmp_path, "cell") / f"date={day}" / "rows.parquet"
        file.parent.mkdir(parents=True)
        pq.write_table(table.take(part.index.to_list()), file)
    stays = pd.DataFrame({"device_id": [f"d{n}" for n in range(120)], "service": "smoke_sensor"})
    for column in MEMBERSHIP[2:-2]:
        stays[column.name] = pd.Series([pd.NA] * 120, dtype="string")
    stays["cell"] = [f"c{n % 6}" for n in range(120)]
    stays["valid_from"], stays["valid_to"] = START, pd.Series([pd.NaT] * 120, dtype="datetime64[us, UTC]")
    held = pa.Table.from_pandas(stays, schema=arrow_schema(MEMBERSHIP), preserve_index=False)
    pq.write_table(held, tmp_path / "membership.parquet")
    membership.load([str(tmp_path / "membership.parquet")], tmp_path)
    return tmp_path


def end_of(hour: int) -> datetime:
    return START + timedelta(hours=hour)


def test_a_cell_that_falls_ill_raises_an_alarm_that_names_its_step(
    workspace: Path, domain: Domain, settings: MonitorSettings
) -> None:
    done = watch.watch(workspace, domain, settings, until=end_of(HOURS))
    (alarm,) = [one for one in done.alarms if one.service == "smoke_sensor"]
    assert (alarm.kqi, alarm.scope, alarm.scope_id, alarm.devices) == ("ss_alarm_latency", "cell", "c1", 20)
    assert alarm.raised == end_of(40 + settings.open.windows)
    assert alarm.cleared == end_of(50 + settings.close.windows)
    assert alarm.worst_indicator == "access_side_rtt_p95"  # from 92 to 0, others from 85 and 80
    assert alarm.worst_step == "ss_alarm/6 alarm notify"  # which owns both others
    assert alarm.siblings is not None and alarm.siblings < -settings.open.below


def test_window_by_window_tells_the_same_as_once(
    workspace: Path, domain: Domain, settings: MonitorSettings
) -> None:
    for hour in (30, 42, 43, 44, 45, 53, 54, 55, HOURS):
        done = watch.watch(workspace, domain, settings, until=end_of(hour))
        again = watch.watch(workspace, domain, settings, until=end_of(hour))
        assert (again.windows, again.alarms) == (0, done.alarms)
    for file in (workspace / "scores").rglob("*.parquet"):
        file.unlink()
    (workspace / "alarms" / "state.npz").unlink()
    once = watch.watch(workspace, domain, settings, until=end_of(HOURS))
    pd.testing.assert_frame_equal(as_table(done.alarms), as_table(once.alarms))
    assert len(once.alarms) == 1


def test_a_moment_that_has_passed_is_told_as_it_was_and_not_remembered(
    workspace: Path, domain: Domain, settings: MonitorSettings
) -> None:
    now = watch.watch(workspace, domain, settings, until=end_of(HOURS))
    then = watch.watch(workspace, domain, settings, until=end_of(45))
    assert [one.status for one in then.alarms] == ["open"]
    before = watch.watch(workspace, domain, settings, until=end_of(0) - timedelta(days=1))
    assert before.alarms == ()  # of a moment before the first window too
    assert watch.watch(workspace, domain, settings, until=end_of(HOURS)).alarms == now.alarms


def test_a_window_is_scored_once(workspace: Path, domain: Domain, settings: MonitorSettings) -> None:
    ends = score_history.windows(workspace, until=end_of(5), every_s=settings.every_s)
    service = domain.service("smoke_sensor")
    assert score_history.extend(workspace, domain, service, ends, settings) == 5
    assert score_history.extend(workspace, domain, service, ends, settings) == 0
    what = plan(service, domain.measured)
    assert score_history.read(workspace, what, ends).num_rows == 5 * 6


def test_scores_written_before_an_indicator_was_judged_are_read(
    workspace: Path, domain: Domain, settings: MonitorSettings
) -> None:
    service = domain.service("smoke_sensor")
    what = plan(service, domain.measured)
    ends = score_history.windows(workspace, until=end_of(2), every_s=settings.every_s)
    score_history.extend(workspace, domain, service, ends, settings)
    old = score_history.path_of(workspace, service.id, ends[0])
    pq.write_table(pq.read_table(old).drop_columns(["u_rrc_setup_delay_p95"]), old)
    told = score_history.read(workspace, what, ends)["u_rrc_setup_delay_p95"]
    assert told.is_null().to_pylist() == [True] * 6 + [False] * 6


def test_a_workspace_without_indicators_says_what_to_do(
    tmp_path: Path, domain: Domain, settings: MonitorSettings
) -> None:
    with pytest.raises(LookupError, match="indicators build"):
        watch.watch(tmp_path / "nothing", domain, settings, until=end_of(1))


def monitored(workspace: Path, *more: str) -> str:
    """Return what `iotlens monitor` says. Raises what it raised."""
    done = CliRunner().invoke(app, ["monitor", "-w", str(workspace), *more])
    if done.exception is not None:
        raise done.exception
    return done.output


def test_without_a_file_the_monitor_writes_where_the_alarms_are_read(workspace: Path) -> None:
    told = monitored(workspace).splitlines()
    alarms, devices = workspace / "alarms" / "alarms.parquet", workspace / "abnormal" / "date=2026-03-04"
    assert told[-2:] == [str(alarms), str(devices / "1200.parquet")]
    assert Path(told[-1]).exists()
    with started(workspace, None) as client:
        (alarm,) = client.get("/alarms").json()["alarms"]
    assert (alarm["scope_id"], alarm["status"]) == ("c1", "cleared")


def test_a_past_moment_does_not_take_the_place_of_the_newest_alarms(workspace: Path, tmp_path: Path) -> None:
    monitored(workspace)
    newest = (workspace / "alarms" / "alarms.parquet").read_bytes()
    rule = "windows until 2026-03-04T12:00:00Z are judged, but --window-end is 2026-03-03T21:00:00Z; name another"
    with pytest.raises(ValueError, match=rule):
        monitored(workspace, "--window-end", "2026-03-03T21:00")
    then = tmp_path / "then.parquet"
    told = monitored(workspace, "--window-end", "2026-03-03T21:00", "--out", str(then)).splitlines()
    assert told[-2:] == [str(then), str(tmp_path / "then-devices.parquet")]
    assert pq.read_table(then)["status"].to_pylist() == ["open"]
    assert (workspace / "alarms" / "alarms.parquet").read_bytes() == newest


def test_while_it_learns_the_monitor_says_from_when_on_it_raises(
    workspace: Path, domain: Domain, settings: MonitorSettings
) -> None:
    """The first window ends at 01:00 of the second of March, and these settings learn for a day."""
    done = watch.watch(workspace, domain, settings, until=end_of(2))
    said = "0 open; what is usual is still learnt: nothing is raised before 2026-03-03T01:00:00Z"
    assert done.text().endswith(said) and done.learning_until == end_of(25)
    learnt = replace(done, end=end_of(25))
    assert learnt.learning_until is None and learnt.text().endswith("0 open")
