"""Every object is what the APIs of recent Kubernetes versions and of its operators describe."""

import json
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

import jsonschema
import kubernetes_validate.utils
import pytest
import yaml

from tests.deployment.rendering import CASES, Case, Object, helm

pytestmark = pytest.mark.xdist_group("deployment")

SCHEMAS = Path(__file__).parent / "schemas"
OLDEST = 29
VERSIONS = [
    version
    for version in kubernetes_validate.utils.all_versions()
    if int(version.split(".")[1]) >= OLDEST
]


@cache
def schema_of(kind: str, api_version: str) -> jsonschema.Draft7Validator | None:
    """The validator of an operator's kind; None for Kubernetes' own."""
    group, _, version = api_version.rpartition("/")
    path = SCHEMAS / f"{kind.lower()}.{group}-{version}.json"
    return jsonschema.Draft7Validator(json.loads(path.read_text())) if path.exists() else None


def check(thing: Object, version: str) -> None:
    """Refuse an object that the version of Kubernetes, or its operator, would refuse or ignore."""
    if operators := schema_of(thing["kind"], thing["apiVersion"]):
        operators.validate(thing)
    else:
        kubernetes_validate.utils.validate(thing, version, strict=True)


def test_the_platforms_versions_are_among_them() -> None:
    assert {version.rpartition(".")[0] for version in VERSIONS} >= {"1.29", "1.33", "1.37"}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_object_is_valid(case: Case, objects_of: Callable[[Case], list[Object]]) -> None:
    for thing in objects_of(case):
        check(thing, VERSIONS[-1])


@pytest.mark.parametrize("version", VERSIONS)
def test_every_version_takes_them(
    version: str, project_of: Callable[[str], Path], objects_of: Callable[[Case], list[Object]]
) -> None:
    objects = [
        *objects_of(Case("defaults", "prod", "helm")),
        *objects_of(Case("external", "bleu", "helm")),
        *helm(project_of("defaults"), "dev", upgrade=True),
    ]
    distinct = {json.dumps(thing, sort_keys=True): thing for thing in objects}
    for thing in distinct.values():
        check(thing, version)


@pytest.mark.parametrize("case", [case for case in CASES if case.tool == "helm"], ids=str)
def test_what_argo_cd_reads_is_valid(case: Case, project_of: Callable[[str], Path]) -> None:
    directory = project_of(case.project) / "deploy" / "argocd"
    for name in ("project", f"application-{case.environment}"):
        thing = yaml.safe_load((directory / f"{name}.yaml").read_text())
        validator = schema_of(thing["kind"], thing["apiVersion"])
        assert validator
        validator.validate(thing)


@pytest.mark.parametrize("path", sorted(SCHEMAS.glob("*.json")), ids=lambda path: path.stem)
def test_a_schema_names_its_source_and_refuses_what_it_does_not_know(path: Path) -> None:
    schema = json.loads(path.read_text())
    assert re.search(r"Apache-2\.0|Written anew", schema["$comment"])
    validator = jsonschema.Draft7Validator(schema)
    validator.check_schema(schema)
    kind, _, group_and_version = path.stem.partition(".")
    group, _, version = group_and_version.rpartition("-")
    thing = {"apiVersion": f"{group}/{version}", "kind": kind, "spec": {"misspelt": True}}
    assert any("misspelt" in error.message for error in validator.iter_errors(thing))
