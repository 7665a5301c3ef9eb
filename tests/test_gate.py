"""What a request must bring before anything reads it."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving import gate, keys
from serving.gate import MAX_BODY_BYTES
from serving.problems import Problem
from serving.settings import Settings, from_environment


def settings(workspace: Path, *, without_keys: bool) -> Settings:
    return Settings(workspace, workspace / "runs" / "x" / "1", without_keys=without_keys)


def refused(told: Settings, path: str, **headers: str) -> tuple[int, str]:
    """The status and kind of the problem that a request with these headers meets; (200, "") where it passes."""
    sent = Headers({name.replace("_", "-"): value for name, value in headers.items()})
    try:
        gate.check_access(told, path, sent)
    except Problem as problem:
        return problem.status, problem.kind
    return 200, ""


@pytest.mark.parametrize(
    "host",
    ["localhost", "LocalHost:3000", "127.0.0.1.:3000", "127.0.0.1:3000", "127.9.9.9", "[::1]:3000", "[::1]"],
)
def test_on_loopback_no_key_is_needed(tmp_path: Path, host: str) -> None:
    keys.add(tmp_path, "dashboard")
    assert refused(settings(tmp_path, without_keys=True), "/identify", host=host) == (200, "")


@pytest.mark.parametrize(
    "host",
    ["", "evil.example", "evil.example:3000", "192.0.2.1:3000", "localhost.evil.example", "[::2]", "::"],
)
def test_a_web_page_cannot_reach_loopback_under_a_name_of_its_own(tmp_path: Path, host: str) -> None:
    assert refused(settings(tmp_path, without_keys=True), "/identify", host=host) == (421, "wrong-host")


def test_elsewhere_every_path_but_the_probes_and_the_page_needs_a_key(tmp_path: Path) -> None:
    told = settings(tmp_path, without_keys=False)
    for path in ("/identify", "/identify_batch", "/models", "/metrics", "/assets", "/nope", "//"):
        assert refused(told, path, host="127.0.0.1") == (401, "no-key"), path
    for path in ("/livez", "/readyz", "/", "/docs.json", "/assets/swagger-ui.css"):
        assert refused(told, path) == (200, "")


def test_a_key_opens_what_its_scopes_name(tmp_path: Path) -> None:
    told = settings(tmp_path, without_keys=False)
    asks = keys.add(tmp_path, "dashboard")
    scrapes = keys.add(tmp_path, "prometheus", scopes=["metrics"])
    assert refused(told, "/identify", authorization=f"Bearer {asks}") == (200, "")
    assert refused(told, "/identify", authorization=f"bearer  {asks} ") == (200, "")
    assert refused(told, "/identify", x_api_key=asks) == (200, "")
    assert refused(told, "/metrics", x_api_key=scrapes) == (200, "")
    assert refused(told, "/metrics", x_api_key=asks) == (403, "scope")
    assert refused(told, "/identify", x_api_key=scrapes) == (403, "scope")
    reads = keys.add(tmp_path, "reader", scopes=["reports", "explain"])
    for path in ("/reports", "/reports/run.tiny.1", "/reports/", "/explain", "/explain/"):
        assert refused(told, path, x_api_key=reads) == (200, ""), path
        assert refused(told, path, x_api_key=asks) == (403, "scope"), path
    assert refused(told, "/reportsx", x_api_key=reads) == (403, "scope")


def test_a_wrong_or_revoked_key_opens_nothing(tmp_path: Path) -> None:
    told = settings(tmp_path, without_keys=False)
    key = keys.add(tmp_path, "dashboard")
    assert refused(told, "/identify", x_api_key=key + "x") == (401, "no-key")
    assert refused(told, "/identify", authorization=f"Basic {key}") == (401, "no-key")
    assert refused(told, "/identify", x_api_key="ÿ") == (401, "no-key")
    keys.revoke(tmp_path, "dashboard")
    assert refused(told, "/identify", x_api_key=key) == (401, "no-key")


@pytest.mark.parametrize(
    ("headers", "passes"),
    [
        ({"content-type": "application/json"}, True),
        ({"content-type": "Application/JSON; charset=utf-8"}, True),
        ({"content-type": "text/plain"}, False),
        ({"content-type": "application/x-www-form-urlencoded"}, False),
        ({}, False),
        ({"content-type": "application/json", "content-encoding": "gzip"}, False),
    ],
)
def test_only_plain_json_is_posted(headers: dict[str, str], passes: bool) -> None:
    if passes:
        gate.check_media_type("POST", Headers(headers))
        return
    with pytest.raises(Problem) as problem:
        gate.check_media_type("POST", Headers(headers))
    assert problem.value.status == 415


def body_of(parts: list[bytes], *, announced: int | None) -> bytes:
    messages: list[Message] = [
        {"type": "http.request", "body": part, "more_body": i + 1 < len(parts)}
        for i, part in enumerate(parts)
    ]

    async def receive() -> Message:
        return messages.pop(0)

    headers = Headers({} if announced is None else {"content-length": str(announced)})
    return asyncio.run(gate.whole_body(headers, receive))


def test_a_body_in_parts_is_put_together() -> None:
    assert body_of([b"{", b"", b"}"], announced=None) == b"{}"


@pytest.mark.parametrize("announced", [None, MAX_BODY_BYTES + 1, 2])
def test_a_large_body_is_refused_whether_it_says_so_or_not(announced: int | None) -> None:
    with pytest.raises(Problem) as problem:
        body_of([b" " * MAX_BODY_BYTES, b" "], announced=announced)
    assert problem.value.status == 413


def test_a_body_that_does_not_arrive_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "BODY_LIMIT_S", 0.01)
    parts: list[Message] = [{"type": "http.request", "body": b"{", "more_body": True}]

    async def receive() -> Message:
        return parts.pop() if parts else await asyncio.get_running_loop().create_future()

    with pytest.raises(Problem, match=r"must arrive within 0\.01 s") as problem:
        asyncio.run(gate.body_in_time(Headers({}), receive))
    assert (problem.value.status, problem.value.headers["Connection"]) == (408, "close")


async def never(*_: Any) -> None:
    """An application that does not answer."""
    await asyncio.get_running_loop().create_future()


async def slowly_read(_scope: Scope, _receive: Receive, send: Send) -> None:
    """An application whose client takes longer to read the answer than the answer may take to begin."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await asyncio.sleep(0.05)
    await send({"type": "http.response.body", "body": b"all"})


@pytest.mark.parametrize(("application", "status"), [(never, 503), (slowly_read, 200)])
def test_an_answer_begins_in_time_and_may_be_read_slowly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, application: ASGIApp, status: int
) -> None:
    monkeypatch.setattr(gate, "ANSWER_LIMIT_S", 0.02)
    app = FastAPI()
    app.state.settings = settings(tmp_path, without_keys=True)
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    scope = {
        "type": "http",
        "path": "/services",
        "method": "GET",
        "headers": [(b"host", b"localhost")],
        "app": app,
    }
    asyncio.run(gate.Gate(application)(scope, receive, send))
    assert [one["status"] for one in sent if one["type"] == "http.response.start"] == [status]
    assert sent[-1]["body"] == b"all" if status == 200 else b"within 0.02 s" in sent[-1]["body"]


def test_a_worker_that_was_told_nothing_asks_for_keys(tmp_path: Path) -> None:
    told = settings(tmp_path, without_keys=True).environment()
    assert from_environment(told) == settings(tmp_path, without_keys=True)
    silent = {name: value for name, value in told.items() if "KEYS" not in name}
    assert from_environment(silent) == settings(tmp_path, without_keys=False)
    with pytest.raises(LookupError, match="IOTLENS_WORKSPACE is not set"):
        from_environment({})
