"""Values that a client sends to be scored or explained: what is refused, what is no evidence, and the reasons told."""

import math
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient
from test_identify import problem, started
from tiny_lake import lake, score

from serving import score_examples, score_inline


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with started(lake(tmp_path_factory.mktemp("values")), None) as client:
        yield client


@pytest.mark.parametrize(
    ("question", "pointer", "rule"),
    [
        ({"nrsrp_medain": -90}, "#/indicators/nrsrp_medain", "the nearest is nrsrp_median"),
        ({"notify_success_rate": 100.5}, "#/indicators/notify_success_rate", "must be in [0, 100] %"),
        ({"notify_success_rate": -1}, "#/indicators/notify_success_rate", "must be in [0, 100] %"),
        ({"access_side_rtt_p95": -3}, "#/indicators/access_side_rtt_p95", "must be at least 0 ms"),
        ({"term_sim_ok": 0.5}, "#/indicators/term_sim_ok", "must be 0 or 1"),
        ({"nrsrp_median": "low"}, "#/indicators/nrsrp_median", "must be a number, null, or an object"),
        ({"nrsrp_median": True}, "#/indicators/nrsrp_median", "must be a number, null, or an object"),
        (
            {"nrsrp_median": {"value": -90, "samples": -1}},
            "#/indicators/nrsrp_median/samples",
            "greater than",
        ),
        ({"nrsrp_median": {"valu": -90}}, "#/indicators/nrsrp_median/value", "required"),
        ({}, "#/indicators", "at least 1 item"),
    ],
)
def test_a_value_that_cannot_be_is_refused_by_field_and_rule(
    client: TestClient, question: dict[str, Any], pointer: str, rule: str
) -> None:
    answer = client.post("/score", json={"service": "smoke_sensor", "indicators": question})
    assert problem(answer) == "invalid"
    first = answer.json()["errors"][0]
    assert first["pointer"] == pointer
    assert rule in first["detail"]


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "9" * 400])
def test_a_number_that_is_not_finite_is_refused(client: TestClient, number: str) -> None:
    body = f'{{"service": "smoke_sensor", "indicators": {{"nrsrp_median": {number}}}}}'
    answer = client.post("/score", content=body, headers={"content-type": "application/json"})
    assert problem(answer) == "invalid"
    assert answer.json()["errors"][0]["pointer"] == "#/indicators/nrsrp_median/value"


@pytest.mark.parametrize(
    "question",
    [
        {},
        {"service": "smoke_sensor"},
        {"device_id": "sensor-1", "indicators": {"nrsrp_median": -90}},
        {"indicators": {"nrsrp_median": -90}},
        {"device_id": "sensor-1", "service": "smoke"},
        {"device_id": "sensor-1", "at": "yesterday"},
        {"device_id": "sensor-1", "extra": 1},
    ],
)
def test_a_question_that_is_none_is_refused(client: TestClient, question: dict[str, Any]) -> None:
    assert problem(client.post("/score", json=question)) == "invalid"


def test_few_samples_are_no_evidence_and_indicators_of_other_services_are_told_unused(
    client: TestClient,
) -> None:
    values = {"nrsrp_median": {"value": -90, "samples": 2}, "rrc_setup_success_rate": 99, "vid_sinr": 4}
    told = score(client, service="smoke_sensor", indicators=values)
    by_id = {one["indicator"]: one for one in told["indicators"]}
    assert by_id["nrsrp_median"]["utility"] is None
    assert by_id["nrsrp_median"]["note"] == "made of fewer than 3 samples, which are no evidence"
    assert told["unused"] == ["vid_sinr"]


def test_more_samples_narrow_the_interval(client: TestClient) -> None:
    def width(samples: float) -> float:
        values = score_examples.QUESTIONS["smoke_sensor"]["value"]["indicators"]
        changed = values | {"notify_success_rate": {"value": 97.5, "samples": samples}}
        told = score(client, service="smoke_sensor", indicators=changed)
        return float(told["high"] - told["low"])

    assert width(40) > width(400) > width(40_000)


def test_the_reasons_of_a_score_are_steps_whose_points_add_up(client: TestClient) -> None:
    question = {"service": "smoke_sensor", "device_ids": ["sensor-1", "nobody", "sensor-3"], "top": 2}
    told = client.post("/explain", json=question).json()["answers"]
    assert [one.get("row") for one in told] == [None, 1, None]
    reasons = told[0]["explanation"]
    assert told[0]["score"] == pytest.approx(100 - reasons["lost"], abs=1e-9)
    assert len(reasons["steps"]) == 2
    parts = [one["lost"] for one in reasons["steps"]]
    assert sum(parts) + reasons["rest"] == pytest.approx(reasons["lost"], abs=1e-9)
    assert parts == sorted(parts, reverse=True) and min(parts) * 1.000001 >= 0 < reasons["rest"]
    for step in reasons["steps"]:
        assert sum(one["lost"] for one in step["indicators"]) == pytest.approx(step["lost"], abs=1e-6)
    every = client.post("/explain", json=question | {"top": 50}).json()["answers"][0]["explanation"]
    assert every["rest"] == pytest.approx(0, abs=1e-9)
    steps = {
        one["step"]: one["lost"]
        for p in score(client, device_id="sensor-1")["processes"]
        for one in p["steps"]
    }
    for step in every["steps"]:
        assert step["lost"] == pytest.approx(steps[step["step"]], abs=1e-9)
    rrc = next(
        i for s in every["steps"] for i in s["indicators"] if i["indicator"] == "rrc_setup_success_rate"
    )
    assert (rrc["value"], rrc["unit"], rrc["usual_low"], rrc["usual_high"]) == (96, "%", 98.5, 100)


@pytest.mark.parametrize("service", ["smoke_sensor", "bike_sharing", "video"])
def test_a_service_that_is_worst_in_all_has_lost_a_hundred_points_and_no_more(
    client: TestClient, service: str
) -> None:
    worst = client.get("/indicators", params={"service": service}).json()["indicators"]
    values = {one["id"]: one["unacceptable"] for one in worst}
    told = score(client, service=service, indicators=values)
    (reasons,) = client.post("/explain", json={"service": service, "indicators": values}).json()["answers"]
    for lost in (told["lost"]["total"], reasons["explanation"]["lost"]):
        assert lost <= 100 and lost == pytest.approx(100, abs=1e-9)
    steps = [step for process in told["processes"] for step in process["steps"]]
    for parts in (told["indicators"], told["kqis"], steps):
        assert sum(one["lost"] for one in parts) == pytest.approx(100, abs=1e-9)


def test_values_inline_are_explained_and_wrong_ones_refused(client: TestClient) -> None:
    video = score_examples.QUESTIONS["video"]["value"]
    (told,) = client.post("/explain", json=video | {"top": 1}).json()["answers"]
    assert told["explanation"]["steps"][0]["step"] == "vd_play/1 segment loop"
    answer = client.post("/explain", json={"service": "video", "indicators": {"vid_sinr": math.pi, "no": 1}})
    assert (problem(answer), answer.json()["errors"][0]["pointer"]) == ("invalid", "#/indicators/no")
    for question in (
        {"service": "video"},
        {"service": "vido", "device_ids": ["a"]},
        {"device_ids": ["a"], "at": "2026-03-02T06:15:00Z"},
        {"indicators": {"vid_sinr": 1}},
    ):
        assert problem(client.post("/explain", json=question)) == "invalid", question


# Clients that send much that is wrong


@pytest.mark.parametrize("field", ["device_ids", "rows"])
def test_half_a_surrogate_pair_in_a_row_fails_no_other_row(client: TestClient, field: str) -> None:
    wrong, right = (
        ('"\\ud800"', '"sensor-1"')
        if field == "device_ids"
        else ('{"device_id": "\\ud800"}', '{"device_id": "sensor-1"}')
    )
    answer = client.post(
        "/score_batch",
        content=f'{{"{field}": [{wrong}, {right}]}}',
        headers={"content-type": "application/json"},
    )
    assert answer.status_code == 200, answer.text
    first, second = answer.json()["answers"]
    assert (first["status"], first["device_id"], second["status"]) == ("refused", None, "scored")
    assert "lone surrogates" in first["problem"]["detail"]


def test_many_wrong_rows_cost_little_and_are_told_briefly(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The nearest known name of each wrong one took a millisecond: a full batch of them half an hour."""

    def never(*_: object) -> str:
        raise AssertionError("the nearest name was looked for in a batch")

    monkeypatch.setattr(score_inline, "nearest", never)
    row = {"service": "smoke_sensor", "indicators": {f"unknown_{n}": 1 for n in range(100)}}
    other = {"service": "smoke", "indicators": {"nrsrp_median": -90}}
    told = client.post("/score_batch", json={"rows": [row] * 50 + [other]}).json()
    assert told["refused"] == 51
    problem_of = told["answers"][0]["problem"]
    assert len(problem_of["errors"]) == 5
    assert problem_of["detail"].endswith("no indicator 'unknown_0'; GET /indicators lists them, and 99 more")
    assert "no service 'smoke'; GET /services lists them" in told["answers"][50]["problem"]["detail"]


@pytest.mark.parametrize(
    "question",
    [
        {"service": "smoke_sensor", "indicators": {"long" * 50_000: 1}},
        {"service": "long" * 50_000, "indicators": {"nrsrp_median": -90}},
        {"label": "long" * 50_000, "indicators": {"nrsrp_median": -90}},
    ],
)
def test_a_name_of_a_hundred_thousand_letters_is_not_told_back(
    client: TestClient, question: dict[str, Any]
) -> None:
    answer = client.post("/score", json=question)
    assert answer.status_code == 422
    assert len(answer.content) < 2000
