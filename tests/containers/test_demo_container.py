"""`make demo-container` and `make down`, as a person runs them, on the machine's own engine."""

import fcntl
import hashlib
import http.server
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.app.test_demo import busy_port, port  # noqa: F401  (fixtures)
from tests.containers.conftest import docker
from tests.engines import POSTGRES_IMAGE
from tools.contract import check_contract
from tools.demo_container import LABEL

pytestmark = pytest.mark.xdist_group("demo-container")

#: Of nothing that anybody has.
DIGEST = f"sha256:{'0' * 64}"


@pytest.fixture
def demo(repository: Path, application_venv: Path) -> Iterator[Path]:
    """A directory whose wheels outlive the test, for one test at a time."""
    directory = repository / "build" / "test-demo-container"
    directory.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError):
        # A demonstration keeps the installation that it finds.
        (directory / ".venv").symlink_to(application_venv)
    with directory.with_suffix(".turn").open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        yield directory
        make("down", repository, DEMO=str(directory))


def make(target: str, repository: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", target],
        cwd=repository,
        env={**os.environ, "CONTAINER_ENGINE": "docker", **variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def left(directory: Path) -> list[str]:
    """What is still there of the demonstration that was rendered into a directory."""
    label = ("--quiet", "--filter", f"label={LABEL}={directory}")
    name = f"*/amorce-demo-{hashlib.sha256(bytes(directory)).hexdigest()[:8]}"
    lists = (
        docker("ps", "--all", *label),
        docker("network", "ls", *label),
        docker("volume", "ls", *label),
        docker("images", "--quiet", "--filter", f"reference={name}"),
    )
    return [line for each in lists for line in each.splitlines()]


def refused(directory: Path, repository: Path, **variables: str) -> str:
    """The one sentence of a start that fails, and leaves nothing."""
    run = make("demo-container", repository, DEMO=str(directory), **variables)
    assert run.returncode != 0, run.stdout
    assert left(directory) == []
    *sentences, of_make = run.stderr.splitlines()
    assert of_make.startswith("make: ***")
    assert len(sentences) == 1, run.stderr
    return sentences[0]


def test_it_serves_what_is_documented_until_down(
    repository: Path,
    demo: Path,
    port: int,  # noqa: F811
    bases: Mapping[str, str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    settings = {"DEMO": str(demo), "PORT": str(port), "POSTGRES_IMAGE": POSTGRES_IMAGE}

    up = make("demo-container", repository, **bases, **settings)

    assert up.returncode == 0, up.stderr
    assert up.stdout.startswith("Base images: those that you name.\n")
    address = f"http://127.0.0.1:{port}"
    assert f"The service answers on {address}," in up.stdout
    assert check_contract(address) == 0, capsys.readouterr().out
    tries = re.findall(r"^  ((?:curl|docker) .*)$", up.stdout, re.MULTILINE)
    assert len(tries) == 5
    for line in tries:
        tried = subprocess.run(shlex.split(line), capture_output=True, text=True, check=False)
        assert tried.returncode == 0, (line, tried.stderr)
        assert '"' in tried.stdout + tried.stderr or "0.1.0" in tried.stdout, line
    [name] = re.findall(r"docker logs (\S+)", up.stdout)
    confinement = "{{.HostConfig.ReadonlyRootfs}} {{.HostConfig.CapDrop}} {{.Config.User}}"
    assert docker("inspect", "--format", confinement, name) == "true [ALL] 10001:0"

    again = make("demo-container", repository, **bases, **settings)
    assert again.returncode != 0
    assert again.stderr.splitlines()[0] == "It is running already: `make down` removes it."
    assert docker("inspect", "--format", "{{.State.Running}}", name) == "true"

    down = make("down", repository, DEMO=str(demo))
    assert down.returncode == 0, down.stderr
    assert down.stdout.startswith(
        "Removed: 2 containers of docker, 1 network of docker, 1 volume of docker, "
        "1 image of docker.\nKept, for the next time: the base images"
    )
    assert left(demo) == []
    assert make("down", repository, DEMO=str(demo)).stdout == "There is nothing to remove.\n"


@pytest.mark.parametrize("moment", ["Building", "Starting"])
def test_down_removes_what_a_killed_start_has_left(
    repository: Path,
    demo: Path,
    port: int,  # noqa: F811
    bases: Mapping[str, str],
    moment: str,
) -> None:
    """Killed as the kernel kills, so that it cannot tidy up; what it had started goes on."""
    variables = {
        **os.environ,
        **bases,
        "DEMO": str(demo),
        "PORT": str(port),
        "POSTGRES_IMAGE": POSTGRES_IMAGE,
        "CONTAINER_ENGINE": "docker",
    }
    python = repository / ".venv" / "bin" / "python"
    script = repository / "tools" / "demo_container.py"
    command: list[str | Path] = [python, script, "up", "--directory", demo]
    with subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, text=True) as start:
        assert start.stdout
        while not start.stdout.readline().startswith(moment):
            assert start.poll() is None
        time.sleep(1)
        start.send_signal(signal.SIGKILL)

    down = make("down", repository, DEMO=str(demo))

    assert down.returncode == 0, down.stderr
    time.sleep(2)
    assert left(demo) == []


def test_down_ends_a_start_that_is_at_work(
    repository: Path,
    demo: Path,
    port: int,  # noqa: F811
    bases: Mapping[str, str],
) -> None:
    variables = {**bases, "POSTGRES_IMAGE": POSTGRES_IMAGE, "PORT": str(port), "DEMO": str(demo)}
    with subprocess.Popen(
        ["make", "demo-container"],
        cwd=repository,
        env={**os.environ, "CONTAINER_ENGINE": "docker", **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as start:
        assert start.stdout
        while not start.stdout.readline().startswith("Building"):
            assert start.poll() is None
        other = make("demo-container", repository, **variables)
        assert other.stderr.startswith("It is being started already: wait, or end that with")

        assert make("down", repository, DEMO=str(demo)).returncode == 0
        assert start.wait(30) != 0
    assert left(demo) == []


def test_without_any_engine_it_says_what_to_install(repository: Path, tmp_path: Path) -> None:
    for program in ("git", "cksum", "cut", "make", "sh"):
        (tmp_path / program).symlink_to(shutil.which(program) or "")
    run = subprocess.run(
        ["make", "demo-container", f"DEMO={tmp_path / 'demo'}"],
        cwd=repository,
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode != 0
    assert run.stderr.splitlines()[0] == (
        "There is no container engine here: install Docker or Podman "
        "(Debian: apt-get install docker.io) and start it."
    )


def test_an_engine_that_is_not_there_is_said(repository: Path, tmp_path: Path) -> None:
    said = refused(tmp_path / "demo", repository, CONTAINER_ENGINE="no-such-engine")
    assert said.startswith("CONTAINER_ENGINE=no-such-engine is no program here: install it")


def test_an_engine_that_does_not_answer_is_said(repository: Path, tmp_path: Path) -> None:
    client = tmp_path / "docker"
    client.write_text(
        f'#!/bin/sh\nDOCKER_HOST=unix://{tmp_path}/none exec {shutil.which("docker")} "$@"\n'
    )
    client.chmod(0o755)
    said = refused(tmp_path / "demo", repository, CONTAINER_ENGINE=str(client))
    assert said.startswith(f"{client} does not answer (")
    assert said.endswith("): start its engine.")


def test_an_engine_that_refuses_its_socket_is_said(repository: Path, tmp_path: Path) -> None:
    """The real client before a real socket that it may not open."""
    address = Path("/tmp", f"amorce-{uuid.uuid4().hex[:8]}.sock")  # noqa: S108  (others must see it)
    nobody = "setpriv --reuid=65534 --clear-groups" if os.geteuid() == 0 else ""
    client = tmp_path / "docker"
    client.write_text(
        f"#!/bin/sh\nexport DOCKER_HOST=unix://{address} HOME=/\n"
        f'exec {nobody} {shutil.which("docker")} "$@"\n'
    )
    client.chmod(0o755)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(address))
        address.chmod(0)
        try:
            said = refused(tmp_path / "demo", repository, CONTAINER_ENGINE=str(client))
        finally:
            address.unlink()
    assert said.startswith(f"{client} does not let you use its engine: join the group docker")


def test_a_busy_port_is_said_before_the_slow_work(
    repository: Path,
    tmp_path: Path,
    busy_port: int,  # noqa: F811
    bases: Mapping[str, str],
) -> None:
    said = refused(tmp_path / "demo", repository, PORT=str(busy_port), **bases)
    assert said == (
        f"Port {busy_port} cannot be used (Address already in use): stop what listens there, "
        f"or choose another one: PORT={busy_port + 1} make demo-container"
    )
    assert not (tmp_path / "demo").exists()


class Registry(http.server.BaseHTTPRequestHandler):
    """Stands in for a registry that answers, and gives nothing as it should.

    Engines speak plain HTTP to one on 127.0.0.0/8.
    """

    def do_GET(self) -> None:
        """Answer as the OCI Distribution Specification says."""
        kind, status = "application/json", 200
        answer: dict[str, Any] = {}
        if "/refused/" in self.path:
            status, answer = 403, {"errors": [{"code": "DENIED", "message": "access denied"}]}
        elif "/missing/" in self.path:
            status, answer = 404, {"errors": [{"code": "MANIFEST_UNKNOWN", "message": "unknown"}]}
        elif "/altered/" in self.path:
            kind = "application/vnd.docker.distribution.manifest.v2+json"
            configuration = {"mediaType": "application/json", "size": 2, "digest": DIGEST}
            answer = {"schemaVersion": 2, "mediaType": kind, "config": configuration, "layers": []}
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    do_HEAD = do_GET  # noqa: N815  (the name that http.server calls)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def registry() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Registry) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize(
    ("image", "sentence"),
    [
        (
            "refused/python:1",
            r"Its registry refuses \S+, or has no such image: sign in with `docker",
        ),
        (
            "missing/python:1",
            r"Its registry has no \S+: correct its name, tag or digest, or say RUN",
        ),
        (
            f"altered/python@{DIGEST}",
            r"\S+ is not what its registry gives: correct the dig",
        ),
        ("altered/python@sha256:0", r"Its registry has no \S+: correct its name, tag or digest"),
    ],
    ids=["refused", "missing", "wrong digest", "malformed digest"],
)
def test_a_base_image_that_cannot_be_had_is_said(
    repository: Path,
    tmp_path: Path,
    port: int,  # noqa: F811
    registry: str,
    image: str,
    sentence: str,
) -> None:
    name = f"{registry}/{image}"
    said = refused(tmp_path / "demo", repository, RUNTIME_IMAGE=name, PORT=str(port))
    assert re.match(sentence, said), said
    assert name in said


def test_a_registry_that_does_not_answer_is_said(
    repository: Path,
    tmp_path: Path,
    port: int,  # noqa: F811
) -> None:
    name = "127.0.0.1:9/python:1"
    said = refused(tmp_path / "demo", repository, BUILDER_IMAGE=name, PORT=str(port))
    assert said == f"No registry answers for BUILDER_IMAGE={name}: name an image that is here."


def test_a_full_disk_is_said(
    repository: Path,
    demo: Path,
    port: int,  # noqa: F811
    bases: Mapping[str, str],
    tmp_path: Path,
) -> None:
    """A builder's image that fills the small disk that every build has, /dev/shm."""
    image = f"localhost/amorce-test-full:{uuid.uuid4().hex[:8]}"
    (tmp_path / "Dockerfile").write_text(
        f"FROM {bases['BUILDER_IMAGE']}\nONBUILD RUN head -c 1G /dev/zero >/dev/shm/full\n"
    )
    docker("build", "--tag", image, str(tmp_path))
    settings = {**bases, "BUILDER_IMAGE": image, "POSTGRES_IMAGE": POSTGRES_IMAGE}
    try:
        said = refused(demo, repository, PORT=str(port), **settings)
    finally:
        docker("rmi", "--force", image)
    assert said.startswith("No space is left on the device: make room (`docker system df` shows")
