"""With the servers that a user has: Redis as the online store, a browser for the pages. Run by `make test-services`."""

import shutil
import subprocess
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from browser import browse
from tiny_fleet import LAST_HOUR, commit, free_port, tiny_flows

from evaluation import report
from features import store, windows
from serving import server
from training import artifact, run
from training.experiment import Experiment, TreeSettings

pytestmark = pytest.mark.services

START_LIMIT_S = 20.0


@pytest.fixture(scope="module")
def redis_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A Redis of our own, on a free port, that keeps nothing."""
    import redis  # here: only `make test-services` installs it

    port = free_port()
    folder = tmp_path_factory.mktemp("redis")
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as server:
        try:
            client, deadline = redis.Redis(port=port), time.monotonic() + START_LIMIT_S
            while True:
                try:
                    client.ping()
                    break
                except redis.ConnectionError:
                    assert time.monotonic() < deadline, "redis-server does not answer"
                    time.sleep(0.1)
            yield port
        finally:
            server.terminate()


def test_redis_gives_the_rows_that_sqlite_gives(fleet: Any, redis_port: int, tmp_path: Path) -> None:
    workspace = tmp_path / "in_redis"
    shutil.copytree(fleet.workspace, workspace, ignore=shutil.ignore_patterns("feast", "models", "runs"))
    settings = "{online_store: {type: redis, connection_string: '127.0.0.1:%d', skip_dedup: true}, project: in_redis}"
    (workspace / "configs" / "feature_store.yaml").write_text(settings % redis_port, encoding="utf-8")
    name = artifact.load(fleet.hour_run).manifest.feature_service
    assert name is not None
    in_redis, in_sqlite = store.open(workspace), store.open(fleet.workspace)
    assert in_redis.register("tiny", "1h") == name
    assert in_redis.publish() > 0
    ids = [*fleet.flows["device_id"].unique(), "nobody"]
    before = in_sqlite.latest(ids, name, at=LAST_HOUR).set_index("device_id")
    assert in_redis.latest(ids, name, at=LAST_HOUR).set_index("device_id").equals(before)

    later = tiny_flows("tracker-3", end=LAST_HOUR - timedelta(seconds=1), count=7, source="7" * 16)
    commit(workspace, later)
    windows.build(workspace)
    assert in_redis.publish() > 0
    after = in_redis.latest(ids, name, at=LAST_HOUR).set_index("device_id")
    changed = before["flows"].ne(after["flows"]).fillna(False)
    assert before.index[changed].tolist() == ["tracker-3"]
    assert in_redis.publish() == 0


def test_a_browser_shows_the_report_and_complains_of_nothing(fleet: Any, tmp_path: Path) -> None:
    trees = TreeSettings(rounds=10, learning_rate=0.3, min_data_in_leaf=2)
    fitted = run.fit(Experiment(name="seen", window="session", trees=trees), fleet.workspace)
    report.judge(fitted)
    page, complaints = browse((fitted.directory / "report.html").as_uri(), tmp_path / "profile")
    assert complaints == ""
    assert page.count("<svg") >= 5
    assert "smart_meter" in page


def test_a_browser_shows_the_page_of_the_service_with_all_its_routes(fleet: Any, tmp_path: Path) -> None:
    start = server.prepare(fleet.workspace, str(fleet.session_run), port=free_port())
    with server.running(start, log=tmp_path / "server.log") as url:
        page, complaints = browse(url, tmp_path / "profile")
    assert complaints == ""
    for route in ("/identify", "/identify_batch", "/models", "/livez", "/readyz", "/metrics"):
        assert f'data-path="{route}"' in page
