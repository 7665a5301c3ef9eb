"""What Prometheus reads: requests, latency, answers per label, age of the features. Labels are bounded.

BentoML's own request metrics are off: they take the path of a request as a label, so that a scanner makes new
series without end. The workers share the directory PROMETHEUS_MULTIPROC_DIR, which BentoML sets; counters and
histograms add up there.
"""

import os
from collections import Counter
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from time import perf_counter
from typing import TYPE_CHECKING

from starlette.types import ASGIApp, Message, Receive, Scope, Send

if TYPE_CHECKING:
    from serving.schema import Answer, Missing
    from serving.score_schema import Refused, Scored

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_LATENCY_S = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
_AGE_S = tuple(60.0 * minutes for minutes in (1, 5, 15, 30, 60, 120, 360, 1440, 2880, 10080, 20160, 43200))


class Metrics:
    """The series of one service; `text` shows those of all its workers."""

    def __init__(self) -> None:
        import prometheus_client as prometheus
        from prometheus_client.values import MutexValue, ValueClass

        # Decided when prometheus_client was imported; feast sets the variable too, perhaps after that.
        alone = ValueClass is MutexValue
        self._shared = None if alone else os.environ["PROMETHEUS_MULTIPROC_DIR"]
        self._registry = prometheus.CollectorRegistry()
        self.requests = prometheus.Counter(
            "iotlens_requests", "HTTP requests", ("route", "status"), registry=self._registry
        )
        self.seconds = prometheus.Histogram(
            "iotlens_request_seconds", "time taken", ("route",), buckets=_LATENCY_S, registry=self._registry
        )
        self.answers = prometheus.Counter(
            "iotlens_answers", "devices answered for", ("label", "unknown"), registry=self._registry
        )
        self.devices = prometheus.Counter(
            "iotlens_devices", "devices asked for by name", ("status",), registry=self._registry
        )
        self.age = prometheus.Histogram(
            "iotlens_feature_age_seconds", "now minus window_end", buckets=_AGE_S, registry=self._registry
        )

        self.scores = prometheus.Counter(
            "iotlens_scores",
            "devices and rows asked to be scored",
            ("service", "status"),
            registry=self._registry,
        )

    def count_scores(self, answers: "Sequence[Scored | Refused]") -> None:
        """Count the scores of one request; a row that was refused is of no service."""
        told = Counter(("" if one.status == "refused" else one.service, one.status) for one in answers)
        for (service, status), count in told.items():
            self.scores.labels(service, status).inc(count)

    def count(self, answers: "Sequence[Answer | Missing]") -> None:
        """Count the answers of one request; inline flows have no age and no status."""
        now = datetime.now(UTC)
        answered = [answer for answer in answers if answer.status != "missing"]
        for (label, unknown), count in Counter((one.label, one.unknown) for one in answered).items():
            self.answers.labels(label, str(unknown).lower()).inc(count)
        by_name = [answer for answer in answers if answer.status == "missing" or answer.source is None]
        for status, count in Counter(one.status for one in by_name).items():
            self.devices.labels(status).inc(count)
        for one in answered:
            if one.source is None:
                self.age.observe((now - one.window_end).total_seconds())

    def text(self) -> bytes:
        """Return the series of all workers in Prometheus' text format."""
        from prometheus_client import CollectorRegistry, generate_latest
        from prometheus_client.multiprocess import MultiProcessCollector

        if self._shared is None:
            return generate_latest(self._registry)
        everything = CollectorRegistry()
        MultiProcessCollector(everything, path=self._shared)  # type: ignore[no-untyped-call]
        return b"".join(
            line
            for line in generate_latest(everything).splitlines(keepends=True)
            if b"iotlens_" in line  # feast counts in the same directory
        )


def documented(path: str, routes: Collection[str]) -> str:
    """Return the documented route of a path, `other` where it has none: labels must be few, whoever asks.

    >>> documented("/reports/run.a.1", ["/reports", "/reports/{report_id}"])
    '/reports/{report_id}'
    """
    if path in routes:
        return path
    parent, _, last = path.rpartition("/")
    below = (route for route in routes if route.startswith(parent + "/{") and last and parent)
    return next(below, "other")


class Measured:
    """ASGI middleware that counts and times every request."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand the request on, and count it under its documented route, refused or not; else as `other`."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        route = documented(scope["path"], scope["app"].openapi()["paths"])
        status = 500  # what a failure without an answer becomes further out
        began, counted = perf_counter(), False

        def count() -> None:
            nonlocal counted
            counted = True
            metrics: Metrics = scope["app"].state.metrics
            metrics.requests.labels(route, str(status)).inc()
            metrics.seconds.labels(route).observe(perf_counter() - began)

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            elif not message.get("more_body"):
                count()  # before the end is sent: who has an answer finds it counted
            await send(message)

        try:
            await self.app(scope, receive, watched)
        finally:
            if not counted:
                count()
