"""Every choice and every pair of choices renders files that need no mending."""

import shutil
import subprocess
import sys
import tomllib
from itertools import combinations
from pathlib import Path

import copier
import pytest
import yaml

from tests.render.inspection import faults
from tests.render.pairwise import (
    PARAMETERS,
    TEXTS,
    Combination,
    pairs,
    pairwise,
    smallest_cover,
)
from tests.render.rendering import render

COMBINATIONS = pairwise()
COVER = smallest_cover()


def contents(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def test_every_pair_of_choices_occurs() -> None:
    shown = {pair for combination in COMBINATIONS for pair in pairs(combination.values)}
    wanted = {
        ((one, value), (other, second))
        for one, other in combinations(PARAMETERS, 2)
        for value in PARAMETERS[one]
        for second in PARAMETERS[other]
    }
    assert wanted <= shown


@pytest.mark.parametrize("chosen", [COMBINATIONS, COVER], ids=["pairwise", "cover"])
def test_every_choice_occurs(chosen: list[Combination]) -> None:
    shown = {item for combination in chosen for item in combination.values.items()}
    assert shown == {(name, value) for name, values in PARAMETERS.items() for value in values}


def test_no_smaller_cover_exists() -> None:
    assert len(COVER) == max(len(values) for values in PARAMETERS.values())


def test_every_text_stands_in_every_free_text_answer() -> None:
    for question in ("name", "description", "owning_team"):
        assert {item.texts[question] for item in COMBINATIONS} == set(TEXTS.values())


@pytest.mark.parametrize("combination", COMBINATIONS, ids=str)
def test_a_render_needs_no_mending(
    combination: Combination, template: Path, tmp_path: Path
) -> None:
    project = render(template, tmp_path / "project", combination.answers)
    assert faults(project, combination.texts.values()) == []
    ruff = subprocess.run(
        [sys.executable, "-m", "ruff", "format", "--check", "--diff", "--no-cache", project],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ruff.returncode == 0, ruff.stdout + ruff.stderr
    written = contents(project)
    assert not [name for name, content in written.items() if b"51724863" in content], (
        "an answer was rendered as a template"
    )
    answers = yaml.safe_load(written[".copier-answers.yml"])
    assert {name: answers[name] for name in combination.answers} == combination.answers
    assert list(answers["environments"]) == list(combination.answers["environments"])
    assert combination.texts["owning_team"] in written["LICENSE"].decode().splitlines()[0]
    if combination.has_code:
        metadata = tomllib.loads(written["pyproject.toml"].decode())["project"]
        assert metadata["description"] == combination.texts["description"]


@pytest.mark.parametrize("combination", COVER, ids=str)
def test_the_answers_file_alone_makes_the_same_bytes_again(
    combination: Combination, template: Path, tmp_path: Path
) -> None:
    project = render(template, tmp_path / "project", combination.answers)
    again = tmp_path / "again"
    again.mkdir()
    shutil.copy(project / ".copier-answers.yml", again)
    copier.run_recopy(
        again, defaults=True, overwrite=True, quiet=True, unsafe=False, vcs_ref="HEAD"
    )
    assert contents(again) == contents(project)
