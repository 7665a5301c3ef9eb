"""The REST service, asked as a client asks it: a real application over a real workspace."""

import json
import logging
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from fastapi.testclient import TestClient

from serving import examples, keys
from serving.problems import KINDS, MEDIA_TYPE, type_uri
from serving.rest import create_app
from serving.settings import Settings
from training import artifact

LOOPBACK = "http://127.0.0.1:3000"


@contextmanager
def started(workspace: Path, run: Path | None, *, without_keys: bool = True) -> Iterator[TestClient]:
    app = create_app(lambda: Settings(workspace, run, without_keys=without_keys))
    with TestClient(app, base_url=LOOPBACK, raise_server_exceptions=False) as client:
        yield client


def readiness(client: TestClient) -> int:
    return client.get("/readyz").status_code


@pytest.fixture(scope="module")
def client(fleet: Any) -> Iterator[TestClient]:
    with started(fleet.workspace, fleet.session_run) as client:
        assert readiness(client) == 200
        yield client


@pytest.fixture(scope="module")
def hour_client(fleet: Any) -> Iterator[TestClient]:
    with started(fleet.workspace, fleet.hour_run) as client:
        assert readiness(client) == 200
        yield client


def inline(flows: pd.DataFrame) -> dict[str, Any]:
    return {"flows": json.loads(flows.to_json(orient="records", date_format="iso", date_unit="us"))}


def problem(answer: Any) -> str:
    """The kind of a problem, after checking that it is one in every respect."""
    content = answer.json()
    kind = content["type"].rpartition(":")[2]
    assert answer.headers["content-type"] == MEDIA_TYPE
    assert (content["type"], content["status"], content["title"]) == (type_uri(kind), *KINDS[kind])
    assert answer.status_code == content["status"]
    assert content["detail"]
    assert content["instance"].startswith("urn:uuid:")
    return kind


# Answers


@pytest.mark.parametrize("window", ["session", "1h"])
def test_a_device_by_name_is_answered_from_its_newest_window(request: Any, fleet: Any, window: str) -> None:
    run, client = (
        (fleet.session_run, request.getfixturevalue("client"))
        if window == "session"
        else (fleet.hour_run, request.getfixturevalue("hour_client"))
    )
    manifest = artifact.load(run).manifest
    (answer,) = client.post("/identify", json={"device_ids": ["tracker-3"]}).json()["answers"]
    last = fleet.flows.loc[fleet.flows["device_id"] == "tracker-3", "end"].max()
    assert pd.Timestamp(answer["window_end"]) >= last - pd.Timedelta(hours=1)
    assert answer["device_id"] == "tracker-3"
    assert answer["status"] == "known"
    assert (answer["label"], answer["family"]) == ("tracker", "tracker")
    assert answer["level"] in ("leaf", "family")
    assert answer["unknown"] is False
    assert answer["top"][0] == {"label": "tracker", "probability": answer["probability"]}
    assert answer["probability"] <= answer["family_probability"]
    assert len(answer["top"]) == 3
    assert answer["how"] == "model"
    assert answer["simulated"] is (False if window == "session" else None)  # the other run has no report
    assert (answer["model_version"], answer["feature_service"]) == (
        manifest.model_version,
        manifest.feature_service,
    )
    assert answer["source"] is None


def test_inline_flows_are_answered_as_the_same_flows_online(client: TestClient, fleet: Any) -> None:
    for device_id in ("smart_meter-0", "street_light-5", "tracker-7"):
        flows = fleet.flows[fleet.flows["device_id"] == device_id]
        (by_flows,) = client.post("/identify", json=inline(flows)).json()["answers"]
        (by_name,) = client.post("/identify", json={"device_ids": [device_id]}).json()["answers"]
        assert by_flows == by_name | {"source": flows["source"].iloc[0]}


def test_the_order_of_inline_flows_does_not_matter(client: TestClient, fleet: Any) -> None:
    flows = fleet.flows[fleet.flows["device_id"].isin(["smart_meter-0", "tracker-7"])]
    answer = client.post("/identify", json=inline(flows)).json()["answers"]
    assert [one["device_id"] for one in answer] == ["smart_meter-0", "tracker-7"]
    assert client.post("/identify", json=inline(flows[::-1])).json()["answers"] == answer


def test_each_device_and_source_of_inline_flows_is_a_session(client: TestClient, fleet: Any) -> None:
    flows = fleet.flows[fleet.flows["device_id"] == "tracker-7"]
    both = pd.concat([flows.assign(source="one"), flows.assign(source="two")])
    answers = client.post("/identify", json=inline(both)).json()["answers"]
    assert [(one["device_id"], one["source"]) for one in answers] == [
        ("tracker-7", "one"),
        ("tracker-7", "two"),
    ]
    assert answers[0] | {"source": None} == answers[1] | {"source": None}


def test_a_flow_written_by_hand_is_answered(client: TestClient) -> None:
    answer = client.post("/identify", json=examples.QUESTIONS["flows"]["value"])
    assert answer.status_code == 200
    assert [one["source"] for one in answer.json()["answers"]] == ["inline"]


def test_a_device_silent_for_long_is_answered_and_said_to_be_stale(client: TestClient, fleet: Any) -> None:
    (answer,) = client.post("/identify", json={"device_ids": [fleet.old]}).json()["answers"]
    assert (answer["status"], answer["label"]) == ("stale", "smart_meter")


def test_a_device_without_a_window_fails_the_question_and_is_named(client: TestClient) -> None:
    answer = client.post("/identify", json={"device_ids": ["tracker-3", "nobody", "no one"]})
    assert problem(answer) == "unknown-device"
    assert answer.json()["missing"] == ["nobody", "no one"]


def test_a_batch_answers_row_by_row_in_order(client: TestClient, fleet: Any) -> None:
    asked = ["tracker-3", "nobody", fleet.old, "tracker-3", "", "\x00"]
    answer = client.post("/identify_batch", json={"device_ids": asked})
    assert answer.status_code == 200
    rows = answer.json()["answers"]
    assert [row["device_id"] for row in rows] == asked
    assert [row["status"] for row in rows] == ["known", "missing", "stale", "known", "missing", "missing"]
    assert {name: answer.json()[name] for name in ("known", "stale", "missing")} == {
        "known": 2,
        "stale": 1,
        "missing": 3,
    }
    assert (
        rows[0]
        == rows[3]
        == client.post("/identify", json={"device_ids": ["tracker-3"]}).json()["answers"][0]
    )
    assert rows[1]["problem"]["type"] == type_uri("unknown-device")
    assert "'nobody'" in rows[1]["problem"]["detail"]


def test_a_batch_takes_ten_thousand_devices(client: TestClient) -> None:
    full = client.post("/identify_batch", json={"device_ids": ["tracker-3", "nobody"] * 5000})
    assert (full.status_code, full.json()["known"], full.json()["missing"]) == (200, 5000, 5000)
    assert problem(client.post("/identify_batch", json={"device_ids": ["tracker-3"] * 10_001})) == "too-large"


def test_a_model_of_hours_reads_no_inline_flows(hour_client: TestClient, fleet: Any) -> None:
    answer = hour_client.post("/identify", json=inline(fleet.flows.head(5)))
    assert problem(answer) == "no-inline-flows"
    assert "ask by device_ids" in answer.json()["detail"]


# Errors


@pytest.mark.parametrize(
    ("method", "path", "content", "kind"),
    [
        ("GET", "/nope", None, "unknown-route"),
        ("GET", "/schema.json", None, "unknown-route"),
        ("GET", "/assets/nope.js", None, "unknown-route"),
        ("GET", "/identify", None, "method"),
        ("POST", "/models", "{}", "method"),
        ("POST", "/identify", "", "invalid"),
        ("POST", "/identify", "{", "malformed"),
        ("POST", "/identify", "\xff", "malformed"),
        ("POST", "/identify", "[" * 100_000, "malformed"),
        ("POST", "/identify", "9" * 5000, "malformed"),
        ("POST", "/identify", "null", "invalid"),
        ("POST", "/identify", "{}", "invalid"),
        ("POST", "/identify", '{"device_ids": ["a"], "extra": 1}', "invalid"),
        ("POST", "/identify", '{"device_ids": ["a"], "\\ud800": 1}', "invalid"),
        ("POST", "/identify", '{"device_ids": ["\\ud800"]}', "invalid"),
        ("POST", "/identify", '{"device_ids": [NaN]}', "invalid"),
        ("POST", "/identify_batch", '{"device_ids": []}', "invalid"),
        ("POST", "/identify", " " * (16 * 2**20 + 1), "too-large"),
    ],
)
def test_every_error_has_one_shape(
    client: TestClient, method: str, path: str, content: str | None, kind: str
) -> None:
    raw = content.encode("latin-1") if content is not None else None
    answer = client.request(method, path, content=raw, headers={"content-type": "application/json"})
    assert problem(answer) == kind


def test_an_error_names_place_and_rule_but_repeats_no_value(client: TestClient) -> None:
    flow = examples.QUESTIONS["flows"]["value"]["flows"][0]
    answer = client.post("/identify", json={"flows": [flow, flow | {"up_bytes": -987654, "a/b~c": 1}]})
    assert problem(answer) == "invalid"
    assert {(error["pointer"], error["rule"]) for error in answer.json()["errors"]} == {
        ("#/flows/1/up_bytes", "greater_than_equal"),
        ("#/flows/1/a~1b~0c", "extra_forbidden"),
    }
    assert "987654" not in answer.text


def test_a_body_with_many_errors_is_answered_with_some_of_them(client: TestClient) -> None:
    answer = client.post("/identify_batch", json={"device_ids": [1] * 10_000})
    assert problem(answer) == "invalid"
    assert len(answer.json()["errors"]) == 100
    assert "9999 more" in answer.json()["detail"]


def test_a_failure_of_ours_shows_its_instance_and_not_its_words(
    fleet: Any, tmp_path: Path, caplog: Any
) -> None:
    (tmp_path / "keys.json").write_text("a secret that was written into the wrong file", encoding="utf-8")
    with started(tmp_path, fleet.session_run, without_keys=False) as client, caplog.at_level(logging.ERROR):
        answer = client.get("/models", headers={"x-api-key": "any"})
    assert problem(answer) == "internal"
    assert "secret" not in answer.text
    assert answer.json()["instance"] in caplog.text


# Readiness


def test_a_model_that_fails_its_self_test_never_becomes_ready(
    fleet: Any, tmp_path: Path, caplog: Any
) -> None:
    run = shutil.copytree(fleet.session_run, tmp_path / "run")
    manifest = json.loads((run / "model.json").read_text(encoding="utf-8"))
    manifest["self_test"]["probabilities"] = manifest["self_test"]["probabilities"][::-1]
    (run / "model.json").write_text(json.dumps(manifest), encoding="utf-8")
    with started(fleet.workspace, run) as client:
        assert readiness(client) == 503
        assert problem(client.get("/readyz")) == "not-ready"
        assert problem(client.post("/identify", json={"device_ids": ["tracker-3"]})) == "not-ready"
        assert problem(client.get("/models")) == "not-ready"
        assert client.get("/livez").json() == {"status": "alive"}
    assert "must repeat its self-test" in caplog.text


def test_a_model_whose_features_the_store_does_not_have_never_becomes_ready(
    fleet: Any, tmp_path: Path
) -> None:
    with started(tmp_path, fleet.session_run) as client:
        assert readiness(client) == 503


# What the service tells of itself


def test_models_shows_what_answers(client: TestClient, fleet: Any) -> None:
    manifest = artifact.load(fleet.session_run).manifest
    (model,) = client.get("/models").json()["models"]
    assert model["model_version"] == manifest.model_version
    assert model["classes"] == ["smart_meter", "street_light", "tracker"]
    assert model["features"] == [feature.name for feature in manifest.features]
    assert (model["window"], model["inline_flows"]) == ("session", True)
    assert model["thresholds"] == manifest.thresholds.model_dump()
    assert model["data_hash"] == manifest.data_hash
    assert model["judgement"] == {"sentence": fleet.sentence, "simulated": False}


def series(client: TestClient) -> dict[str, float]:
    lines = [line for line in client.get("/metrics").text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def test_the_series_count_requests_answers_and_ages(client: TestClient, fleet: Any) -> None:
    before = series(client)
    client.post("/identify", json={"device_ids": ["tracker-3", "street_light-1"]})
    client.post("/identify_batch", json={"device_ids": [fleet.old, "nobody"]})
    client.post("/identify", json=inline(fleet.flows[fleet.flows["device_id"] == "tracker-7"]))
    client.post("/identify", json={})
    client.post("/identify", content="{}", headers={"content-type": "text/plain"})
    for path in ("/nope", "/nope/2", "/nope/3"):
        client.get(path)
    after = series(client)
    grown = {
        name: value - before.get(name, 0) for name, value in after.items() if value != before.get(name, 0)
    }
    assert grown['iotlens_requests_total{route="/identify",status="200"}'] == 2
    assert grown['iotlens_requests_total{route="/identify",status="422"}'] == 1
    assert grown['iotlens_requests_total{route="/identify",status="415"}'] == 1
    assert grown['iotlens_requests_total{route="other",status="404"}'] == 3
    assert grown['iotlens_request_seconds_count{route="/identify_batch"}'] == 1
    assert grown['iotlens_answers_total{label="tracker",unknown="false"}'] == 2
    assert sum(value for name, value in grown.items() if name.startswith("iotlens_answers_total")) == 4
    assert grown['iotlens_devices_total{status="known"}'] == 2
    assert grown['iotlens_devices_total{status="stale"}'] == 1
    assert grown['iotlens_devices_total{status="missing"}'] == 1
    assert grown["iotlens_feature_age_seconds_count"] == 3
    assert grown['iotlens_feature_age_seconds_bucket{le="86400.0"}'] == 2
    assert not [name for name in after if "nope" in name]


def test_beyond_loopback_a_question_needs_its_key(fleet: Any, tmp_path: Path) -> None:
    with started(tmp_path, fleet.session_run, without_keys=False) as client:
        assert problem(client.get("/models")) == "no-key"
        key = keys.add(tmp_path, "dashboard")
        assert problem(client.get("/models", headers={"x-api-key": key})) == "not-ready"
        assert problem(client.get("/metrics", headers={"authorization": f"Bearer {key}"})) == "scope"
        assert client.get("/models").headers["www-authenticate"] == "Bearer"
        assert client.get("/livez").status_code == 200


def test_answering_loads_nothing_that_trains_tunes_explains_or_simulates(fleet: Any) -> None:
    program = """
import sys
from pathlib import Path
from serving import answering
import serving.identify
service = answering.load(Path(sys.argv[1]), Path(sys.argv[2]))
assert service.devices(["tracker-3"])[0].label == "tracker"
print(*sorted(sys.modules))
"""
    command = [sys.executable, "-c", program, str(fleet.workspace), str(fleet.session_run)]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, cwd=fleet.workspace)
    loaded = set(shown.stdout.split())
    assert "training.artifact" in loaded
    forbidden = ("shap", "optuna", "nfstream", "matplotlib")
    assert not [name for name in loaded if name.partition(".")[0] in forbidden]
    judging = {name.removeprefix("evaluation.") for name in loaded if name.startswith("evaluation.")}
    assert judging == {
        *("domain", "process", "faults", "demarcation_rules", "service_of_label"),
        *("scoring", "scoring_plan", "score_table", "lost_points", "service_scores"),
    }
    assert not loaded & {
        "training.run",
        "training.trees",
        "training.network",
        "training.dataset",
        "training.splits",
    }
