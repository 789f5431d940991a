"""The image, judged by a scanner that sees all of it, and finds what is planted."""

import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from tests.app.conftest import Project
from tests.containers.conftest import BASES, docker
from tests.engines import not_run
from tests.scanners.exceptions import Explanation, Finding, read, stale, unexplained
from tests.scanners.plants import plant_licence, plant_secret, plant_vulnerability
from tests.scanners.scanners import (
    PROGRAMS,
    DatabaseUnreachableError,
    findings,
    trivy,
    trivy_report,
)

pytestmark = pytest.mark.xdist_group("image")


@pytest.fixture(scope="module")
def entries(project: Project) -> list[Explanation]:
    """The exceptions of the project that the image is built of."""
    return read(project.path / "scan-exceptions.yaml")


@pytest.fixture(scope="module")
def report(image: str) -> dict[str, Any]:
    """What Trivy sees in the image, and holds against it."""
    return trivy_report("image", "secret,license", image, "--list-all-pkgs")


@pytest.fixture(scope="module")
def planted(image: str, name: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The image with a layer of what nobody wants in it."""
    directory = tmp_path_factory.mktemp("planted")
    plant_secret(directory)
    plant_licence(directory)
    plant_vulnerability(directory)
    (directory / "Dockerfile").write_text(f"FROM {image}\nCOPY . /\n", encoding="utf-8")
    docker("build", "--tag", f"{name}:planted", str(directory), DOCKER_BUILDKIT="0")
    yield f"{name}:planted"
    # Before the image that it is made of, which Docker would not let go.
    docker("rmi", f"{name}:planted")


def vulnerabilities(image: str) -> list[Finding]:
    """Return the grave known vulnerabilities that somebody has mended."""
    try:
        return trivy("image", "vuln", image, "--severity=HIGH,CRITICAL", "--ignore-unfixed")
    except DatabaseUnreachableError as error:
        reason = f"Trivy cannot reach its database ({error})"
    return not_run("known vulnerabilities of the image", reason, "AMORCE_VULNERABILITY_DATABASE")


def packages(report: dict[str, Any], kind: str) -> set[str]:
    return {
        each["Name"].lower().replace("_", "-")
        for result in report["Results"]
        if result["Class"] == kind
        for each in result.get("Packages", [])
    }


def test_the_scanner_sees_the_system_and_every_library(
    report: dict[str, Any], project: Project
) -> None:
    """A vulnerability in what it does not see would never be found."""
    lock = (project.path / "requirements.lock").read_text(encoding="utf-8")
    # What is for another system or another Python has a marker.
    locked = {line.split("==")[0] for line in lock.splitlines() if "==" in line and ";" not in line}

    system = report["Metadata"]["OS"]
    assert (system["Family"], system["Name"].partition(".")[0]) == ("debian", "13")
    assert {"libc6", "libssl3t64"} <= packages(report, "os-pkgs")
    assert locked
    assert locked <= packages(report, "lang-pkgs")


def test_it_holds_no_secret_and_no_licence_unexplained(
    report: dict[str, Any], entries: list[Explanation]
) -> None:
    assert unexplained(findings(report), entries) == []


def test_trivy_excuses_the_same_with_the_configuration_of_the_project(
    image: str, project: Project
) -> None:
    """As a team's pipeline would call it: docs/how-to/scan.md."""
    result = subprocess.run(
        [
            *(PROGRAMS / "trivy", "image", "--quiet", "--skip-version-check", "--exit-code=1"),
            *("--scanners=secret,license", "--pkg-types=library", "--cache-backend=memory"),
            *("--severity=UNKNOWN,MEDIUM,HIGH,CRITICAL", image),
        ],
        cwd=project.path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert result.returncode == 0, result.stdout + result.stderr


def test_no_exception_for_a_debian_package_outlives_it(
    report: dict[str, Any], entries: list[Explanation], bases: dict[str, str]
) -> None:
    if bases != BASES:
        pytest.skip("the exceptions are for the packages of `make images`")

    assert stale(list(findings(report)), [e for e in entries if e.section == "debian"]) == []


def test_a_planted_secret_and_a_planted_licence_are_found(
    planted: str, entries: list[Explanation]
) -> None:
    left = unexplained(trivy("image", "secret,license", planted), entries)

    assert [line.partition(":")[0] for line in left] == ["licenses", "secrets"]
    assert "AGPL-3.0-only" in left[0]
    assert "application/key.pem" in left[1]


def test_a_planted_vulnerability_is_found(planted: str) -> None:
    assert "django-2.0" in " ".join(finding.where for finding in vulnerabilities(planted))


def test_it_has_no_grave_vulnerability_that_somebody_has_mended(
    image: str, entries: list[Explanation]
) -> None:
    found = vulnerabilities(image)

    assert unexplained(found, entries) == []
    assert stale(found, [entry for entry in entries if entry.section == "vulnerabilities"]) == []
