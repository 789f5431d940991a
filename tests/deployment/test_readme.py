"""deploy/README.md of a rendered project names what is there."""

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.deployment.rendering import PROJECTS, environments, helm, kustomize, only

pytestmark = pytest.mark.xdist_group("deployment")


def commands(readme: str) -> list[list[str]]:
    return [shlex.split(line) for line in re.findall(r"(?m)^ {4}(\S.*)$", readme)]


@pytest.mark.parametrize("name", PROJECTS)
def test_every_command_names_what_is_there(name: str, project_of: Callable[[str], Path]) -> None:
    project = project_of(name)
    objects = helm(project, next(iter(environments(name))))
    release = only(objects, "Deployment")["metadata"]["name"]
    found = commands((project / "deploy" / "README.md").read_text())
    namespaces = set()
    for words in found:
        match words:
            case ["kubectl", "create", "namespace", namespace]:
                namespaces.add(namespace)
            case ["kubectl", "label", "namespace", namespace, label]:
                namespaces.add(namespace)
                assert label == "pod-security.kubernetes.io/enforce=restricted"
            case [
                "helm", "upgrade", "--install", "--namespace", namespace, "--values", values,
                called, chart,
            ]:  # fmt: skip
                namespaces.add(namespace)
                assert called == release
                assert (project / values).is_file()
                assert (project / chart / "Chart.yaml").is_file()
            case ["helm", "test", "--namespace", namespace, called]:
                namespaces.add(namespace)
                assert called == release
            case ["kubectl", "--namespace", namespace, "delete", "job", job, "--ignore-not-found"]:
                namespaces.add(namespace)
                assert only(objects, "Job")["metadata"]["name"] == job
            case ["kubectl", "--namespace", namespace, "apply", "--kustomize", overlay]:
                namespaces.add(namespace)
                assert kustomize(project, Path(overlay).name)
            case ["kubectl", "apply", "--filename", "deploy/argocd"]:
                pass
            case _:
                pytest.fail(f"no test knows the command {shlex.join(words)}")
    assert len(found) == 7
    (namespace,) = namespaces
    application = (project / "deploy" / "argocd").glob("application-*.yaml")
    assert any(f"namespace: {namespace}\n" in path.read_text() for path in application)


@pytest.mark.parametrize(
    ("name", "programs"),
    [("helm", {"helm", "kubectl"}), ("kustomize", {"kubectl"}), ("defaults", {"helm", "kubectl"})],
)
def test_it_speaks_of_what_was_chosen(
    name: str, programs: set[str], project_of: Callable[[str], Path]
) -> None:
    project = project_of(name)
    readme = (project / "deploy" / "README.md").read_text()
    assert {words[0] for words in commands(readme)} == programs
    assert ("values.yaml" in readme) == (name != "kustomize")
    assert ("overlay" in readme) == (name != "helm")
    assert "\n\n\n" not in readme
    table = re.findall(r"(?m)^\|.*\|$", readme.partition("## On the platform")[0])
    assert len({row.count("|") for row in table}) == 1
    linked = re.findall(r"(?m)^- `(\w+/)`", readme)
    assert {f"{path.name}/" for path in (project / "deploy").iterdir() if path.is_dir()} <= {
        *linked,
        "secrets/",
    }
