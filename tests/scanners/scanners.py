"""The scanners, each as a function that returns what it found.

Each reads no configuration but what is said here, so that what a project excuses is found as well.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.application import install
from tests.engines import require_engine
from tests.scanners.exceptions import Finding

PROGRAMS = Path(sys.executable).parent
HERE = Path(__file__).parent
#: The categories of licences that ask for nothing but a notice.
FREE = {"notice", "permissive", "unencumbered"}


class DatabaseUnreachableError(Exception):
    """Trivy has no vulnerability database, so it has judged nothing."""


def hadolint(directory: Path, *dockerfiles: str) -> list[Finding]:
    """Judge the Dockerfiles of these names in a directory."""
    said = run(
        *(PROGRAMS / "hadolint", "--format=json", "--no-fail", "--config=/dev/null"),
        *dockerfiles,
        cwd=directory,
    )
    return [
        Finding("hadolint", each["code"], each["file"], each["level"], each["message"])
        for each in json.loads(said)
    ]


def checkov(repository: Path, directory: Path, home: Path) -> list[Finding]:
    """Judge the Dockerfiles and manifests in a directory."""
    try:
        environment = install(HERE / "checkov.lock", repository / "build", "checkov")
    except subprocess.CalledProcessError as error:
        require_engine("checkov", f"its packages cannot be had ({error})")
    said = run(
        *(environment / "bin" / "checkov", "--directory", ".", "--output=json", "--soft-fail"),
        *("--framework", "dockerfile", "kubernetes", "--skip-download", "--compact", "--quiet"),
        cwd=directory,
        variables={"CKV_SKIP_PACKAGE_UPDATE_CHECK": "true", "HOME": str(home)},
    )
    reports = json.loads(said)
    reports = reports if isinstance(reports, list) else [reports]
    for report in reports:
        assert report["summary"]["parsing_errors"] == 0, said
    return [
        Finding(
            "checkov",
            each["check_id"],
            each["file_path"].removeprefix("/"),
            each["severity"] or "",
            f"{each['check_name']} ({each['resource']})",
        )
        for report in reports
        for each in report["results"]["failed_checks"]
    ]


def trivy(kind: str, scanners: str, target: Path | str, *arguments: str) -> list[Finding]:
    """Judge a directory or an image with Trivy.

    Args:
        kind: Trivy's command: config, fs, rootfs, image.
        scanners: What to look for, misconfig, secret, license or vuln, separated by commas.
        target: The directory, or the image's name.
        arguments: More for Trivy.

    Raises:
        DatabaseUnreachableError: It could not get its vulnerability database.
    """
    return list(findings(trivy_report(kind, scanners, target, *arguments)))


def trivy_report(kind: str, scanners: str, target: Path | str, *arguments: str) -> dict[str, Any]:
    """Return Trivy's report on a directory or an image; see `trivy`."""
    directory = target if isinstance(target, Path) else None
    wanted = () if kind == "config" else ("--scanners", scanners)
    checks = ("--skip-check-update",) if "misconfig" in scanners else ()
    # The cache on disk belongs to one Trivy at a time. What an image holds is judged, not its list.
    shared = ("--cache-backend=memory", "--skip-files=application/sbom.cdx.json")
    command = (
        *(PROGRAMS / "trivy", kind, "--format=json", "--quiet", "--skip-version-check"),
        *("--config=", "--ignorefile=", *wanted, *checks, *shared, *arguments),
        "." if directory else str(target),
    )
    report: dict[str, Any] = json.loads(run(*command, cwd=directory))
    return report


def findings(report: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield what a report of Trivy holds against its target."""
    for result in report.get("Results", []):
        target = result["Target"]
        for each in result.get("Misconfigurations", []):
            yield Finding(
                "misconfigurations", each["ID"], target, each["Severity"], each["Message"]
            )
        for each in result.get("Secrets", []):
            # Never its text: a report would spread it.
            yield Finding("secrets", each["RuleID"], target, each["Severity"], each["Title"])
        for each in result.get("Vulnerabilities", []):
            yield Finding(
                "vulnerabilities",
                each["VulnerabilityID"],
                each.get("PkgPath") or target,
                each["Severity"],
                f"{each['PkgName']} {each['InstalledVersion']}, mended in {each['FixedVersion']}",
            )
        for each in result.get("Licenses", []):
            package, category = each["PkgName"], each["Category"]
            if target != "OS Packages":
                if category not in FREE:
                    where = each["FilePath"] or target
                    yield Finding("licenses", each["Name"], where, each["Severity"], package)
            # Debian's copyright files call many free licences by names of their own. All that
            # Debian distributes is free: what matters here is copyleft, which Trivy does know.
            elif category not in FREE | {"unknown"}:
                yield Finding("debian", each["Name"], package, each["Severity"], category)


def run(
    *command: Path | str, cwd: Path | None = None, variables: Mapping[str, str] | None = None
) -> str:
    """Run a scanner, and return what it printed.

    Raises:
        DatabaseUnreachableError: It is Trivy, and it could not get its vulnerability database.
    """
    result = subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, **(variables or {})},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    # Trivy has one exit code for whatever goes wrong.
    if result.returncode and "vulnerability DB" in result.stderr:
        raise DatabaseUnreachableError(result.stderr.strip().splitlines()[-1].strip())
    assert result.returncode == 0, f"{' '.join(map(str, command))}:\n{result.stderr}"
    return result.stdout
