"""What `make` says on a machine that lacks something."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest


@pytest.fixture
def fresh(repository: Path, tmp_path: Path) -> Path:
    for name in ("Makefile", "requirements.lock", "requirements-programs.lock"):
        shutil.copy(repository / name, tmp_path)
    return tmp_path


def make(directory: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [shutil.which("make") or "make", *arguments],
        cwd=directory,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def python_that_fails(directory: Path, word: str) -> str:
    path = directory / "python"
    path.write_text(
        "#!/bin/sh\n"
        'case "$*" in\n'
        '    --version) echo "Python 3.9.2" ;;\n'
        f"    *{word}*) exit 1 ;;\n"
        "esac\n"
    )
    path.chmod(0o755)
    return str(path)


def test_help_lists_every_target(repository: Path) -> None:
    said = make(repository).stdout
    for target in (
        "help",
        "demo",
        "demo-check",
        "demo-container",
        "down",
        "images",
        "test",
        "lint",
        "format",
        "bench",
        "lock",
        "clean",
    ):
        assert f"make {target} " in said


def test_a_missing_python_is_said(fresh: Path) -> None:
    run = make(fresh, "test", "PYTHON=no-such-python")
    assert run.returncode != 0
    assert run.stdout.startswith("no-such-python is missing: install Python 3.11 or newer")
    assert not (fresh / ".venv").exists()


def test_an_old_python_is_said(fresh: Path) -> None:
    run = make(fresh, "test", f"PYTHON={python_that_fails(fresh, 'version_info')}")
    assert run.returncode != 0
    assert run.stdout.startswith("Python 3.9.2 is too old: install Python 3.11 or newer")


def test_a_missing_venv_module_is_said(fresh: Path) -> None:
    run = make(fresh, "test", f"PYTHON={python_that_fails(fresh, 'ensurepip')}")
    assert run.returncode != 0
    assert run.stdout.startswith("Python's venv module is missing: install it")


def test_a_missing_git_is_said(fresh: Path) -> None:
    python = python_that_fails(fresh, "nothing")
    run = make(fresh, "test", f"PYTHON={python}", PATH=str(fresh))
    assert run.returncode != 0
    assert run.stdout.startswith("git is missing: install it")
