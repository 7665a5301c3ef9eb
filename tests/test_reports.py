"""The reports of a workspace: listed, read with a key of their scope, and nothing else of the disk."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from serving import cli, keys, reports
from serving.rest import create_app
from serving.settings import Settings

PAGE = "<!doctype html><title>t</title>"


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """A finished run, an unfinished one, and two selections, one of them as a page alone; then what is none."""
    made = tmp_path / "ws"
    for place, files in {
        "runs/tiny/20260101T000000Z": {
            "DONE": "tiny-1",
            "report.html": PAGE,
            "report.json": '{"headline": {"sentence": "It tells three types apart."}, "simulated": true}',
            "model.json": "{}",
        },
        "runs/tiny/20260102T000000Z": {"report.html": PAGE},
        "runs/tiny/20260103T000000Z": {"DONE": "tiny-3"},
        "reports/2026-03-01-delay": {
            "report.html": PAGE + "delay",
            "report.md": "# 2 of 9 explain delay\n\nbody ü\n",
            "selection.json": "{}",
        },
        "reports/bare": {"report.html": PAGE},
        "reports/empty": {},
    }.items():
        (made / place).mkdir(parents=True)
        for name, text in files.items():
            (made / place / name).write_text(text, encoding="utf-8")
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "report.html").write_text("secret", encoding="utf-8")
    (made / "reports" / "linked").symlink_to(secret)
    (made / "reports" / "link-inside").mkdir()
    (made / "reports" / "link-inside" / "report.html").symlink_to(secret / "report.html")
    (made / "reports" / "bare" / "report.md").symlink_to(secret / "report.html")
    for age, page in enumerate(sorted(made.glob("*/**/report.html"))):
        if not page.is_symlink():
            os.utime(page, (1_767_225_600 + 60 * age,) * 2)  # 2026-01-01
    return made


@pytest.fixture
def client(workspace: Path, fleet: Any) -> Iterator[TestClient]:
    app = create_app(lambda: Settings(workspace, fleet.session_run, without_keys=True))
    with TestClient(app, base_url="http://127.0.0.1:3000", raise_server_exceptions=False) as client:
        yield client


def test_finished_runs_and_selections_are_listed_newest_first(client: TestClient) -> None:
    told = client.get("/reports").json()["reports"]
    assert [(one["id"], one["kind"], one["headline"], one["markdown"]) for one in told] == [
        ("run.tiny.20260101T000000Z", "run", "It tells three types apart. (simulated)", False),
        ("selection.bare", "selection", None, False),
        ("selection.2026-03-01-delay", "selection", "2 of 9 explain delay", True),
    ]
    assert [one["made"] for one in told] == sorted((one["made"] for one in told), reverse=True)
    assert told[2]["made"] == "2026-01-01T00:00:00Z"


def test_a_report_is_shown_as_it_was_written(client: TestClient, workspace: Path) -> None:
    page = client.get("/reports/selection.2026-03-01-delay")
    text = client.get("/reports/selection.2026-03-01-delay", params={"format": "markdown"})
    place = workspace / "reports" / "2026-03-01-delay"
    assert page.content == (place / "report.html").read_bytes()
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert text.content == (place / "report.md").read_bytes()
    assert text.headers["content-type"] == "text/markdown; charset=utf-8"
    assert client.get("/reports/run.tiny.20260101T000000Z").text == PAGE


def test_a_page_may_run_and_load_nothing_and_is_asked_for_anew(client: TestClient, workspace: Path) -> None:
    path = "/reports/selection.2026-03-01-delay"
    page = client.get(path)
    policy = page.headers["content-security-policy"].split("; ")
    assert {"default-src 'none'", "sandbox", "frame-ancestors 'none'"} <= set(policy)
    assert not [rule for rule in policy if rule.startswith("script-src")]
    assert page.headers["x-content-type-options"] == "nosniff"
    assert page.headers["cache-control"] == "private, no-cache"
    same = client.get(path, headers={"if-none-match": page.headers["etag"]})
    assert (same.status_code, same.content) == (304, b"")
    (workspace / "reports" / "2026-03-01-delay" / "report.html").write_text("anew", encoding="utf-8")
    assert client.get(path, headers={"if-none-match": page.headers["etag"]}).text == "anew"


@pytest.mark.parametrize(
    "report_id",
    [
        "selection.empty",
        "selection.linked",
        "selection.link-inside",
        "selection...",
        "selection...%2F..%2Fsecret",
        "..%2Fkeys.json",
        "run.tiny.20260102T000000Z",
        "run.tiny.20260103T000000Z",
        "run.tiny.20260101T000000Z%2Fmodel.json",
        "selection.2026-03-01-delay%2Fselection.json",
        "SELECTION.bare",
        "selection.bare%00",
        "selection.*",
        "selection.bare?format=markdown",
    ],
)
def test_nothing_else_of_the_disk_can_be_read(client: TestClient, report_id: str) -> None:
    answer = client.get(f"/reports/{report_id}")
    assert answer.status_code == 404
    assert "secret" not in answer.text.replace("%2Fsecret", "").replace("/secret", "")
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    "path", ["/reports", "/reports/selection.bare", "/reports/nope", "/models", "/docs.json", "/"]
)
def test_head_tells_what_get_does_without_its_body(client: TestClient, path: str) -> None:
    got, head = client.get(path), client.head(path)
    assert (head.status_code, head.content) == (got.status_code, b"")
    told = {**got.headers, "content-length": str(len(got.content))}
    assert dict(head.headers) == told


def test_head_needs_the_key_that_get_needs(workspace: Path, fleet: Any) -> None:
    app = create_app(lambda: Settings(workspace, fleet.session_run, without_keys=False))
    with TestClient(app, base_url="http://127.0.0.1:3000") as client:
        assert client.head("/reports/selection.bare").status_code == 401


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "/reports", "GET, HEAD"),
        ("DELETE", "/reports/selection.bare", "GET, HEAD"),
        ("GET", "/identify", "POST"),
        ("HEAD", "/explain", "POST"),
    ],
)
def test_a_method_that_a_route_does_not_take_is_refused_naming_those_it_takes(
    client: TestClient, method: str, path: str, allowed: str
) -> None:
    answer = client.request(method, path, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.headers["allow"]) == (405, allowed)
    if method != "HEAD":
        told = answer.json()
        assert told["detail"] == f"{method} {path}: Method Not Allowed; it takes {allowed}"
        assert told["type"] == "urn:iotlens:problem:method"


def test_another_form_of_a_report_is_refused(client: TestClient) -> None:
    assert client.get("/reports/selection.bare", params={"format": "json"}).status_code == 422


def test_reports_need_a_key_of_their_scope(workspace: Path, fleet: Any) -> None:
    asks, reads = keys.add(workspace, "asks"), keys.add(workspace, "reads", scopes=["reports"])
    app = create_app(lambda: Settings(workspace, fleet.session_run, without_keys=False))
    with TestClient(app, base_url="http://127.0.0.1:3000") as client:
        for path in ("/reports", "/reports/selection.bare", "/reports/nope"):
            assert client.get(path).status_code == 401
            assert client.get(path, headers={"x-api-key": asks}).status_code == 403
        assert client.get("/reports/selection.bare", headers={"x-api-key": reads}).status_code == 200
        assert client.get("/reports", headers={"x-api-key": reads}).status_code == 200
        assert client.get("/models", headers={"x-api-key": reads}).status_code == 403


def requests(client: TestClient) -> dict[str, float]:
    lines = client.get("/metrics").text.splitlines()
    told = (line.rpartition(" ") for line in lines if line.startswith("iotlens_requests_total"))
    return {name: float(count) for name, _, count in told}


def test_all_reports_are_one_route_in_the_series(client: TestClient) -> None:
    before = requests(client)
    for report_id in ("selection.bare", "nope-1", "nope-2", "nope/3"):
        client.get(f"/reports/{report_id}")
    grown = {name: count - before.get(name, 0) for name, count in requests(client).items()}
    assert grown['iotlens_requests_total{route="/reports/{report_id}",status="200"}'] == 1
    assert grown['iotlens_requests_total{route="/reports/{report_id}",status="404"}'] == 2
    assert grown['iotlens_requests_total{route="other",status="404"}'] == 1
    assert "nope" not in client.get("/metrics").text


def test_the_command_lists_what_the_service_lists(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cli.app(["report", "--workspace", str(workspace)], standalone_mode=False)
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == [
        "run.tiny.20260101T000000Z",
        "2026-01-01T00:03:00Z",
        "It tells three types apart. (simulated)",
    ]
    assert [line[0] for line in lines] == [one.id for one in reports.every(workspace)]
    with pytest.raises(LookupError, match=r"no report 'nope'; `iotlens report` and GET /reports list"):
        cli.app(["report", "--workspace", str(workspace), "--open", "nope"], standalone_mode=False)


def test_the_command_opens_a_report_in_the_browser_and_prints_where_it_lies(
    workspace: Path, tmp_path: Path
) -> None:
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" > {tmp_path / "opened"}\n', encoding="utf-8")
    browser.chmod(0o755)
    command = [sys.executable, "-c", "from serving.cli import main; main()", "report", "--workspace"]
    done = subprocess.run(
        [*command, str(workspace), "--open", "selection.bare"],
        env={**os.environ, "BROWSER": f"{browser} %s"},
        capture_output=True,
        text=True,
        check=True,
    )
    page = workspace / "reports" / "bare" / "report.html"
    assert done.stdout == f"{page}\n"
    assert (tmp_path / "opened").read_text(encoding="utf-8") == f"{page.as_uri()}\n"


def test_a_workspace_without_reports_says_what_writes_them(tmp_path: Path) -> None:
    assert "`iotlens train` and `iotlens indicators select` write them" in reports.listing(tmp_path)
    with pytest.raises(LookupError, match=r"the workspace must exist, but there is none at .*typo"):
        reports.listing(tmp_path / "typo")
