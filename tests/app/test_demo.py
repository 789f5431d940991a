"""The README's first command, as a person runs it."""

import fcntl
import os
import random
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.terminal import Terminal
from tools.demo import DemoError, environment, run, service


@pytest.fixture
def demo(repository: Path) -> Iterator[Path]:
    """A directory whose installation outlives the test, for one test at a time.

    It is not the one of `make demo`: a demonstration that runs beside the tests is left alone.
    """
    directory = repository / "build" / "test-demo"
    directory.parent.mkdir(exist_ok=True)
    with directory.with_suffix(".lock").open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        yield directory


@pytest.fixture
def port() -> int:
    # Below the range that the system takes for outgoing connections: nobody takes it meanwhile.
    for candidate in random.sample(range(20000, 32000), 100):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", candidate))
            return candidate
    raise AssertionError("a hundred ports, and all of them are in use")


@pytest.fixture
def busy_port() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield int(listener.getsockname()[1])


def make(target: str, repository: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", target],
        cwd=repository,
        env={**os.environ, **variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def processes_of(directory: Path) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().decode(errors="replace").split("\0")
        except OSError:  # it has just ended
            continue
        if words[0].startswith(f"{directory}/.venv/"):
            found.append(" ".join(words))
    return found


def test_demo_check_asks_every_operation_and_stops(repository: Path, demo: Path, port: int) -> None:
    check = make("demo-check", repository, PORT=str(port), DEMO=str(demo))
    assert check.returncode == 0, check.stdout + check.stderr
    assert check.stdout.splitlines()[-1] == "Every documented operation answered as documented."
    for path in ("/health", "/health/live", "/health/ready", "/health/startup", "/metrics"):
        assert f"ok   GET {path} -> 200" in check.stdout
    for status in (200, 201, 304, 400, 404, 405, 409, 412, 413, 422, 428):
        assert re.search(rf" -> {status}\b", check.stdout), status
    assert processes_of(demo) == []


def test_demo_serves_until_ctrl_c(repository: Path, demo: Path, port: int) -> None:
    terminal = Terminal(["make", "demo"], repository, {"PORT": str(port), "DEMO": str(demo)})
    terminal.wait_for("Ctrl-C stops it.", seconds=300)
    tries = re.findall(r"^  (curl .*)\r$", terminal.screen, re.MULTILINE)
    assert len(tries) == 3
    for line in tries:
        tried = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=False)
        assert tried.returncode == 0, (line, tried.stderr)
        assert '"state":"' in tried.stdout

    terminal.type("\x03")
    assert terminal.end() == 0, terminal.screen
    assert terminal.screen.rstrip().endswith("Stopping.")
    assert processes_of(demo) == []


def test_ctrl_c_before_the_service_answers_leaves_no_process(
    repository: Path, tmp_path: Path, port: int
) -> None:
    demo = tmp_path / "demo"
    terminal = Terminal(["make", "demo"], repository, {"PORT": str(port), "DEMO": str(demo)})
    terminal.wait_for("Installing")
    terminal.type("\x03")
    assert terminal.end() != 0
    assert "Interrupted." in terminal.screen
    assert "Traceback" not in terminal.screen
    assert processes_of(demo) == []


@pytest.mark.parametrize("target", ["demo", "demo-check"])
def test_a_busy_port_is_said_before_the_slow_work(
    repository: Path, tmp_path: Path, busy_port: int, target: str
) -> None:
    start = time.monotonic()
    refused = make(target, repository, PORT=str(busy_port), DEMO=str(tmp_path / "demo"))
    assert refused.returncode != 0
    assert refused.stdout == ""
    assert refused.stderr.splitlines()[0] == (
        f"Port {busy_port} cannot be used (Address already in use): stop what listens there, "
        f"or choose another one: PORT={busy_port + 1} make {target}"
    )
    assert time.monotonic() - start < 10
    assert not (tmp_path / "demo").exists()


@pytest.mark.parametrize("port", ["web", "0", "65536", "", "-1", "\uff18\uff10"])
def test_what_is_no_port_is_said(repository: Path, port: str) -> None:
    refused = make("demo", repository, PORT=port)
    assert refused.returncode != 0
    assert refused.stderr.startswith(f"PORT={port} is no port: give a number from 1 to 65535.\n")


def test_a_service_that_ends_is_said(tmp_path: Path, port: int) -> None:
    python = tmp_path / "app" / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\n[ "$3" != serve ] || { echo "no such setting"; exit 3; }\n')
    python.chmod(0o755)
    with pytest.raises(DemoError, match=r"ended with 3:\n    no such setting"):
        service(tmp_path / "app", port).__enter__()


def test_a_step_that_fails_shows_the_end_of_its_log(tmp_path: Path) -> None:
    with pytest.raises(DemoError, match=r"`sh -c .*` failed with 7:\n    why$"):
        run(["sh", "-c", "echo why; exit 7"], tmp_path, tmp_path / "log")


def test_the_demonstration_takes_no_settings_of_another_service(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://somebody-elses")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://somewhere")
    monkeypatch.setenv("PIP_INDEX_URL", "https://packages.example.org")
    passed = environment(ENV="local")
    assert "DATABASE_URL" not in passed
    assert "OTEL_EXPORTER_OTLP_ENDPOINT" not in passed
    assert passed["PIP_INDEX_URL"] == "https://packages.example.org"
    assert passed["ENV"] == "local"
