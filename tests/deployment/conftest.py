"""Projects with deployment files, rendered once each.

The tests here are one group, so that one process of the run renders them all.
"""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from tests.deployment import rendering
from tests.deployment.rendering import CHOICES, PROJECTS, Case, Object
from tests.render.conftest import nobodys_settings, template  # noqa: F401  (fixtures)
from tests.render.rendering import render


@pytest.fixture(scope="session")
def project_of(
    template: Path,  # noqa: F811
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[str], Path]:
    """Where one of PROJECTS or CHOICES is rendered."""

    @cache
    def project(name: str) -> Path:
        answers = {**PROJECTS, **CHOICES}[name]
        return render(template, tmp_path_factory.mktemp(name) / name, answers)

    return project


@pytest.fixture(scope="session")
def objects_of(project_of: Callable[[str], Path]) -> Callable[[Case], list[Object]]:
    """What a case deploys."""

    @cache
    def objects(case: Case) -> list[Object]:
        make = rendering.helm if case.tool == "helm" else rendering.kustomize
        return make(project_of(case.project), case.environment)

    return objects


@pytest.fixture
def project(project_of: Callable[[str], Path]) -> Path:
    """The project of the default answers, with Helm and with Kustomize."""
    return project_of("defaults")
