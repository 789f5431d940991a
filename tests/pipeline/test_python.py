"""The scripts run where a job's image has an old Python and no package."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.pipeline.conftest import CI, OLDEST, oldest_python

SCRIPTS = [CI / "image_tag.py", CI / "trigger_sync.py"]


def vermin(script: Path) -> subprocess.CompletedProcess[str]:
    """Ask Vermin, which knows for each part of Python when it came.

    It leaves annotations out: they are never evaluated, `from __future__ import annotations`.
    """
    target = "--target={}.{}-".format(*OLDEST)
    program = Path(sys.executable).with_name("vermin")
    return subprocess.run(
        [program, target, "--no-tips", "--violations", script],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_nothing_in_it_is_newer_than_the_oldest_python(script: Path) -> None:
    ast.parse(script.read_bytes(), feature_version=OLDEST)
    judged = vermin(script)

    assert judged.returncode == 0, judged.stdout
    assert "from __future__ import annotations" in script.read_text(encoding="utf-8")


def test_vermin_would_see_what_is_newer(tmp_path: Path) -> None:
    newer = tmp_path / "newer.py"
    newer.write_text("import tomllib\n")
    judged = vermin(newer)

    assert judged.returncode == 1
    assert "'tomllib' module requires !2, 3.11" in judged.stdout


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_it_imports_the_standard_library_alone(script: Path) -> None:
    tree = ast.parse(script.read_bytes())
    modules = {
        name.partition(".")[0]
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert modules <= sys.stdlib_module_names
    assert modules


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_its_help_shows_on_the_oldest_python_that_is_here(script: Path) -> None:
    """Without site packages (-I -S), as in an image that has none."""
    shown = subprocess.run(
        [oldest_python(), "-I", "-S", script, "--help"], capture_output=True, text=True, check=False
    )
    assert shown.returncode == 0, shown.stderr
    assert "exit codes:" in shown.stdout
