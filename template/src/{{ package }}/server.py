"""The HTTP server: uvicorn, with a stop that loses no request and a bound on what a head may weigh.

At SIGTERM a pod is taken out of the Service's endpoints while requests still arrive. So the server
first says that it is not ready and goes on serving (`DRAIN_SECONDS`), then accepts nothing more,
finishes what is in flight (`SHUTDOWN_TIMEOUT`), and last closes the database's connections. Each
answer of the drain ends its connection, so that a client which keeps one opens the next elsewhere:
an idle connection that the server closes at the end may have a request on its way. This
needs no `preStop` hook, which would need a shell in the image; the pod's grace period must be
longer than both together.
"""

import asyncio
import gc
import logging
import signal
import socket
from types import FrameType
from typing import Any, Final

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from .problems import MalformedRequest, Problem
from .security import HEADERS
from .settings import Settings

#: How long a client may take to send a request's head. Without a limit, a few thousand connections
#: that never finish theirs would hold every file descriptor of the process.
HEAD_SECONDS: Final = 10
#: How long a refused client may go on sending. Closing at once would reset the connection, and the
#: client would see that instead of the refusal.
LINGER_SECONDS: Final = 2
#: How long an idle connection is kept. Longer than an Ingress keeps it (nginx: 60 s), because a
#: request that crosses the close on its way is lost: the side that sends must close first.
KEEP_ALIVE_SECONDS: Final = 75
CLOSE: Final = (b"connection", b"close")

logger = logging.getLogger(__name__)


class HeadTooLarge(Problem):
    """The request line and the headers are larger than `MAX_HEADER_SIZE`."""

    status, name = 431, "request-header-fields-too-large"
    title = "Request Header Fields Too Large"


class HeadTooSlow(Problem):
    """The request's head did not arrive in time."""

    status, name, title = 408, "request-timeout", "Request Timeout"


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
            # Uvicorn makes the second list anew from the first, once a second.
            self.config.encoded_headers.append(CLOSE)
            self.server_state.default_headers = [*self.server_state.default_headers, CLOSE]
            loop = asyncio.get_running_loop()
            # A signal handler may interrupt the loop anywhere: it must not touch its timers.
            loop.call_soon_threadsafe(loop.call_later, self._drain_seconds, self._stop)
        else:
            self.force_exit = self.should_exit and sig == signal.SIGINT
            self._stop()

    def _stop(self) -> None:
        # Uvicorn's own handler would kill the process with the same signal again once it is done:
        # a stop that went well is not a crash.
        self.should_exit = True


class BoundedProtocol(HttpToolsProtocol):
    """HTTP/1.1 with limits on the request's head, which httptools would collect without end."""

    max_header_size: int
    _head_size = 0
    _in_head = True
    _refused = False
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin a connection."""
        super().connection_made(transport)
        self._deadline = self.loop.call_later(HEAD_SECONDS, self._refuse_slowness)

    def connection_lost(self, exc: Exception | None) -> None:
        """End a connection."""
        self._cancel_deadline()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what the socket gave."""
        if self._refused:
            return
        if self._in_head:
            self._head_size += len(data)
        super().data_received(data)
        if self._in_head and not self._refused:
            if self._head_size > self.max_header_size:
                self.send_400_response("")
            elif self._deadline is None and self.cycle.response_complete:
                # The rest of a later request's head.
                self._deadline = self.loop.call_later(HEAD_SECONDS, self._refuse_slowness)

    def on_headers_complete(self) -> None:
        """Hand the request over to the application, if its head is small enough."""
        self._head_size = len(self.url) + sum(len(n) + len(v) + 4 for n, v in self.headers)
        if self._head_size > self.max_header_size:
            raise ValueError("the head is too large")
        self._in_head = False
        self._cancel_deadline()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """End a request: the next bytes are another one's head."""
        self._in_head, self._head_size = True, 0
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is not HTTP, or too much of it, in the words of every other error."""
        if self._head_size > self.max_header_size:
            detail = f"The request line and headers may take {self.max_header_size} bytes."
            self._refuse(HeadTooLarge(detail))
        else:
            self._refuse(MalformedRequest("This is not HTTP/1.1."))

    def _refuse_slowness(self) -> None:
        self._refuse(HeadTooSlow(f"The request's head may take {HEAD_SECONDS} seconds to arrive."))

    def _refuse(self, problem: Problem) -> None:
        self._refused = True
        self._cancel_deadline()
        if self.cycle is not None and not self.cycle.response_complete:
            # What the application still has to say would come after the end.
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        response = problem.response()
        headers = [*response.raw_headers, *HEADERS, CLOSE]
        lines = [STATUS_LINE[response.status_code]]
        lines += [name + b": " + value + b"\r\n" for name, value in headers]
        self.transport.write(b"".join([*lines, b"\r\n", bytes(response.body)]))
        self.transport.write_eof()
        self.loop.call_later(LINGER_SECONDS, self.transport.close)

    def _cancel_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


def serve(app: FastAPI, settings: Settings) -> None:
    """Serve until SIGTERM or Ctrl-C.

    Args:
        app: the service.
        settings: the address, and how to stop.

    Raises:
        OSError: the address cannot be listened on; the message names the settings.
    """
    protocol: Any = type(
        "Protocol", (BoundedProtocol,), {"max_header_size": settings.max_header_size}
    )
    config = uvicorn.Config(
        app,
        http=protocol,
        ws="none",
        # The application writes its own access log, and all logs are JSON already.
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=settings.shutdown_timeout,
    )
    with _listen(settings.host, settings.port) as listener:
        # What was imported stays: collecting garbage need not look at it again.
        gc.collect()
        gc.freeze()
        logger.info("listening on %s port %s", settings.host, settings.port)
        Server(config, app, settings.drain_seconds).run([listener])


def _listen(host: str, port: int) -> socket.socket:
    both = host == "::" and socket.has_dualstack_ipv6()
    # Every address means those of IPv4 too, and only those where the kernel has no IPv6.
    address = "0.0.0.0" if host == "::" and not both else host  # noqa: S104
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        # Uvicorn would log the error and end the process by itself.
        return socket.create_server(
            (address, port), family=family, backlog=2048, dualstack_ipv6=both
        )
    except OSError as error:
        raise OSError(
            f"nothing can listen on HOST={host} PORT={port}: {error.strerror};"
            " stop what listens there, or choose another PORT"
        ) from error
