"""The Kustomize overlays on a real cluster: deployed, updated, broken and mended."""

import errno
import json
import time
from collections.abc import Callable, Iterator

import httpx
import pytest

from tests.app.conftest import Project
from tests.cluster.conftest import API, ENVIRONMENT, NAME, Images, overlay, start_database
from tests.cluster.kubernetes import Cluster, Namespace, Object, wait_until
from tests.load import Report
from tools.contract import check_contract

pytestmark = pytest.mark.xdist_group("cluster")

IMAGE = "harbor.apps.dso.numerique-interieur.com/dossiers/dossiers-api"
MIGRATION = f"{NAME}-migration"
#: One that OpenShift would choose.
UID = 1000730000
#: Requests a second, and how many in an update and a rollback.
RATE, REQUESTS = 150, 10_000

Render = Callable[..., list[Object]]


@pytest.fixture(scope="module")
def rendered(cluster: Cluster, project: Project, images: Images) -> Render:
    """Render the environment with an image of ours, and patches of the test."""

    def render(tag: str, *patches: Object, **more: object) -> list[Object]:
        image = {"name": IMAGE, "newName": images.name, "newTag": tag}
        kustomization = {"images": [image], "patches": list(patches), **more}
        return overlay(cluster, project, ENVIRONMENT, kustomization)

    return render


@pytest.fixture(scope="module")
def first(rendered: Render) -> list[Object]:
    """The environment with the first version."""
    return rendered("first")


@pytest.fixture(scope="module")
def namespace(
    cluster: Cluster,
    images: Images,
    first: list[Object],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Namespace]:
    """A namespace in which the first version was deployed."""
    with cluster.namespace() as namespace:
        start_database(namespace, images, tmp_path_factory.mktemp("certificate"))
        namespace.sync(first)
        [scaler] = [each for each in first if each["kind"] == "HorizontalPodAutoscaler"]
        replicas = scaler["spec"]["minReplicas"]
        wait_until(lambda: len(namespace.pods(API)) == replicas, 60, namespace.describe)
        namespace.wait_for_rollout(NAME)
        yield namespace


@pytest.fixture
def restored(namespace: Namespace, first: list[Object]) -> Iterator[Namespace]:
    """The namespace, in which the first version runs again after the test; it is migrated still."""
    yield namespace
    namespace.apply(namespace.cluster.fit([each for each in first if each["kind"] != "Job"]))
    namespace.wait_for_rollout(NAME)


def release(namespace: Namespace) -> str:
    """Return the commit that the version behind the Service was built from."""
    with namespace.reach(NAME) as address:
        return str(httpx.get(f"{address}/health").json()["releaseId"])


def assert_nothing_was_lost(report: Report) -> None:
    assert report.failures == {}, report


def test_the_contract_holds_through_the_service(
    namespace: Namespace, capsys: pytest.CaptureFixture[str]
) -> None:
    pod = namespace.pods(API)[0]["metadata"]["name"]
    loaded = namespace.python(
        pod,
        "import runpy, sys; sys.argv = ['-', 'load-sample', '--force'];"
        " runpy.run_module('dossiers_api', run_name='__main__')",
    )
    assert loaded.returncode == 0, loaded.stderr

    with namespace.reach(NAME) as address:
        assert check_contract(address) == 0, capsys.readouterr().out


def test_the_migration_is_safe_to_repeat_and_to_lose(
    namespace: Namespace, first: list[Object]
) -> None:
    job = namespace.get("job", MIGRATION)
    if "ttlSecondsAfterFinished" not in job["spec"]:
        namespace.cluster.leave_out(
            "Job batch/v1, ttlSecondsAfterFinished: the cluster ignores it, so the test deletes it"
        )
    before = {pod["metadata"]["uid"] for pod in namespace.pods(API)}

    # As the time to live does.
    namespace.kubectl("delete", "job", MIGRATION)
    namespace.sync(first)
    namespace.sync(first)

    assert namespace.kubectl("logs", f"job/{MIGRATION}").startswith("The schema is at ")
    namespace.wait_for_rollout(NAME)
    assert {pod["metadata"]["uid"] for pod in namespace.pods(API)} == before


def test_the_container_can_do_no_more_than_it_should(namespace: Namespace) -> None:
    pod = namespace.pods(API)[0]["metadata"]["name"]
    code = """
import json, os, pathlib
said = {"uid": os.getuid()}
for path in "/x", "/application/x", "/run/secrets/database/x":
    try:
        pathlib.Path(path).write_text("x")
    except OSError as error:
        said[path] = error.errno
pathlib.Path("/tmp/x").write_text("x")
status = pathlib.Path("/proc/1/status").read_text()
fields = dict(line.split(":", 1) for line in status.splitlines())
said |= {name: fields[name].strip() for name in ("CapEff", "CapBnd", "NoNewPrivs", "Seccomp")}
said["token"] = os.path.exists("/var/run/secrets/kubernetes.io/serviceaccount/token")
said["secrets"] = [name for name in os.environ if "DATABASE" in name or "PASSWORD" in name]
print(json.dumps(said))
"""
    result = namespace.python(pod, code)
    assert result.returncode == 0, result.stderr
    said = json.loads(result.stdout)

    assert said.pop("uid") != 0
    nothing = "0" * 16
    assert said == {
        "/x": errno.EROFS,
        "/application/x": errno.EROFS,
        "/run/secrets/database/x": errno.EROFS,
        "CapEff": nothing,
        "CapBnd": nothing,
        "NoNewPrivs": "1",
        # 2: a filter is in force.
        "Seccomp": "2",
        "token": False,
        "secrets": ["DATABASE_URL_FILE"],
    }
    shell = namespace.cluster.try_kubectl(
        f"--namespace={namespace.name}", "exec", pod, "--", "sh", "-c", "true"
    )
    assert shell.returncode != 0


def test_a_pod_reaches_nothing_but_its_database(namespace: Namespace) -> None:
    one, other = namespace.pods(API)
    code = f"import socket; socket.create_connection(('{other['status']['podIP']}', 8080), 3)"

    if namespace.python(one["metadata"]["name"], code).returncode == 0:
        namespace.cluster.leave_out("NetworkPolicy: accepted, but nobody enforces it here")
        pytest.skip("this cluster enforces no NetworkPolicy")


def test_a_rolling_update_and_a_rollback_lose_no_request(
    namespace: Namespace, images: Images, rendered: Render, first: list[Object]
) -> None:
    with namespace.load(NAME, images.application, RATE) as load:
        namespace.sync(rendered("second"))
        namespace.wait_for_rollout(NAME)
        updated = release(namespace)
        namespace.sync(first)
        namespace.wait_for_rollout(NAME)
        report = load.stop(after=REQUESTS)
        found = load.created()

    assert (updated, release(namespace)) == ("second", "first")
    assert report.requests >= REQUESTS
    assert_nothing_was_lost(report)
    assert found == dict.fromkeys(range(report.creations), 1)


def test_a_pod_that_is_deleted_and_a_node_that_is_drained_lose_no_request(
    namespace: Namespace, images: Images
) -> None:
    drain = [f"--namespace={namespace.name}", "drain", "--ignore-daemonsets", "--timeout=12s"]
    drain += ["--delete-emptydir-data", "--pod-selector=app.kubernetes.io/component=api"]

    with namespace.load(NAME, images.application, RATE / 5) as load:
        namespace.kubectl("delete", "pod", namespace.pods(API)[0]["metadata"]["name"])
        namespace.wait_for_rollout(NAME)
        node = namespace.pods(API)[0]["spec"]["nodeName"]
        try:
            drained = namespace.cluster.try_kubectl(*drain, node)
        finally:
            namespace.kubectl("uncordon", node)
        namespace.wait_for_rollout(NAME)
        report = load.stop()

    # Where there is no other node, the budget keeps the last pod.
    assert drained.returncode == 0 or "disruption budget" in drained.stderr, drained.stderr
    assert "evicting pod" in f"{drained.stdout}{drained.stderr}"
    assert_nothing_was_lost(report)


def test_a_process_that_is_killed_loses_no_write_that_it_acknowledged(
    namespace: Namespace, images: Images
) -> None:
    """By the kernel, out of memory: inside a container nobody else may send it SIGKILL."""
    victim, other = namespace.pods(API)
    # The kernel takes the largest process, so each of these is smaller than the server.
    code = """
import os, time
for _ in range(20):
    if os.fork() == 0:
        held = b"x" * 25_000_000
        time.sleep(60)
        os._exit(0)
    time.sleep(0.1)
time.sleep(60)
"""

    with namespace.load(NAME, images.application, RATE / 5) as load:
        time.sleep(1)
        namespace.python(victim["metadata"]["name"], code)
        wait_until(lambda: restarts(namespace, victim) == 1, 30, namespace.describe)
        namespace.wait_for_rollout(NAME)
        report = load.stop()
        found = load.created()

    ended = container(namespace, victim)["lastState"]["terminated"]
    assert (ended["reason"], ended["exitCode"]) == ("OOMKilled", 137)
    assert restarts(namespace, other) == 0
    # Those in flight, and new connections to the dead one until its endpoint is gone.
    assert sum(report.failures.values()) < report.requests / 10, report
    assert report.unknown == 0, report
    assert found == dict.fromkeys(range(report.creations), 1)


def container(namespace: Namespace, pod: Object) -> Object:
    """Return the state of a pod's container."""
    status = namespace.get("pod", pod["metadata"]["name"])["status"]
    [found] = status["containerStatuses"]
    return dict(found)


def restarts(namespace: Namespace, pod: Object) -> int:
    return int(container(namespace, pod)["restartCount"])


@pytest.mark.parametrize(
    ("tag", "reasons", "message"),
    [
        ("no-such-tag", {"ErrImagePull", "ImagePullBackOff"}, ""),
        ("root", {"CreateContainerConfigError"}, "image will run as root"),
    ],
)
def test_a_bad_image_does_not_take_the_old_version_down(
    restored: Namespace,
    images: Images,
    rendered: Render,
    tag: str,
    reasons: set[str],
    message: str,
) -> None:
    """Even where somebody applies it without the migration, which would have been stuck first."""
    old = {pod["metadata"]["name"] for pod in restored.pods(API)}
    bad = [each for each in rendered(tag) if each["kind"] != "Job"]

    def waiting() -> list[Object]:
        states = [
            status["state"].get("waiting", {})
            for pod in restored.pods(API)
            if pod["metadata"]["name"] not in old
            for status in pod["status"].get("containerStatuses", [])
        ]
        return [state for state in states if state.get("reason") in reasons]

    with restored.load(NAME, images.application, RATE / 5) as load:
        restored.apply(restored.cluster.fit(bad))
        wait_until(lambda: bool(waiting()), 30, restored.describe)
        status = restored.get("deployment", NAME)["status"]
        refused = waiting()[0]["message"]
        report = load.stop(after=500)

    assert message in refused
    assert status["availableReplicas"] == len(old)
    assert old <= {pod["metadata"]["name"] for pod in restored.pods(API)}
    assert_nothing_was_lost(report)


def test_another_configuration_and_any_user_make_other_pods(
    restored: Namespace, rendered: Render
) -> None:
    user = {
        "target": {"kind": "Deployment"},
        "patch": json.dumps(
            [{"op": "add", "path": "/spec/template/spec/securityContext/runAsUser", "value": UID}]
        ),
    }
    literals = {"name": NAME, "behavior": "merge", "literals": ["LOG_LEVEL=DEBUG"]}
    old = {pod["metadata"]["uid"] for pod in restored.pods(API)}

    restored.sync(rendered("first", user, configMapGenerator=[literals]))
    restored.wait_for_rollout(NAME)

    pods = restored.pods(API)
    assert not old & {pod["metadata"]["uid"] for pod in pods}
    code = "import os; print(os.environ['LOG_LEVEL'], os.getuid(), os.getgid())"
    said = restored.python(pods[0]["metadata"]["name"], code).stdout
    assert said.split() == ["DEBUG", str(UID), "0"]
