"""What a request must bring before anything reads it: a known host, a key, JSON, not too much of it, and in time."""

import asyncio
import ipaddress
from collections.abc import Mapping

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving import keys
from serving.openapi import ASSETS, DOCUMENT, PROBES
from serving.problems import Problem
from serving.settings import Settings

MAX_BODY_BYTES = 16 * 2**20  # 10,000 inline flows with their first 32 packets are 13 MB
BODY_LIMIT_S = 30.0  # for a body to arrive: 16 MiB at 4.5 Mbit/s; else few slow clients hold all connections
ANSWER_LIMIT_S = 60.0  # until an answer begins; how fast its client reads it is no matter
PAGE = frozenset({"/", DOCUMENT})  # what a browser opens before a person can give it a key; it tells no data
_SCOPES: Mapping[str, keys.Scope | None] = {
    "metrics": "metrics",
    "explain": "explain",
    "reports": "reports",
    "alarms": "alarms",
    "mark": "mark",
    "score": "score",
    "score_batch": "score",
    "services": None,  # what the configuration says: any key will do
    "indicators": None,
}


class Gate:
    """ASGI middleware that lets a request through whole, or answers it with a problem."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or read the body and hand the request on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        try:
            check_access(scope["app"].state.settings, scope["path"], headers)
            check_media_type(scope["method"], headers)
            body = await body_in_time(headers, receive)
        except Problem as problem:
            await problem.response()(scope, receive, send)
            return
        await self._answered(scope, _replay(body, receive), send)

    async def _answered(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand the request on, and answer in its place where no answer begins in time."""
        limit = asyncio.timeout(ANSWER_LIMIT_S)

        async def begun(message: Message) -> None:
            limit.reschedule(None)
            await send(message)

        try:
            async with limit:
                await self.app(scope, receive, begun)
        except TimeoutError:
            if not limit.expired():
                raise
            detail = f"no answer within {ANSWER_LIMIT_S:g} s; ask for fewer rows, or later"
            problem = Problem("overloaded", detail, headers={"Retry-After": f"{ANSWER_LIMIT_S:.0f}"})
            await problem.response()(scope, receive, send)


def check_access(settings: Settings, path: str, headers: Headers) -> None:
    """Raise Problem unless the caller may ask for the path."""
    if path in PROBES:
        return
    if settings.without_keys:
        check_local_name(headers.get("host", ""))
        return
    if path in PAGE or path.startswith(f"{ASSETS}/"):
        return
    presented = presented_key(headers)
    key = keys.find(settings.workspace, presented) if presented else None
    if key is None:
        rule = "send `Authorization: Bearer KEY` or `X-API-Key: KEY`; `iotlens keys add` makes one"
        detail = f"the key is not known; {rule}" if presented else rule
        raise Problem("no-key", detail, headers={"WWW-Authenticate": "Bearer"})
    wanted = scope_of(path)
    if wanted is not None and wanted not in key.scopes:
        raise Problem("scope", f"{path} needs scope {wanted!r}, but key {key.name!r} has {list(key.scopes)}")


def scope_of(path: str) -> keys.Scope | None:
    """Return the scope that a path and all below it need; None where any key will do."""
    return _SCOPES.get(path.strip("/").partition("/")[0], "identify")


def check_local_name(host: str) -> None:
    """Raise Problem unless the Host header names this machine's loopback.

    Without it, any web page could reach a service without keys through its visitor's browser (DNS rebinding).
    """
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
    name = name.removeprefix("[").removesuffix("]").removesuffix(".").lower()
    if name == "localhost":
        return
    try:
        local = ipaddress.ip_address(name).is_loopback
    except ValueError:
        local = False
    if not local:
        rule = "a service without keys goes by localhost and loopback addresses"
        raise Problem("wrong-host", f"{rule}, not by {host!r}")


def presented_key(headers: Headers) -> str | None:
    """Return the key a client sent, from `Authorization: Bearer` or else `X-API-Key`."""
    scheme, _, credentials = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return credentials.strip()
    return headers.get("x-api-key")


def check_media_type(method: str, headers: Headers) -> None:
    """Raise Problem unless what is posted says that it is plain JSON; a browser's form cannot say so."""
    if method != "POST":
        return
    given = headers.get("content-type", "")
    if given.partition(";")[0].strip().lower() != "application/json":
        raise Problem("not-json", f"Content-Type must be application/json, however: {given or 'none'}")
    if "content-encoding" in headers:
        raise Problem("not-json", f"the body must not be encoded, however: {headers['content-encoding']}")


async def body_in_time(headers: Headers, receive: Receive) -> bytes:
    """Return the body. Raises Problem where it is too large, or not there within BODY_LIMIT_S."""
    try:
        async with asyncio.timeout(BODY_LIMIT_S):
            return await whole_body(headers, receive)
    except TimeoutError as error:
        rule = f"a body must arrive within {BODY_LIMIT_S:g} s"
        raise Problem("too-slow", rule, headers={"Connection": "close"}) from error


async def whole_body(headers: Headers, receive: Receive) -> bytes:
    """Return the body. Raises Problem as soon as it is known to be larger than MAX_BODY_BYTES."""
    announced = headers.get("content-length", "0")
    size, parts, more = int(announced) if announced.isdecimal() else 0, [], True
    if size > MAX_BODY_BYTES:
        raise _too_large(size)
    size = 0
    while more:
        message = await receive()
        parts.append(message.get("body", b""))
        size, more = size + len(parts[-1]), message.get("more_body", False)
        if size > MAX_BODY_BYTES:
            raise _too_large(size)
    return b"".join(parts)


def _too_large(size: int) -> Problem:
    return Problem("too-large", f"a body may have {MAX_BODY_BYTES} bytes, but this one has at least {size}")


def _replay(body: bytes, receive: Receive) -> Receive:
    """Return a receive that gives the body once, then what the server has to say (a disconnect)."""
    left: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replayed() -> Message:
        return left.pop() if left else await receive()

    return replayed
