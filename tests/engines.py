"""What a test may need beyond Python: an engine that is there, or a skip that says its name."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import docker
import pytest
from docker.errors import DockerException, ImageNotFound
from testcontainers.community.postgres import PostgresContainer

#: The property of a test's report that says what an engine could not be asked for.
LEFT_OUT = "left out"
NOT_RUN = "NOT RUN: "
POSTGRES_IMAGE = os.environ.get("POSTGRES_IMAGE", "docker.io/library/postgres:17")


def require_engine(name: str, reason: str) -> NoReturn:
    """Skip the running test for want of an engine, or fail it where every engine is required.

    Args:
        name: The engine, as a person calls it: "PostgreSQL", "Docker".
        reason: What was tried and what came back.
    """
    message = f"needs {name}: {reason}"
    if os.environ.get("AMORCE_REQUIRE_ENGINES") == "1":
        pytest.fail(f"{message} (AMORCE_REQUIRE_ENGINES=1 forbids skipping)", pytrace=False)
    pytest.skip(message)


def require_program(name: str, package: str) -> str:
    """Require a program on PATH and return where it is.

    Args:
        name: What is typed.
        package: Debian's package of it.
    """
    if found := shutil.which(name):
        return found
    return require_engine(name, f"it is not on PATH (Debian: apt-get install {package})")


def not_run(check: str, reason: str, variable: str) -> NoReturn:
    """Skip a check that this network does not allow; the summary lists it.

    Where every engine is required, it fails unless somebody has said that it cannot be made.

    Args:
        check: What was not checked.
        reason: Why.
        variable: The environment variable that says "unreachable" where that is known.
    """
    message = f"{NOT_RUN}{check}: {reason}"
    required = os.environ.get("AMORCE_REQUIRE_ENGINES") == "1"
    if required and os.environ.get(variable) != "unreachable":
        pytest.fail(f"{message} ({variable}=unreachable would allow it)", pytrace=False)
    pytest.skip(message)


def list_not_run(terminalreporter: pytest.TerminalReporter) -> None:
    """List the checks that were not run in the summary, in a section that is there only then."""
    skipped = terminalreporter.stats.get("skipped", [])
    reasons = [str(report.longrepr[2]) for report in skipped if isinstance(report.longrepr, tuple)]
    lines = {line.partition(NOT_RUN)[2] for line in reasons if NOT_RUN in line}
    if lines:
        terminalreporter.section("NOT RUN, and so not known to be good", yellow=True)
        for line in sorted(lines):
            terminalreporter.write_line(line)


def require_docker() -> None:
    """Require a Docker engine that answers."""
    try:
        with _client() as client:
            client.ping()
    except DockerException as error:
        require_engine("Docker", f"no engine answers ({_first_line(error)})")


def require_image(image: str) -> None:
    """Require a Docker engine, and an image that it has or can pull."""
    require_docker()
    with _client() as client:
        try:
            client.images.get(image)
        except ImageNotFound:
            try:
                client.images.pull(image)
            except DockerException as error:
                require_engine(image, f"not here, and not to be pulled ({_first_line(error)})")


@contextmanager
def postgresql() -> Iterator[str]:
    """Yield the address of a PostgreSQL that is ready, `postgresql://user:password@host/name`.

    It is the one of AMORCE_POSTGRESQL_URL where that is set, else a container of POSTGRES_IMAGE.
    """
    if url := os.environ.get("AMORCE_POSTGRESQL_URL"):
        yield url
        return
    require_image(POSTGRES_IMAGE)
    # Nothing here outlives the run: durability would only make it slower.
    container = PostgresContainer(POSTGRES_IMAGE, driver=None).with_command("postgres -c fsync=off")
    with container:
        yield container.get_connection_url()


@contextmanager
def _client() -> Iterator[docker.DockerClient]:
    client = docker.from_env(timeout=60)
    try:
        yield client
    finally:
        client.close()


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
