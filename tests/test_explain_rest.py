"""Why a label was answered, as a client asks: a real application over a real workspace."""

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from fastapi.testclient import TestClient

from serving import explain, keys
from serving.rest import create_app
from serving.settings import Settings
from training import artifact


@pytest.fixture(scope="module")
def client(fleet: Any) -> Iterator[TestClient]:
    app = create_app(lambda: Settings(fleet.workspace, fleet.session_run, without_keys=True))
    with TestClient(app, base_url="http://127.0.0.1:3000", raise_server_exceptions=False) as client:
        yield client


def inline(flows: pd.DataFrame) -> list[Any]:
    return list(json.loads(flows.to_json(orient="records", date_format="iso", date_unit="us")))


def test_an_explained_answer_is_the_answer_of_identify_and_its_reasons(
    client: TestClient, fleet: Any
) -> None:
    asked = {"device_ids": ["tracker-3", "smart_meter-0"]}
    answered = client.post("/identify", json=asked).json()["answers"]
    rows = client.post("/explain", json=asked | {"top": 3}).json()["answers"]
    manifest = artifact.read_manifest(fleet.session_run)
    names = [feature.name for feature in manifest.features]
    named = {name: seen.group for name, seen in zip(names, manifest.usual or (), strict=True)}
    for answer, row in zip(answered, rows, strict=True):
        told = row.pop("explanation")
        assert row.pop("problem") is None
        assert row == answer
        assert (told["unit"], told["method"], len(told["groups"])) == ("log odds", "tree paths", 3)
        shown = sum(group["contribution"] for group in told["groups"])
        assert told["base"] + shown + told["rest"] == pytest.approx(told["score"], abs=1e-6)
        for group in told["groups"]:
            names = [one["feature"] for one in group["features"]]
            assert {named[name] for name in names} == {group["group"]}
            assert group["contribution"] == pytest.approx(
                sum(one["contribution"] for one in group["features"])
            )


def test_inline_flows_are_explained_as_the_same_flows_online(client: TestClient, fleet: Any) -> None:
    flows = inline(fleet.flows[fleet.flows["device_id"] == "tracker-7"])
    (by_flows,) = client.post("/explain", json={"flows": flows}).json()["answers"]
    (by_name,) = client.post("/explain", json={"device_ids": ["tracker-7"]}).json()["answers"]
    assert by_flows["explanation"] == by_name["explanation"]
    assert len(by_name["explanation"]["groups"]) == 5


def test_values_are_those_of_the_window_in_the_units_of_the_features(client: TestClient, fleet: Any) -> None:
    (row,) = client.post("/explain", json={"device_ids": ["tracker-7"], "top": 50}).json()["answers"]
    told = {one["feature"]: one for group in row["explanation"]["groups"] for one in group["features"]}
    flows = fleet.flows[fleet.flows["device_id"] == "tracker-7"]
    size = told["up_bytes"]
    assert (size["value"], size["unit"]) == (flows["up_bytes"].sum(), "byte")
    assert size["usual_low"] <= size["value"] <= size["usual_high"]
    strongest = max(told.values(), key=lambda one: abs(one["contribution"]))
    assert abs(strongest["contribution"]) > 0
    assert strongest["usual_low"] <= strongest["usual_high"]


def test_a_device_without_a_window_has_its_own_problem_and_the_others_are_explained(
    client: TestClient,
) -> None:
    answer = client.post("/explain", json={"device_ids": ["nobody", "tracker-3"]})
    assert answer.status_code == 200
    missing, there = answer.json()["answers"]
    assert (missing["status"], missing["problem"]["status"]) == ("missing", 404)
    assert there["explanation"]["groups"]


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        ({"device_ids": ["tracker-3"] * 21}, 413),
        ({"device_ids": ["tracker-3"], "top": 0}, 422),
        ({"device_ids": ["tracker-3"], "top": 51}, 422),
        ({"device_ids": ["tracker-3"], "top": True}, 422),
        ({"top": 5}, 422),
        ({"device_ids": ["tracker-3"], "why": 1}, 422),
    ],
)
def test_a_question_has_bounds(client: TestClient, asked: dict[str, Any], status: int) -> None:
    assert client.post("/explain", json=asked).status_code == status


def test_the_sessions_of_one_question_are_few(client: TestClient, fleet: Any) -> None:
    flow = inline(fleet.flows.head(1))[0]
    many = [flow | {"source": f"source-{i}"} for i in range(21)]
    assert client.post("/explain", json={"flows": many[:20]}).status_code == 200
    refused = client.post("/explain", json={"flows": many})
    assert refused.status_code == 422
    assert "at most 20 devices and sources" in refused.json()["detail"]


def test_a_row_for_which_no_time_is_left_says_so_and_keeps_its_answer(fleet: Any) -> None:
    from serving import answering

    loaded = answering.load(fleet.workspace, fleet.session_run)
    answers, X = loaded.read_devices(["nobody", "tracker-3"])
    missing, late = explain.explain(explain.Task(loaded.model, loaded.units, answers, X, 5, limit_s=-1.0))
    assert missing == answers[0]
    assert late.label == "tracker" and late.explanation is None  # type: ignore[union-attr]
    assert late.problem is not None and late.problem.status == 503  # type: ignore[union-attr]


def test_devices_are_identified_while_others_are_explained_and_the_line_is_short(client: TestClient) -> None:
    at_work, go_on = threading.Event(), threading.Event()

    class Slow(tuple[Any, ...]):
        def __iter__(self) -> Iterator[Any]:
            at_work.set()
            go_on.wait()
            return super().__iter__()

    thread: explain.ExplainingThread = client.app.state.explaining  # type: ignore[attr-defined]
    ready = client.app.state.thread.ready()  # type: ignore[attr-defined]
    asked = {"device_ids": ["tracker-3"]}
    with ExitStack() as places:
        for _ in range(explain.MAX_EXPLAINING):
            places.enter_context(thread.place())
        task = explain.Task(ready.model, ready.units, Slow(), np.empty((0, len(ready.units))), 5)
        working = threading.Thread(target=asyncio.run, args=(thread.explain(task),))
        working.start()
        at_work.wait()
        assert client.post("/identify", json=asked).status_code == 200
        refused = client.post("/explain", json=asked)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "10")
        go_on.set()
        working.join()
    assert client.post("/explain", json=asked).status_code == 200


def test_an_explanation_needs_a_key_of_its_own_scope(fleet: Any, tmp_path: Path) -> None:
    app = create_app(lambda: Settings(tmp_path, fleet.session_run, without_keys=False))
    asks, explains = keys.add(tmp_path, "asks"), keys.add(tmp_path, "explains", scopes=["explain"])
    with TestClient(app, base_url="http://127.0.0.1:3000") as client:
        asked: dict[str, Any] = {"device_ids": ["tracker-3"]}
        refused = client.post("/explain", json=asked, headers={"x-api-key": asks})
        assert (refused.status_code, refused.json()["title"]) == (403, "The API key lacks the scope")
        assert client.post("/explain", json=asked, headers={"x-api-key": explains}).status_code == 503
        assert client.post("/identify", json=asked, headers={"x-api-key": explains}).status_code == 403


def test_what_explains_is_loaded_by_the_first_question_and_not_before(fleet: Any) -> None:
    program = """
import sys
from pathlib import Path
from fastapi.testclient import TestClient
from serving.rest import create_app
from serving.settings import Settings
app = create_app(lambda: Settings(Path(sys.argv[1]), Path(sys.argv[2]), without_keys=True))
with TestClient(app, base_url="http://127.0.0.1:3000") as client:
    asked = {"device_ids": ["tracker-3"]}
    assert client.post("/identify", json=asked).status_code == 200
    assert client.post("/identify_batch", json=asked).status_code == 200
    print(*[name for name in sys.modules if name == "evaluation.importance" or name.partition(".")[0] == "shap"])
    assert client.post("/explain", json=asked).status_code == 200
    print("evaluation.importance" in sys.modules)
"""
    command = [sys.executable, "-c", program, str(fleet.workspace), str(fleet.session_run)]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, cwd=fleet.workspace)
    assert shown.stdout.splitlines()[-2:] == ["", "True"]
