"""Starting the service: where it may listen, from where it is started, and that no files get in its way."""

import json
import os
import shutil
import socket
import sys
import urllib.request
from pathlib import Path
from typing import Any

import psutil
import pytest
from tiny_fleet import free_port

from serving import keys, server
from serving.settings import Settings, from_environment

START = """
import sys
from pathlib import Path
from serving import server
server.serve(server.prepare(Path(sys.argv[1]), sys.argv[2], port=int(sys.argv[3]), workers=2))
"""


@pytest.mark.parametrize(
    ("host", "address", "loopback"),
    [
        ("127.0.0.1", "127.0.0.1", True),
        ("127.1.2.3", "127.1.2.3", True),
        ("127.1", "127.0.0.1", True),
        ("::1", "::1", True),
        ("0.0.0.0", "0.0.0.0", False),
        ("0", "0.0.0.0", False),
        ("::", "::", False),
        ("::ffff:0.0.0.0", "::ffff:0:0", False),
        ("192.0.2.1", "192.0.2.1", False),
    ],
)
def test_loopback_is_what_only_this_machine_reaches(host: str, address: str, loopback: bool) -> None:
    assert server.resolve(host) == (address, loopback)


def test_localhost_is_loopback_and_the_machines_own_name_only_if_it_leads_there() -> None:
    address, loopback = server.resolve("localhost")
    assert (address in ("127.0.0.1", "::1"), loopback) == (True, True)
    named, local = server.resolve(socket.gethostname())
    assert local == (named.startswith("127.") or named == "::1")


@pytest.mark.parametrize("host", ["", "no such host", "300.1.1.1", "a" * 300])
def test_a_host_that_is_no_address_is_an_error(host: str) -> None:
    with pytest.raises(ValueError, match="a host must be"):
        server.resolve(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
def test_beyond_loopback_nothing_starts_without_a_key(tmp_path: Path, host: str) -> None:
    with pytest.raises(ValueError, match=r"needs an API key.*iotlens keys add"):
        server.prepare(tmp_path, host=host)
    key = keys.add(tmp_path, "dashboard")
    keys.revoke(tmp_path, "dashboard")
    with pytest.raises(ValueError, match="needs an API key"):
        server.prepare(tmp_path, host=host)
    assert key not in (tmp_path / "keys.json").read_text(encoding="utf-8")


def test_the_latest_run_is_named_once_for_all_workers(fleet: Any) -> None:
    start = server.prepare(fleet.workspace, port=free_port())
    assert start.environment["IOTLENS_RUN_DIRECTORY"] == str(fleet.hour_run.resolve())
    assert start.environment["BENTOML_DO_NOT_TRACK"] == "true"
    assert start.environment["IOTLENS_WITHOUT_KEYS"] == "yes"


def test_a_run_of_a_plain_table_does_not_hide_the_latest_that_can_be_served(
    fleet: Any, tmp_path: Path
) -> None:
    from training import run
    from training.experiment import Experiment

    served = tmp_path / "runs" / "tiny" / "20260101T000000Z"
    shutil.copytree(fleet.hour_run, served)
    table = tmp_path / "lamps.csv"
    table.write_text("x,kind\n" + "1,lamp\n2,lock\n" * 9, encoding="utf-8")
    run.seal(run.fit(Experiment(name="lamps", table=table, target="kind"), tmp_path).directory)
    start = server.prepare(tmp_path, port=free_port())
    assert start.environment["IOTLENS_RUN_DIRECTORY"] == str(served.resolve())
    with pytest.raises(ValueError, match="of a plain table; use `iotlens predict`"):
        server.prepare(tmp_path, "lamps/latest", port=free_port())


def test_a_service_of_scores_alone_is_asked_for_by_name_and_needs_its_workspace(tmp_path: Path) -> None:
    start = server.prepare(tmp_path, server.NO_RUN, port=free_port())
    assert start.environment["IOTLENS_RUN_DIRECTORY"] == ""
    assert from_environment(start.environment) == Settings(tmp_path, None, without_keys=True)
    with pytest.raises(LookupError, match=r"no .*run.*--run none"):
        server.prepare(tmp_path, port=free_port())
    with pytest.raises(ValueError, match="the workspace must exist"):
        server.prepare(tmp_path / "typo", server.NO_RUN, port=free_port())


def test_beyond_loopback_the_workers_are_told_to_ask_for_keys(fleet: Any) -> None:
    keys.add(fleet.workspace, "dashboard")
    try:
        start = server.prepare(fleet.workspace, host="0.0.0.0", port=free_port())
    finally:
        keys.revoke(fleet.workspace, "dashboard")
    assert start.environment["IOTLENS_WITHOUT_KEYS"] == "no"


def test_a_taken_or_impossible_port_is_said_before_anything_starts() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(ValueError, match=r"cannot listen on 127.0.0.1 port \d+: .*; take another --port"):
            server.check_free("127.0.0.1", other.getsockname()[1])
    for port in (0, -1, 65536):
        with pytest.raises(ValueError, match="a port must be in"):
            server.check_free("127.0.0.1", port)


def test_a_demo_finds_a_free_port_where_the_usual_one_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        monkeypatch.setattr(server, "DEFAULT_PORT", other.getsockname()[1])
        found = server.free_port()
    assert found != server.DEFAULT_PORT
    server.check_free("127.0.0.1", found)


def test_the_service_reads_the_configurations_of_the_folder_it_is_started_from(
    fleet: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    start = server.prepare(fleet.workspace, port=free_port())
    assert start.environment["IOTLENS_CONFIGS"] == str(tmp_path / "configs")
    monkeypatch.setenv("IOTLENS_CONFIGS", "/etc/iotlens")
    assert server.prepare(fleet.workspace, port=free_port()).environment["IOTLENS_CONFIGS"] == "/etc/iotlens"


def test_the_place_of_a_server_must_be_empty(tmp_path: Path) -> None:
    home, empty = server.own_place(tmp_path, 3000)
    assert home != server.own_place(tmp_path, 3001)[0]
    (empty / "serving.py").touch()
    with pytest.raises(ValueError, match=r"must be empty.*\['serving.py'\]"):
        server.own_place(tmp_path, 3000)


def ask(url: str, body: Any = None) -> Any:
    content = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, content, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return answer.read().decode()


def series(url: str) -> dict[str, float]:
    lines = [line for line in ask(f"{url}/metrics").splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def test_a_real_server_of_two_workers_starts_beside_a_strangers_packages(fleet: Any, tmp_path: Path) -> None:
    for stranger in ("serving", "training", "features"):
        (tmp_path / stranger).mkdir()
        (tmp_path / stranger / "__init__.py").write_text("raise RuntimeError('a stranger was imported')\n")
    port, log = free_port(), tmp_path / "server.log"
    user = (sys.executable, "-P", "-c", START, str(fleet.workspace), str(fleet.session_run), str(port))
    start = server.Start(user, dict(os.environ), tmp_path, f"http://127.0.0.1:{port}")
    others = set(psutil.Process().children(recursive=True))
    with server.running(start, log=log) as url:
        answers = [ask(f"{url}/identify", {"device_ids": ["tracker-3"]}) for _ in range(40)]
        found = series(url)
        processes = set(psutil.Process().children(recursive=True)) - others
    assert json.loads(answers[0])["answers"][0]["label"] == "tracker"
    assert len(set(answers)) == 1
    assert found['iotlens_requests_total{route="/identify",status="200"}'] == 40  # of both workers together
    assert found['iotlens_devices_total{status="known"}'] == 40
    assert len(processes) >= 3
    assert not [process for process in processes if process.is_running()]
    home = fleet.workspace / "models" / f"port-{port}"
    assert len(list((home / "prometheus_multiproc_dir").glob("counter_*.db"))) == 2
    assert list((home / "empty").iterdir()) == []
    assert "a stranger was imported" not in log.read_text(encoding="utf-8")


def test_a_server_that_stops_says_why(fleet: Any, tmp_path: Path) -> None:
    start = server.prepare(fleet.workspace, port=free_port())
    broken = server.Start(start.arguments[:3], start.environment, start.directory, start.url)
    with (
        pytest.raises(RuntimeError, match=r"the service stopped[\s\S]*Usage: "),
        server.running(broken, log=tmp_path / "log"),
    ):
        pass
