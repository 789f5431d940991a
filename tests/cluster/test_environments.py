"""Every environment, in both ways of writing it, is accepted by a real API server."""

from collections.abc import Callable, Iterator

import helm_python as helm
import pytest
import yaml

from tests.app.conftest import Project
from tests.cluster.conftest import NAME, overlay
from tests.cluster.kubernetes import Cluster, Namespace, Object

pytestmark = pytest.mark.xdist_group("cluster")

ENVIRONMENTS = ["dev", "preprod", "prod"]


@pytest.fixture(scope="module")
def empty(cluster: Cluster) -> Iterator[Namespace]:
    """A namespace in which nothing can be in the way."""
    with cluster.namespace() as namespace:
        yield namespace


def kustomize(cluster: Cluster, project: Project, environment: str) -> list[Object]:
    return overlay(cluster, project, environment, {})


def chart(_: Cluster, project: Project, environment: str) -> list[Object]:
    directory = project.path / "deploy" / "helm"
    values = directory / f"values-{environment}.yaml"
    with helm.Chart.load(directory) as loaded:
        rendered = loaded.render(yaml.safe_load(values.read_text(encoding="utf-8")), name=NAME)
    manifests = "\n---\n".join(
        text for name, text in rendered.items() if name.endswith(".yaml") and "/tests/" not in name
    )
    return [each for each in yaml.safe_load_all(manifests) if each]


@pytest.mark.parametrize("environment", ENVIRONMENTS)
@pytest.mark.parametrize("rendered", [kustomize, chart])
def test_the_api_server_accepts_it(
    cluster: Cluster,
    project: Project,
    empty: Namespace,
    environment: str,
    rendered: Callable[[Cluster, Project, str], list[Object]],
) -> None:
    objects = rendered(cluster, project, environment)

    empty.apply(cluster.fit(objects), dry_run=True)

    kinds = {each["kind"] for each in objects}
    assert {"Deployment", "Service", "Ingress", "ConfigMap", "Job", "NetworkPolicy"} <= kinds
