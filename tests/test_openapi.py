"""What a reader of the REST API sees: every route, error and example, and nothing from elsewhere."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient
from pydantic import BaseModel

from serving import examples, score_examples
from serving.problems import KINDS, MEDIA_TYPE, type_uri
from serving.rest import create_app
from serving.schema import Answers, BatchAnswers, Explained, Explanations, Reports
from serving.score_schema import ScoreAnswer, Scores
from serving.settings import Settings


@pytest.fixture(scope="module")
def client(fleet: Any) -> Iterator[TestClient]:
    app = create_app(lambda: Settings(fleet.workspace, fleet.session_run, without_keys=True))
    with TestClient(app, base_url="http://127.0.0.1:3000") as client:
        yield client


def operations(client: TestClient) -> list[tuple[str, str, dict[str, Any]]]:
    paths = client.get("/docs.json").json()["paths"]
    return [(path, method, told) for path, methods in paths.items() for method, told in methods.items()]


def test_the_document_has_every_route(client: TestClient) -> None:
    routes = {path for path, _, _ in operations(client)}
    service = {"/models", "/reports", "/reports/{report_id}", "/livez", "/readyz", "/metrics"}
    scores = {
        "/score",
        "/score_batch",
        "/services",
        "/services/{service_id}",
        "/indicators",
        "/alarms",
        "/mark",
    }
    assert routes == {"/identify", "/identify_batch", "/explain", *scores, *service}


def test_every_error_is_shown_as_a_problem_of_its_status(client: TestClient) -> None:
    shown = set()
    for path, method, told in operations(client):
        for status, response in told["responses"].items():
            if int(status) >= 400:
                problems = [one["value"] for one in response["content"][MEDIA_TYPE]["examples"].values()]
                assert {problem["status"] for problem in problems} == {int(status)}, (path, method)
                shown |= {problem["type"] for problem in problems}
    no_routes_own = {type_uri("unknown-route"), type_uri("method")}
    assert shown == {type_uri(kind) for kind in KINDS} - no_routes_own
    assert "HTTPValidationError" not in client.get("/docs.json").text


def test_every_question_shown_can_be_asked(client: TestClient) -> None:
    asked = 0
    for path, method, told in operations(client):
        body = told.get("requestBody", {"content": {"application/json": {"examples": {}}}})
        for example in body["content"]["application/json"]["examples"].values():
            answer = client.request(method, path, json=example["value"])
            # 404: the tiny fleet has no such device; 503: it has no indicators
            assert answer.status_code in (200, 404) or re.search(
                "none are built|no device was marked", answer.text
            ), example
            asked += 1
    assert asked == 13


@pytest.mark.parametrize(
    ("schema", "shown"),
    [
        (Answers, examples.ANSWERS),
        (BatchAnswers, examples.BATCH_ANSWERS),
        (Explanations, examples.EXPLANATIONS),
        (Reports, examples.REPORTS),
        (Scores, score_examples.SCORES),
    ],
)
def test_every_answer_shown_is_one_that_can_be_given(schema: type[BaseModel], shown: dict[str, Any]) -> None:
    given = schema.model_validate(shown).model_dump(mode="json")
    for answer, expected in zip(*(next(iter(one.values())) for one in (given, shown)), strict=True):
        assert {name: value for name, value in answer.items() if name in expected} == expected | (
            {"problem": answer["problem"]} if "problem" in expected else {}
        )


def test_the_score_shown_is_one_that_can_be_given(client: TestClient) -> None:
    shown = ScoreAnswer.model_validate(score_examples.SCORE).model_dump(mode="json")
    assert shown == score_examples.SCORE
    given = client.post("/score", json=score_examples.QUESTIONS["video"]["value"]).json()
    for name, value in shown.items():
        for one in value if isinstance(value, list) else [value]:
            told = given[name] if isinstance(value, list) else [given[name]]
            assert any(
                one == pytest.approx(other, abs=0.006) for other in told if not _nested(one)
            ) or _nested(one)


def _nested(told: object) -> bool:
    return isinstance(told, dict) and any(isinstance(value, list) for value in told.values())


def test_the_reasons_shown_sum_to_the_score() -> None:
    told = Explanations.model_validate(examples.EXPLANATIONS).answers[0]
    assert isinstance(told, Explained) and told.explanation is not None
    why = told.explanation
    assert why.base + sum(group.contribution for group in why.groups) + why.rest == why.score
    for group in why.groups:
        assert sum(one.contribution for one in group.features) == group.contribution


def test_the_page_loads_nothing_from_elsewhere(client: TestClient) -> None:
    page = client.get("/")
    assert "http://" not in page.text
    assert "https://" not in page.text
    assert "default-src 'self'" in page.headers["content-security-policy"]
    for asset in ("swagger-ui-bundle.js", "swagger-ui.css"):
        assert f'"assets/{asset}"' in page.text
        assert client.get(f"/assets/{asset}").status_code == 200
