"""Who builds the image: Buildah for real; Kaniko, which cannot be had everywhere, by its rules.

Docker's two builders are in test_image.py.
"""

import os
import re
import shlex
import shutil
import subprocess
import tarfile
from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path

import pytest

from tests.app.conftest import Project
from tests.containers.conftest import docker
from tests.engines import require_engine

pytestmark = pytest.mark.xdist_group("image")

#: What Kaniko's executor, its forks and the builders before BuildKit all understand. `RUN --mount`
#: and heredocs are ignored or refused by one or the other, a `# syntax=` line is pulled.
INSTRUCTIONS = {
    *("ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "LABEL", "RUN", "STOPSIGNAL"),
    *("USER", "WORKDIR"),
}
FLAGS = {"COPY": {"--from", "--chown"}}


@pytest.fixture
def buildah(tmp_path: Path) -> Iterator[tuple[str, ...]]:
    """The command, with a store of its own that is gone afterwards."""
    if shutil.which("buildah") is None:
        require_engine("Buildah", "it is not on PATH (Debian: apt-get install buildah)")
    command = ("buildah", "--root", f"{tmp_path}/images", "--runroot", f"{tmp_path}/run")
    yield command
    for words in (("rm", "--all"), ("rmi", "--all", "--force")):
        subprocess.run([*command, *words], check=True, capture_output=True)
    # What it leaves mounted keeps its directory from being removed.
    mounts = Path("/proc/mounts").read_text(encoding="utf-8").split()
    for place in sorted((each for each in mounts if each.startswith(str(tmp_path))), reverse=True):
        subprocess.run(["umount", place], check=False, capture_output=True)


def content(image: str, directory: Path) -> dict[str, tuple[object, ...]]:
    """What each file of an image is, but for what an engine puts into a container."""
    container = docker("create", image)
    path = directory / "image.tar"
    try:
        docker("export", "--output", str(path), container)
    finally:
        docker("rm", container)
    found: dict[str, tuple[object, ...]] = {}
    with tarfile.open(path) as archive:
        for entry in archive:
            if entry.name.startswith((".dockerenv", "dev", "etc/h", "etc/resolv", "proc", "sys")):
                continue
            file = archive.extractfile(entry) if entry.isfile() else None
            digest = sha256(file.read()).hexdigest() if file else entry.linkname
            age = entry.mtime if entry.isfile() else None
            found[entry.name] = (entry.type, entry.mode, entry.uid, entry.gid, age, digest)
    path.unlink()
    return found


def test_buildah_makes_the_same_files(
    buildah: tuple[str, ...],
    project: Project,
    bases: Mapping[str, str],
    image: str,
    name: str,
    tmp_path: Path,
) -> None:
    """It takes Docker's own copies of the base images, and hands its result to Docker."""
    arguments = [word for pair in bases.items() for word in ("--build-arg", "=".join(pair))]
    for base in bases.values():
        run(*buildah, "pull", "--quiet", f"docker-daemon:{base}")
    # Whoever started it is told nothing of its cgroups: it needs none.
    confined = ("--isolation", "chroot", "--pull-never", "--timestamp", "0")

    run(*buildah, "build", *confined, *arguments, "--tag", "localhost/built", str(project.path))
    run(*buildah, "push", "--quiet", "localhost/built", f"docker-daemon:{name}:buildah")

    made, expected = content(f"{name}:buildah", tmp_path), content(image, tmp_path)
    assert len(expected) > 1000
    assert {path: made.get(path) for path in made.keys() | expected.keys()} == {
        path: expected.get(path) for path in made.keys() | expected.keys()
    }
    assert docker("run", "--rm", f"{name}:buildah", "--version") == "0.1.0"


def run(*command: str) -> None:
    ended = subprocess.run(command, env=os.environ, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, f"{shlex.join(command)}:\n{ended.stdout}{ended.stderr}"


def instructions(dockerfile: str) -> list[tuple[str, list[str]]]:
    """The instructions of a Dockerfile, continued lines joined, and the words of each."""
    text = re.sub(r"(?m)^#.*\n", "", dockerfile)
    lines = re.sub(r"\\\n", " ", text).splitlines()
    return [(words[0], words[1:]) for words in map(str.split, lines) if words]


def test_the_dockerfile_stays_in_what_kaniko_understands(project: Project) -> None:
    text = (project.path / "Dockerfile").read_text(encoding="utf-8")
    found = instructions(text)

    assert {name for name, _ in found} <= INSTRUCTIONS
    for name, words in found:
        flags = {word.partition("=")[0] for word in words if word.startswith("--")}
        assert name == "RUN" or flags <= FLAGS.get(name, set()), f"{name} {words}"
        if name in ("CMD", "ENTRYPOINT"):
            assert words[0].startswith("["), "the exec form: there is no shell"
        if name == "RUN":
            assert not words[0].startswith("--"), "no --mount, --network or --security"
    assert "<<" not in text
    assert "# syntax=" not in text
    assert "# escape=" not in text


def test_the_runtime_stage_is_of_the_machine_that_it_is_built_for(project: Project) -> None:
    """A stage that is pinned to the building machine gives wrong images for others."""
    text = (project.path / "Dockerfile").read_text(encoding="utf-8")

    assert "--platform" not in text
    assert "BUILDPLATFORM" not in text
