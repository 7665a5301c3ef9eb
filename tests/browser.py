"""Headless Chromium as a reader's window: what it complains of, and what axe-core finds in a page."""

import itertools
import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

CHROMIUM = (
    *("chromium", "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
LIMIT_S = 60.0
AXE_CARRIER = (
    "axe-playwright-python"  # only its axe.min.js is read: it is never imported, so Playwright may lack
)
AXE_RUN = """(async () => {
  for (const fold of document.querySelectorAll("details")) fold.open = true;
  const found = await axe.run(document, {resultTypes: ["violations"]});
  return found.violations.map(one => ({
    id: one.id, impact: one.impact, at: one.nodes.map(node => node.target.join(" ")),
    why: one.nodes[0].failureSummary,
  }));
})()"""


def browse(url: str, profile: Path) -> tuple[str, str]:
    """Return the page as it stands once its scripts ran, and what the browser complained of."""
    options = ("--enable-logging=stderr", "--virtual-time-budget=5000", "--dump-dom")
    command = [*CHROMIUM, f"--user-data-dir={profile}", *options, url]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    return shown.stdout, "\n".join(line for line in shown.stderr.splitlines() if "CONSOLE" in line)


@dataclass(frozen=True)
class Window:
    """What a page is looked at through: width in CSS pixels, and whether the reader prefers dark."""

    width: int = 1280
    dark: bool = False


@dataclass
class Tab:
    """One page in a running browser, steered by the DevTools protocol: a window alone is never below 500 pixels."""

    socket: ClientConnection
    session: dict[str, str] = field(default_factory=dict)  # empty: the browser itself is asked
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def show(self, page: Path, window: Window) -> None:
        """Load a page anew in that window and wait until it stands."""
        phone = {"width": window.width, "height": 900, "deviceScaleFactor": 1, "mobile": window.width < 500}
        scheme = {"name": "prefers-color-scheme", "value": "dark" if window.dark else "light"}
        self.call("Emulation.setDeviceMetricsOverride", **phone)
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call("Page.enable")
        self.call("Page.navigate", url=page.as_uri())
        while self._told().get("method") != "Page.loadEventFired":
            pass

    def evaluate(self, script: str) -> Any:
        """Return the value of a script in the page, whatever the page forbids to its own. Any: it is JSON."""
        told = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in told:
            raise RuntimeError(f"a script must run to its end, but {told['exceptionDetails']}")
        return told["result"].get("value")

    def axe(self) -> list[dict[str, Any]]:
        """Return what axe-core finds in the page shown, every fold of it open: id, impact, at, why."""
        self.evaluate(_axe_core() + ";0")
        return list(self.evaluate(AXE_RUN))

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Return the answer of the browser. Any: as the protocol has it."""
        number = next(self.numbers)
        self.socket.send(json.dumps({"id": number, "method": method, "params": params, **self.session}))
        while (told := self._told()).get("id") != number:
            pass
        if "error" in told:
            raise RuntimeError(f"{method}: {told['error']}")
        return dict(told["result"])

    def _told(self) -> dict[str, Any]:
        return dict(json.loads(self.socket.recv(LIMIT_S)))


@contextmanager
def tab(profile: Path) -> Iterator[Tab]:
    """Give an empty page of a browser of its own, ended afterwards."""
    command = [*CHROMIUM, f"--user-data-dir={profile}", "--remote-debugging-port=0", "about:blank"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as browser:
        try:
            lines = (re.search(r"ws://\S+", line) for line in browser.stderr or ())
            address = next(found[0] for found in lines if found)
            with connect(address, max_size=None) as socket:
                whole = Tab(socket)
                target = whole.call("Target.createTarget", url="about:blank")["targetId"]
                told = whole.call("Target.attachToTarget", targetId=target, flatten=True)
                yield Tab(socket, {"sessionId": told["sessionId"]}, whole.numbers)
        finally:
            browser.terminate()


def _axe_core() -> str:
    for file in metadata.files(AXE_CARRIER) or ():
        if file.name == "axe.min.js":
            return file.read_text(encoding="utf-8")
    raise LookupError(f"axe.min.js comes with {AXE_CARRIER}; `make test-services` installs it")
