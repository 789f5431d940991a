"""The Helm chart on a real cluster: installed, upgraded, rolled back, tested and removed."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import helm_python as helm
import httpx
import pytest
import yaml

from tests.app.conftest import Project
from tests.cluster.conftest import API, ENVIRONMENT, NAME, Images, start_database
from tests.cluster.kubernetes import Cluster, Namespace, Object

pytestmark = pytest.mark.xdist_group("cluster")

#: Requests a second, and how many in two upgrades and a rollback.
RATE, REQUESTS = 150, 10_000
#: Seconds for an action, and for one that must fail.
PATIENCE, IMPATIENCE = 120, 15

Values = Callable[..., Object]


@pytest.fixture(scope="module")
def values(project: Project, images: Images) -> Values:
    """The environment's values, with an image of ours."""

    def merged(tag: str, **more: object) -> Object:
        file = project.path / "deploy" / "helm" / f"values-{ENVIRONMENT}.yaml"
        registry, _, repository = images.name.partition("/")
        image = {"registry": registry, "repository": repository, "tag": tag}
        # Without it, an old cluster would run one pod; the Kustomize tests have it.
        pods = {"autoscaling": {"enabled": False}, "replicas": 2}
        return {**yaml.safe_load(file.read_text(encoding="utf-8")), "image": image, **pods, **more}

    return merged


@pytest.fixture(scope="module")
def chart(
    cluster: Cluster, project: Project, values: Values, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The chart, without the templates of objects that the cluster's API does not know."""
    copy = tmp_path_factory.mktemp("chart") / "chart"
    shutil.copytree(project.path / "deploy" / "helm", copy)
    with helm.Chart.load(copy) as whole:
        rendered = whole.render(values("first"), name=NAME)
    for template, text in rendered.items():
        if not template.endswith(".yaml"):
            continue
        for each in filter(None, yaml.safe_load_all(text)):
            version, kind = each["apiVersion"], each["kind"]
            if not cluster.knows(version, kind):
                cluster.leave_out(f"{kind} {version} of the chart: the API does not know it")
                (copy / template.partition("/")[2]).unlink(missing_ok=True)
    return copy


@pytest.fixture(scope="module")
def namespace(
    cluster: Cluster, images: Images, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Namespace]:
    """A namespace that has a database and nothing else."""
    with cluster.namespace() as namespace:
        start_database(namespace, images, tmp_path_factory.mktemp("certificate"))
        yield namespace


@pytest.fixture(scope="module")
def release(namespace: Namespace, chart: Path, values: Values) -> Iterator[helm.Config]:
    """Helm, with the first version installed."""
    with helm.Config(namespace=namespace.name) as config:
        config.install(chart, NAME, values("first"), wait="watcher", timeout=PATIENCE)
        yield config


def served(namespace: Namespace) -> str:
    """Return the commit that the version behind the Service was built from."""
    with namespace.reach(NAME) as address:
        return str(httpx.get(f"{address}/health").json()["releaseId"])


def test_an_install_migrates_and_serves(namespace: Namespace, release: helm.Config) -> None:
    """What waits for the installation does not wait for ever: the Job needs no hook for it."""
    [installed] = release.list()

    assert installed["status"] == "deployed"
    assert namespace.get("job", f"{NAME}-migration")["status"]["succeeded"] == 1
    assert served(namespace) == "first"


def test_an_upgrade_to_a_bad_image_changes_nothing(
    namespace: Namespace, images: Images, release: helm.Config, chart: Path, values: Values
) -> None:
    before = {pod["metadata"]["uid"] for pod in namespace.pods(API)}

    with namespace.load(NAME, images.application, RATE / 5) as load:
        with pytest.raises(helm.HelmError):
            release.upgrade(chart, NAME, values("no-such-tag"), wait="watcher", timeout=IMPATIENCE)
        report = load.stop()

    assert report.failures == {}, report
    assert {pod["metadata"]["uid"] for pod in namespace.pods(API)} == before


def test_upgrades_and_a_rollback_lose_no_request(
    namespace: Namespace, images: Images, release: helm.Config, chart: Path, values: Values
) -> None:
    """The rollback goes back over two versions, to the one that was installed."""
    seen = []
    changed = values("second", config={"LOG_LEVEL": "WARNING"})

    with namespace.load(NAME, images.application, RATE) as load:
        for content in values("second"), changed:
            release.upgrade(chart, NAME, content, wait="watcher", timeout=PATIENCE)
            seen.append(served(namespace))
        release.rollback(NAME, version=1, wait="watcher", timeout=PATIENCE)
        seen.append(served(namespace))
        namespace.wait_for_rollout(NAME)
        report = load.stop(after=REQUESTS)
        found = load.created()

    assert seen == ["second", "second", "first"]
    assert report.requests >= REQUESTS
    assert report.failures == {}, report
    assert found == dict.fromkeys(range(report.creations), 1)


def test_helm_test_says_that_it_serves(namespace: Namespace, release: helm.Config) -> None:
    dns = namespace.cluster.try_kubectl("get", "service", "kube-dns", "--namespace=kube-system")
    if dns.returncode:
        namespace.cluster.leave_out("helm test: the cluster has no DNS")
        pytest.skip("helm test asks the Service by its name, and this cluster has no DNS")
    assert "pass" in release.test(NAME, timeout=PATIENCE, logs=True)["logs"]


def test_an_uninstall_leaves_nothing(namespace: Namespace, release: helm.Config) -> None:
    release.uninstall(NAME, wait="watcher", timeout=PATIENCE)

    kinds = "deployments,services,configmaps,ingresses,networkpolicies,serviceaccounts"
    selector = f"--selector=app.kubernetes.io/name={NAME}"
    assert namespace.get(kinds, selector)["items"] == []
