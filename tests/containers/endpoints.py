"""A Service without a cluster: a TCP proxy that follows readiness as kube-proxy does.

Each new connection goes to one of the ready replicas, in turn, and stays there: what is known of a
connection in the kernel outlives the endpoint. A replica joins when its readiness probe succeeds
and leaves when it fails; when it is being terminated it leaves too, but somewhat later than its
SIGTERM arrives, because the news must travel.
"""

import asyncio
import itertools
import threading
import urllib.request
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any

#: How often a replica is asked whether it is ready, and how long it may take to answer.
PROBE_SECONDS = 0.5
PROBE_TIMEOUT = 2


class Endpoints:
    """The ready replicas of a service, behind one address.

    Attributes:
        address: Where the service is reached.
    """

    def __init__(self) -> None:
        self.address = ""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._ready: list[int] = []
        self._turn = itertools.count()
        self._probes: dict[int, asyncio.Task[None]] = {}
        self._connections: set[asyncio.Task[None]] = set()

    def add(self, port: int) -> None:
        """Watch a replica that listens on this port of 127.0.0.1, from now on."""
        self._call(self._add(port))

    def remove(self, port: int, after: float) -> None:
        """Forget a replica some seconds from now; its connections stay."""
        self._loop.call_soon_threadsafe(self._loop.call_later, after, self._forget, port)

    def ready(self) -> list[int]:
        """Return the ports of the replicas that are ready."""
        return list(self._ready)

    def start(self) -> None:
        """Begin to listen."""
        self._thread.start()
        self._call(self._listen())

    def stop(self) -> None:
        """Stop listening, and cut what is still connected."""
        self._call(self._cancel())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _call(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=30)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, backlog=2048)
        self.address = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def _cancel(self) -> None:
        self._server.close()
        tasks = [*self._probes.values(), *self._connections]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _add(self, port: int) -> None:
        self._probes[port] = self._loop.create_task(self._probe(port))

    def _forget(self, port: int) -> None:
        if port in self._probes:
            self._probes.pop(port).cancel()
        if port in self._ready:
            self._ready.remove(port)

    async def _probe(self, port: int) -> None:
        while True:
            ready = await asyncio.to_thread(_is_ready, port)
            if ready and port not in self._ready:
                self._ready.append(port)
            elif not ready and port in self._ready:
                self._ready.remove(port)
            await asyncio.sleep(PROBE_SECONDS)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)
        try:
            if not self._ready:
                # What the kernel does for a Service without endpoints.
                writer.transport.abort()
                return
            port = self._ready[next(self._turn) % len(self._ready)]
            try:
                beyond = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                writer.transport.abort()
                return
            async with asyncio.TaskGroup() as both:
                both.create_task(_pass_on(reader, beyond[1]))
                both.create_task(_pass_on(beyond[0], writer))
        finally:
            writer.close()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy one direction of a connection, and its end."""
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        writer.transport.abort()
    finally:
        with suppress(OSError):
            writer.close()


def _is_ready(port: int) -> bool:
    try:
        address = f"http://127.0.0.1:{port}/health/ready"
        with urllib.request.urlopen(address, timeout=PROBE_TIMEOUT) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


@contextmanager
def endpoints() -> Iterator[Endpoints]:
    """Yield a service without replicas, and stop it in the end."""
    service = Endpoints()
    service.start()
    try:
        yield service
    finally:
        service.stop()
