"""The load generator sees what a service loses, all of it and nothing else."""

import asyncio
import json
import re
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest

from tests.load import Latencies, Order, created, load

ANSWER = b"HTTP/1.1 %s\r\nLocation: /api/v1/dossiers/1\r\nContent-Length: %d\r\n\r\n%s"
RESET = "connection reset by peer"
REFUSED = "status 503"
SILENCE = "no answer within 2 s"
CUT = "connection closed before the end of the answer"


class Dropping:
    """A service that drops some of its requests, and counts what became of each.

    Args:
        fates: What becomes of the requests, in turn, again and again; "" is an answer.

    Attributes:
        address: Where it serves.
        connections: How many it was asked for.
        ends: How many requests came to which end.
        subjects: What was created, once for each acknowledgement.
    """

    loop: asyncio.AbstractEventLoop

    def __init__(self, fates: Sequence[str]) -> None:
        self.fates = fates
        self.address = ""
        self.connections = 0
        self.ends: Counter[str] = Counter()
        self.subjects: Counter[str] = Counter()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while await self._answer(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"Content-Length: (\d+)", head)
        body = await reader.readexactly(int(length[1])) if length else b""
        if b"?limit=100 " in head:
            items = [{"subject": each} for each in self.subjects.elements()]
            page = json.dumps({"items": items, "next_cursor": None}).encode()
            writer.write(ANSWER % (b"200 OK", len(page), page))
            return False
        fate = self.fates[self.ends.total() % len(self.fates)]
        self.ends[fate] += 1
        if fate == RESET:
            # Closed at once, without the usual good-bye.
            writer.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
            )
            return False
        if fate == REFUSED:
            writer.write(ANSWER % (b"503 Service Unavailable", 2, b"{}"))
            return True
        if fate == SILENCE:
            await reader.read()
            return False
        if fate == CUT:
            writer.write(ANSWER % (b"200 OK", 100, b"{}"))
            return False
        if body:
            self.subjects[json.loads(body)["subject"]] += 1
        writer.write(ANSWER % (b"201 Created", 2, b"{}"))
        return b"Connection: close" not in head


@contextmanager
def serving(*fates: str) -> Iterator[Dropping]:
    service, started, stop = Dropping(fates), threading.Event(), asyncio.Event()

    async def run() -> None:
        service.loop = asyncio.get_running_loop()
        server = await asyncio.start_server(service.serve, "127.0.0.1", 0)
        service.address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        started.set()
        await stop.wait()
        server.close()

    thread = threading.Thread(target=asyncio.run, args=[run()])
    thread.start()
    started.wait()
    try:
        yield service
    finally:
        service.loop.call_soon_threadsafe(stop.set)
        thread.join()


def test_a_service_that_loses_nothing_is_said_to_lose_nothing() -> None:
    with serving("") as service:
        with load(Order(service.address, 200, "run", seconds=1)) as running:
            report = running.wait(1)
        found = created(service.address, "run")

    assert report.failures == {}
    assert "lost: none" in str(report)
    assert report.requests == service.ends[""] == 201
    # Half of the requests have a connection of their own; the others share a few.
    assert report.requests / 2 <= service.connections <= report.requests / 2 + 20
    assert 0 < report.p50 <= report.p99 <= report.slowest * 1.02
    assert found == dict.fromkeys(range(report.creations), 1)


def test_each_lost_request_is_seen_with_its_cause() -> None:
    with serving(RESET, "", REFUSED, SILENCE, "", CUT, "", "", "") as service:
        service.fates, fates = [""], service.fates
        with load(Order(service.address, 100, "run", timeout=2)) as running:
            service.fates = fates
            time.sleep(1)
            report = running.stop()
        found = created(service.address, "run")

    good = service.ends.pop("")
    assert report.failures == service.ends
    assert set(report.failures) == {RESET, REFUSED, SILENCE, CUT}
    assert report.requests + report.repeated == good + service.ends.total()
    # What was not acknowledged was sent again until it was.
    assert report.unknown == 0
    assert set(found) == set(range(report.creations))
    assert re.match(r"at \d+\.\d s, request \d+: \w+", report.examples[0])


def test_a_service_that_is_gone_loses_every_request() -> None:
    with serving("") as service:
        order = Order(service.address, 100, "run", patience=0.3)
        generator = load(order)
        running = generator.__enter__()
    time.sleep(0.5)
    report = running.stop()
    generator.__exit__(None, None, None)

    assert sum(report.failures.values()) == report.requests + report.repeated - service.ends[""]
    assert report.failures["connection refused"] > 0
    assert report.unknown > 0


def test_requests_are_sent_whatever_becomes_of_those_before() -> None:
    with serving("") as service:
        order = Order(service.address, 100, "run", seconds=2, timeout=2, patience=0)
        with load(order) as running:
            service.fates = [SILENCE]
            report = running.wait(2)

    assert report.requests == 201
    # A generator that waits for answers would have sent 16, on its 16 connections.
    assert report.failures[SILENCE] > 100


def test_percentiles_are_right_within_a_hundredth() -> None:
    latencies = Latencies()
    for number in range(1, 1001):
        latencies.add(number)

    assert latencies.percentile(0.5) == pytest.approx(500, rel=0.011)
    assert latencies.percentile(0.99) == pytest.approx(990, rel=0.011)
    assert latencies.slowest == 1000
