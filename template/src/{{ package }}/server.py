"""The HTTP server: uvicorn, with a stop that loses no request and a bound on what a head may weigh.

At SIGTERM a pod is taken out of the Service's endpoints while requests still arrive. So the server
first says that it is not ready and goes on serving (`DRAIN_SECONDS`), then accepts nothing more,
finishes what is in flight (`SHUTDOWN_TIMEOUT`), and last closes the database's connections. This
needs no `preStop` hook, which would need a shell in the image; the pod's grace period must be
longer than both together.
"""

import asyncio
import gc
import signal
from types import FrameType
from typing import Any

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from .problems import MalformedRequest, problem_response
from .security import HEADERS
from .settings import Settings


class Server(uvicorn.Server):
    """A server that drains before it stops.

    Args:
        config: uvicorn's.
        app: the service, told that it is draining.
        drain_seconds: how long it goes on serving after SIGTERM.
    """

    def __init__(self, config: uvicorn.Config, app: FastAPI, drain_seconds: float) -> None:
        super().__init__(config)
        self._service = app
        self._drain_seconds = drain_seconds

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to stop: at once for Ctrl-C or a second signal, after the drain for SIGTERM."""
        health = self._service.state.health
        if sig == signal.SIGTERM and self.started and not health.draining:
            health.draining = True
            loop = asyncio.get_running_loop()
            # A signal handler may interrupt the loop anywhere: it must not touch its timers.
            loop.call_soon_threadsafe(
                loop.call_later, self._drain_seconds, super().handle_exit, sig, frame
            )
        else:
            super().handle_exit(sig, frame)


class BoundedProtocol(HttpToolsProtocol):
    """HTTP/1.1 with a limit on the request's head, which httptools would collect without end."""

    max_header_size: int
    _head_size = 0
    _in_head = True

    def data_received(self, data: bytes) -> None:
        """Take what the socket gave."""
        if self._in_head:
            self._head_size += len(data)
        super().data_received(data)
        if self._in_head and self._head_size > self.max_header_size:
            self.send_400_response("")

    def on_message_begin(self) -> None:
        """Begin a request."""
        self._in_head, self._head_size = True, 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Hand the request over to the application, if its head is small enough."""
        self._head_size = len(self.url) + sum(len(n) + len(v) + 4 for n, v in self.headers)
        if self._head_size > self.max_header_size:
            raise ValueError("the head is too large")
        self._in_head = False
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is not HTTP, or too much of it, in the words of every other error."""
        if self._head_size > self.max_header_size:
            response = problem_response(
                431,
                "request-header-fields-too-large",
                "Request Header Fields Too Large",
                f"The request line and headers may take {self.max_header_size} bytes.",
            )
        else:
            response = MalformedRequest("This is not HTTP/1.1.").response()
        headers = [*response.raw_headers, *HEADERS, (b"connection", b"close")]
        lines = [STATUS_LINE[response.status_code]]
        lines += [name + b": " + value + b"\r\n" for name, value in headers]
        self.transport.write(b"".join([*lines, b"\r\n", bytes(response.body)]))
        self.transport.close()


def serve(app: FastAPI, settings: Settings) -> None:
    """Serve until SIGTERM or Ctrl-C.

    Args:
        app: the service.
        settings: the address, and how to stop.

    Raises:
        OSError: the address cannot be listened on.
    """
    protocol: Any = type(
        "Protocol", (BoundedProtocol,), {"max_header_size": settings.max_header_size}
    )
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http=protocol,
        # The application writes its own access log, and all logs are JSON already.
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=settings.shutdown_timeout,
    )
    # What was imported stays: collecting garbage need not look at it again.
    gc.collect()
    gc.freeze()
    Server(config, app, settings.drain_seconds).run()
