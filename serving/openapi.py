"""What a reader of the REST API sees: the OpenAPI document and a page that loads nothing from elsewhere."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.responses import HTMLResponse
from starlette.staticfiles import StaticFiles

from serving import examples
from serving.problems import KINDS, MEDIA_TYPE, Problem
from serving.schema import InvalidDetail, ProblemDetail

DOCUMENT, ASSETS = "/docs.json", "/assets"
PROBES = frozenset({"/livez", "/readyz"})  # a probe carries no secret, and learns none
# Swagger UI, as BentoML ships it; BentoML's own page around it calls Google Tag Manager.
SWAGGER_UI = Path("_internal", "server", "static_content")  # below the package bentoml
_INLINE = "'self' 'unsafe-inline'"  # the page configures Swagger UI in a script of its own
_ONLY_FROM_HERE = f"default-src 'self'; script-src {_INLINE}; style-src {_INLINE}; img-src 'self' data:"
_WAYS_TO_SEND_A_KEY = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "a key of `iotlens keys add`"},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}
_KEY_OR_LOOPBACK: list[dict[str, list[str]]] = [{"bearer": []}, {"header": []}, {}]  # {}: on loopback, none


def errors(*kinds: str) -> dict[int | str, dict[str, Any]]:
    """Return FastAPI's `responses` of the kinds of problem that a route can answer with."""
    found: dict[int | str, dict[str, Any]] = {}
    for kind in (*kinds, "no-key", "scope", "wrong-host", "internal"):
        status, title = KINDS[kind]
        model = InvalidDetail if kind == "invalid" else ProblemDetail
        one = found.setdefault(status, {"model": model, "description": title, "content": _examples()})
        one["content"]["application/json"]["examples"][kind] = {"summary": title, "value": _problem(kind)}
    return found


def _examples() -> dict[str, Any]:
    return {"application/json": {"examples": {}}}


def _problem(kind: str) -> dict[str, object]:
    members = examples.PROBLEM_MEMBERS.get(kind, {})
    return {
        **Problem(kind, examples.PROBLEM_DETAILS[kind], **members).content(),
        "instance": examples.INSTANCE,
    }


def example(answer: dict[str, Any]) -> dict[int | str, dict[str, Any]]:
    """Return FastAPI's `responses` of a good answer, shown by example."""
    return {200: {"content": {"application/json": {"example": answer}}}}


def text(*content_types: str) -> dict[int | str, dict[str, Any]]:
    """Return FastAPI's `responses` of a good answer that is text of one of these types."""
    return {200: {"content": {one: {"schema": {"type": "string"}} for one in content_types}}}


def publish(app: FastAPI) -> None:
    """Add the document, the page at `/` and its assets."""
    made = app.openapi

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = {**_with_problem_media_type(made()), "security": _KEY_OR_LOOPBACK}
            for path in PROBES:
                app.openapi_schema["paths"][path]["get"]["security"] = []
            app.openapi_schema["components"]["securitySchemes"] = _WAYS_TO_SEND_A_KEY
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]  # FastAPI's own way to extend the document
    bentoml = find_spec("bentoml")
    if bentoml is None or bentoml.origin is None:
        raise ModuleNotFoundError("the OpenAPI page needs the Swagger UI of bentoml; install iotlens anew")
    app.mount(ASSETS, StaticFiles(directory=Path(bentoml.origin).parent / SWAGGER_UI), name="assets")

    @app.get("/", include_in_schema=False)
    async def page() -> HTMLResponse:
        shown = get_swagger_ui_html(
            openapi_url=DOCUMENT.removeprefix("/"),
            title=app.title,
            swagger_js_url=f"{ASSETS}/swagger-ui-bundle.js".removeprefix("/"),
            swagger_css_url=f"{ASSETS}/swagger-ui.css".removeprefix("/"),
            swagger_favicon_url="data:,",
        )
        shown.headers["Content-Security-Policy"] = _ONLY_FROM_HERE
        return shown


def _with_problem_media_type(document: dict[str, Any]) -> dict[str, Any]:
    """Return the document with every error as application/problem+json; FastAPI says application/json."""
    for path in document["paths"].values():
        for operation in path.values():
            for status, response in operation["responses"].items():
                if int(status) >= 400:
                    response["content"] = {MEDIA_TYPE: response["content"]["application/json"]}
    return document
