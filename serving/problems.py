"""Every error in one shape: RFC 9457 problem details. Domain code raises builtins, serving translates."""

import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote
from uuid import uuid4

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import Response

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
MAX_DEVICES = 100  # of one /identify: a question, not a job
ERRORS_SHOWN = 100  # a body of ten thousand wrong rows must not be answered with ten thousand errors
ROW_ERRORS_SHOWN = 5  # of one row of a batch, which may have ten thousand such rows
_LONGEST = 200  # characters of a name that is told back; a client may send megabytes

KINDS: Mapping[str, tuple[int, str]] = {
    "malformed": (400, "The body is not JSON"),
    "no-key": (401, "An API key is needed"),
    "scope": (403, "The API key lacks the scope"),
    "unknown-device": (404, "No window of the device is online"),
    "nothing-known": (404, "Nothing is known of the device"),
    "unknown-service": (404, "There is no such service"),
    "unknown-report": (404, "There is no such report"),
    "unknown-route": (404, "There is no such route"),
    "method": (405, "The route does not take this method"),
    "too-slow": (408, "The request took too long to arrive"),
    "too-large": (413, "The request is too large"),
    "not-json": (415, "The body must be application/json"),
    "wrong-host": (421, "The service does not go by this name"),
    "invalid": (422, "The request breaks its schema"),
    "no-service": (422, "There is no service to score the device by"),
    "no-inline-flows": (422, "The served model reads no inline flows"),
    "internal": (500, "The service failed"),
    "not-ready": (503, "The service is not ready"),
    "overloaded": (503, "The service is overloaded"),
}
_KIND_OF_STATUS = {400: "malformed", 404: "unknown-route", 405: "method", 413: "too-large", 503: "not-ready"}


class Problem(Exception):  # noqa: N818  # RFC 9457's word
    """An error as the client will read it.

    kind: a key of KINDS. members: further members, such as `missing`. headers: of the response.
    """

    def __init__(
        self, kind: str, detail: str, *, headers: Mapping[str, str] | None = None, **members: object
    ) -> None:
        super().__init__(detail)
        self.kind, self.detail, self.members = kind, detail, members
        self.headers = dict(headers or {})
        self.instance = f"urn:uuid:{uuid4()}"  # this occurrence

    @property
    def status(self) -> int:
        """The HTTP status of the problem."""
        return KINDS[self.kind][0]

    def content(self) -> dict[str, object]:
        """Return the members of the problem, without `instance`."""
        status, title = KINDS[self.kind]
        named = {"type": type_uri(self.kind), "title": title, "status": status, "detail": self.detail}
        return {**named, **self.members}

    def response(self) -> Response:
        """Return the problem as an HTTP response."""
        text = json.dumps({**self.content(), "instance": self.instance})  # ASCII: lone surrogates break UTF-8
        return Response(text, status_code=self.status, media_type=MEDIA_TYPE, headers=self.headers)


def type_uri(kind: str) -> str:
    """Return the URI that names a kind of problem; docs/rest.md explains each."""
    return f"urn:iotlens:problem:{kind}"


def of_validation(errors: Sequence[Mapping[str, Any]], *, shown: int = ERRORS_SHOWN) -> Problem:
    """Return the problem of a body that pydantic refused: where (JSON pointer), which rule, in words.

    errors: pydantic's, with FastAPI's `loc` that begins with "body"; the first `shown` are told. The values themselves
    are not repeated.
    """
    first = errors[0]
    if first["type"] == "json_invalid":
        return Problem("malformed", f"not JSON at character {first['loc'][-1]}: {first['ctx']['error']}")
    told = [
        {"pointer": pointer(error["loc"]), "rule": error["type"], "detail": _words(error)}
        for error in errors[:shown]
    ]
    kind = "too-large" if first["type"] == "too_long" and len(first["loc"]) == 2 else "invalid"
    more = f", and {len(errors) - 1} more" if len(errors) > 1 else ""
    return Problem(kind, f"{told[0]['pointer']}: {told[0]['detail']}{more}", errors=told)


def broken(faults: Sequence[tuple[tuple[str | int, ...], str, str]], *, shown: int = ERRORS_SHOWN) -> Problem:
    """Return the problem of values that break a rule of the domain.

    faults: (place in the body, rule, in words); the first `shown` are told.
    """
    errors = [{"loc": ("body", *place), "type": rule, "msg": words} for place, rule, words in faults]
    return of_validation(errors, shown=shown)


def shortened(name: str) -> str:
    """Return a name that a client sent as it is told back: quoted, and cut where it is too long to be one.

    >>> shortened("x" * 1000)[-5:]
    "xx..."
    """
    return repr(name) if len(name) <= _LONGEST else f"{name[:_LONGEST]!r}..."


def _words(error: Mapping[str, Any]) -> str:
    """Return a rule in words: pydantic's own, but where these would not tell a client what to do."""
    match error["type"]:
        case "extra_forbidden":
            return "is no field here; the OpenAPI page at / lists them"
        case "missing" if len(error["loc"]) == 1:
            return "the body is empty; the OpenAPI page at / has an example for each route"
        case "model_attributes_type" | "model_type" | "dict_type":
            return "must be a JSON object"
        case "too_long":
            limits = error["ctx"]
            more = "; /identify_batch takes more" if limits["max_length"] == MAX_DEVICES else ""
            return f"may have {limits['max_length']:,} items, but has {limits['actual_length']}{more}"
    words: str = error["msg"]
    return words.removeprefix("Value error, ")


def pointer(loc: Sequence[str | int]) -> str:
    """Return FastAPI's place in the body as a JSON pointer in a URI fragment (RFC 6901, section 6).

    >>> pointer(("body", "flows", 3, "up_bytes"))
    '#/flows/3/up_bytes'
    """
    parts = (str(part) for part in loc[1:])
    cut = (part if len(part) <= _LONGEST else f"{part[:_LONGEST]}..." for part in parts)
    escaped = (part.replace("~", "~0").replace("/", "~1") for part in cut)
    return "#" + "".join("/" + quote(part.encode("utf-8", "replace"), safe="") for part in escaped)


def install(app: FastAPI) -> None:
    """Make the app answer every error as a problem."""
    app.exception_handler(Problem)(_own)
    app.exception_handler(RequestValidationError)(_validation)
    app.exception_handler(HTTPException)(_http)
    app.exception_handler(Exception)(_unforeseen)


def _own(_: Request, error: Problem) -> Response:
    return error.response()


def _validation(_: Request, error: RequestValidationError) -> Response:
    return of_validation(error.errors()).response()


def _http(request: Request, error: HTTPException) -> Response:
    kind = _KIND_OF_STATUS.get(error.status_code, "internal")
    headers = dict(error.headers or {})
    if error.status_code == 405:
        headers["Allow"] = _allowed(Headers(error.headers).get("allow", ""))
    way = {
        404: "; the page at / lists the routes",
        405: f"; it takes {headers.get('Allow')}",
    }
    detail = f"{request.method} {request.url.path}: {error.detail}{way.get(error.status_code, '')}"
    return Problem(kind, detail, headers=headers).response()


def _allowed(methods: str) -> str:
    """Return the methods of a route as an Allow header names them: what takes GET takes HEAD (`serving.head`)."""
    named = {method.strip() for method in methods.split(",") if method.strip()}
    return ", ".join(sorted(named | ({"HEAD"} if "GET" in named else set())))


def _unforeseen(request: Request, error: Exception) -> Response:
    """Answer without the error's words, which may hold what no client should read; the log has them."""
    problem = Problem("internal", "the log of the service says more, under the instance")
    log.error("%s: %s %s failed", problem.instance, request.method, request.url.path, exc_info=error)
    return problem.response()
