"""The load generator: one process, many connections, each with one request in flight.

Raw sockets and a selector, because the generator must cost far less than what it measures. It is
given a JSON object on standard input and answers one on standard output; `Load` says which.
"""

import json
import re
import selectors
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from uuid import uuid4

#: Where this stands in a request, a number that no other request has takes its place.
UNIQUE = "00000000-0000-4000-8000-000000000000"

CONTENT_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
#: A connection that says nothing for so long is a failed measure, not a slow one.
SILENCE_SECONDS = 20


@dataclass(frozen=True)
class Load:
    """What was seen: rates in requests a second, latencies in milliseconds."""

    requests: int
    seconds: float
    p50: float
    p99: float
    #: How busy the generator itself was, from 0 to 1: near 1, it measured itself.
    busy: float
    statuses: dict[str, int]

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self.requests / self.seconds


class LoadError(Exception):
    """The service did not answer as it should, so there is nothing to compare."""


def run(port: int, requests: Sequence[str], seconds: float, connections: int = 64) -> Load:
    """Ask 127.0.0.1:`port` for `seconds`, in a process of its own, and answer what was seen.

    Args:
        port: where the service listens.
        requests: whole HTTP/1.1 requests, sent in turn.
        seconds: how long.
        connections: how many requests are in flight at any time.

    Raises:
        LoadError: an answer was not 2xx, or the service stopped answering.
    """
    order = {"port": port, "requests": requests, "seconds": seconds, "connections": connections}
    done = subprocess.run(
        [sys.executable, __file__],
        input=json.dumps(order),
        capture_output=True,
        text=True,
        timeout=seconds + 2 * SILENCE_SECONDS,
        check=False,
    )
    if done.returncode:
        raise LoadError(done.stderr.strip().splitlines()[-1])
    load = Load(**json.loads(done.stdout))
    if bad := {status: n for status, n in load.statuses.items() if not status.startswith("2")}:
        raise LoadError(f"{sum(bad.values())} of {load.requests} answers were not 2xx: {bad}")
    return load


class _Connection:
    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), SILENCE_SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sent_at = 0.0
        self.received = b""
        self.missing = 0

    def send(self, request: bytes) -> None:
        self.received, self.missing = b"", 0
        self.sent_at = time.perf_counter()
        self.socket.sendall(request)

    def receive(self) -> str | None:
        """Answer the status when the whole response is there."""
        data = self.socket.recv(262144)
        if not data:
            raise LoadError("The service closed a connection in the middle of the load.")
        if self.missing:
            self.missing -= len(data)
        else:
            self.received += data
            head_end = self.received.find(b"\r\n\r\n")
            if head_end < 0:
                return None
            length = CONTENT_LENGTH.search(self.received, 0, head_end + 2)
            if length is None:
                raise LoadError("The service answered without Content-Length.")
            self.missing = head_end + 4 + int(length[1]) - len(self.received)
        return None if self.missing else self.received[9:12].decode()


def _generate(port: int, requests: Sequence[str], seconds: float, connections: int) -> Load:
    prepared = [request.encode() for request in requests]
    unique = UNIQUE.encode()
    prefix = str(uuid4())[:24].encode()
    statuses: Counter[str] = Counter()
    latencies = []
    number = 0

    def following() -> bytes:
        nonlocal number
        number += 1
        return prepared[number % len(prepared)].replace(unique, prefix + b"%012x" % number)

    cpu, start = time.process_time(), time.perf_counter()
    end = start + seconds
    now = start
    with selectors.DefaultSelector() as selector:
        for _ in range(connections):
            connection = _Connection(port)
            selector.register(connection.socket, selectors.EVENT_READ, connection)
            connection.send(following())
        while selector.get_map():
            events = selector.select(SILENCE_SECONDS)
            if not events:
                raise LoadError(f"The service did not answer within {SILENCE_SECONDS} s.")
            for key, _ in events:
                connection = key.data
                status = connection.receive()
                if status is None:
                    continue
                now = time.perf_counter()
                statuses[status] += 1
                latencies.append(now - connection.sent_at)
                if now < end:
                    connection.send(following())
                else:
                    selector.unregister(connection.socket)
                    connection.socket.close()
    latencies.sort()
    return Load(
        requests=len(latencies),
        seconds=now - start,
        p50=latencies[len(latencies) // 2] * 1000,
        p99=latencies[len(latencies) * 99 // 100] * 1000,
        busy=(time.process_time() - cpu) / (now - start),
        statuses=dict(statuses),
    )


if __name__ == "__main__":
    try:
        print(json.dumps(asdict(_generate(**json.load(sys.stdin)))))
    except (LoadError, OSError) as error:
        sys.exit(str(error))
