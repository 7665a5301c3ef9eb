"""Starting the service safely: from a place nobody can shadow, on an address that may be used."""

import ipaddress
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from features.configuration import CONFIGS_VARIABLE, own_configs
from serving import keys
from serving.settings import Settings

DEFAULT_HOST, DEFAULT_PORT = "127.0.0.1", 3000
START_LIMIT_S = 120.0  # feast alone takes 5 s to import, and several times that on a busy machine
STOP_LIMIT_S = 20.0
NO_RUN = "none"  # the name of no run: scores alone are told
_SERVICE = "serving.identify:service"


@dataclass(frozen=True)
class Start:
    """How to start a service, and where it will answer."""

    arguments: tuple[str, ...]
    environment: dict[str, str]
    directory: Path
    url: str


def prepare(
    workspace: Path,
    run: str = "latest",
    *,
    host: str = DEFAULT_HOST,
    port: int = DEFAULT_PORT,
    workers: int = 1,
) -> Start:
    """Return how to start the service, after every check that can be made before.

    The run is resolved here, so that all workers, also one that is started anew, serve the same run.
    run: `none` for a service that tells scores and identifies nothing.
    Raises ValueError when the address may not be used or the run not be served, LookupError without a run.
    """
    if workers < 1:
        raise ValueError(f"workers must be at least 1, however: {workers}")
    workspace = workspace.resolve()
    address, loopback = resolve(host)
    if not loopback and not keys.stored(workspace):
        raise ValueError(
            f"a host other than loopback needs an API key, but {workspace} has none for {host};"
            " run `iotlens keys add NAME --scope identify`"
        )
    directory = _run_directory(workspace, run)
    settings = Settings(workspace, directory, without_keys=loopback)
    check_free(address, port)
    home, empty = own_place(workspace, port)
    command = (sys.executable, "-m", "bentoml", "serve", _SERVICE, "--working-dir", str(empty))
    return Start(
        arguments=(*command, "--host", address, "--port", str(port)),
        environment={**os.environ, **_configs(), **settings.environment(), **_bentoml(home, workers)},
        directory=empty,
        url=f"http://{f'[{address}]' if ':' in address else address}:{port}",
    )


def _run_directory(workspace: Path, run: str) -> Path | None:
    """Return where the run lies that identifies; None where none is wanted."""
    from serving.answering import servable
    from training.run import find

    if run == NO_RUN:
        if not workspace.is_dir():
            raise ValueError(f"the workspace must exist, but {workspace} is no directory")
        return None
    try:
        found = find(workspace, run, suits=lambda manifest: manifest.feature_service is not None)
    except LookupError as error:
        raise LookupError(f"{error}; or serve scores, marks and alarms alone by --run {NO_RUN}") from error
    directory = found.resolve()
    servable(directory)
    return directory


def serve(start: Start) -> NoReturn:
    """Become the service: this process is replaced, so that signals reach the service itself."""
    os.chdir(start.directory)
    os.execve(start.arguments[0], start.arguments, start.environment)


@contextmanager
def running(start: Start, *, log: Path) -> Iterator[str]:
    """Run the service beside this process, and give its URL once it is ready; its output goes to `log`.

    Raises RuntimeError with the end of the log when it stops, or is not ready within START_LIMIT_S.
    """
    with log.open("wb") as output:
        process = subprocess.Popen(
            start.arguments, cwd=start.directory, env=start.environment, stdout=output, stderr=output
        )
        try:
            _wait_until_ready(process, start.url, log)
            yield start.url
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(STOP_LIMIT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def resolve(host: str) -> tuple[str, bool]:
    """Return the address that a host name stands for, and whether only this machine can reach it.

    A name of several addresses is loopback only if all of them are. Raises ValueError when it has none.
    """
    try:
        found = socket.getaddrinfo(host or None, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (socket.gaierror, UnicodeError) as error:
        raise ValueError(
            f"a host must be an address or a name of one, however: {host!r} ({error})"
        ) from error
    addresses = [ipaddress.ip_address(entry[4][0]) for entry in found]
    return str(addresses[0]), all(address.is_loopback for address in addresses)


def check_free(address: str, port: int) -> None:
    """Raise ValueError unless the port can be listened on."""
    if not 1 <= port <= 65535:
        raise ValueError(f"a port must be in [1, 65535], however: {port}")
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as error:
            reason = f"{error.strerror}; take another --port"
            raise ValueError(f"cannot listen on {address} port {port}: {reason}") from error


def free_port() -> int:
    """Return DEFAULT_PORT, or where that is taken a port of loopback that nobody listens on."""
    try:
        check_free(DEFAULT_HOST, DEFAULT_PORT)
    except ValueError:
        with socket.socket() as probe:
            probe.bind((DEFAULT_HOST, 0))
            return int(probe.getsockname()[1])
    return DEFAULT_PORT


def own_place(workspace: Path, port: int) -> tuple[Path, Path]:
    """Return BentoML's home and the working directory of one server, made where they are not there yet.

    BentoML puts the working directory first on sys.path, so it must hold nothing; and it empties a directory
    of metrics below its home when it starts, so servers side by side must not share one.
    Raises ValueError when somebody put a file into the working directory.
    """
    home = workspace / "models" / f"port-{port}"
    empty = home / "empty"
    empty.mkdir(parents=True, exist_ok=True)
    strange = sorted(path.name for path in empty.iterdir())
    if strange:
        raise ValueError(f"{empty} must be empty, for Python would import from it, but holds {strange}")
    return home, empty


def _configs() -> dict[str, str]:
    """Return the variable by which the service, in its own place, finds the configurations of this one."""
    return {CONFIGS_VARIABLE: str(own_configs().resolve())}


def _bentoml(home: Path, workers: int) -> dict[str, str]:
    """Return the variables that keep BentoML and the libraries below it in their place."""
    return {
        "BENTOML_HOME": str(home),
        "BENTOML_DO_NOT_TRACK": "true",  # "1" would not do
        "BENTOML_CONFIG_OVERRIDES": json.dumps({"services": {"identify": {"workers": workers}}}),
        "OMP_NUM_THREADS": "1",
    }


def _wait_until_ready(process: "subprocess.Popen[bytes]", url: str, log: Path) -> None:
    deadline = time.monotonic() + START_LIMIT_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{url}/readyz", timeout=5):
                return
        except urllib.error.HTTPError:
            break  # a worker answers once it is loaded, or knows that it will never be
        except OSError:
            time.sleep(0.2)
    said = log.read_text(encoding="utf-8", errors="replace")[-2000:]
    raise RuntimeError(f"the service stopped or was not ready in {START_LIMIT_S:.0f} s; {log} ends:\n{said}")
