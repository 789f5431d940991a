"""The database in the cluster, its backups, and the way back from them."""

import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from helm_python import HelmError, HelmRenderError

from tests.deployment.rendering import (
    PROJECTS,
    Case,
    Object,
    environments,
    helm,
    kustomize,
    merged,
    only,
)
from tests.deployment.test_same import by_name
from tests.deployment.test_schemas import VERSIONS, check

CLUSTERS = [name for name, answers in PROJECTS.items() if "database" not in answers]
NAME = "dossiers-api-database"


def values_of_the_runbook(project: Path) -> list[Mapping[str, Any]]:
    """The values that deploy/backup.md says to write, in order."""
    text = (project / "deploy" / "backup.md").read_text(encoding="utf-8")
    blocks = re.findall(r"(?s)```yaml\n(.*?)```", text)
    return [yaml.safe_load(block) for block in blocks]


@pytest.mark.parametrize(
    "case",
    [
        Case(project, environment, tool)
        for project in CLUSTERS
        for environment in environments(project)
        for tool in ("helm", "kustomize")
    ],
    ids=str,
)
def test_a_cluster_is_what_the_environment_deserves(
    case: Case, objects_of: Callable[[Case], list[Object]]
) -> None:
    objects = objects_of(case)
    cluster = only(objects, "Cluster")
    production = environments(case.project)[case.environment] in ("preprod", "prod")

    assert cluster["spec"]["instances"] == (3 if production else 1)
    assert cluster["spec"]["enableSuperuserAccess"] is False
    labels = cluster["spec"]["inheritedMetadata"]["labels"]
    assert labels == cluster["metadata"]["labels"]
    assert (labels["tier"], labels["component"]) == ("db", "postgres")
    assert cluster["spec"]["affinity"]["enablePodAntiAffinity"] is True
    assert ("backup" in cluster["spec"]) is production
    assert ("ScheduledBackup" in {each["kind"] for each in objects}) is production
    if production:
        place = cluster["spec"]["backup"]["barmanObjectStore"]["destinationPath"]
        # No two environments in one place.
        assert place.endswith(f"/{case.environment}")


@pytest.mark.parametrize("project", CLUSTERS)
def test_every_connection_of_every_pod_fits(
    project: str, objects_of: Callable[[Case], list[Object]]
) -> None:
    """In Kustomize, where nothing checks it; the chart does."""
    for environment in environments(project):
        objects = objects_of(Case(project, environment, "kustomize"))
        pods = only(objects, "Deployment")["spec"].get("replicas", 1)
        if scaler := [each for each in objects if each["kind"] == "HorizontalPodAutoscaler"]:
            pods = scaler[0]["spec"]["maxReplicas"]
        parameters = only(objects, "Cluster")["spec"]["postgresql"]["parameters"]
        assert 5 * (pods + 1) + 20 <= int(parameters["max_connections"])


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (
            {"database": {"cluster": {"maxConnections": 40}}},
            "Raise database.cluster.maxConnections to 45: 4 pods and one more in an update, ",
        ),
        (
            {"config": {"DATABASE_POOL_SIZE": "20"}},
            "Raise database.cluster.maxConnections to 120: 4 pods and one more in an update, ",
        ),
        (
            {"database": {"cluster": {"recovery": {"cluster": "another"}}}},
            "Say in database.cluster.recovery.source which Cluster's backups to recover from.",
        ),
        (
            {"database": {"cluster": {"recovery": {"cluster": NAME, "source": NAME}}}},
            f"Give the Cluster in database.cluster.recovery.cluster another name than {NAME}",
        ),
        (
            {
                "backup": {"enabled": False},
                "database": {"cluster": {"recovery": {"cluster": "another", "source": NAME}}},
            },
            "Switch backup.enabled on: a recovery reads where backups are written.",
        ),
    ],
)
def test_a_value_that_would_fail_later_is_refused_with_a_sentence(
    values: Mapping[str, Any], sentence: str, project: Path
) -> None:
    with pytest.raises(HelmRenderError, match=re.escape(sentence)):
        helm(project, "prod", values)


@pytest.mark.parametrize("size", ["2Ti", "1025Gi", "1Pi", "10"])
@pytest.mark.parametrize("volume", ["storage", "walStorage"])
def test_a_volume_that_the_platform_refuses_is_refused_at_once(
    volume: str, size: str, project: Path
) -> None:
    with pytest.raises(HelmError, match="size"):
        helm(project, "prod", {"database": {"cluster": {volume: {"size": size}}}})


def test_the_plugin_is_a_value(project: Path) -> None:
    objects = helm(project, "prod", {"backup": {"method": "plugin"}})
    cluster, store = only(objects, "Cluster"), only(objects, "ObjectStore")

    for each in objects:
        check(each, VERSIONS[-1])
    assert "backup" not in cluster["spec"]
    [plugin] = cluster["spec"]["plugins"]
    assert plugin["parameters"]["barmanObjectName"] == store["metadata"]["name"]
    assert only(objects, "ScheduledBackup")["spec"]["method"] == "plugin"
    in_tree = only(helm(project, "prod"), "Cluster")["spec"]["backup"]
    assert store["spec"]["configuration"] == in_tree["barmanObjectStore"]
    assert store["spec"]["retentionPolicy"] == in_tree["retentionPolicy"]


def test_a_recovery_reads_the_old_place_and_writes_a_new_one(project: Path) -> None:
    _, recovery, _ = values_of_the_runbook(project)
    objects = helm(project, "prod", recovery)
    lost, recovered = only(objects, "Cluster", NAME), only(objects, "Cluster", f"{NAME}-2")

    for each in objects:
        check(each, VERSIONS[-1])
    bootstrap = recovered["spec"]["bootstrap"]["recovery"]
    assert bootstrap["recoveryTarget"] == {"targetTime": "2026-01-31T12:00:00Z"}
    [source] = recovered["spec"]["externalClusters"]
    # Barman keeps each Cluster's backups under its name.
    assert bootstrap["source"] == source["name"] == NAME
    assert source["barmanObjectStore"] == lost["spec"]["backup"]["barmanObjectStore"]
    assert recovered["spec"]["backup"] == lost["spec"]["backup"]
    assert lost == only(helm(project, "prod"), "Cluster")
    secret = {"name": f"{NAME}-app", "items": [{"key": "uri", "path": "uri"}]}
    assert {"secret": secret} in secrets_of(only(objects, "Deployment"))


def test_then_the_application_is_switched_and_nothing_is_removed(project: Path) -> None:
    _, recovery, switch = values_of_the_runbook(project)
    objects = helm(project, "prod", merged(recovery, switch))

    cluster = only(objects, "Cluster")
    assert cluster == only(helm(project, "prod", recovery), "Cluster", f"{NAME}-2")
    annotations = cluster["metadata"]["annotations"]
    assert annotations["helm.sh/resource-policy"] == "keep"
    assert annotations["argocd.argoproj.io/sync-options"] == "Prune=false,Delete=false"
    for kind in ("Deployment", "Job"):
        names = [each["secret"]["name"] for each in secrets_of(only(objects, kind))]
        assert names == [f"{NAME}-2-app", f"{NAME}-2-ca"]
    backup = only(objects, "ScheduledBackup")
    assert backup["metadata"]["name"] == backup["spec"]["cluster"]["name"] == f"{NAME}-2"


def secrets_of(thing: Object) -> list[Object]:
    volumes = thing["spec"]["template"]["spec"]["volumes"]
    [sources] = [each["projected"]["sources"] for each in volumes if each["name"] == "database"]
    found: list[Object] = sources
    return found


@pytest.mark.parametrize("components", [["recovery"], ["recovery", "switch"]])
def test_components_recover_as_values_do(
    components: list[str], project: Path, tmp_path: Path
) -> None:
    values: Mapping[str, Any] = {"database": {"cluster": {"recovery": {"targetTime": ""}}}}
    for more in values_of_the_runbook(project)[1 : 1 + len(components)]:
        values = merged(more, values)
    shutil.copytree(project / "deploy", tmp_path / "deploy")
    path = tmp_path / "deploy" / "kustomize" / "overlays" / "prod" / "kustomization.yaml"
    overlay = yaml.safe_load(path.read_text())
    overlay["components"] += [f"../../components/database-{each}" for each in components]
    path.write_text(yaml.safe_dump(overlay))

    assert by_name(kustomize(tmp_path, "prod")) == by_name(helm(project, "prod", values))


def test_a_user_is_said_where_nobody_else_chooses_one(project_of: Callable[[str], Path]) -> None:
    values = {"backup": {"podSecurityContext": {"runAsUser": 10001}}}

    objects = helm(project_of("external"), "bleu", values)

    for job in (each for each in objects if each["kind"] == "CronJob"):
        spec = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]
        assert spec["securityContext"] == {
            "runAsNonRoot": True,
            "runAsUser": 10001,
            "seccompProfile": {"type": "RuntimeDefault"},
        }
    deployment = only(objects, "Deployment")["spec"]["template"]["spec"]
    assert "runAsUser" not in deployment["securityContext"]


def test_the_commands_of_the_runbook_name_what_is_deployed(
    project: Path, project_of: Callable[[str], Path]
) -> None:
    for path, environment in (project, "prod"), (project_of("external"), "bleu"):
        text = (path / "deploy" / "backup.md").read_text(encoding="utf-8")
        deployed = {
            (each["kind"].lower(), each["metadata"]["name"]) for each in helm(path, environment)
        }
        named = re.findall(r"\b(cronjob|deployment|cluster)[/ ]([a-z0-9-]+-[a-z0-9-]+)", text)
        assert named
        for kind, name in named:
            assert (kind, name.removesuffix("-2")) in deployed
