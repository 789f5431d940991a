"""The image: what is in it, who can build it, and how it runs where little is allowed."""

import json
import shlex
import subprocess
import tarfile
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path

import certifi
import httpx
import pytest

from tests.app.conftest import PACKAGE, Project
from tests.app.test_readme import commands
from tests.containers.conftest import BASES, docker
from tests.engines import POSTGRES_IMAGE, require_image
from tools.contract import check_contract

pytestmark = pytest.mark.xdist_group("image")

CONFINED = (
    *("--user", "1000730000:0", "--read-only", "--tmpfs", "/tmp"),  # noqa: S108  (in a container)
    *("--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--memory", "256m"),
)
MEGABYTE = 1_000_000


def layers(image: str) -> list[str]:
    found: list[str] = json.loads(docker("inspect", "-f", "{{json .RootFS.Layers}}", image))
    return found


def size(image: str) -> int:
    return int(docker("inspect", "-f", "{{.Size}}", image))


def files(image: str, directory: Path) -> list[str]:
    container = docker("create", image)
    try:
        docker("export", "--output", str(directory / "image.tar"), container)
    finally:
        docker("rm", container)
    with tarfile.open(directory / "image.tar") as archive:
        return archive.getnames()


@pytest.fixture(scope="module")
def network() -> Iterator[str]:
    name = f"amorce-test-{uuid.uuid4().hex[:8]}"
    docker("network", "create", name)
    yield name
    docker("network", "rm", name)


@pytest.fixture(scope="module")
def database(network: str) -> Iterator[str]:
    """A PostgreSQL beside the application; yields its address there."""
    require_image(POSTGRES_IMAGE)
    password = uuid.uuid4().hex
    container = docker(
        *("run", "--detach", "--network", network, "--network-alias", "database"),
        *("--env", "POSTGRES_PASSWORD", POSTGRES_IMAGE),
        POSTGRES_PASSWORD=password,
    )
    try:
        deadline = time.monotonic() + 60
        # Not by its socket: there, the server that only prepares the database answers too.
        ask = ["docker", "exec", container, "pg_isready", "--host=127.0.0.1", "--quiet"]
        while subprocess.run(ask, check=False, capture_output=True).returncode:
            assert time.monotonic() < deadline, docker("logs", container)
            time.sleep(0.1)
        yield f"postgresql://postgres:{password}@database/postgres"
    finally:
        docker("rm", "--force", "--volumes", container)


def test_every_builder_makes_the_same_layers_as_make(
    project: Project,
    bases: Mapping[str, str],
    builder: Mapping[str, str],
    image: str,
    name: str,
) -> None:
    """Without its cache, and so at another time of day; with authorities that `make` had not."""
    authorities = project.path / "ca-bundle.crt"
    authorities.write_bytes(Path(certifi.where()).read_bytes())
    tag = f"{name}:{uuid.uuid4().hex[:8]}"
    arguments = [word for pair in bases.items() for word in ("--build-arg", "=".join(pair))]

    docker("build", "--no-cache", *arguments, "--tag", tag, str(project.path), **builder)

    assert layers(tag) == layers(image)


def test_without_wheels_a_build_asks_the_index_that_it_is_told(
    project: Project, bases: Mapping[str, str], builder: Mapping[str, str], tmp_path: Path
) -> None:
    """As in a pipeline's fresh clone: nothing but what is committed."""
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", project.path, clone], check=True)
    nobody = {**bases, "PIP_INDEX_URL": "http://127.0.0.1:9/simple"}
    arguments = [word for pair in nobody.items() for word in ("--build-arg", "=".join(pair))]

    with pytest.raises(AssertionError, match="No matching distribution found"):
        docker("build", "--no-cache", *arguments, str(clone), **builder)


def test_it_holds_no_shell_no_package_manager_and_nothing_of_the_build(
    image: str, tmp_path: Path
) -> None:
    found = files(image, tmp_path)

    assert f"application/{PACKAGE}/__main__.py" in found
    programs = {path.rpartition("/")[2] for path in found if "bin/" in path}
    assert "python3" in programs
    assert not programs & {"sh", "bash", "dash", "busybox", "apt", "apt-get", "dpkg", "pip", "perl"}
    assert not [path for path in found if path.startswith(("inputs", "dependencies/pip"))]
    assert not [
        path for path in found if path.endswith((".whl", "ca-bundle.crt", "requirements.lock"))
    ]
    assert [path for path in found if path.startswith("var/lib/dpkg/status.d/libssl")]


def test_its_labels_say_where_it_comes_from(image: str, project: Project) -> None:
    configuration = json.loads(docker("inspect", "-f", "{{json .Config}}", image))
    labels = {
        key.removeprefix("org.opencontainers.image."): value
        for key, value in configuration["Labels"].items()
    }
    head = subprocess.run(
        ["git", "log", "-1", "--format=%H %cI"],
        cwd=project.path,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()

    assert [labels["revision"], labels["created"]] == head
    assert labels["version"] == "made"
    assert labels["licenses"] == "EUPL-1.2"
    assert "source" in labels
    assert configuration["User"] == "10001:0"
    assert f"REVISION={head[0]}" in configuration["Env"]


def test_it_is_small(image: str, bases: Mapping[str, str]) -> None:
    if bases != BASES:
        pytest.skip("the limits are for the base images of `make images`")

    assert size(bases["RUNTIME_IMAGE"]) <= 55 * MEGABYTE
    assert size(image) <= 90 * MEGABYTE


def test_it_serves_as_anybody_with_no_rights_and_stops_in_order(
    image: str, network: str, database: str, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = {
        "ENV": "local",
        "INSECURE_DISABLE_AUTHENTICATION": "true",
        "DATABASE_URL": database,
        "DRAIN_SECONDS": "0",
    }
    confined = ["--network", network, *CONFINED]
    for variable in settings:
        confined += ["--env", variable]
    for command in ("migrate", "load-sample"):
        docker("run", "--rm", *confined, image, command, **settings)
    container = docker(
        "run", "--detach", "--publish", "127.0.0.1::8080", *confined, image, **settings
    )
    try:
        address = f"http://{docker('port', container, '8080').splitlines()[0]}"
        wait_until_ready(address, container)

        assert check_contract(address) == 0, capsys.readouterr().out
        docker("stop", "--time", "30", container)
        state = docker("inspect", "-f", "{{.State.ExitCode}} {{.State.OOMKilled}}", container)
        assert state == "0 false", docker("logs", container)
    finally:
        docker("rm", "--force", container)


def wait_until_ready(address: str, container: str) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            if httpx.get(f"{address}/health/ready", timeout=2).is_success:
                return
        except httpx.TransportError:
            pass
        assert time.monotonic() < deadline, docker("logs", container)
        time.sleep(0.05)


def test_the_command_of_the_readme_runs_it(image: str, project: Project) -> None:
    [command] = [each for each in commands(project.path / "README.md") if each.startswith("docker")]
    words = shlex.split(command.replace("dossiers-api:$(python3 ci/image_tag.py --dirty)", image))

    assert image in words
    assert "check-config" in docker(*words[1:])


def test_the_debug_image_is_the_same_with_a_shell(
    project: Project, bases: Mapping[str, str], name: str, image: str
) -> None:
    project.make("image-debug", f"IMAGE={name}", "TAG=made", **bases)

    # The last layer lists the packages, which are others.
    assert layers(f"{name}:made-debug")[-3:-1] == layers(image)[-3:-1]
    script = f"python3 -m {PACKAGE} --version && command -v apt-get"
    said = docker("run", "--rm", "--entrypoint", "sh", f"{name}:made-debug", "-c", script)
    assert said.splitlines() == ["0.1.0", "/usr/bin/apt-get"]


def test_an_engine_that_does_not_answer_is_said(project: Project) -> None:
    result = subprocess.run(
        ["make", "image", "CONTAINER_ENGINE=no-such-engine"],
        cwd=project.path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert result.returncode != 0
    assert "no-such-engine does not answer: start it" in result.stdout
