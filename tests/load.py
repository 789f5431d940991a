"""A load generator: requests at a constant rate, whatever becomes of those before.

People do not wait with their requests until somebody else's was answered, so neither does this: a
service that stands still for a second is seen by a second's worth of requests, and their latency
counts from when they were due.

One file, the standard library alone: tests run it here as a process, and inside a cluster as a pod
that holds nothing but Python. It is given one `Order` as JSON, says "started" when the first answer
was good, goes on until SIGTERM or its time is up, and prints one `Report` as JSON.

The load is that of the dossiers: four reads for each creation, half of them on connections that are
kept, half on new ones. Every fourth read asks for what was just acknowledged. Each creation has an
`Idempotency-Key`, and is repeated with it until it is acknowledged; its failure still counts.
"""

import asyncio
import errno
import json
import math
import os
import re
import signal
import subprocess
import sys
import urllib.parse
import urllib.request
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass

DOSSIERS = "/api/v1/dossiers"
CONTENT_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
LOCATION = re.compile(rb"\r\nlocation: *(\S+)\r\n", re.IGNORECASE)
CLOSE = re.compile(rb"\r\nconnection: *close\r\n", re.IGNORECASE)
#: One request in so many creates something.
CREATE_EACH = 5
#: How many failures are described; all are counted.
EXAMPLES = 20
#: Requests that wait at the same time: a service that hangs must not fill the memory here.
MAX_IN_FLIGHT = 2000
#: Seconds until a creation that failed is sent again.
REPEAT_INTERVAL = 0.1


@dataclass(frozen=True)
class Order:
    """What to do.

    Args:
        address: `http://host:port`.
        rate: Requests a second.
        run: A word that no other load has; each creation's subject begins with it.
        seconds: When to stop, if nobody says so earlier.
        connections: How many are kept open.
        timeout: Seconds after which an answer is too late.
        patience: Seconds during which a creation is repeated.
    """

    address: str
    rate: float
    run: str
    seconds: float = 600
    connections: int = 16
    timeout: float = 10
    patience: float = 30


@dataclass(frozen=True)
class Report:
    """What was seen; latencies in milliseconds, from when each request was due.

    Attributes:
        requests: How many were due.
        repeated: Creations that were sent once more, on top of these.
        creations: How many of the requests were creations; their subjects end in 0, 1, 2...
        unknown: Creations that nobody acknowledged in the end.
        failures: How many requests failed, by cause.
        examples: The first failures, with their second and their number.
    """

    requests: int
    repeated: int
    creations: int
    unknown: int
    failures: dict[str, int]
    examples: list[str]
    seconds: float
    p50: float
    p99: float
    slowest: float

    def __str__(self) -> str:
        """Say it in a few lines."""
        lost = ", ".join(f"{count} × {cause}" for cause, count in self.failures.items()) or "none"
        return "\n".join(
            [
                f"{self.requests} requests in {self.seconds:.0f} s, lost: {lost}",
                f"p50 {self.p50:.1f} ms, p99 {self.p99:.1f} ms, slowest {self.slowest:.0f} ms",
                *self.examples,
            ]
        )


class LostError(Exception):
    """A request was not answered as it should; the text is the cause."""


class Latencies:
    """Percentiles in little memory: how many latencies lie in each step of 2 %."""

    STEP = math.log(1.02)

    def __init__(self) -> None:
        self._counts: Counter[int] = Counter()
        self.slowest = 0.0

    def add(self, milliseconds: float) -> None:
        """Count one."""
        self._counts[round(math.log(max(milliseconds, 0.001)) / self.STEP)] += 1
        self.slowest = max(self.slowest, milliseconds)

    def percentile(self, share: float) -> float:
        """Return the latency that this share of the requests did not exceed, within 1 %."""
        wanted = share * self._counts.total()
        for step, count in sorted(self._counts.items()):
            wanted -= count
            if wanted <= 0:
                return math.exp(step * self.STEP)
        return math.nan


class Generator:
    """Follows one order.

    Args:
        order: What to do.
    """

    def __init__(self, order: Order) -> None:
        self._order = order
        url = urllib.parse.urlsplit(order.address)
        self._host, self._port = str(url.hostname), url.port or 80
        self._stop = asyncio.Event()
        self._idle: deque[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = deque()
        self._newest = f"{DOSSIERS}?limit=5"
        self._started = False
        self._requests = self._repeated = self._creations = self._unknown = 0
        self._failures: Counter[str] = Counter()
        self._examples: list[str] = []
        self._latencies = Latencies()
        self._begin = 0.0

    async def run(self) -> Report:
        """Send requests until it is time to stop, and wait for the last answers."""
        loop = asyncio.get_running_loop()
        for stopping in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(stopping, self._stop.set)
        self._begin = loop.time()
        async with asyncio.TaskGroup() as sending:
            seconds = await self._send_at_rate(sending)
        while self._idle:
            self._idle.pop()[1].close()
        return Report(
            self._requests,
            self._repeated,
            self._creations,
            self._unknown,
            dict(self._failures),
            self._examples,
            seconds,
            self._latencies.percentile(0.5),
            self._latencies.percentile(0.99),
            self._latencies.slowest,
        )

    async def _send_at_rate(self, sending: asyncio.TaskGroup) -> float:
        """Begin each request when it is due, and return how many seconds that took."""
        loop = asyncio.get_running_loop()
        in_flight: set[asyncio.Task[None]] = set()
        while not self._stop.is_set():
            due = self._begin + self._requests / self._order.rate
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), max(0, due - loop.time()))
                break
            if due - self._begin > self._order.seconds:
                break
            number = self._requests
            self._requests += 1
            if number % CREATE_EACH == 0:
                self._creations += 1
            if len(in_flight) >= MAX_IN_FLIGHT:
                self._unknown += number % CREATE_EACH == 0
                self._fail(number, f"not sent: {MAX_IN_FLIGHT} requests were waiting")
                continue
            task = sending.create_task(self._follow(number, due))
            in_flight.add(task)
            task.add_done_callback(in_flight.discard)
        return loop.time() - self._begin

    async def _follow(self, number: int, due: float) -> None:
        """Send one request; a creation until it is acknowledged."""
        clock = asyncio.get_running_loop().time
        creation = number % CREATE_EACH == 0
        new = number % 2 == 0
        if await self._send(number, new=new):
            self._latencies.add((clock() - due) * 1000)
        elif creation:
            while clock() - due < self._order.patience:
                await asyncio.sleep(REPEAT_INTERVAL)
                self._repeated += 1
                if await self._send(number, new=True):
                    return
            self._unknown += 1

    async def _send(self, number: int, *, new: bool) -> bool:
        """Send one request and say whether its answer was good."""
        try:
            async with asyncio.timeout(self._order.timeout):
                head = await self._exchange(self._request(number, new=new), new=new)
        except TimeoutError:
            self._fail(number, f"no answer within {self._order.timeout:g} s")
        except LostError as error:
            self._fail(number, str(error))
        except OSError as error:
            # asyncio's own text has the address in it, or is empty.
            self._fail(number, os.strerror(error.errno or errno.ECONNRESET).lower())
        else:
            if created := LOCATION.search(head):
                self._newest = created[1].decode()
            if not self._started:
                self._started = True
                print("started", flush=True)
            return True
        return False

    def _request(self, number: int, *, new: bool) -> bytes:
        body = b""
        lines = [f"GET {DOSSIERS}?limit=5 HTTP/1.1"]
        if number % CREATE_EACH == 0:
            subject = f"{self._order.run} {number // CREATE_EACH}"
            content = {
                "subject": subject,
                "applicant_name": "Ada Lovelace",
                "applicant_email": "ada@example.org",
            }
            body = json.dumps(content).encode()
            lines = [
                f"POST {DOSSIERS} HTTP/1.1",
                "Content-Type: application/json",
                f"Content-Length: {len(body)}",
                f"Idempotency-Key: {subject.replace(' ', '-')}",
            ]
        elif number % CREATE_EACH == 1:
            lines = [f"GET {self._newest} HTTP/1.1"]
        lines.append(f"Host: {self._host}")
        if new:
            lines.append("Connection: close")
        return "\r\n".join([*lines, "", ""]).encode() + body

    async def _exchange(self, request: bytes, *, new: bool) -> bytes:
        """Send a request on a new connection or a kept one, and return the answer's head."""
        reader, writer = await self._connect(new=new)
        keep = False
        try:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            length = CONTENT_LENGTH.search(head)
            if length is None:
                raise LostError("an answer without Content-Length")
            await reader.readexactly(int(length[1]))
            if not head[9:12].startswith(b"2"):
                raise LostError(f"status {head[9:12].decode()}")
            room = len(self._idle) < self._order.connections
            keep = room and not new and not CLOSE.search(head)
        except asyncio.IncompleteReadError as error:
            raise LostError("connection closed before the end of the answer") from error
        finally:
            if keep:
                self._idle.append((reader, writer))
            else:
                writer.close()
        return head

    async def _connect(self, *, new: bool) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Return a connection; of those that are kept, the one that was idle for longest."""
        while self._idle and not new:
            reader, writer = self._idle.popleft()
            # What every client does: a connection that the server has closed is not used again.
            if not reader.at_eof():
                return reader, writer
            writer.close()
        return await asyncio.open_connection(self._host, self._port)

    def _fail(self, number: int, cause: str) -> None:
        self._failures[cause] += 1
        if len(self._examples) < EXAMPLES:
            second = asyncio.get_running_loop().time() - self._begin
            self._examples.append(f"at {second:.1f} s, request {number}: {cause}")


class Load:
    """A load generator that runs as a process of its own.

    Args:
        process: The process.
        order: What it does.
    """

    def __init__(self, process: subprocess.Popen[str], order: Order) -> None:
        self._process = process
        self._order = order

    def stop(self) -> Report:
        """Send no more requests, wait for the last answers, and return what was seen."""
        self._process.terminate()
        return self.wait(0)

    def wait(self, seconds: float) -> Report:
        """Wait until the load's own time is up, at most so long, and return what was seen."""
        patience = seconds + self._order.patience + 2 * self._order.timeout
        written, _ = self._process.communicate(timeout=patience)
        return read_report(written)


def read_report(written: str) -> Report:
    """Return the report in what a generator has written."""
    return Report(**json.loads(written.splitlines()[-1]))


@contextmanager
def load(order: Order) -> Iterator[Load]:
    """Put a service under load until the block ends, or `stop` is called.

    Args:
        order: What to do.
    """
    command = [sys.executable, __file__, json.dumps(asdict(order))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "started\n", "no answer was good"
            yield Load(process, order)
        finally:
            if process.poll() is None:
                process.kill()


def created(address: str, run: str) -> Counter[int]:
    """Return how often the service has the dossier of each creation of a run."""
    found: Counter[int] = Counter()
    cursor = ""
    while True:
        query = f"{address}{DOSSIERS}?limit=100{cursor}"
        with urllib.request.urlopen(query, timeout=30) as answer:
            page = json.load(answer)
        for item in page["items"]:
            word, _, number = item["subject"].rpartition(" ")
            if word == run:
                found[int(number)] += 1
        if page["next_cursor"] is None:
            return found
        cursor = f"&cursor={page['next_cursor']}"


if __name__ == "__main__":
    print(json.dumps(asdict(asyncio.run(Generator(Order(**json.loads(sys.argv[1]))).run()))))
