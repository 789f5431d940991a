"""docs/reference/cli.md says what the command does: the two are compared here."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import click
import pytest

from amorce import __version__, errors
from amorce.cli import main
from amorce.rendering.new import COPIER_MINIMUM
from tests.cli.command import amorce


@pytest.fixture(scope="module")
def page(repository: Path) -> str:
    return (repository / "docs" / "reference" / "cli.md").read_text()


def test_every_exit_code_is_documented(page: str) -> None:
    classes = errors.AmorceError.__subclasses__()
    documented = dict(re.findall(r"^\| (\d+) \| `(\w+)` \|", page, re.MULTILINE))
    assert documented == {str(each.exit_code): each.__name__ for each in classes}


def test_every_option_is_documented_and_no_other(page: str) -> None:
    options = {
        option
        for command in main.commands.values()
        for parameter in command.params
        if isinstance(parameter, click.Option)
        for option in parameter.opts
    }
    assert set(re.findall(r"^\| `(--[a-z-]+)", page, re.MULTILINE)) == options


def test_the_version_is_said() -> None:
    run = amorce("--version")
    assert (run.returncode, run.stdout) == (0, f"amorce {__version__}\n")


def test_help_and_version_do_not_load_copier() -> None:
    code = "import sys, amorce.cli; sys.exit('copier' in sys.modules or 'yaml' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_an_unknown_command_is_a_usage_error() -> None:
    run = amorce("nwe")
    assert run.returncode == 2
    assert "No such command" in run.stderr


def test_the_lock_follows_what_amorce_declares(repository: Path) -> None:
    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    locked = (repository / "requirements.in").read_text().splitlines()
    assert set(project["dependencies"]) <= set(locked)
    minimum = ".".join(map(str, COPIER_MINIMUM))
    assert any(each.startswith(f"copier>={minimum},") for each in project["dependencies"])
