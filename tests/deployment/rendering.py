"""Rendered deployment files, and the objects that Helm's engine and Kustomize make of them."""

import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from helm_python.chart import Chart

from tests.render.pairwise import ENVIRONMENTS

#: A Kubernetes object.
Object = dict[str, Any]

#: Every choice that changes the deployment files, with names as short and as long as they get.
PROJECTS: dict[str, dict[str, Any]] = {
    "defaults": {"deployment": "both"},
    "external": {
        "deployment": "both",
        "database": "external",
        "authentication": "none",
        "criticality": "high",
        "project": "12345",
        "repository": "0b",
        "environments": {"12": "test", "dev1": "dev", "bleu": "prod", "vert": "prod"},
    },
    "longest": {
        "deployment": "both",
        "layout": "split",
        "this_repository": "infrastructure",
        "criticality": "low",
        "project": "1234567890abcdefghij",
        "repository": "a-repository-of-20ch",
        "infrastructure_repository": "deployment1",
        "environments": {"production": "prod", "ab": "preprod"},
        "public_host": "0" * 51 + "." + "c" * 63 + "." + "d" * 63 + "." + "e" * 60,
        "name": "{{ 7*7 }}: # '\"",
        "description": '- "é" \\ \' # {{ x }}',
    },
    "words": {
        "deployment": "both",
        "database": "external",
        "project": "null",
        "repository": "on",
        "public_host": "no",
        "environments": {"true": "qualif", "1e5": "prod"},
    },
}

#: What shows one choice each, beside the "defaults".
CHOICES: dict[str, dict[str, Any]] = {
    "helm": {"deployment": "helm"},
    "kustomize": {"deployment": "kustomize"},
    "application": {"deployment": "both", "layout": "split"},
    "infrastructure": {
        "deployment": "both",
        "layout": "split",
        "this_repository": "infrastructure",
    },
}


@dataclass(frozen=True)
class Case:
    """One environment of one project, through one tool."""

    project: str
    environment: str
    tool: str

    def __str__(self) -> str:
        """Name the case in a test report."""
        return f"{self.project}-{self.environment}-{self.tool}"


def environments(project: str) -> dict[str, str]:
    """The environments of one of PROJECTS, each with its label."""
    named: dict[str, str] = PROJECTS[project].get("environments", ENVIRONMENTS["usual"])
    return named


CASES = [
    Case(project, environment, tool)
    for project in PROJECTS
    for environment in environments(project)
    for tool in ("helm", "kustomize")
]


def helm(
    project: Path,
    environment: str,
    values: Mapping[str, Any] | None = None,
    *,
    upgrade: bool = False,
) -> list[Object]:
    """The objects of an install, or of an upgrade, as Argo CD and Helm make them.

    Args:
        project: A rendered project.
        environment: Whose values file is used.
        values: More values, as a second values file would give them.
        upgrade: Whether the release exists already.

    Raises:
        FileNotFoundError: There is no such environment.
        helm_python.errors.HelmError: The values are refused.
    """
    with Chart.load(project / "deploy" / "helm") as chart:
        texts = chart.render(
            merged(values_of(project, environment), values or {}),
            name="a-release",
            namespace="a-namespace",
            is_install=not upgrade,
            is_upgrade=upgrade,
        )
    return [
        document
        for name, text in texts.items()
        if not name.endswith("NOTES.txt")
        for document in yaml.safe_load_all(text)
        if document
    ]


def values_of(project: Path, environment: str) -> dict[str, Any]:
    """The content of an environment's values file."""
    path = project / "deploy" / "helm" / f"values-{environment}.yaml"
    values: dict[str, Any] = yaml.safe_load(path.read_text())
    return values


def merged(values: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """`values` with `more` over them, as Helm merges two values files."""
    result = dict(values)
    for name, value in more.items():
        below = result.get(name)
        if isinstance(value, Mapping) and isinstance(below, Mapping):
            result[name] = merged(below, value)
        else:
            result[name] = value
    return result


def kustomize(project: Path, environment: str) -> list[Object]:
    """The objects of an environment's overlay.

    Raises:
        subprocess.CalledProcessError: There is no such overlay, or it is not well.
    """
    overlay = project / "deploy" / "kustomize" / "overlays" / environment
    built = subprocess.run(
        [Path(sys.executable).with_name("kubectl"), "kustomize", overlay],
        capture_output=True,
        text=True,
        check=True,
    )
    return list(yaml.safe_load_all(built.stdout))


def with_component(project: Path, environment: str, component: str, copy: Path) -> Path:
    """A copy of a project whose overlay takes one more component."""
    shutil.copytree(project / "deploy", copy / "deploy")
    path = copy / "deploy" / "kustomize" / "overlays" / environment / "kustomization.yaml"
    overlay = yaml.safe_load(path.read_text())
    overlay["components"].append(f"../../components/{component}")
    path.write_text(yaml.safe_dump(overlay))
    return copy


def only(objects: list[Object], kind: str, name: str | None = None) -> Object:
    """The one object of this kind, and of this name where several have the kind."""
    found = [
        each
        for each in objects
        if each["kind"] == kind and name in (None, each["metadata"]["name"])
    ]
    assert len(found) == 1, f"{len(found)} objects are a {kind} {name or ''}"
    return found[0]


def pod_of(thing: Object) -> Object | None:
    """The pod, or the pod template, of an object; None where it runs nothing."""
    match thing["kind"]:
        case "Pod":
            pod: Object | None = thing
        case "CronJob":
            pod = thing["spec"]["jobTemplate"]["spec"]["template"]
        case "Deployment" | "Job" | "StatefulSet" | "DaemonSet":
            pod = thing["spec"]["template"]
        case _:
            pod = None
    return pod


def containers_of(pod: Object) -> list[Object]:
    """Every container of a pod, whatever it is for."""
    spec = pod["spec"]
    return [*spec.get("initContainers", []), *spec["containers"]]
