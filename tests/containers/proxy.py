"""A TCP proxy that can make the way to a server slow, or cut it; it runs in a container.

`python3 -c <this file> HOST PORT` passes on what comes to port 5432, and obeys what comes to port
9000, one command a connection: `delay SECONDS` (for each packet) or `reset` (every link, now).
"""

import asyncio
import contextlib
import socket
import struct
import sys

state = {"delay": 0.0}
links: set[asyncio.StreamWriter] = set()


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    server_reader, server_writer = await asyncio.open_connection(sys.argv[1], int(sys.argv[2]))
    both = {writer, server_writer}
    links.update(both)
    with contextlib.suppress(OSError, EOFError):
        await asyncio.gather(pass_on(reader, server_writer), pass_on(server_reader, writer))
    links.difference_update(both)
    for link in both:
        link.transport.abort()


async def pass_on(source: asyncio.StreamReader, to: asyncio.StreamWriter) -> None:
    while data := await source.read(65536):
        await asyncio.sleep(state["delay"])
        to.write(data)
        await to.drain()
    raise EOFError


async def obey(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    word, *values = (await reader.readline()).decode().split()
    if word == "delay":
        state["delay"] = float(values[0])
    else:
        for link in links:
            # Without it, closing would be polite.
            linger = struct.pack("ii", 1, 0)
            link.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            link.transport.abort()
    writer.write(b"done\n")
    writer.close()


async def main() -> None:
    await asyncio.start_server(serve, "0.0.0.0", 5432)  # noqa: S104  (in a container)
    await asyncio.start_server(obey, "0.0.0.0", 9000)  # noqa: S104
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
