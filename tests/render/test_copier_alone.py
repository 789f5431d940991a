"""`copier copy` needs nothing but Copier: no trust, no extension, no undefined variable."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.render.rendering import commit, render


def copier_copy(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "copier", "copy", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ,
        stdin=subprocess.DEVNULL,
    )


def test_a_copy_has_no_code_to_run(template: Path) -> None:
    config = yaml.safe_load((template / "copier.yml").read_text())
    assert not config.keys() & {"_tasks", "_jinja_extensions"}


def test_copier_renders_the_defaults_without_trust_and_says_what_is_next(
    template: Path, tmp_path: Path
) -> None:
    destination = tmp_path / "my project"
    copied = copier_copy("--defaults", "--vcs-ref", "HEAD", template, destination)
    assert copied.returncode == 0, copied.stderr
    assert f"cd '{destination}'\n    make run" in copied.stderr
    assert (destination / "src" / "dossiers_api" / "__init__.py").is_file()


def test_a_directory_without_git_renders_the_same_and_leaves_litter_behind(
    template: Path, tmp_path: Path
) -> None:
    plain = tmp_path / "plain"
    shutil.copytree(template, plain, ignore=shutil.ignore_patterns(".git"))
    for litter in ("a.pyc", "__pycache__/a.txt", ".mypy_cache/a.txt", ".DS_Store"):
        path = plain / "template" / litter
        path.parent.mkdir(exist_ok=True)
        path.write_text("litter")
    render(plain, tmp_path / "without", {})
    render(template, tmp_path / "with", {})
    without, with_git = (
        {
            str(path.relative_to(tmp_path / name)): path.read_bytes()
            for path in (tmp_path / name).rglob("*")
            if path.is_file() and path.name != ".copier-answers.yml"
        }
        for name in ("without", "with")
    )
    assert without == with_git


@pytest.mark.parametrize("name", ["scar.txt.jinja", "{{ nobody_asked_this }}.txt"])
def test_an_undefined_variable_stops_the_render_and_nothing_is_left(
    template: Path, tmp_path: Path, name: str
) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(template, broken, ignore=shutil.ignore_patterns(".git"))
    (broken / "template" / name).write_text("{{ nobody_asked_this }}\n")
    commit(broken)
    copied = copier_copy("--defaults", "--vcs-ref", "HEAD", broken, tmp_path / "out")
    assert copied.returncode != 0
    assert "'nobody_asked_this' is undefined" in copied.stderr
    assert not (tmp_path / "out").exists()


def test_a_bad_answer_leaves_nothing_behind(template: Path, tmp_path: Path) -> None:
    copied = copier_copy(
        "--defaults",
        "--vcs-ref",
        "HEAD",
        "--data",
        "project=My-Project",
        template,
        tmp_path / "out",
    )
    assert copied.returncode != 0
    assert "Write 2 to 20 lower-case letters and digits, nothing else." in copied.stderr
    assert not (tmp_path / "out").exists()
