"""What a team gets lints and passes its own tests, whatever the answers.

A small set of combinations shows every choice of every question, each free-text family and each
kind of name; tests/render looks at every pair of choices.
"""

from pathlib import Path

import pytest

from tests.app.conftest import Project
from tests.render.pairwise import Combination, smallest_cover
from tests.render.rendering import render

NO_ENGINE = "unix:///nowhere/docker.sock"


@pytest.mark.parametrize("combination", smallest_cover(), ids=str)
def test_a_rendered_project_lints_and_passes_its_own_tests(
    combination: Combination, template: Path, application_venv: Path, tmp_path: Path
) -> None:
    """On SQLite, which needs no engine: no answer changes how the database is used."""
    path = render(template, tmp_path / "project", combination.with_code().answers)
    project = Project(path, application_venv)

    project.make("lint")
    project.make("test", DOCKER_HOST=NO_ENGINE)


def test_the_rendered_suite_runs_on_postgresql(project: Project, postgresql_url: str) -> None:
    project.make("test", TEST_DATABASE_URL=postgresql_url, REQUIRE_ENGINES="1")
