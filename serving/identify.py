"""The Bento service: the process that holds the REST application, once per worker."""

import bentoml
from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from serving.rest import create_app

NEVER_S = 3600.0  # BentoML's time limit answers in another shape; a bounded line keeps requests short instead


class Door:
    """BentoML middleware that answers every HTTP request from our application.

    BentoML keeps the processes, the socket and the access log. Its own routes are not reachable: their errors
    have another shape, and their page calls Google (docs/decisions/0006).
    """

    def __init__(self, app: ASGIApp, api: FastAPI) -> None:
        self.app, self.api = app, api

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand a request to our application, and the start and end of the process to BentoML."""
        await (self.api if scope["type"] == "http" else self.app)(scope, receive, send)


class Identify:
    """What BentoML makes once per worker; the work is in the application."""


api = create_app()
service = bentoml.service(
    name="identify",
    traffic={"timeout": NEVER_S},
    metrics={"enabled": False},  # see serving/metrics.py
    tracing={"excluded_urls": ".*"},  # spans that nobody samples cost 0.9 ms of each request
)(Identify)
service.mount_asgi_app(api, path="/")  # so that BentoML starts and stops it
service.add_asgi_middleware(Door, api=api)
