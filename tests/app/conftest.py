"""The rendered application, and how to serve it."""

import os
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.render.conftest import nobodys_settings, template  # noqa: F401  (fixtures)
from tests.render.rendering import render

PACKAGE = "dossiers_api"
READY_SECONDS = 60


@dataclass(frozen=True)
class Project:
    """A rendered project and the environment that runs it."""

    path: Path
    venv: Path

    def make(self, *targets: str, **variables: str) -> None:
        """Run the project's own Makefile; its output is the message where it fails."""
        result = subprocess.run(
            ["make", f"VENV={self.venv}", *targets],
            cwd=self.path,
            env={**_environment(), **variables},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert result.returncode == 0, f"make {' '.join(targets)}:\n{result.stdout}{result.stderr}"

    def command(self, *arguments: str, **variables: str) -> str:
        """Run one of the application's commands and return what it printed."""
        return subprocess.run(
            [self.venv / "bin" / "python", "-m", PACKAGE, *arguments],
            cwd=self.path,
            env={**_environment(), "PYTHONPATH": "src", **variables},
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        ).stdout

    @contextmanager
    def serving(self, variables: Mapping[str, str], until: str = "/health/ready") -> Iterator[str]:
        """Serve until the block ends; yields the address once `until` is answered with 200."""
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        with (
            (self.path / "service.log").open("wb") as log,
            subprocess.Popen(
                [self.venv / "bin" / "python", "-m", PACKAGE, "serve"],
                cwd=self.path,
                env={
                    **_environment(),
                    "PYTHONPATH": "src",
                    "DRAIN_SECONDS": "0",
                    **variables,
                    "PORT": str(port),
                },
                stdout=log,
                stderr=subprocess.STDOUT,
            ) as process,
        ):
            try:
                _wait(process, url + until, Path(log.name))
                yield url
            finally:
                process.terminate()
                process.wait(timeout=30)


def free_port() -> int:
    """Return a TCP port on which nobody listens now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(url, timeout=2).is_success:
                return
        except httpx.TransportError:
            time.sleep(0.05)
    pytest.fail(f"the service did not become ready:\n{log.read_text()}")


def _environment() -> dict[str, str]:
    """The machine's environment, less what would reach into the project."""
    return {k: v for k, v in os.environ.items() if not k.startswith(("COV_", "PYTEST_", "MAKE"))}


@pytest.fixture
def engines(request: pytest.FixtureRequest) -> dict[str, str]:
    """The variables that let a rendered suite use PostgreSQL; none where there is no engine.

    The suite has much to say without one. That it was not run on PostgreSQL is said by the skip of
    `test_the_rendered_suite_runs_on_postgresql`.
    """
    try:
        url = request.getfixturevalue("postgresql_url")
    except pytest.skip.Exception:
        return {}
    return {"TEST_DATABASE_URL": url, "REQUIRE_ENGINES": "1"}


@pytest.fixture(scope="session")
def project(
    template: Path,  # noqa: F811
    application_venv: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Project:
    """The application that the default answers render."""
    path = render(template, tmp_path_factory.mktemp("default") / "dossiers", {})
    return Project(path, application_venv)
