"""The list of what the image holds: a valid CycloneDX document, and nothing missing in it."""

import json
import re
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.app.conftest import Project
from tests.containers.conftest import docker

pytestmark = pytest.mark.xdist_group("image")

#: What decides whether a line of the lock file is for the image (PEP 508).
IMAGE = {"sys_platform": "linux", "platform_system": "Linux", "os_name": "posix"}


@pytest.fixture(scope="module")
def sbom(project: Project, image: str) -> str:
    assert image
    return (project.path / "build" / "sbom.cdx.json").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def packages(sbom: str) -> Mapping[str, Mapping[str, Any]]:
    """The packages that it lists, by the beginning of their package URLs."""
    components = [each for each in json.loads(sbom)["components"] if "purl" in each]
    return {each["purl"].partition("?")[0]: each for each in components}


@pytest.fixture(scope="module")
def root(image: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The image's files."""
    directory = tmp_path_factory.mktemp("root")
    container = docker("create", image)
    try:
        docker("export", "--output", str(directory / "image.tar"), container)
    finally:
        docker("rm", container)
    with tarfile.open(directory / "image.tar") as archive:
        archive.extractall(directory / "files", filter="tar")
    return directory / "files"


def test_it_is_valid_and_names_the_application(sbom: str) -> None:
    error = JsonStrictValidator(SchemaVersion.V1_6).validate_str(sbom)

    assert error is None, error
    subject = json.loads(sbom)["metadata"]["component"]
    assert (subject["name"], subject["version"]) == ("dossiers-api", "0.1.0")
    assert subject["licenses"] == [{"expression": "EUPL-1.2"}]


def test_it_is_the_one_that_the_image_carries(sbom: str, root: Path) -> None:
    assert (root / "application" / "sbom.cdx.json").read_text(encoding="utf-8") == sbom


def test_every_locked_package_is_in_it_with_its_licence(
    packages: Mapping[str, Mapping[str, Any]], project: Project, image: str
) -> None:
    said = docker("run", "--rm", "--entrypoint", "python3", image, "--version")
    python = {"python_full_version": said.split()[1], "python_version": said.split()[1][:4]}
    lock = (project.path / "requirements.lock").read_text(encoding="utf-8")
    wanted = set()
    for line in re.findall(r"(?m)^([a-z].*?) *\\$", lock):
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate({**IMAGE, **python}):
            [version] = requirement.specifier
            wanted.add(f"pkg:pypi/{canonicalize_name(requirement.name)}@{version.version}")

    listed = {purl for purl in packages if purl.startswith("pkg:pypi/")}

    assert len(wanted) > 30
    assert listed == wanted
    assert [purl for purl in listed if not packages[purl].get("licenses")] == []


def test_every_debian_package_is_in_it(
    packages: Mapping[str, Mapping[str, Any]], root: Path
) -> None:
    stanzas = [
        path.read_text(encoding="utf-8")
        for path in (root / "var" / "lib" / "dpkg" / "status.d").iterdir()
        if not path.name.endswith(".md5sums")
    ]
    wanted = {
        (name, version)
        for text in stanzas
        for name in re.findall(r"(?m)^Package: (.+)$", text)
        for version in re.findall(r"(?m)^Version: (.+)$", text)
    }
    debian = [each for purl, each in packages.items() if purl.startswith("pkg:deb/debian/")]

    assert len(wanted) > 10
    assert {(each["name"], each["version"]) for each in debian} == wanted
    # The others' copyright files are prose.
    assert sum("licenses" in each for each in debian) > len(wanted) / 2


def test_trivy_finds_the_same_packages_without_reading_it(
    packages: Mapping[str, Mapping[str, Any]], root: Path
) -> None:
    trivy = Path(sys.executable).with_name("trivy")
    options = ("--skip-files", "application/sbom.cdx.json", "--format", "cyclonedx", "--quiet")
    found = subprocess.run(
        [trivy, "rootfs", *options, "--offline-scan", "--skip-version-check", root],
        check=True,
        capture_output=True,
        text=True,
    ).stdout

    listed = [each for each in json.loads(found)["components"] if "purl" in each]
    assert {name_and_version(each) for each in listed} == {
        name_and_version(each) for each in packages.values()
    }


def name_and_version(component: Mapping[str, Any]) -> tuple[str, str]:
    """As two tools write it alike, which they do not in package URLs (Debian's epoch)."""
    return canonicalize_name(component["name"]), component["version"]
