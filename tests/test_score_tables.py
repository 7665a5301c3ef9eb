"""Scores as tables: rolled up as pandas would, of what a workspace knows, and of a table that a client brings."""

import math
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from test_counters import row, write
from test_membership import HEAD, member

from evaluation import scoring, service_scores
from evaluation.domain import Domain, read_domain
from evaluation.score_table import INSUFFICIENT, SCORED, RollUp, columns, judge, own_rows, worst
from evaluation.scoring_plan import Plan, plan
from evaluation.table_scores import Way, score_table
from features import counters, indicator_windows, membership, terminal
from features.snapshot import Known, Newest
from features.table import check_table

AT = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
WAY = Way(least=3)


@pytest.fixture(scope="module")
def domain() -> Domain:
    return read_domain()


@pytest.fixture(scope="module")
def smoke(domain: Domain) -> Plan:
    return plan(domain.service("smoke_sensor"), domain.measured)


def drawn(what: Plan, count: int) -> np.ndarray:
    """Return utilities (f, n), a fifth unknown."""
    rng = np.random.default_rng(5)
    told = rng.uniform(0, 100, (what.weighed, count))
    told[rng.random(told.shape) < 0.2] = math.nan
    return told


def test_a_place_is_the_mean_of_what_is_proven_of_its_devices_and_names_what_cost_them_most(
    smoke: Plan,
) -> None:
    told = drawn(smoke, 40)
    cells = pa.array([None if n % 9 == 0 else f"cell-{n % 3}" for n in range(40)], pa.string())
    rolled = RollUp(smoke, "cell")
    for part in (slice(0, 13), slice(13, 40)):  # batches
        rolled.add(cells[part.start : part.stop], judge(smoke, told[:, part], None))
    found = rolled.rows(AT).to_pandas().set_index("scope_id")
    judged = judge(smoke, told, None)
    devices = own_rows(smoke, "device", pa.array([f"d{n}" for n in range(40)]), AT, judged).to_pandas()
    kqis = [kqi.id for kqi in smoke.service.kqis]
    assert devices["score"].isna().any()  # that have none count with the least they are
    devices = devices.assign(score=judged.scores.floor, scored=devices["score"])
    devices[kqis] = judged.scores.kqi.T
    wanted = devices.assign(cell=cells.to_pandas()).groupby("cell")
    assert list(found.index) == ["cell-0", "cell-1", "cell-2"]
    for name in ("score", "estimate", "low", "high", "coverage", *kqis):
        assert found[name].to_numpy() == pytest.approx(wanted[name].mean().to_numpy(), nan_ok=True), name
    assert found["devices"].tolist() == wanted.size().tolist()
    assert found["scored_devices"].tolist() == wanted["scored"].count().tolist()
    assert found["p50"].to_numpy() == pytest.approx(wanted["scored"].median().to_numpy(), abs=5)
    lost = judged.lost.by_indicator()
    for cell in found.index:
        here = np.array([one == cell for one in cells.to_pylist()])
        most = smoke.ids[int(lost[:, here].sum(axis=1).argmax())]
        assert found["worst_indicator"][cell] == most


def test_a_device_that_falls_silent_never_raises_its_place(smoke: Plan) -> None:
    """Of a device at 90 and one at 20 the place has 55; it has no more where the ill one is not known any longer."""
    told = np.repeat([[90.0, 20.0]], smoke.weighed, axis=0)
    silent = told.copy()
    silent[:, 1] = math.nan
    both, one = (placed(smoke, now) for now in (told, silent))
    assert (both["score"], one["score"]) == (pytest.approx(55), pytest.approx(45))
    assert (one["devices"], one["scored_devices"], one["high"], one["estimate"]) == (2, 1, 95, 90)
    assert [one[kqi.id] for kqi in smoke.service.kqis] == pytest.approx([45] * 3)


def test_a_kqi_of_a_place_is_told_where_enough_of_its_devices_know_it(smoke: Plan) -> None:
    told = np.full((smoke.weighed, 5), 90.0)
    latency = [p.indicator for p in smoke.pairs if p.kqi == 1 and not _shared(smoke, p.indicator)]
    told[np.ix_(latency, [0, 1, 2])] = math.nan  # of two in five
    place = placed(smoke, told)
    assert (place["ss_alarm_latency"], place["score"], place["scored_devices"]) == (None, None, 2)
    assert place["ss_online_continuity"] == pytest.approx(90)


def test_the_spread_of_a_place_lies_between_its_worst_device_and_its_best(smoke: Plan) -> None:
    """Bins are 5 points wide: of a single device at 71 they alone would tell 70.5 to 74.5."""
    alone = placed(smoke, np.full((smoke.weighed, 1), 71.0))
    assert [alone[name] for name in ("p10", "p50", "p90")] == pytest.approx([71] * 3)
    none = placed(smoke, np.full((smoke.weighed, 1), math.nan))
    assert [none[name] for name in ("p10", "p50", "p90")] == [None] * 3


def test_a_share_of_devices_is_enough_whatever_its_last_digit(smoke: Plan) -> None:
    """Of 20 devices 11 are 0.55, and 0.55 * 20 is 11.000000000000002."""
    score = smoke.service.service_score.model_copy(update={"min_coverage": 0.55})
    half = plan(smoke.service.model_copy(update={"service_score": score}), smoke.indicators)
    told = np.full((smoke.weighed, 20), 90.0)
    told[:, 11:] = math.nan
    assert placed(half, told)["status"] == SCORED


def placed(what: Plan, told: np.ndarray) -> dict[str, Any]:
    """Return the row of a place that all devices of these utilities hang on."""
    rolled = RollUp(what, "cell")
    rolled.add(pa.array(["c"] * told.shape[1]), judge(what, told, None))
    (row,) = rolled.rows(AT).to_pylist()
    return dict(row)


def _shared(what: Plan, indicator: int) -> bool:
    return len({pair.kqi for pair in what.pairs if pair.indicator == indicator}) > 1


def test_scores_keep_their_contract(smoke: Plan) -> None:
    judged = judge(smoke, drawn(smoke, 5), None)
    rows = own_rows(smoke, "device", pa.array(list("abcde")), AT, judged)
    rolled = RollUp(smoke, "tac")
    rolled.add(pa.array(["t"] * 5), judged)
    for table in (rows, rolled.rows(AT)):
        check_table(table.to_pandas(), columns(smoke), table="scores")


def test_a_step_of_several_processes_is_one_exchange(smoke: Plan) -> None:
    """Coverage costs in the first step of three processes of ss_online_continuity, and of ss_alarm: in sum the most."""
    told = np.full((smoke.weighed, 1), 100.0)
    told[smoke.ids.index("nrsrp_median")] = 0
    told[smoke.ids.index("notify_success_rate")] = 35
    lost = judge(smoke, told, None).lost
    by_step = dict(zip([step.name for step in smoke.steps], lost.by_step()[:, 0], strict=True))
    assert max(by_step, key=by_step.__getitem__) == "ss_alarm/6 alarm notify"
    (named,) = worst(lost)["worst_step"].to_pylist()
    assert named == "ss_alarm/1 wake up and synchronise"


def test_a_device_without_fault_has_no_worst_step(smoke: Plan) -> None:
    perfect = own_rows(
        smoke, "device", pa.array(["d"]), AT, judge(smoke, np.full((smoke.weighed, 1), 100.0), None)
    )
    assert perfect.select(["score", "worst_kqi", "worst_step", "worst_indicator"]).to_pylist() == [
        {"score": 100.0, "worst_kqi": None, "worst_step": None, "worst_indicator": None}
    ]


RRC = "rrc_setup_success_rate"


def counted(scope: str, scope_id: str, *, start: datetime, ok: int, of: int = 100) -> dict[str, str]:
    return row(
        scope=scope, scope_id=scope_id, window_start=f"{start:%FT%TZ}", numerator=str(ok), denominator=str(of),
        received=f"{AT:%FT%TZ}",
    )  # fmt: skip


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """Two sensors in cell c1, one in c2; s1 and the cells tell how RRC connections went, s1 an hour ago."""
    sensors = [
        member(one, cell, "2026-02-01T00:00:00Z").replace("bike_sharing", "smoke_sensor")
        for one, cell in (("s1", "c1"), ("s2", "c1"), ("s3", "c2"))
    ]
    sensors[2] = sensors[2].replace(",t1,", ",t2,").replace(",f1,", ",f2,")
    (tmp_path / "m.csv").write_text("\n".join([HEAD, *sensors]) + "\n")
    membership.load([str(tmp_path / "m.csv")], tmp_path / "ws")
    hour = AT - timedelta(hours=1)
    told = [
        counted("device", "s1", start=hour, ok=19, of=20),
        counted("cell", "c1", start=AT - timedelta(minutes=15), ok=990, of=1000),
        counted("cell", "c2", start=AT - timedelta(hours=40), ok=900, of=1000),
    ]
    counters.ingest([write(tmp_path / "c.csv", *told)], tmp_path / "ws")
    indicator_windows.build(tmp_path / "ws")
    return tmp_path / "ws"


def test_a_device_is_judged_by_its_own_value_else_by_its_cell_and_never_by_what_is_too_old(
    workspace: Path, domain: Domain, tmp_path: Path
) -> None:
    """c1 has 99 %, its device s1 95 %; what c2 told is 40 hours old, and a sensor's evidence lasts 36."""
    out = tmp_path / "scores.parquet"
    done = service_scores.write(workspace, domain, domain.service("smoke_sensor"), at=AT, out=out)
    found = pd.read_parquet(out)
    assert found["scope"].value_counts()["device"] == 3 and done.rows["device"] == 3
    assert done.text().endswith("; too few indicators were told in time before that moment")
    assert list(found[found["scope"] == "cell"]["scope_id"]) == ["c1", "c2"]
    known = found[found["scope"] == "device"].set_index("scope_id")
    assert (known["status"] == INSUFFICIENT).all() and known["score"].isna().all()
    assert known["coverage"].round(6).tolist() == [0.45 * 0.12, 0.45 * 0.12, 0]
    assert known["worst_indicator"].fillna("none").tolist() == [RRC, RRC, "none"]
    (weighed,) = (one for one in domain.standard.indicators if one.id == RRC)
    for device, value in (("s1", 95.0), ("s2", 99.0)):
        utility = float(scoring.utility(weighed, np.array([value]))[0])
        share = (
            88 + 0.12 * utility
        ) / 100  # of ss_alarm_delivery_reliability, which weighs it 0.12, if all else is well
        expected = 100 * share**0.45
        assert known["high"][device] >= expected - 1e-9
        assert known["high"][device] == pytest.approx(expected, abs=3)  # and a little, for errors of counting


def test_what_a_terminal_told_long_ago_is_not_known_any_more(domain: Domain, tmp_path: Path) -> None:
    """A sensor's evidence lasts 36 hours, one and a half heartbeats, also what it tells itself."""
    lines = [
        f"{device},{AT - timedelta(hours=hours):%FT%TZ},term_sim_ok,1,{AT:%FT%TZ}"
        for device, hours in (("s1", 35), ("s2", 36), ("s3", 9000))
    ]
    (tmp_path / "t.csv").write_text("\n".join(["device_id,at,indicator,value,received", *lines]) + "\n")
    assert not terminal.load([str(tmp_path / "t.csv")], tmp_path).failures
    sim = next(one for one in domain.terminal if one.id == "term_sim_ok")
    devices = Known(pa.array(["s1", "s2", "s3", "s4"]), {}, {}, {}, {})
    lasts = Newest(AT, service_scores.oldest(domain.service("smoke_sensor"), domain)["device"])
    (told,) = service_scores.evidence(tmp_path, [sim], devices, {}, lasts)
    assert told.value.tolist() == pytest.approx([1, math.nan, math.nan, math.nan], nan_ok=True)


def test_a_score_of_the_past_does_not_know_what_came_later(
    workspace: Path, domain: Domain, tmp_path: Path
) -> None:
    out = tmp_path / "scores.parquet"
    earlier = AT - timedelta(hours=30)
    service_scores.write(workspace, domain, domain.service("smoke_sensor"), at=earlier, out=out)
    found = pd.read_parquet(out).set_index(["scope", "scope_id"])["coverage"]
    assert found["device"].round(6).to_dict() == {"s1": 0, "s2": 0, "s3": round(0.45 * 0.12, 6)}


@pytest.mark.parametrize("hours", [8, -12])
def test_a_moment_is_the_same_in_every_zone(
    workspace: Path, domain: Domain, tmp_path: Path, hours: int
) -> None:
    """12:00 UTC is midnight twelve hours west of it, on the day before in the lake's partitions."""
    smoke, wanted, found = domain.service("smoke_sensor"), tmp_path / "u.parquet", tmp_path / "z.parquet"
    service_scores.write(workspace, domain, smoke, at=AT, out=wanted)
    there = AT.astimezone(timezone(timedelta(hours=hours, minutes=-15)))
    done = service_scores.write(workspace, domain, smoke, at=there, out=found)
    assert done.text().startswith("smoke_sensor at 2026-03-01T12:00:00Z: scored device 0 of 3")
    pd.testing.assert_frame_equal(pd.read_parquet(found), pd.read_parquet(wanted))
    with pytest.raises(ValueError, match="must have a zone"):
        service_scores.write(workspace, domain, smoke, at=AT.replace(tzinfo=None), out=found)


def test_a_workspace_that_is_not_there_is_no_empty_file_of_scores(domain: Domain, tmp_path: Path) -> None:
    with pytest.raises(LookupError, match="the workspace must exist"):
        service_scores.write(
            tmp_path / "wss", domain, domain.service("video"), at=AT, out=tmp_path / "o.parquet"
        )
    assert not list(tmp_path.iterdir())


def test_what_no_place_of_a_service_can_tell_is_said(domain: Domain, smoke: Plan, tmp_path: Path) -> None:
    """The load of a CDN node is known of the node alone, PRB utilisation of no program source."""
    video = plan(domain.service("video"), domain.measured)
    found = service_scores.untold(video)
    assert {scope: (set(one.ids), round(one.share, 9)) for scope, one in found.items()} == {
        "province": ({"vid_cdn_load"}, 0.955),
        "city": ({"vid_cdn_load"}, 0.955),
        "program_source": ({"vid_prb_utilisation", "vid_cdn_load"}, 0.862),
    }
    assert service_scores.untold(smoke) == {}
    done = service_scores.write(tmp_path, domain, domain.service("video"), at=AT, out=tmp_path / "o.parquet")
    assert "; no city tells vid_cdn_load, so that at most 0.955 of the weight is known there" in done.text()


def test_an_earlier_file_stays_where_scoring_fails(workspace: Path, domain: Domain, tmp_path: Path) -> None:
    out = tmp_path / "scores.parquet"
    out.write_text("earlier")
    (workspace / "lake" / "indicators" / "scope=device" / f"date={AT:%F}" / "broken.parquet").write_text(
        "none"
    )
    with pytest.raises(duckdb.Error):
        service_scores.write(workspace, domain, domain.service("smoke_sensor"), at=AT, out=out)
    assert out.read_text() == "earlier" and {one.name for one in tmp_path.glob("*.parquet*")} == {out.name}


def client(path: Path, **cells: list[float | None]) -> Path:
    count = len(next(iter(cells.values())))
    pq.write_table(pa.table({"device_id": [f"d{n}" for n in range(count)], **cells}), path)
    return path


def test_a_table_of_a_client_is_scored_as_its_values_say(smoke: Plan, tmp_path: Path) -> None:
    typical = {one.id: [float(one.typical), None] for one in smoke.indicators}
    path = client(tmp_path / "t.parquet", **typical)
    assert score_table(path, smoke, at=AT, out=tmp_path / "o.parquet", way=WAY) == 2
    assert score_table(path, smoke, at=AT, out=tmp_path / "a.parquet", way=Way(3, alone=True)) == 2
    found, alone = pd.read_parquet(tmp_path / "o.parquet"), pd.read_parquet(tmp_path / "a.parquet")
    told = scoring.utilities(smoke, [np.array([one.typical]) for one in smoke.indicators])
    assert found["score"][0] == pytest.approx(scoring.score(smoke, told).score[0], abs=1e-9)
    assert found["status"].tolist() == [SCORED, INSUFFICIENT]
    pd.testing.assert_frame_equal(alone, found[list(alone.columns)])


@pytest.mark.parametrize(
    ("cells", "rule"),
    [
        ({RRC: [99.0, 101.0]}, rf"t.parquet: {RRC} must be in \[0, 100\] %, but row 1 has 101"),
        ({RRC: [99.0, math.inf]}, "row 1 has inf"),
        ({"rrc_setup_delay_p95": [-1.0]}, "rrc_setup_delay_p95 must be at least 0 ms, but row 0 has -1"),
        ({RRC: [99.0], f"{RRC}__samples": [-1]}, f"{RRC}__samples must be a finite number, at least 0"),
        ({RRC: ["99"]}, f"{RRC} must be numbers, but is string"),
        (
            {"strange": [1.0]},
            "must have device_id and indicators by id, but lacks every indicator of smoke_sensor",
        ),
    ],
)
def test_a_table_that_cannot_be_is_refused_and_leaves_no_file(
    smoke: Plan, tmp_path: Path, cells: dict[str, list[float | None]], rule: str
) -> None:
    path = client(tmp_path / "t.parquet", **cells)
    with pytest.raises(ValueError, match=rule):
        score_table(path, smoke, at=AT, out=tmp_path / "o.parquet", way=WAY)
    assert [one.name for one in tmp_path.iterdir()] == ["t.parquet"]


def test_a_value_of_a_table_made_of_too_few_is_no_evidence(smoke: Plan, tmp_path: Path) -> None:
    """As of a lake, and of values inline: two attempts say nothing; how many there were need not be told."""
    typical = {one.id: [float(one.typical)] * 3 for one in smoke.indicators}
    path = client(tmp_path / "t.parquet", **typical, **{f"{RRC}__samples": [2, 3, None]})
    score_table(path, smoke, at=AT, out=tmp_path / "o.parquet", way=WAY)
    few, enough, untold = pd.read_parquet(tmp_path / "o.parquet").to_dict("records")
    assert (few["coverage"], enough["coverage"], untold["coverage"]) == pytest.approx((1 - 0.45 * 0.12, 1, 1))
    assert few["score"] < enough["score"] == untold["score"]


@pytest.mark.parametrize(
    "kind", [pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())]
)
def test_names_of_devices_are_text_as_any_writer_keeps_it(
    smoke: Plan, tmp_path: Path, kind: pa.DataType
) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"device_id": pa.array(["d1", "d2"]).cast(kind), RRC: [99.0, 98.0]}), path)
    score_table(path, smoke, at=AT, out=tmp_path / "o.parquet", way=WAY)
    assert pd.read_parquet(tmp_path / "o.parquet")["scope_id"].tolist() == ["d1", "d2"]


def test_a_table_whose_rows_or_columns_have_no_one_name_is_refused(smoke: Plan, tmp_path: Path) -> None:
    path, out = tmp_path / "t.parquet", tmp_path / "o.parquet"
    pq.write_table(pa.table({"device_id": ["d1", None], RRC: [99.0, 98.0]}), path)
    with pytest.raises(ValueError, match="device_id must be told of each row, but row 1 has none"):
        score_table(path, smoke, at=AT, out=out, way=WAY)
    pq.write_table(pa.table([["d1"], [99.0], [98.0]], names=["device_id", RRC, RRC]), path)
    with pytest.raises(ValueError, match=f"must have each column once, but has {RRC} 2 times"):
        score_table(path, smoke, at=AT, out=out, way=WAY)
    path.write_text("device_id")
    with pytest.raises(ValueError, match=r"t\.parquet must be Parquet"):
        score_table(path, smoke, at=AT, out=out, way=WAY)
    assert not out.exists()


def test_a_table_that_tells_a_device_twice_is_refused_with_its_rows(smoke: Plan, tmp_path: Path) -> None:
    path, out = tmp_path / "t.parquet", tmp_path / "o.parquet"

    def scored(ids: list[str], *, group: int = 100) -> int:
        pq.write_table(
            pa.table(
                {"device_id": pa.array(ids, pa.string()), RRC: pa.array([99.0] * len(ids), pa.float64())}
            ),
            path,
            row_group_size=group,
        )
        return score_table(path, smoke, at=AT, out=out, way=WAY)

    rule = r"t\.parquet: each device_id must have one row, as all values are of one moment, but "
    for group in (100, 2):
        assert scored(["d3", "d1", "d2"], group=group) == 3  # in no order
        assert scored([], group=group) == 0
        out.unlink()
        with pytest.raises(ValueError, match=f"{rule}2 have 'd1': rows 1, 3; score each moment by a table"):
            scored(["d0", "d1", "d2", "d1"], group=group)
        with pytest.raises(ValueError, match=f"{rule}7 have 'd1': rows 0, 1, 2, 3, 4 "):
            scored(["d1"] * 7 + ["d2"], group=group)
        assert not out.exists()
