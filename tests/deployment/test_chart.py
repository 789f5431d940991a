"""The chart by itself: what its values allow, what they change, and what an upgrade does."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from helm_python import chart
from helm_python.errors import HelmError

from tests.deployment.rendering import (
    CASES,
    Case,
    Object,
    helm,
    kustomize,
    merged,
    only,
    values_of,
)

pytestmark = pytest.mark.xdist_group("deployment")

FOUR = {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": "1", "memory": "1Gi"}}

#: Values that are refused: where, and with which sentence.
REFUSED: list[tuple[dict[str, Any], str]] = [
    (
        {"image": {"tag": "latest"}},
        "at '/image/tag': value must be 'the tag of an image that was built'",
    ),
    (
        {"image": {"tag": ""}},
        "Say which image: set image.tag in the environment's values file.",
    ),
    ({"image": {"tag": 1234567}}, "at '/image/tag': got number, want string"),
    ({"image": {"tag": "a/b"}}, "at '/image/tag': 'a/b' does not match pattern"),
    ({"image": {"registry": ""}}, "at '/image/registry': '' does not match pattern"),
    ({"image": {"pullPolicy": "Always"}}, "additional properties 'pullPolicy' not allowed"),
    (
        {"podSecurityContext": {"runAsUser": 1000}},
        "at '/podSecurityContext': additional properties 'runAsUser' not allowed",
    ),
    (
        {"podSecurityContext": {"fsGroup": 0}},
        "at '/podSecurityContext': additional properties 'fsGroup' not allowed",
    ),
    (
        {"securityContext": {"runAsGroup": 0}},
        "at '/securityContext': additional properties 'runAsGroup' not allowed",
    ),
    (
        {"securityContext": {"allowPrivilegeEscalation": True}},
        "at '/securityContext/allowPrivilegeEscalation': value must be false",
    ),
    (
        {"securityContext": {"capabilities": {"add": ["NET_ADMIN"]}}},
        "at '/securityContext/capabilities': additional properties 'add' not allowed",
    ),
    ({"replica": 2}, "additional properties 'replica' not allowed"),
    ({"replicas": "2"}, "at '/replicas': got string, want integer"),
    ({"criticality": "huge"}, "value must be one of 'high', 'medium', 'low'"),
    ({"environment": {"label": "production"}}, "value must be one of '', 'dev', 'formation'"),
    (
        {"environment": {"name": ""}},
        "Say which environment: add -f values-<environment>.yaml.",
    ),
    (
        {"ingress": {"host": ""}},
        "Say under which name the application is reached: set ingress.host in the environment's va",
    ),
    ({"ingress": {"host": "https://example.org"}}, "at '/ingress/host': 'https://example.org' d"),
    ({"ingress": {"paths": []}}, "at '/ingress/paths': minItems: got 0, want 1"),
    ({"config": {"DATABASE_PASSWORD": "x"}}, "at '/config/DATABASE_PASSWORD': value must be 'in a"),
    ({"config": {"DATABASE_URL": "x"}}, "at '/config/DATABASE_URL': value must be 'in a Secret'"),
    ({"config": {"KEY": "x"}}, "at '/config/KEY': value must be 'in a Secret'"),
    ({"config": {"key": "x"}}, "invalid propertyName 'key'"),
    ({"config": {"PORT": "80"}}, "at '/config/PORT': value must be 'left to the image'"),
    (
        {"config": {"DRAIN_SECONDS": "9"}},
        "value must be 'in environment, shutdown, oidc or telemetry'",
    ),
    # Helm would write it as 1e+06.
    ({"config": {"MAX_BODY_SIZE": 1000000}}, "got number, want string"),
    ({"resources": {"limits": {"memory": None}}}, "at '/resources/limits': missing property 'mem"),
    ({"migration": {"resources": {"requests": None}}}, "missing property 'requests'"),
    ({"oidc": {"issuer": "http://sso.example.org"}}, "at '/oidc/issuer': 'http://sso.example.org'"),
    (
        {"database": {"sslMode": "verify-full", "caSecretName": ""}},
        "Name the Secret that holds the database's authority in database.caSecretName: database.ss",
    ),
    ({"database": {"sslMode": "disable"}}, "at '/database/sslMode': value must be one of"),
    (
        {"organisationCA": {"configMapName": "a", "secretName": "b"}},
        "Name a ConfigMap or a Secret in organisationCA, not both.",
    ),
    (
        {"autoscaling": {"minReplicas": 5}},
        "Give autoscaling.maxReplicas at least the value of autoscaling.minReplicas.",
    ),
    ({"networkPolicy": {"to": {"everybody": []}}}, "additional properties 'everybody' not allowed"),
    ({"networkPolicy": {"from": {"monitoring": [{}]}}}, "minProperties: got 0, want 1"),
    ({"shutdown": {"graceSeconds": 0}}, "at '/shutdown/graceSeconds': minimum: got 0, want 5"),
]


@pytest.mark.parametrize(("values", "sentence"), REFUSED, ids=lambda value: str(value)[:60])
def test_a_bad_value_is_refused_with_a_sentence(
    values: dict[str, Any], sentence: str, project: Path
) -> None:
    with pytest.raises(HelmError) as refusal:
        helm(project, "dev", values)
    assert sentence in str(refusal.value)


def test_settings_of_an_identity_provider_are_refused_where_nobody_signs_in(
    project_of: Callable[[str], Path],
) -> None:
    with pytest.raises(HelmError, match="additional properties 'oidc' not allowed"):
        helm(project_of("external"), "dev1", {"oidc": {"issuer": "https://a", "audience": "b"}})


@pytest.mark.parametrize("case", [case for case in CASES if case.tool == "helm"], ids=str)
def test_lint_has_nothing_to_say(case: Case, project_of: Callable[[str], Path]) -> None:
    project = project_of(case.project)
    values = values_of(project, case.environment)
    report = chart.lint(project / "deploy" / "helm", values, strict=True)
    assert report["errors"] == []
    assert [each["error"] for each in report["messages"]] == ["icon is recommended"]


def test_an_environment_that_does_not_exist(project: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"values-nowhere\.yaml"):
        helm(project, "nowhere")
    with pytest.raises(subprocess.CalledProcessError) as failure:
        kustomize(project, "nowhere")
    assert "overlays/nowhere" in failure.value.stderr
    assert failure.value.stdout == ""


def test_every_value_is_described_by_the_schema_and_every_description_has_a_value(
    project_of: Callable[[str], Path],
) -> None:
    for name in ("defaults", "external"):
        with chart.Chart.load(project_of(name) / "deploy" / "helm") as loaded:
            values, schema = loaded.values, loaded.schema
        assert schema
        # An image that names no user needs one; ours does.
        assert described(schema) - names(values, schema) <= {".backup.podSecurityContext.runAsUser"}
        assert names(values, schema) <= described(schema)


def names(values: dict[str, Any], schema: dict[str, Any], path: str = "") -> set[str]:
    """The values' paths, as deep as the schema lists properties."""
    found = set()
    for name, value in values.items():
        found.add(f"{path}.{name}")
        below = schema.get("properties", {}).get(name, {})
        if isinstance(value, dict) and "properties" in below:
            found |= names(value, below, f"{path}.{name}")
    return found


def described(schema: dict[str, Any], path: str = "") -> set[str]:
    found = set()
    for name, below in schema.get("properties", {}).items():
        found |= {f"{path}.{name}", *described(below, f"{path}.{name}")}
    return found


# --- What values change -------------------------------------------------------------------------


def pod(objects: list[Object]) -> Object:
    template: Object = only(objects, "Deployment")["spec"]["template"]
    return template


def test_another_configuration_makes_other_pods(project: Path, tmp_path: Path) -> None:
    before = pod(helm(project, "dev"))
    after = pod(helm(project, "dev", {"config": {"LOG_LEVEL": "DEBUG"}}))
    assert before["metadata"]["annotations"] != after["metadata"]["annotations"]

    copy = tmp_path / "project"
    path = copy / "deploy" / "kustomize"
    path.parent.mkdir(parents=True)
    subprocess.run(["cp", "-r", project / "deploy" / "kustomize", path], check=True)
    overlay = path / "overlays" / "dev" / "kustomization.yaml"
    changed = overlay.read_text().replace("- ENV=dev", "- ENV=dev\n      - LOG_LEVEL=DEBUG")
    overlay.write_text(changed)
    assert pod(kustomize(project, "dev")) != pod(kustomize(copy, "dev"))
    assert pod(kustomize(project, "dev")) == pod(kustomize(project, "dev"))


def test_another_replica_does_not(project: Path) -> None:
    assert pod(helm(project, "dev")) == pod(helm(project, "dev", {"replicas": 2}))


def test_the_grace_period_follows_the_shutdown(project: Path) -> None:
    values = {"shutdown": {"drainSeconds": 30, "timeoutSeconds": 300}}
    objects = helm(project, "prod", values)
    assert pod(objects)["spec"]["terminationGracePeriodSeconds"] == 340
    data = only(objects, "ConfigMap")["data"]
    assert (data["DRAIN_SECONDS"], data["SHUTDOWN_TIMEOUT"]) == ("30", "300")


def test_a_security_context_may_be_left_to_the_cluster(project: Path) -> None:
    nothing = {
        "podSecurityContext": {"runAsNonRoot": None, "seccompProfile": None},
        "securityContext": {
            "allowPrivilegeEscalation": None,
            "capabilities": None,
            "readOnlyRootFilesystem": None,
        },
    }
    for thing in (
        only(helm(project, "prod", nothing), "Deployment"),
        only(helm(project, "prod", nothing), "Job"),
    ):
        spec = thing["spec"]["template"]["spec"]
        assert "securityContext" not in spec
        assert "securityContext" not in spec["containers"][0]


def test_organisation_certificates_come_from_a_secret_too(project: Path) -> None:
    objects = helm(project, "prod", {"organisationCA": {"secretName": "ours", "key": "ca.pem"}})
    for kind in ("Deployment", "Job"):
        spec = only(objects, kind)["spec"]["template"]["spec"]
        assert {"name": "organisation-ca", "secret": {"secretName": "ours"}} in spec["volumes"]
        assert {"name": "SSL_CERT_FILE", "value": "/run/organisation-ca/ca.pem"} in (
            spec["containers"][0]["env"]
        )


def test_only_the_authoritys_certificate_is_mounted_never_its_key(project: Path) -> None:
    for kind in ("Deployment", "Job"):
        spec = only(helm(project, "prod"), kind)["spec"]["template"]["spec"]
        (sources,) = [
            volume["projected"]["sources"]
            for volume in spec["volumes"]
            if volume["name"] == "database"
        ]
        mounted = {
            (source["secret"]["name"], item["key"])
            for source in sources
            for item in source["secret"]["items"]
        }
        assert mounted == {
            ("dossiers-api-database-app", "uri"),
            ("dossiers-api-database-ca", "ca.crt"),
        }


@pytest.mark.parametrize(
    ("issuer", "port"),
    [
        ("https://sso.example.org/realms/a", 443),
        ("https://sso.example.org:8443/realms/a", 8443),
        ("https://sso.example.org:444", 444),
    ],
)
def test_the_network_opens_the_issuers_port(issuer: str, port: int, project: Path) -> None:
    objects = helm(project, "prod", {"oidc": {"issuer": issuer}})
    policy = only(objects, "NetworkPolicy", "dossiers-api")
    assert policy["spec"]["egress"][-1]["ports"] == [{"port": port, "protocol": "TCP"}]


def test_an_empty_list_of_peers_means_nobody(project: Path) -> None:
    values = {
        "networkPolicy": {
            "from": {"ingressController": [], "monitoring": []},
            "to": {"dns": [], "database": [], "issuer": [], "telemetry": []},
        },
        "telemetry": {"endpoint": "https://collector.example.org"},
    }
    for name in ("dossiers-api", "dossiers-api-migration"):
        policy = only(helm(project, "prod", values), "NetworkPolicy", name)["spec"]
        assert not policy.get("ingress")
        assert not policy["egress"]


def test_what_a_cluster_does_not_have_can_be_left_out(project: Path) -> None:
    values = {
        "autoscaling": {"enabled": False},
        "ingress": {"enabled": False, "host": ""},
        "monitoring": {"enabled": False},
        "networkPolicy": {"enabled": False},
    }
    kinds = {thing["kind"] for thing in helm(project, "prod", values)}
    assert not kinds & {
        "HorizontalPodAutoscaler",
        "Ingress",
        "NetworkPolicy",
        "ServiceMonitor",
    }
    assert only(helm(project, "prod", values), "Deployment")["spec"]["replicas"] == 1


# --- Install, upgrade, test ----------------------------------------------------------------------


def test_the_migration_is_a_hook_of_an_upgrade_only(project: Path) -> None:
    """Before an install there is no database, and a hook after one would wait for the pods.

    A rollback to what was installed creates its Job again: one of the hook's would be in its way.
    """
    install = only(helm(project, "prod"), "Job", "dossiers-api-migration")
    upgrade = only(helm(project, "prod", upgrade=True), "Job", "dossiers-api-migration-upgrade")
    added = {"helm.sh/hook": "pre-upgrade", "helm.sh/hook-delete-policy": "before-hook-creation"}
    assert not install["metadata"]["annotations"].keys() & added.keys()
    assert upgrade["metadata"]["annotations"] == install["metadata"]["annotations"] | added
    assert upgrade["spec"] == install["spec"]


def test_an_upgrade_changes_nothing_else(project: Path) -> None:
    def others(objects: list[Object]) -> list[Object]:
        return [thing for thing in objects if thing["kind"] != "Job"]

    assert others(helm(project, "prod")) == others(helm(project, "prod", upgrade=True))


def test_helm_test_asks_the_service_whether_it_is_ready(project: Path) -> None:
    objects = helm(project, "prod")
    tester = only(objects, "Pod")
    (container,) = tester["spec"]["containers"]
    served = pod(objects)["spec"]["containers"][0]
    assert container["image"] == served["image"]
    assert "http://dossiers-api/health/ready" in container["command"][-1]
    compile(container["command"][-1], "command", "exec")
    service = only(objects, "Service", "dossiers-api")
    assert service["spec"]["ports"][0]["port"] == 80
    # The application's own policy lets nobody in but the Ingress and Prometheus.
    policy = only(objects, "NetworkPolicy", "dossiers-api-test")["spec"]
    (rule,) = policy["ingress"]
    (peer,) = rule["from"]
    assert peer["podSelector"]["matchLabels"].items() <= tester["metadata"]["labels"].items()
    assert (
        policy["podSelector"]
        == only(objects, "NetworkPolicy", "dossiers-api")["spec"]["podSelector"]
    )


def test_the_notes_say_where_it_is_and_what_to_ask(project: Path) -> None:
    values = merged(values_of(project, "prod"), {"image": {"tag": "3f2a9c1"}})
    with chart.Chart.load(project / "deploy" / "helm") as loaded:
        texts = loaded.render(values, name="a-release", namespace="a-namespace")
    (notes,) = [text for name, text in texts.items() if name.endswith("NOTES.txt")]
    assert notes.startswith("dossiers-api 3f2a9c1 goes to prod.\n")
    assert "https://dossiers-api.example.org/health" in notes
    assert "helm --namespace a-namespace test a-release" in notes
    for name, text in texts.items():
        assert yaml.safe_load_all(text)
        assert not [line for line in text.splitlines() if line != line.rstrip()], name
