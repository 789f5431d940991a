"""Which files are rendered where, and that they look as if somebody had written them."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.deployment.rendering import PROJECTS
from tests.render.inspection import faults
from tests.render.test_copier_alone import copier_copy

pytestmark = pytest.mark.xdist_group("deployment")


def files(project: Path) -> set[str]:
    return {str(path.relative_to(project)) for path in project.rglob("*") if path.is_file()}


def test_two_repositories_hold_together_what_one_holds(project_of: Callable[[str], Path]) -> None:
    whole = files(project_of("defaults"))
    application = files(project_of("application"))
    infrastructure = files(project_of("infrastructure"))
    assert application | infrastructure == whole
    both = application & infrastructure
    scanning = {".checkov.yaml", "scan-exceptions.yaml", "trivy.yaml"}
    assert both == {".copier-answers.yml", "LICENSE", "README.md"} | scanning
    assert {name for name in whole if name.startswith("deploy/")} == infrastructure - both


def test_the_same_objects_come_out_of_a_repository_of_their_own(
    project_of: Callable[[str], Path],
) -> None:
    whole, half = project_of("defaults"), project_of("infrastructure")
    for tree in ("helm", "kustomize"):
        for name in files(whole / "deploy" / tree):
            path = Path("deploy", tree, name)
            assert (half / path).read_bytes() == (whole / path).read_bytes()


@pytest.mark.parametrize("name", PROJECTS)
def test_rendered_yaml_is_clean(
    name: str, project_of: Callable[[str], Path], repository: Path
) -> None:
    project = project_of(name)
    answers = PROJECTS[name]
    texts = [answers[text] for text in ("name", "description") if text in answers]
    assert faults(project, texts) == []
    written = [
        path
        for path in (project / "deploy").rglob("*.yaml")
        if not path.is_relative_to(project / "deploy" / "helm" / "templates")
    ]
    assert len(written) > 20
    lint = subprocess.run(
        [sys.executable, "-m", "yamllint", "--strict", "-c", repository / ".yamllint", *written],
        capture_output=True,
        text=True,
        check=False,
    )
    assert lint.returncode == 0, lint.stdout


def test_whoever_renders_an_infrastructure_repository_is_sent_to_its_readme(
    template: Path, tmp_path: Path
) -> None:
    answers = ("--data", "layout=split", "--data", "this_repository=infrastructure")
    destination = tmp_path / "infra"
    copied = copier_copy("--defaults", "--vcs-ref", "HEAD", *answers, template, destination)
    assert copied.returncode == 0, copied.stderr
    assert "deploy/README.md says what to write in them." in copied.stderr
    assert "make run" not in copied.stderr
    assert (destination / "deploy" / "README.md").is_file()
