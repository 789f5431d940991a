"""Fixtures for every test of the repository."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.application import make_environment
from tests.engines import LEFT_OUT, list_not_run, postgresql

# Under `make test`, a make that a test runs would otherwise speak as a part of this one.
for variable in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS"):
    os.environ.pop(variable, None)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """List by name what was not run, and what the engines of this run could not be asked for."""
    list_not_run(terminalreporter)
    said = dict.fromkeys(
        value
        for reports in terminalreporter.stats.values()
        for report in reports
        for name, value in getattr(report, "user_properties", [])
        if name == LEFT_OUT
    )
    if said:
        terminalreporter.section("left out")
        for each in said:
            terminalreporter.line(each)


@pytest.fixture(scope="session")
def repository() -> Path:
    """The checkout under test."""
    return Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def postgresql_url() -> Iterator[str]:
    """A real PostgreSQL, one for each process of the run."""
    with postgresql() as url:
        yield url


@pytest.fixture(scope="session")
def application_venv(repository: Path) -> Path:
    """The environment that serves every rendered application."""
    return make_environment(repository)
