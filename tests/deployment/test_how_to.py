"""The pages on deploying are true: their values are accepted, what they name is there."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deployment.rendering import helm, kustomize

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted((ROOT / "docs" / "how-to").glob("deploy-on-*.md"))
pages = pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)


def fragments(page: Path) -> list[dict[str, Any]]:
    """Return the pieces of values files that a page shows."""
    return [
        yaml.safe_load(text)
        for text in re.findall(r"(?ms)^```yaml\n(.*?)^```", page.read_text(encoding="utf-8"))
    ]


def commands(page: Path) -> list[list[str]]:
    """Return the words of each command of a page."""
    lines = re.findall(r"(?m)^ {4}((?:helm|kubectl|curl) .*)$", page.read_text(encoding="utf-8"))
    return [shlex.split(line) for line in lines]


def test_there_are_values_and_commands_to_look_at() -> None:
    assert len(PAGES) == 3
    assert sum(len(fragments(page)) for page in PAGES) >= 6
    assert sum(len(commands(page)) for page in PAGES) >= 10


@pages
def test_the_chart_takes_the_values_of_the_page(page: Path, project: Path) -> None:
    for values in fragments(page):
        assert helm(project, "prod", values), values


@pages
def test_the_files_and_objects_that_the_page_names_are_there(page: Path, project: Path) -> None:
    objects = {
        f"{each['kind'].lower()}/{each['metadata']['name']}" for each in kustomize(project, "dev")
    }
    for words in commands(page):
        for word in words:
            kind = word.partition("/")[0]
            if word.startswith(("deployment/", "job/")):
                assert word in objects, words
            elif kind == "deploy":
                assert (project / word).is_dir(), words
            elif re.fullmatch(r"values-\w+\.yaml", word):
                assert (project / "deploy" / "helm" / word).is_file(), words
        if words[:3] == ["kubectl", "delete", "job"]:
            assert f"job/{words[-1]}" in objects


def test_the_page_on_openshift_names_a_component_that_is_there(project: Path) -> None:
    page = ROOT / "docs" / "how-to" / "deploy-on-openshift.md"
    [component] = re.findall(r"(?m)^ +- \.\./\.\./(components/\S+)$", page.read_text())

    assert (project / "deploy" / "kustomize" / component / "kustomization.yaml").is_file()


def test_the_table_of_pods_is_the_charts(project: Path) -> None:
    page = (ROOT / "docs" / "how-to" / "deploy-on-the-platform.md").read_text(encoding="utf-8")
    row = next(line for line in page.splitlines() if "criticality medium" in line)
    _, _, pods, each, peak, _ = (cell.strip() for cell in row.split("|"))
    objects = {thing["kind"]: thing for thing in helm(project, "prod")}
    scaling = objects["HorizontalPodAutoscaler"]["spec"]
    [container] = objects["Deployment"]["spec"]["template"]["spec"]["containers"]
    limits = container["resources"]["limits"]

    assert pods == f"{scaling['minReplicas']} to {scaling['maxReplicas']}"
    assert peak == f"{scaling['maxReplicas'] + 1} pods"
    assert each == f"{limits['cpu']} CPU, {limits['memory'].replace('Mi', ' Mi')}"
