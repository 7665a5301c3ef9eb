"""Scores of services over REST, asked as a client asks them: a real application over a lake small enough to see."""

import asyncio
import re
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from fastapi.testclient import TestClient
from test_identify import problem, series, started
from tiny_lake import SECOND, lake, score

from evaluation import service_scores
from evaluation.domain import read_domain
from serving import keys, score_examples, score_views
from serving.rest import create_app
from serving.score import load
from serving.score_views import Views
from serving.settings import Settings

END = datetime(2026, 3, 2, 6, 15, tzinfo=UTC)
CORE = (
    "status",
    "score",
    "low",
    "high",
    "estimate",
    "coverage",
    "worst_kqi",
    "worst_step",
    "worst_indicator",
)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lake(tmp_path_factory.mktemp("scores"))


@pytest.fixture(scope="module")
def client(workspace: Path) -> Iterator[TestClient]:
    with started(workspace, None) as client:
        yield client


def of_table(workspace: Path, tmp_path: Path, service: str) -> dict[str, Any]:
    """What `iotlens score` writes of each device."""
    domain = read_domain(workspace)
    service_scores.write(workspace, domain, domain.service(service), at=END, out=tmp_path / "scores.parquet")
    rows = pq.read_table(tmp_path / "scores.parquet").to_pylist()
    return {row["scope_id"]: row for row in rows if row["scope"] == "device"}


def same(told: Any, row: Any) -> None:
    for name in CORE:
        assert told[name] == (
            pytest.approx(row[name], abs=1e-9) if isinstance(row[name], float) else row[name]
        )


def test_a_device_is_scored_as_the_table_of_scores_says(
    client: TestClient, workspace: Path, tmp_path: Path
) -> None:
    for service in ("smoke_sensor", "bike_sharing"):
        rows = of_table(workspace, tmp_path, service)
        batch = client.post("/score_batch", json={"device_ids": list(rows)}).json()
        assert (batch["refused"], batch["scored"] + batch["insufficient"]) == (0, len(rows))
        for told, (device_id, row) in zip(batch["answers"], rows.items(), strict=True):
            whole = score(client, device_id=device_id)
            assert told["device_id"] == whole["device_id"] == device_id
            assert (told["service"], whole["service_by"]) == (service, "membership")
            assert whole["window_end"] == told["window_end"] == "2026-03-02T06:15:00Z"
            same(told, row)
            same(whole, row)
            kqis = {one["kqi"]: one["score"] for one in whole["kqis"]}
            assert kqis == told["kqis"] == pytest.approx({name: row[name] for name in kqis}, abs=1e-9)


def test_each_indicator_is_told_with_who_told_it_and_when(client: TestClient) -> None:
    told = {one["indicator"]: one for one in score(client, device_id="sensor-1")["indicators"]}
    own, around = told["notify_success_rate"], told["rrc_setup_success_rate"]
    assert (own["scope"], own["scope_id"], own["value"], own["samples"]) == ("device", "sensor-1", 97.5, 40)
    assert (around["scope"], around["scope_id"], around["value"]) == ("cell", "c1", 96.0)
    assert around["window_end"] == own["window_end"] == "2026-03-02T06:15:00Z"
    assert (around["age_s"], around["unit"]) == (0, "%")
    assert around["utility"] == pytest.approx(100 * (96 - 92) / (99.7 - 92))
    unknown = told["psm_timer_grant_ratio"]
    assert [unknown[name] for name in ("value", "utility", "scope", "window_end", "age_s")] == [None] * 5


def test_lost_points_add_up_to_what_is_missing_to_a_hundred(client: TestClient) -> None:
    told = score(client, device_id="sensor-1")
    assert (told["status"], told["score"]) == ("scored", pytest.approx(100 - told["lost"]["total"], abs=1e-9))
    for parts in (told["indicators"], told["kqis"], [s for p in told["processes"] for s in p["steps"]]):
        assert sum(one["lost"] for one in parts) == pytest.approx(told["lost"]["total"], abs=1e-9)
    unknown = [one["lost"] for one in told["indicators"] if one["value"] is None]
    assert sum(unknown) == pytest.approx(told["lost"]["by_unknown"], abs=1e-9)
    alarm = next(one for one in told["processes"] if one["process"] == "ss_alarm")
    known = [one["score"] for one in alarm["steps"] if one["score"] is not None]
    assert min(known) <= alarm["score"] <= max(known)


def test_insufficient_evidence_is_an_answer(client: TestClient) -> None:
    told = score(client, device_id="sensor-3")
    assert (told["status"], told["score"], told["coverage"]) == ("insufficient evidence", None, 0)
    assert (told["low"], told["high"], told["worst_step"]) == (0, 100, None)


def test_a_device_that_no_table_knows_is_a_problem_that_names_it(client: TestClient) -> None:
    answer = client.post("/score", json={"device_id": "nobody", "service": "smoke_sensor"})
    assert problem(answer) == "nothing-known"
    assert answer.json()["missing"] == ["nobody"]
    assert problem(client.post("/score", json={"device_id": "nobody"})) == "no-service"


def test_a_service_that_is_not_scored_by_device_takes_values_inline(client: TestClient) -> None:
    answer = client.post("/score", json={"device_id": "sensor-1", "service": "video"})
    assert problem(answer) == "no-service"
    assert "province, city, program_source" in answer.json()["detail"]
    told = score(client, **score_examples.QUESTIONS["video"]["value"])
    assert (told["status"], told["scope"], told["window_end"]) == ("scored", "inline", None)


def test_values_inline_are_scored_as_the_same_values_of_a_device(client: TestClient) -> None:
    by_name = score(client, device_id="sensor-1")
    values = {
        one["indicator"]: {"value": one["value"], "samples": max(one["samples"] or 0, 3)}
        for one in by_name["indicators"]
    }
    inline = score(client, service="smoke_sensor", indicators=values)
    for name in CORE:
        assert inline[name] == (
            pytest.approx(by_name[name]) if isinstance(by_name[name], float) else by_name[name]
        )
    assert inline["device_id"] is None


def test_the_service_is_that_of_the_question_else_of_membership_else_of_the_label(client: TestClient) -> None:
    assert score(client, device_id="bike-1")["service"] == "bike_sharing"
    named = score(client, device_id="bike-1", service="smoke_sensor")
    assert (named["service"], named["service_by"]) == ("smoke_sensor", "question")
    assert named["indicators"][2]["scope_id"] == "c1"
    bike = score(client, **score_examples.QUESTIONS["bike"]["value"])
    assert (bike["service"], bike["service_by"]) == ("bike_sharing", "label")
    answer = client.post("/score", json={"label": "toaster", "indicators": {"nrsrp_median": -90}})
    assert problem(answer) == "no-service"
    assert "'toaster' is none of service_of_label.yaml" in answer.json()["detail"]


def test_a_device_that_membership_does_not_know_is_of_the_service_of_its_identification(
    fleet: Any, tmp_path: Path
) -> None:
    workspace = lake(shutil.copytree(fleet.workspace, tmp_path / "ws"))
    (workspace / "configs" / "service_of_label.yaml").write_text(
        "schema: service_of_label/1\nlabels: {tracker: smoke_sensor}\n"
    )
    with started(workspace, fleet.session_run) as client:
        told = score(client, device_id="tracker-3")
        assert (told["service"], told["service_by"]) == ("smoke_sensor", "label")
        assert told["status"] == "insufficient evidence"
        assert problem(client.post("/score", json={"device_id": "street_light-5"})) == "no-service"
        batch = client.post("/score_batch", json={"device_ids": ["sensor-1", "tracker-3", "nobody"]}).json()
        assert [one["status"] for one in batch["answers"]] == ["scored", "insufficient evidence", "refused"]


def test_indicators_built_anew_are_told_without_a_restart(tmp_path: Path) -> None:
    workspace = lake(tmp_path / "ws")
    with started(workspace, None) as client:
        before = score(client, device_id="sensor-1")
        lake(workspace, start=SECOND, changed={"rrc_setup_succ/rrc_setup_att": (930, 1000)})
        after = score(client, device_id="sensor-1")
        assert after["window_end"] == "2026-03-02T06:30:00Z"
        assert after["score"] < before["score"]
        then = score(client, device_id="sensor-1", at="2026-03-02T06:15:00Z")
        assert {name: then[name] for name in CORE} == {name: before[name] for name in CORE}
        early = client.post("/score", json={"device_id": "sensor-1", "at": "2026-02-01T00:00:00Z"})
        assert problem(early) == "no-service"  # MEMBERSHIP did not know it yet


def test_more_devices_than_are_held_are_scored_alike(
    client: TestClient, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = ["sensor-2", "bike-1", "nobody", "sensor-1", "sensor-1"]
    held = client.post("/score_batch", json={"device_ids": ids}).json()
    monkeypatch.setattr(score_views, "MAX_HELD", 0)
    with started(workspace, None) as other:
        assert other.post("/score_batch", json={"device_ids": ids}).json() == held
        assert score(other, device_id="sensor-1") == score(client, device_id="sensor-1")


def test_the_questions_of_the_page_are_answered(client: TestClient) -> None:
    page = (Path(__file__).parents[1] / "docs" / "rest.md").read_text(encoding="utf-8")
    asked = re.findall(r"^curl -s \S+(/score\S*) .*?-d '(.*?)'$", page, re.MULTILINE | re.DOTALL)
    told = [
        client.post(path, content=body, headers={"content-type": "application/json"}) for path, body in asked
    ]
    assert [problem(told[0]), told[1].status_code, told[1].json()["service"]] == ["no-service", 200, "video"]


# Batches


def test_a_batch_answers_row_by_row_and_a_bad_row_fails_no_other(client: TestClient) -> None:
    video = score_examples.QUESTIONS["video"]["value"]
    rows = [
        {"device_id": "sensor-1"},
        video,
        {"service": "video", "indicators": {"vid_sinnr": 3}},
        {"service": "video", "indicators": {"vid_stall_ratio": 101}},
        {"device_id": 7},
        "sensor-1",
        {"device_id": "sensor-1", "service": "smoke"},
        {"device_id": "nobody", "service": "bike_sharing"},
        {"device_id": "bike-1"},
        None,
    ]
    told = client.post("/score_batch", json={"rows": rows}).json()
    assert (told["scored"], told["insufficient"], told["refused"], told["simulated"]) == (2, 1, 7, False)
    refused = {one["row"]: one["problem"] for one in told["answers"] if one["status"] == "refused"}
    assert {row: one["type"].rpartition(":")[2] for row, one in refused.items()} == {
        **dict.fromkeys((2, 3, 4, 5, 6, 9), "invalid"),
        7: "nothing-known",
    }
    assert [refused[row]["errors"][0]["pointer"] for row in (2, 3, 4, 5, 6)] == [
        "#/rows/2/indicators/vid_sinnr",
        "#/rows/3/indicators/vid_stall_ratio",
        "#/rows/4/device_id",
        "#/rows/5",
        "#/rows/6/service",
    ]
    first = score(client, device_id="sensor-1")
    assert told["answers"][0]["score"] == pytest.approx(first["score"], abs=1e-9)
    assert told["answers"][1]["score"] == pytest.approx(score(client, **video)["score"], abs=1e-9)


def test_the_service_of_a_batch_is_of_each_row_of_values_that_names_none(client: TestClient) -> None:
    video, bike = (score_examples.QUESTIONS[name]["value"] for name in ("video", "bike"))
    rows = [{"indicators": video["indicators"]}, bike]
    told = client.post("/score_batch", json={"rows": rows, "service": "video"}).json()["answers"]
    assert [one["service"] for one in told] == ["video", "bike_sharing"]
    assert told[0]["score"] == pytest.approx(score(client, **video)["score"], abs=1e-9)


def test_neither_order_nor_size_of_a_batch_matters(client: TestClient) -> None:
    rows = [
        {"device_id": "sensor-1"},
        score_examples.QUESTIONS["video"]["value"],
        {"device_id": "bike-1"},
        score_examples.QUESTIONS["bike"]["value"],
        {"device_id": "sensor-2"},
    ]
    whole = client.post("/score_batch", json={"rows": rows * 500}).json()["answers"]  # three rounds
    turned = client.post("/score_batch", json={"rows": rows[::-1]}).json()["answers"]
    assert whole[:5] == whole[-5:] == turned[::-1]


def test_a_batch_takes_ten_thousand_rows(client: TestClient) -> None:
    full = client.post("/score_batch", json={"device_ids": ["sensor-1", "sensor-3"] * 5000}).json()
    assert (full["scored"], full["insufficient"], full["refused"]) == (5000, 5000, 0)
    answer = client.post("/score_batch", json={"device_ids": ["sensor-1"] * 10_001})
    assert problem(answer) == "too-large"
    answer = client.post("/score_batch", json={"device_ids": ["sensor-1"], "service": "smoke"})
    assert problem(answer) == "invalid"


# What the service tells of itself


def test_services_and_indicators_are_told_as_configured(client: TestClient) -> None:
    lines = {one["id"]: one for one in client.get("/services").json()["services"]}
    assert lines["smoke_sensor"]["labels"] == ["smoke_sensor"]
    detail = client.get("/services/smoke_sensor").json()
    assert sum(one["weight"] for one in detail["kqi_details"]) == pytest.approx(1)
    for kqi in detail["kqi_details"]:
        assert sum(one["weight"] for one in kqi["weights"]) == pytest.approx(1)
    named = {
        i for process in detail["process_details"] for step in process["steps"] for i in step["indicators"]
    }
    told = client.get("/indicators", params={"service": "smoke_sensor"}).json()["indicators"]
    assert {one["id"] for one in told} == named
    rrc = next(one for one in told if one["id"] == "rrc_setup_success_rate")
    assert (rrc["unit"], rrc["excellent"], rrc["unacceptable"], rrc["least"], rrc["greatest"]) == (
        "%",
        99.7,
        92,
        0,
        100,
    )
    every = client.get("/indicators").json()["indicators"]
    assert len(every) > len(told)
    assert problem(client.get("/services/smoke")) == "unknown-service"
    assert problem(client.get("/indicators", params={"service": "smoke"})) == "unknown-service"


def test_without_a_run_services_are_scored_and_nothing_is_identified(client: TestClient) -> None:
    assert client.get("/readyz").status_code == 200
    answer = client.post("/identify", json={"device_ids": ["sensor-1"]})
    assert problem(answer) == "not-ready"
    assert "--run none" in answer.json()["detail"]


def test_a_workspace_without_indicators_scores_what_a_client_has(tmp_path: Path) -> None:
    with started(tmp_path, None) as client:
        answer = client.post("/score", json={"device_id": "sensor-1"})
        assert problem(answer) == "not-ready"
        assert "iotlens indicators build" in answer.json()["detail"]
        rows = [{"device_id": "sensor-1"}, score_examples.QUESTIONS["video"]["value"]]
        told = client.post("/score_batch", json={"rows": rows}).json()["answers"]
        assert [one["status"] for one in told] == ["refused", "scored"]


def test_services_that_cannot_be_read_leave_identification_as_it_is(fleet: Any, tmp_path: Path) -> None:
    workspace = shutil.copytree(fleet.workspace, tmp_path / "ws")
    (workspace / "configs" / "service_of_label.yaml").write_text(
        "schema: service_of_label/1\nlabels: {lock: bikes}\n"
    )
    with started(workspace, fleet.session_run) as client:
        assert client.post("/identify", json={"device_ids": ["tracker-3"]}).status_code == 200
        assert problem(client.post("/score", json={"device_id": "tracker-3"})) == "not-ready"


def test_scores_are_counted_by_service_and_status(workspace: Path) -> None:
    with started(workspace, None) as client:
        before = series(client)
        client.post("/score_batch", json={"device_ids": ["sensor-1", "sensor-3", "nobody"]})
        client.get("/services/smoke_sensor")
        after = series(client)
    grown = {name: after[name] - before.get(name, 0) for name in after}
    assert grown['iotlens_scores_total{service="smoke_sensor",status="scored"}'] == 1
    assert grown['iotlens_scores_total{service="smoke_sensor",status="insufficient evidence"}'] == 1
    assert grown['iotlens_scores_total{service="",status="refused"}'] == 1
    assert grown['iotlens_requests_total{route="/services/{service_id}",status="200"}'] == 1


def test_beyond_loopback_each_route_needs_its_scope(workspace: Path) -> None:
    app = create_app(lambda: Settings(workspace, None, without_keys=False))
    made = {scope: keys.add(workspace, scope, scopes=[scope]) for scope in ("identify", "score", "alarms")}
    with TestClient(app, base_url="http://127.0.0.1:3000") as client:

        def status(key: str, method: str, path: str) -> int:
            body = {"device_id": "sensor-1"} if method == "POST" else None
            headers = {"x-api-key": made[key]}
            return client.request(method, path, json=body, headers=headers).status_code

        assert [status(key, "POST", "/score") for key in made] == [403, 200, 403]
        assert [status(key, "POST", "/score_batch") for key in made] == [403, 422, 403]
        assert [status(key, "GET", "/alarms") for key in made] == [403, 403, 200]
        for path in ("/services", "/services/video", "/indicators"):
            assert [status(key, "GET", path) for key in made] == [200, 200, 200]
            assert client.get(path).status_code == 401
    for name in made:
        keys.revoke(workspace, name)


def test_a_service_of_ones_own_is_scored_from_its_file_alone(tmp_path: Path) -> None:
    from test_own_service import COUNTERS, INDICATOR, MEMBERS, SERVICE

    from features import counters, indicator_windows, membership
    from features.configuration import write_configs

    write_configs(tmp_path)
    (tmp_path / "configs" / "services" / "water_meter.yaml").write_text(SERVICE)
    with (tmp_path / "configs" / "indicators.yaml").open("a") as file:
        file.write(INDICATOR)
    (tmp_path / "members.csv").write_text(MEMBERS)
    (tmp_path / "counters.csv").write_text(COUNTERS)
    membership.load([str(tmp_path / "members.csv")], tmp_path)
    counters.ingest([str(tmp_path / "counters.csv")], tmp_path)
    indicator_windows.build(tmp_path)
    with started(tmp_path, None) as client:
        told = score(client, device_id="meter-1")
        assert (told["service"], told["status"], told["coverage"]) == ("water_meter", "scored", 0.6)
        assert told["score"] == pytest.approx(0.6 * 100 * (95 - 80) / (99 - 80), abs=1e-9)  # 19 of 20 reads
        values = {"sib_read_success_rate": 89.5, "notify_success_rate": 99.8, "wm_leak_alarm_ratio": 25}
        told = score(client, service="water_meter", indicators=values)
        assert told["score"] == pytest.approx(0.6 * 50 + 0.4 * 100, abs=1e-9)
        assert told["unused"] == ["wm_leak_alarm_ratio"]


def test_the_views_of_many_moments_are_bounded(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(score_views, "MAX_PAST", 2)
    services = load(workspace)

    async def asked() -> int:
        views = Views(workspace, services.domain, services.plans)
        newest = await views.view("smoke_sensor", END)
        for minute in range(16, 20):
            await views.view("smoke_sensor", END.replace(minute=minute))
        assert await views.view("smoke_sensor", END) is newest
        views.close()
        return len(views)

    assert asyncio.run(asked()) == 3
