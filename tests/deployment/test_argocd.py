"""What Argo CD may do, and from where, on clusters outside the platform."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deployment.rendering import PROJECTS, environments

pytestmark = pytest.mark.xdist_group("deployment")


def read(project: Path, name: str) -> dict[str, Any]:
    content = (project / "deploy" / "argocd" / f"{name}.yaml").read_text()
    thing: dict[str, Any] = yaml.safe_load(content)
    return thing


@pytest.mark.parametrize("name", PROJECTS)
def test_an_application_stays_within_its_project(
    name: str, project_of: Callable[[str], Path]
) -> None:
    project = read(project_of(name), "project")
    applications = [
        read(project_of(name), f"application-{environment}") for environment in environments(name)
    ]
    assert len({each["metadata"]["name"] for each in applications}) == len(applications)
    for application in applications:
        spec = application["spec"]
        assert spec["project"] == project["metadata"]["name"]
        assert spec["source"]["repoURL"] in project["spec"]["sourceRepos"]
        assert spec["destination"] in project["spec"]["destinations"]
        assert len(application["metadata"]["name"]) <= 53
        assert spec["syncPolicy"]["automated"] == {"prune": True, "selfHeal": True}
    everything = str([project["spec"]["sourceRepos"], project["spec"]["destinations"]])
    assert "*" not in everything
    assert project["spec"]["clusterResourceWhitelist"] == []


@pytest.mark.parametrize("name", ["helm", "kustomize", "defaults"])
def test_an_application_reads_files_that_are_there(
    name: str, project_of: Callable[[str], Path]
) -> None:
    project = project_of(name)
    for environment in ("dev", "preprod", "prod"):
        source = read(project, f"application-{environment}")["spec"]["source"]
        if name == "kustomize":
            assert "helm" not in source
            assert (project / source["path"] / "kustomization.yaml").is_file()
        else:
            (values,) = source["helm"]["valueFiles"]
            assert (project / source["path"] / values).is_file()
            assert (project / source["path"] / "Chart.yaml").is_file()
    assert (project / "deploy" / "helm").exists() == (name != "kustomize")
    assert (project / "deploy" / "kustomize").exists() == (name != "helm")
