"""Copier alone, without Amorce and without --trust, then only what the project itself brings."""

import subprocess
import sys
from pathlib import Path

from tests.app.conftest import Project


def test_copier_alone_renders_a_project_that_installs_lints_and_passes_its_tests(
    template: Path, tmp_path: Path, engines: dict[str, str]
) -> None:
    copier = Path(sys.executable).with_name("copier")
    path = tmp_path / "my-app"

    subprocess.run(
        [copier, "copy", "--quiet", "--defaults", template, path], check=True, timeout=60
    )

    Project(path, path / ".venv").make("install", "lint", "test", **engines)
