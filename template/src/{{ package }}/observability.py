"""Logs, metrics and trace ids: what an operator sees of a request (EXI-ARCH-12, 23, 24).

Names follow the OpenTelemetry semantic conventions. No personal data: neither the caller's
address, nor the query string, nor a path that no route knows is ever written down.
"""

import logging
import re
import secrets
import sys
from contextvars import ContextVar
from datetime import UTC, datetime
from time import perf_counter
from typing import Any, NamedTuple

from fastapi import FastAPI, Request, Response
from opentelemetry.trace import get_current_span
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Gauge,
    Histogram,
    Info,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from pydantic_core import to_json
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from . import SERVICE, __version__
from .database import Database
from .problems import InternalError
from .settings import Settings

METHODS = {"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"}
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
TRACEPARENT = re.compile(rb"^[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
REQUEST_ID = re.compile(rb"^[A-Za-z0-9._-]{1,64}$")

METRICS_SCHEMA = {
    "type": "string",
    "examples": ["# TYPE http_server_active_requests gauge\nhttp_server_active_requests 1.0\n"],
}

logger = logging.getLogger(__name__)


class RequestContext(NamedTuple):
    """What ties together all that is written down about one request."""

    request_id: str
    trace_id: str


current_request: ContextVar[RequestContext | None] = ContextVar("current_request", default=None)


class JsonFormatter(logging.Formatter):
    """Formats a record as one JSON object on one line."""

    def format(self, record: logging.LogRecord) -> str:
        """Answer the line, with the ids of the request that is being served."""
        line: dict[str, Any] = {
            "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if context := current_request.get():
            line["request_id"], line["trace_id"] = context
        line |= getattr(record, "fields", {})
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return to_json(line).decode()


def configure_logging(level: str) -> None:
    """Send every log of the process to standard output as JSON lines."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.captureWarnings(capture=True)
    # Nothing here prints them, and each costs a system call or a look-up for every line.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False


class Metrics:
    """The service's Prometheus metrics, in a registry of their own.

    Args:
        settings: for the build information.
        database: whose connections are counted.
    """

    def __init__(self, settings: Settings, database: Database) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        build = Info("build", "What is running.", registry=self.registry)
        build.info({"service": SERVICE, "version": __version__, "revision": settings.revision})
        self._duration = Histogram(
            "http_server_request_duration_seconds",
            "Duration of HTTP requests, from their head to the end of the response.",
            ("http_request_method", "http_route", "http_response_status_code"),
            registry=self.registry,
            buckets=BUCKETS,
        )
        self.active = Gauge(
            "http_server_active_requests", "Requests in flight.", registry=self.registry
        )
        connections = Gauge(
            "db_client_connection_count",
            "Connections of the database pool, by state.",
            ("db_client_connection_state",),
            registry=self.registry,
        )
        connections.labels("used").set_function(lambda: database.connections().used)
        connections.labels("idle").set_function(lambda: database.connections().idle)
        limit = Gauge(
            "db_client_connection_max", "Most connections of the pool.", registry=self.registry
        )
        limit.set(settings.database_pool_size)
        # Finding a labelled child takes longer than counting in it.
        self._children: dict[tuple[str, str, int], Histogram] = {}

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one request that has been answered."""
        key = (method, route, status)
        if (child := self._children.get(key)) is None:
            child = self._children[key] = self._duration.labels(method, route, status)
        child.observe(seconds)


class ObservabilityMiddleware:
    """Gives each request its ids, counts it, logs it, and answers 500 where the code fails."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request (ASGI)."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        context = _context(scope)
        token = current_request.set(context)
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"].append((b"x-request-id", context.request_id.encode()))
            await send(message)

        self.metrics.active.inc()
        start = perf_counter()
        try:
            await self.app(scope, receive, send_with_id)
        except Exception:
            logger.exception("unhandled error")
            if status:
                # Part of the answer has left: closing the connection is all that can be said.
                raise
            detail = f"Tell the service's team the request id {context.request_id}."
            await InternalError(detail).response()(scope, receive, send_with_id)
        finally:
            seconds = perf_counter() - start
            self.metrics.active.dec()
            method = scope["method"] if scope["method"] in METHODS else "_OTHER"
            route = scope.get("route")
            template = route.path if route else "unmatched"
            self.metrics.observe(method, template, status, seconds)
            fields = {
                "method": method,
                "route": template,
                "status": status,
                "duration_ms": round(seconds * 1000, 3),
            }
            if route:
                fields["path"] = scope["path"]
            logger.info("request", extra={"fields": fields})
            current_request.reset(token)


def _context(scope: Scope) -> RequestContext:
    request_id = trace_id = ""
    for name, value in scope["headers"]:
        if name == b"x-request-id" and REQUEST_ID.match(value):
            request_id = value.decode()
        elif name == b"traceparent" and (match := TRACEPARENT.match(value)):
            trace_id = match[1].decode()
    span = get_current_span().get_span_context()
    if span.is_valid:
        trace_id = f"{span.trace_id:032x}"
    trace_id = trace_id or secrets.token_hex(16)
    return RequestContext(request_id or trace_id, trace_id)


def install(app: FastAPI, metrics: Metrics) -> None:
    """Observe every request of `app`, and serve its metrics to Prometheus."""
    app.add_middleware(ObservabilityMiddleware, metrics=metrics)

    @app.get(
        "/metrics",
        operation_id="readMetrics",
        summary="Metrics for Prometheus",
        tags=["operations"],
        response_class=Response,
        response_description="The metrics, in Prometheus's text format.",
        responses={200: {"content": {"text/plain": {"schema": METRICS_SCHEMA}}}},
    )
    async def read_metrics(_: Request) -> Response:
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)
