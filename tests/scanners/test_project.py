"""Dockerfile, manifests and files of the project, judged by scanners that find what is planted."""

import os
import re
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from tests.deployment.rendering import PROJECTS
from tests.scanners import scanners
from tests.scanners.conftest import Judged
from tests.scanners.exceptions import Explanation, Finding, badly_written, stale, unexplained
from tests.scanners.plants import plant_licence, plant_secret

pytestmark = pytest.mark.xdist_group("scanners")

CONFIGURATION = ("misconfigurations", "checkov", "hadolint")
#: Of what conftest.PLANTED holds, one thing for each scanner and file.
EXPECTED = {
    "misconfigurations": {("DS-0002", "planted/Dockerfile"), ("KSV-0017", "planted/pod.yaml")},
    "checkov": {("CKV_DOCKER_8", "planted/Dockerfile"), ("CKV_K8S_16", "planted/pod.yaml")},
    "hadolint": {("DL3004", "planted/Dockerfile")},
}


def of(section: str, entries: list[Explanation]) -> list[Explanation]:
    return [entry for entry in entries if entry.section == section]


def test_every_exception_says_why_and_until_when(entries: list[Explanation]) -> None:
    assert list(badly_written(entries, datetime.now(UTC).date())) == []


@pytest.mark.parametrize("section", CONFIGURATION)
def test_the_scanner_finds_what_was_planted(
    configuration: Mapping[str, Judged], section: str
) -> None:
    found = {(finding.id, finding.where) for finding in configuration[section].planted}

    assert found >= EXPECTED[section]


@pytest.mark.parametrize("section", CONFIGURATION)
def test_dockerfile_and_manifests_hold_nothing_unexplained(
    configuration: Mapping[str, Judged], entries: list[Explanation], section: str
) -> None:
    assert unexplained(configuration[section].findings, entries) == []


@pytest.mark.parametrize("section", CONFIGURATION)
def test_no_exception_outlives_its_finding(
    configuration: Mapping[str, Judged], entries: list[Explanation], section: str
) -> None:
    assert stale(configuration[section].findings, of(section, entries)) == []


def test_what_trivy_takes_for_a_secret_is_none(
    configuration: Mapping[str, Judged],
) -> None:
    """The exceptions by file must not hide a real one."""
    named = [each for each in configuration["misconfigurations"].findings if each.id == "KSV-01010"]

    keys = {re.sub(r".* '\{(.*)\}'$", r"\1", each.text, flags=re.DOTALL) for each in named}
    # A level, and the name of a variable that a script reads from a file.
    assert keys == {'"LOG_LEVEL"', '"AWS_SECRET_ACCESS_KEY"'}


@pytest.mark.parametrize("name", PROJECTS)
def test_the_project_holds_no_secret(
    projects: Mapping[str, Path], entries: list[Explanation], name: str
) -> None:
    assert of("secrets", entries) == []
    assert scanners.trivy("fs", "secret", projects[name]) == []


def test_a_planted_secret_is_found(tmp_path: Path) -> None:
    plant_secret(tmp_path)

    [found] = scanners.trivy("fs", "secret", tmp_path)

    assert (found.id, found.where) == ("private-key", "application/key.pem")


@pytest.fixture(scope="module")
def licences(application_venv: Path, repository: Path) -> list[Finding]:
    """What Trivy holds against the licences of the libraries that the service runs with."""
    lock = (repository / "template" / "requirements.lock").read_text(encoding="utf-8")
    locked = {line.partition("==")[0] for line in lock.splitlines() if "==" in line}
    found = scanners.trivy("rootfs", "license", application_venv)
    # The environment also holds what the tests need, and that is not published with the service.
    return [finding for finding in found if finding.text.lower().replace("_", "-") in locked]


def test_the_libraries_suit_every_licence_that_is_offered(
    licences: list[Finding], entries: list[Explanation]
) -> None:
    assert unexplained(licences, entries) == []
    assert stale(licences, of("licenses", entries)) == []


def test_a_planted_licence_is_found_and_nothing_excuses_it(
    tmp_path: Path, entries: list[Explanation]
) -> None:
    plant_licence(tmp_path)

    found = scanners.trivy("rootfs", "license", tmp_path)

    assert [(finding.id, finding.severity) for finding in found] == [("AGPL-3.0-only", "CRITICAL")]
    assert len(unexplained(found, entries)) == 1


@pytest.mark.parametrize("name", PROJECTS)
def test_trivy_excuses_the_same_with_the_configuration_of_the_project(
    projects: Mapping[str, Path], name: str
) -> None:
    """As a team's pipeline would call it, on the chart itself."""
    result = subprocess.run(
        [
            *(scanners.PROGRAMS / "trivy", "config", "--quiet", "--skip-check-update"),
            *("--skip-version-check", "--exit-code=1", "."),
        ],
        cwd=projects[name],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert result.returncode == 0, result.stdout + result.stderr


def test_tests_of_a_group_run_in_one_process(request: pytest.FixtureRequest) -> None:
    """The scheduler knows a group by its name at the end of the test's."""
    if os.environ.get("PYTEST_XDIST_WORKER"):
        assert request.node.nodeid.endswith("@scanners")


def test_checkov_excuses_what_the_file_explains_everywhere(
    projects: Mapping[str, Path], entries: list[Explanation]
) -> None:
    file = projects["defaults"] / ".checkov.yaml"
    configured = yaml.safe_load(file.read_text(encoding="utf-8"))

    explained = {entry.id for entry in of("checkov", entries) if entry.paths == ("*",)}
    assert set(configured["skip-check"]) == explained
