"""What the platform's policies ask of every object, in every environment, whatever the answers.

The policies are those of the platform's documentation on Kyverno, labels, quotas, observability and
secrets, Pod Security `restricted`, and EXI-ARCH-26 and EXI-ARCH-27 of its technical terms.
"""

import itertools
import re
from collections.abc import Callable, Iterator

import pytest

from tests.deployment.rendering import (
    CASES,
    PROJECTS,
    Case,
    Object,
    containers_of,
    environments,
    only,
    pod_of,
)

LABELS = {
    "env": {"dev", "formation", "qualif", "test", "preprod", "prod"},
    "tier": {"frontend", "backend", "db", "cache", "auth"},
    "criticality": {"high", "medium", "low"},
    "component": {"python", "postgres"},
}
FORBIDDEN_KEYS = {
    "password", "passwd", "secret_key", "pwd", "secret", "credentials", "encryption_key",
    "private_key", "api_secret", "user_pass", "passphrase", "key", "admin_password",
}  # fmt: skip
REGISTRY = "harbor.apps.dso.numerique-interieur.com"
# The others that the platform knows, for what is not ours.
REGISTRIES = {REGISTRY, "docker.io", "ghcr.io", "quay.io"}

pytestmark = [
    pytest.mark.xdist_group("deployment"),
    pytest.mark.parametrize("case", CASES, ids=str),
]


@pytest.fixture
def objects(case: Case, objects_of: Callable[[Case], list[Object]]) -> list[Object]:
    return objects_of(case)


def pods(objects: list[Object]) -> Iterator[Object]:
    found = [pod for pod in map(pod_of, objects) if pod]
    assert len(found) >= 2
    yield from found


def config_of(objects: list[Object]) -> Object:
    """The ConfigMap that the application reads."""
    (container,) = only(objects, "Deployment")["spec"]["template"]["spec"]["containers"]
    (source,) = container["envFrom"]
    return only(objects, "ConfigMap", source["configMapRef"]["name"])


def containers(objects: list[Object]) -> Iterator[Object]:
    yield from itertools.chain.from_iterable(containers_of(pod) for pod in pods(objects))


def test_labels_stand_on_every_object_and_every_pod(case: Case, objects: list[Object]) -> None:
    answers = PROJECTS[case.project]
    deployment = only(objects, "Deployment")
    for thing in [*objects, *pods(objects)]:
        labels = thing["metadata"]["labels"]
        assert labels["app"] == deployment["metadata"]["name"]
        assert labels["env"] == environments(case.project)[case.environment]
        assert labels["criticality"] == answers.get("criticality", "medium")
        assert labels["app.kubernetes.io/part-of"] == answers.get("project", "dossiers")
        assert labels["app.kubernetes.io/name"] == deployment["metadata"]["name"]
        assert labels["app.kubernetes.io/component"]
        for label, allowed in LABELS.items():
            assert labels[label] in allowed
        assert all(len(value) <= 63 for value in labels.values())


def test_a_pod_has_the_labels_that_its_selector_looks_for(
    case: Case, objects: list[Object]
) -> None:
    assert case
    deployment = only(objects, "Deployment")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    selector = {
        name: labels[name] for name in ("app.kubernetes.io/component", "app.kubernetes.io/name")
    }
    name = deployment["metadata"]["name"]
    assert deployment["spec"]["selector"] == {"matchLabels": selector}
    assert only(objects, "Service", name)["spec"]["selector"] == selector
    budget = only(objects, "PodDisruptionBudget", name)
    assert budget["spec"]["selector"] == {"matchLabels": selector}
    assert only(objects, "ServiceMonitor", name)["spec"]["selector"] == {"matchLabels": selector}
    policy = only(objects, "NetworkPolicy", name)
    assert policy["spec"]["podSelector"] == {"matchLabels": selector}
    spec = deployment["spec"]["template"]["spec"]
    for constraint in spec["topologySpreadConstraints"]:
        assert constraint["labelSelector"] == {"matchLabels": selector}


def test_names_are_short_enough(case: Case, objects: list[Object]) -> None:
    repository = PROJECTS[case.project].get("repository", "dossiers-api")
    for thing in objects:
        name = thing["metadata"]["name"]
        # A DNS label (RFC 1035), for a Service must begin with a letter.
        assert re.fullmatch(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?", name)
        assert repository in name
        assert "namespace" not in thing["metadata"]


def test_every_container_asks_for_and_is_limited_in_cpu_and_memory(
    case: Case, objects: list[Object]
) -> None:
    assert case
    for container in containers(objects):
        for bound in ("requests", "limits"):
            assert container["resources"][bound].keys() == {"cpu", "memory"}


def test_every_image_names_registry_project_and_tag(case: Case, objects: list[Object]) -> None:
    assert case
    for container in containers(objects):
        registry, _, rest = container["image"].partition("/")
        assert registry in REGISTRIES
        assert re.fullmatch(r"[a-z0-9-]+/[a-z0-9-]+:[\w][\w.-]*", rest)
        assert not rest.endswith(":latest")
        assert container["imagePullPolicy"] == "IfNotPresent"
        ours = container["name"] in ("api", "migrate", "test")
        assert (registry == REGISTRY) == ours
    for pod in pods(objects):
        assert pod["spec"]["imagePullSecrets"] == [{"name": "registry-pull-secret"}]


def test_pods_are_restricted_and_impose_no_user(case: Case, objects: list[Object]) -> None:
    assert case
    for pod in pods(objects):
        assert pod["spec"]["securityContext"] == {
            "runAsNonRoot": True,
            "seccompProfile": {"type": "RuntimeDefault"},
        }
        assert pod["spec"]["automountServiceAccountToken"] is False
        assert not pod["spec"].keys() & {"hostNetwork", "hostPID", "hostIPC"}
        for container in containers_of(pod):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
                "readOnlyRootFilesystem": True,
            }
            assert not any("hostPort" in port for port in container.get("ports", []))


def test_volumes_are_harmless_and_tmp_is_writable(case: Case, objects: list[Object]) -> None:
    assert case
    for thing in objects:
        pod = pod_of(thing)
        if pod is None or thing["kind"] == "Pod":
            continue
        volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
        assert not any("hostPath" in volume for volume in volumes.values())
        for container in containers_of(pod):
            mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
            assert "emptyDir" in volumes[mounts["/tmp"]]  # noqa: S108  (a mount, not a file)
            assert set(mounts.values()) <= volumes.keys()


def test_no_service_opens_a_node(case: Case, objects: list[Object]) -> None:
    assert case
    for thing in objects:
        if thing["kind"] == "Service":
            assert thing["spec"].get("type", "ClusterIP") == "ClusterIP"


def test_no_configmap_has_a_key_that_looks_like_a_secret(case: Case, objects: list[Object]) -> None:
    assert case
    for thing in objects:
        if thing["kind"] == "ConfigMap":
            assert not {key.lower() for key in thing["data"]} & FORBIDDEN_KEYS
            assert not {key for key in thing["data"] if key.startswith("DATABASE_")}


def test_a_secret_is_a_file_and_nothing_else(case: Case, objects: list[Object]) -> None:
    assert case
    for container in containers(objects):
        for variable in container.get("env", []):
            assert "secretKeyRef" not in variable.get("valueFrom", {})
            assert not re.search("PASSWORD|TOKEN", variable["name"])
        for source in container.get("envFrom", []):
            assert "secretRef" not in source
    container = only(objects, "Deployment")["spec"]["template"]["spec"]["containers"][0]
    variables = {variable["name"]: variable["value"] for variable in container["env"]}
    assert variables["DATABASE_URL_FILE"] == "/run/secrets/database/uri"


def test_a_deployment_has_its_three_probes(case: Case, objects: list[Object]) -> None:
    assert case
    (container,) = only(objects, "Deployment")["spec"]["template"]["spec"]["containers"]
    for probe in ("startup", "liveness", "readiness"):
        asked = container[f"{probe}Probe"]["httpGet"]
        assert asked["port"] == container["ports"][0]["name"] == "http"
    # Longer than the database's own limits (settings.py): an answer, if a bad one, comes first.
    assert container["readinessProbe"]["timeoutSeconds"] >= 3 + 5
    startup = container["startupProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] == 300


def test_a_pod_has_time_to_drain_and_to_finish(case: Case, objects: list[Object]) -> None:
    assert case
    spec = only(objects, "Deployment")["spec"]["template"]["spec"]
    config = config_of(objects)["data"]
    needed = int(config["DRAIN_SECONDS"]) + int(config["SHUTDOWN_TIMEOUT"])
    assert spec["terminationGracePeriodSeconds"] > needed
    assert "lifecycle" not in spec["containers"][0]


def test_a_new_pod_comes_before_an_old_one_goes(case: Case, objects: list[Object]) -> None:
    assert case
    spec = only(objects, "Deployment")["spec"]
    assert spec["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    constraints = spec["template"]["spec"]["topologySpreadConstraints"]
    keys = [constraint["topologyKey"] for constraint in constraints]
    assert keys == ["topology.kubernetes.io/zone", "kubernetes.io/hostname"]


def test_production_follows_criticality_and_load_and_the_others_have_one_pod(
    case: Case, objects: list[Object]
) -> None:
    answers = PROJECTS[case.project]
    deployment = only(objects, "Deployment")
    if environments(case.project)[case.environment] in ("preprod", "prod"):
        scaler = only(objects, "HorizontalPodAutoscaler")["spec"]
        fewest = {"high": 3, "medium": 2, "low": 1}[answers.get("criticality", "medium")]
        assert scaler["minReplicas"] == fewest < scaler["maxReplicas"]
        assert scaler["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
        # Each sync would set it back.
        assert "replicas" not in deployment["spec"]
    else:
        assert deployment["spec"]["replicas"] == 1
        assert not any(thing["kind"] == "HorizontalPodAutoscaler" for thing in objects)
    config = config_of(objects)["data"]
    assert config["ENV"] == case.environment


def test_every_environment_has_a_host_of_its_own(
    case: Case, objects: list[Object], objects_of: Callable[[Case], list[Object]]
) -> None:
    hosts = {}
    for environment in environments(case.project):
        others = objects_of(Case(case.project, environment, case.tool))
        ingress = only(others, "Ingress")["spec"]
        hosts[environment] = ingress["rules"][0]["host"]
        assert ingress["tls"] == [{"hosts": [hosts[environment]]}]
        assert len(hosts[environment]) <= 253
        assert max(map(len, hosts[environment].split("."))) <= 63
    assert len(set(hosts.values())) == len(hosts)
    answers = PROJECTS[case.project]
    production = [name for name, label in environments(case.project).items() if label == "prod"]
    assert hosts[production[-1]] == answers.get("public_host", hosts[production[-1]])
    for path in only(objects, "Ingress")["spec"]["rules"][0]["http"]["paths"]:
        assert path["path"] != "/metrics"


def test_monitors_have_the_label_that_openshift_looks_for(
    case: Case, objects: list[Object]
) -> None:
    assert case
    for thing in objects:
        if thing["kind"] in ("ServiceMonitor", "PodMonitor", "Probe"):
            assert thing["metadata"]["labels"]["argocd.argoproj.io/instance"]


def test_a_budget_never_keeps_a_node_from_being_drained(case: Case, objects: list[Object]) -> None:
    assert case
    budget = only(objects, "PodDisruptionBudget")["spec"]
    assert budget["maxUnavailable"] == 1
    assert budget["unhealthyPodEvictionPolicy"] == "AlwaysAllow"


def test_the_network_lets_through_what_is_needed_and_nothing_else(
    case: Case, objects: list[Object]
) -> None:
    answers = PROJECTS[case.project]
    deployment = only(objects, "Deployment")["metadata"]["name"]
    policy = only(objects, "NetworkPolicy", deployment)["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    (incoming,) = policy["ingress"]
    assert incoming["ports"] == [{"port": "http", "protocol": "TCP"}]
    reached = [[port["port"] for port in rule["ports"]] for rule in policy["egress"]]
    wanted = [[53, 53, 5353, 5353], [5432]]
    if answers.get("authentication") != "none":
        wanted.append([443])
    assert reached == wanted
    migration = only(objects, "NetworkPolicy", f"{deployment}-migration")["spec"]
    assert migration["egress"] == policy["egress"][:2]
    assert "ingress" not in migration


def test_every_pod_is_under_a_policy_that_names_all_it_reaches(
    case: Case, objects: list[Object]
) -> None:
    assert case
    policies = [thing["spec"] for thing in objects if thing["kind"] == "NetworkPolicy"]
    for thing in objects:
        pod = pod_of(thing)
        if pod and thing["kind"] != "Pod":
            labels = pod["metadata"]["labels"]
            assert any(
                policy["podSelector"].get("matchLabels", {}).items() <= labels.items()
                for policy in policies
                if "matchExpressions" not in policy["podSelector"]
                and "Egress" in policy["policyTypes"]
            )
    for policy in policies:
        rules = [
            *((rule, "from") for rule in policy.get("ingress", [])),
            *((rule, "to") for rule in policy.get("egress", [])),
        ]
        for rule, peers in rules:
            assert rule[peers]
            assert rule["ports"]
            for peer in rule[peers]:
                # An empty selector would mean everybody; the exception is where clouds keep the
                # machine's credentials.
                assert all(peer.values())
                assert peer.get("ipBlock", {}).get("except", ["169.254.0.0/16"]) == [
                    "169.254.0.0/16"
                ]


def test_no_identity_provider_is_named_where_nobody_signs_in(
    case: Case, objects: list[Object]
) -> None:
    named = any("OIDC" in str(thing) for thing in objects)
    assert named == (PROJECTS[case.project].get("authentication") != "none")


def test_the_migration_comes_after_what_it_needs_and_before_the_application(
    case: Case, objects: list[Object]
) -> None:
    assert case

    def wave(thing: Object) -> int:
        annotations = thing["metadata"].get("annotations", {})
        return int(annotations.get("argocd.argoproj.io/sync-wave", 0))

    deployment = only(objects, "Deployment")
    job = only(objects, "Job", f"{deployment['metadata']['name']}-migration")
    assert wave(job) < wave(deployment)
    for thing in objects:
        if thing["kind"] in ("Cluster", "Secret", "ServiceAccount", "SopsSecret"):
            assert wave(thing) < wave(job)
        if thing["kind"] == "NetworkPolicy" and "helm.sh/hook" not in str(thing):
            assert wave(thing) < wave(job)
    assert wave(config_of(objects)) < wave(deployment)
    annotations = job["metadata"]["annotations"]
    assert annotations["argocd.argoproj.io/hook"] == "Sync"
    assert annotations["argocd.argoproj.io/hook-delete-policy"] == "BeforeHookCreation"
    assert job["spec"]["ttlSecondsAfterFinished"] == 900
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert container["args"] == ["migrate"]
    # An older configuration would still be there when the hook of an upgrade runs.
    assert "envFrom" not in container
