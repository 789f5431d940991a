"""What is scanned, and what the scanners say about it."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.deployment.rendering import PROJECTS, environments
from tests.render.conftest import nobodys_settings, template  # noqa: F401  (fixtures)
from tests.render.rendering import render
from tests.scanners import scanners
from tests.scanners.exceptions import Explanation, Finding, read
from tests.scanners.manifests import write_manifests

#: What every scanner must find, so that its silence about the rest means something.
PLANTED = {
    "Dockerfile": "FROM docker.io/library/debian:latest\nUSER root\nRUN cd /srv && sudo true\n",
    "pod.yaml": """\
apiVersion: v1
kind: Pod
metadata: {name: planted}
spec:
  containers:
    - name: planted
      image: docker.io/library/debian:latest
      securityContext: {privileged: true}
""",
}


@dataclass(frozen=True)
class Judged:
    """Findings, those in what was planted apart."""

    findings: list[Finding]
    planted: list[Finding]


@pytest.fixture(scope="session")
def projects(
    template: Path,  # noqa: F811
    tmp_path_factory: pytest.TempPathFactory,
) -> Mapping[str, Path]:
    """The projects of every choice that changes what is deployed."""
    return {
        name: render(template, tmp_path_factory.mktemp(name) / name, answers)
        for name, answers in PROJECTS.items()
    }


@pytest.fixture(scope="session")
def entries(projects: Mapping[str, Path]) -> list[Explanation]:
    """The exceptions, which no answer changes."""
    return read(projects["defaults"] / "scan-exceptions.yaml")


@pytest.fixture(scope="session")
def staged(projects: Mapping[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the Dockerfile, the manifests of every choice, and what was planted."""
    directory = tmp_path_factory.mktemp("staged")
    shutil.copy(projects["defaults"] / "Dockerfile", directory)
    for name, project in projects.items():
        write_manifests(project, environments(name), directory / name)
        # In every environment, from the chart and from the overlay.
        deployments = list((directory / name).glob("*/*/**/deployment*.yaml"))
        assert len(deployments) == 2 * len(environments(name))
    (directory / "planted").mkdir()
    for name, text in PLANTED.items():
        (directory / "planted" / name).write_text(text, encoding="utf-8")
    return directory


@pytest.fixture(scope="session")
def configuration(
    repository: Path, staged: Path, tmp_path_factory: pytest.TempPathFactory
) -> Mapping[str, Judged]:
    """What Trivy, checkov and hadolint say about the Dockerfile and the manifests, by section."""
    home = tmp_path_factory.mktemp("home")
    found = [
        *scanners.trivy("config", "misconfig", staged),
        *scanners.checkov(repository, staged, home),
        *scanners.hadolint(staged, "Dockerfile", "planted/Dockerfile"),
    ]
    return {
        section: Judged(
            [each for each in found if each.section == section and not is_planted(each)],
            [each for each in found if each.section == section and is_planted(each)],
        )
        for section in ("misconfigurations", "checkov", "hadolint")
    }


def is_planted(finding: Finding) -> bool:
    return finding.where.startswith("planted/")
