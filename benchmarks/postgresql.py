"""A PostgreSQL database for the length of a benchmark: a given server, a local one, or Docker."""

import asyncio
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg

from benchmarks.process import free_port

POSTGRES_IMAGE = os.environ.get("POSTGRES_IMAGE", "docker.io/library/postgres:17")

#: The disk's noise is not what is measured, and every service writes to the same server.
OPTIONS = ("-c", "fsync=off", "-c", "synchronous_commit=off")


class NoPostgreSQLError(Exception):
    """No PostgreSQL can be had here; the message says what to do."""


@contextmanager
def database() -> Iterator[str]:
    """Yield the libpq URL of an empty database, gone when the block ends.

    Raises:
        NoPostgreSQLError: none of the three ways works.
    """
    if url := os.environ.get("AMORCE_POSTGRESQL_URL"):
        name = f"amorce_bench_{uuid4().hex[:8]}"
        try:
            asyncio.run(_execute(url, f"CREATE DATABASE {name}"))
        except (OSError, asyncpg.PostgresError) as error:
            raise NoPostgreSQLError(
                f"AMORCE_POSTGRESQL_URL must name a server that lets us create a database: {error}"
            ) from error
        try:
            yield urlsplit(url)._replace(path=f"/{name}").geturl()
        finally:
            asyncio.run(_execute(url, f"DROP DATABASE {name} WITH (FORCE)"))
    elif binaries := _binaries():
        with _local_server(binaries) as url:
            yield url
    else:
        with _container() as url:
            yield url


def version(url: str) -> str:
    """Answer the server's version, as "17.2"."""
    return str(asyncio.run(_execute(url, "SHOW server_version"))).split()[0]


async def _execute(url: str, statement: str) -> object:
    connection = await asyncpg.connect(url, timeout=10)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


def _binaries() -> Path | None:
    """Answer the directory of `initdb` and `pg_ctl`: Debian keeps them off PATH."""
    found = shutil.which("initdb")
    places = [Path(found).resolve().parent] if found else []
    places += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((place for place in places if (place / "pg_ctl").exists()), None)


@contextmanager
def _local_server(binaries: Path) -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="amorce-bench-") as directory:
        # PostgreSQL refuses to run as root.
        user = "nobody" if os.geteuid() == 0 else None
        if user:
            shutil.chown(directory, user)
        data, port = Path(directory, "data"), free_port()

        def run(*command: str | Path) -> None:
            done = subprocess.run(
                command, user=user, cwd=directory, capture_output=True, text=True, check=False
            )
            if done.returncode:
                last = (done.stderr or done.stdout).strip().splitlines()[-1]
                raise NoPostgreSQLError(f"{Path(command[0]).name} fails: {last}")

        def control(action: str, *arguments: str) -> None:
            log = Path(directory, "log")
            run(binaries / "pg_ctl", "-D", data, "-w", "-s", "-l", log, *arguments, action)

        run(binaries / "initdb", "-D", data, "-U", "bench", "--auth=trust", "-E", "UTF8", "-N")
        options: Sequence[str] = (*OPTIONS, "-p", str(port), "-k", directory, "-h", "127.0.0.1")
        control("start", "-o", " ".join(options))
        try:
            yield f"postgresql://bench@127.0.0.1:{port}/postgres"
        finally:
            control("stop", "-m", "immediate")


@contextmanager
def _container() -> Iterator[str]:
    try:
        from testcontainers.community.postgres import PostgresContainer

        container = PostgresContainer(POSTGRES_IMAGE, driver=None)
        container.with_command(["postgres", *OPTIONS]).start()
    # Docker's client raises what it likes.
    except Exception as error:
        raise NoPostgreSQLError(
            "The benchmark needs PostgreSQL: set AMORCE_POSTGRESQL_URL, or install its server "
            "(Debian: apt-get install postgresql), or let Docker have POSTGRES_IMAGE "
            f"({str(error).splitlines()[0]})."
        ) from error
    try:
        yield container.get_connection_url()
    finally:
        container.stop()
