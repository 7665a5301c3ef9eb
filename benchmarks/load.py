"""A service beside a benchmark, and questions asked of it: how long each took. This machine only."""

import http.client
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np

START_LIMIT_S = 60
Body = Callable[[int, int], object]  # (number of the request, rows in it) -> what is posted


@contextmanager
def beside(command: Sequence[str], log: Path) -> Iterator[int]:
    """Run a service beside this process, given `--port`, and give its port once it answers."""
    port = free_port()
    with log.open("wb") as output:
        process = subprocess.Popen([*command, "--port", str(port)], stdout=output, stderr=output)
        try:
            deadline = time.monotonic() + START_LIMIT_S
            while not answers(f"http://127.0.0.1:{port}/docs"):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(log.read_text(encoding="utf-8"))
                time.sleep(0.1)
            yield port
        finally:
            process.terminate()
            process.wait()


def asked_by(clients: int, port: int, route: str, bodies: Sequence[bytes]) -> tuple[float, float, float]:
    """Return the median and the 99th percentile of what a request took, ms, and what all took together, s."""
    shares = [bodies[k::clients] for k in range(clients)]
    began = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        taken = list(pool.map(lambda share: ask(port, route, share), shares))
    elapsed = time.perf_counter() - began
    median, p99 = np.quantile(np.concatenate(taken), [0.5, 0.99]) * 1000
    return float(median), float(p99), elapsed


def ask(port: int, route: str, bodies: Sequence[bytes]) -> list[float]:
    """Return the seconds each request took, one after the other on one connection."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    seconds = []
    for body in bodies:
        began = time.perf_counter()
        connection.request("POST", route, body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        content = answer.read()
        seconds.append(time.perf_counter() - began)
        if answer.status != 200:
            raise RuntimeError(f"port {port} answered {answer.status}: {content[:300]!r}")
    connection.close()
    return seconds


def answers(url: str) -> bool:
    """Tell whether somebody answers there."""
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except (urllib.error.URLError, OSError):
        return False


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
