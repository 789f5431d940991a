"""Helm and Kustomize say the same, object by object."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.deployment.rendering import (
    PROJECTS,
    Case,
    Object,
    environments,
    helm,
    kustomize,
    with_component,
)

pytestmark = pytest.mark.xdist_group("deployment")

#: The letters and digits of which Kustomize makes its hashes.
HASH = r"-[2456789bcdfghkmt]{10}$"


def by_name(objects: list[Object]) -> dict[tuple[str, str], Object]:
    """The objects by kind and name, less the only two differences that there are.

    1. How another configuration makes other pods: in Helm the pods carry its checksum, in Kustomize
       a hash of it ends the ConfigMap's name, which the pods mention.
    2. `helm test` has no counterpart.
    """
    hashed = {
        thing["metadata"]["name"]: re.sub(HASH, "", thing["metadata"]["name"])
        for thing in objects
        if thing["kind"] == "ConfigMap"
    }
    compared = [renamed(thing, hashed) for thing in objects if not is_helm_test(thing)]
    for thing in compared:
        if thing["kind"] == "Deployment":
            metadata = thing["spec"]["template"]["metadata"]
            if metadata.get("annotations", {}).keys() == {"checksum/config"}:
                del metadata["annotations"]
    named = {(thing["kind"], thing["metadata"]["name"]): thing for thing in compared}
    assert len(named) == len(compared)
    return named


def renamed(part: Any, names: dict[str, str]) -> Any:  # noqa: ANN401  (any part of an object)
    """A copy of a part of an object, in which what has one of these names has another."""
    match part:
        case dict():
            return {key: renamed(value, names) for key, value in part.items()}
        case list():
            return [renamed(value, names) for value in part]
        case str():
            return names.get(part, part)
        case _:
            return part


def is_helm_test(thing: Object) -> bool:
    return bool(thing["metadata"].get("annotations", {}).get("helm.sh/hook") == "test")


@pytest.mark.parametrize(
    ("project", "environment"),
    [(project, environment) for project in PROJECTS for environment in environments(project)],
)
def test_helm_and_kustomize_say_the_same(
    project: str, environment: str, objects_of: Callable[[Case], list[Object]]
) -> None:
    of_helm = by_name(objects_of(Case(project, environment, "helm")))
    of_kustomize = by_name(objects_of(Case(project, environment, "kustomize")))
    assert of_helm.keys() == of_kustomize.keys()
    for name in of_helm:
        assert of_helm[name] == of_kustomize[name]


@pytest.mark.parametrize(
    ("component", "values"),
    [
        ("openshift", {"ingress": {"annotations": {"route.openshift.io/termination": "edge"}}}),
        ("organisation-ca", {"organisationCA": {"configMapName": "organisation-ca"}}),
        ("telemetry", {"telemetry": {"endpoint": "http://collector.infra-obs:4318"}}),
    ],
)
def test_a_component_is_a_value(
    component: str, values: dict[str, Any], project: Path, tmp_path: Path
) -> None:
    plain = by_name(kustomize(project, "dev"))
    copy = with_component(project, "dev", component, tmp_path / "copy")
    changed = by_name(kustomize(copy, "dev"))
    assert changed == by_name(helm(project, "dev", values))
    assert changed != plain
