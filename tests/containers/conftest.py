"""The rendered application's image, built by the project's own Makefile."""

import os
import re
import shutil
import subprocess
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.app.conftest import Project
from tests.engines import require_docker, require_engine, require_image
from tests.render.conftest import nobodys_settings, template  # noqa: F401  (fixtures)
from tests.render.rendering import commit, render

#: The base images: those of the environment, else those of `make images`, else the public ones.
BASES = {
    "BUILDER_IMAGE": "localhost/amorce/python-builder:3.13",
    "RUNTIME_IMAGE": "localhost/amorce/python-runtime:3.13",
}


def docker(*arguments: str, client: str = "docker", **variables: str) -> str:
    """Run a Docker command and return what it printed; where it fails, that is the message."""
    result = subprocess.run(
        [client, *arguments],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert result.returncode == 0, f"docker {' '.join(arguments)}:\n{result.stdout}{result.stderr}"
    return result.stdout.strip()


@pytest.fixture(scope="session")
def bases(repository: Path) -> Mapping[str, str]:
    """The base images, by the variable of the rendered Makefile that names each."""
    require_docker()
    named = {name: os.environ[name] for name in BASES if name in os.environ}
    if not named and all(docker("images", "--quiet", image) for image in BASES.values()):
        named = BASES
    if not named:
        dockerfile = (repository / "template" / "Dockerfile.jinja").read_text(encoding="utf-8")
        named = dict(re.findall(r"(?m)^ARG (\w+_IMAGE)=(.+)$", dockerfile))
    for image in named.values():
        require_image(image)
    return named


@pytest.fixture(scope="session")
def project(
    template: Path,  # noqa: F811
    application_venv: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Project:
    """The application that the default answers render, committed."""
    path = render(template, tmp_path_factory.mktemp("image") / "dossiers", {})
    commit(path)
    return Project(path, application_venv)


@pytest.fixture(scope="session")
def name() -> Iterator[str]:
    """A name for this run's images; they are removed in the end."""
    name = f"localhost/amorce-test-{uuid.uuid4().hex[:8]}"
    yield name
    images = docker("images", "--quiet", name).split()
    if images:
        docker("rmi", "--force", *set(images))


@pytest.fixture(scope="session")
def image(project: Project, bases: Mapping[str, str], name: str) -> str:
    """The image that `make image` builds."""
    project.make("image", f"IMAGE={name}", "TAG=made", **bases)
    return f"{name}:made"


@pytest.fixture(params=["classic", "BuildKit"])
def builder(request: pytest.FixtureRequest) -> Mapping[str, str]:
    """The client and the variable that choose one of Docker's two builders."""
    if request.param == "classic":
        return {"client": "docker", "DOCKER_BUILDKIT": "0"}
    return {"client": buildkit_client(), "DOCKER_BUILDKIT": "1"}


def buildkit_client() -> str:
    """Find a Docker client that speaks to BuildKit: before version 23, or with its plugin."""
    directories = os.environ["PATH"].split(os.pathsep)
    for client in filter(None, (shutil.which("docker", path=each) for each in directories)):
        version = docker("--version", client=client).split()[2]
        plugin = subprocess.run([client, "buildx", "version"], capture_output=True, check=False)
        if int(version.partition(".")[0]) < 23 or plugin.returncode == 0:
            return client
    return require_engine("BuildKit", "no Docker client here brings it, nor its plugin buildx")
