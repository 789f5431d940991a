"""What is deployed on a real cluster, and with what beside it."""

import os
import shlex
import subprocess
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from tests.app.conftest import Project
from tests.cluster.kubernetes import Cluster, Namespace, Object
from tests.containers.conftest import bases, docker
from tests.engines import LEFT_OUT, POSTGRES_IMAGE, not_run, require_engine, require_image
from tests.render.conftest import nobodys_settings, template
from tests.render.rendering import commit, render

__all__ = ["bases", "nobodys_settings", "template"]  # fixtures

#: Every object's name, and the environment that is deployed: the one that has most of them.
NAME, ENVIRONMENT = "dossiers-api", "prod"
REGISTRY_IMAGE = "harbor.apps.dso.numerique-interieur.com/dossiers/dossiers-api"
API = {"app.kubernetes.io/name": NAME, "app.kubernetes.io/component": "api"}


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    """The cluster that KUBECONFIG names."""
    named = os.environ.get("KUBECONFIG")
    if not named:
        not_run(
            "deployment on a cluster",
            "KUBECONFIG names none; docs/how-to/test-on-a-cluster.md says how to have one",
            "AMORCE_CLUSTER",
        )
    cluster = Cluster()
    answer = cluster.try_kubectl("get", "--raw", "/readyz", "--request-timeout=10s")
    if answer.returncode:
        require_engine("Kubernetes", f"no cluster answers ({answer.stderr.strip()})")
    return cluster


@pytest.fixture(autouse=True)
def say_what_is_left_out(request: pytest.FixtureRequest, cluster: Cluster) -> Iterator[None]:
    """Hand what this cluster cannot be asked on to the summary."""
    yield
    request.node.user_properties += [(LEFT_OUT, each) for each in cluster.left_out]


@dataclass(frozen=True)
class Images:
    """The images that a cluster is given: one name, several tags."""

    name: str

    @property
    def postgresql(self) -> str:
        """The database."""
        return f"{self.name}:postgresql"

    @property
    def application(self) -> str:
        """The application's first version."""
        return f"{self.name}:first"


@pytest.fixture(scope="session")
def project(
    template: Path, application_venv: Path, tmp_path_factory: pytest.TempPathFactory
) -> Project:
    """An application whose API everybody may use, deployed in both ways."""
    answers = {"authentication": "none", "deployment": "both"}
    path = render(template, tmp_path_factory.mktemp("cluster") / "dossiers", answers)
    commit(path)
    return Project(path, application_venv)


@pytest.fixture(scope="session")
def images(
    cluster: Cluster,
    project: Project,
    bases: Mapping[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Images]:
    """Two versions of the application, one that runs as root, and PostgreSQL."""
    assert cluster
    require_image(POSTGRES_IMAGE)
    name = os.environ.get("AMORCE_CLUSTER_IMAGE", f"localhost/amorce-test-{uuid.uuid4().hex[:8]}")
    for tag in ("first", "second"):
        project.make("image", f"IMAGE={name}", f"TAG={tag}", f"REVISION={tag}", **bases)
    rooted = tmp_path_factory.mktemp("rooted")
    (rooted / "Dockerfile").write_text(f"FROM {name}:first\nUSER 0:0\n")
    docker("build", "--tag", f"{name}:root", str(rooted), DOCKER_BUILDKIT="0")
    docker("tag", POSTGRES_IMAGE, f"{name}:postgresql")
    tags = [f"{name}:{tag}" for tag in ("first", "second", "root", "postgresql")]
    if loader := os.environ.get("AMORCE_CLUSTER_LOAD"):
        for each in tags:
            subprocess.run([*shlex.split(loader), each], check=True, timeout=300)
    yield Images(name)
    docker("rmi", "--force", *tags)


def overlay(
    cluster: Cluster, project: Project, environment: str, kustomization: Object
) -> list[Object]:
    """Return an environment's objects, with a Kustomization of the test on top.

    Args:
        cluster: For its kubectl.
        project: The rendered application.
        environment: Which of its overlays.
        kustomization: What the test changes.
    """
    top = project.path / "deploy" / "kustomize" / "overlays" / f"test-{uuid.uuid4().hex[:8]}"
    top.mkdir()
    content = {**kustomization, "resources": [f"../{environment}"]}
    (top / "kustomization.yaml").write_text(yaml.safe_dump(content))
    return list(yaml.safe_load_all(cluster.kubectl("kustomize", str(top))))


def start_database(namespace: Namespace, images: Images, directory: Path) -> None:
    """Run PostgreSQL as the application expects CloudNativePG's: its Secrets, and TLS.

    Args:
        namespace: Where.
        images: Where PostgreSQL's image is.
        directory: For the certificate.
    """
    name = f"{NAME}-database"
    labels = {"cnpg.io/cluster": name}
    namespace.apply(
        [
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": {"name": name},
                "spec": {"selector": labels, "ports": [{"port": 5432}]},
            }
        ]
    )
    # By its address: not every cluster has DNS.
    address = namespace.get("service", name)["spec"]["clusterIP"]
    certificate, key = _self_signed(address, directory)
    password = uuid.uuid4().hex
    uri = f"postgresql://postgres:{password}@{address}:5432/postgres"
    command = (
        "cp /tls/* /tmp/ && chown postgres /tmp/tls.* && chmod 600 /tmp/tls.* &&"
        ' exec "$(command -v docker-entrypoint.sh || command -v entrypoint)" postgres -c ssl=on'
        " -c ssl_cert_file=/tmp/tls.crt -c ssl_key_file=/tmp/tls.key -c fsync=off"
    )
    container = {
        "name": "postgresql",
        "image": images.postgresql,
        "imagePullPolicy": "IfNotPresent",
        "args": ["sh", "-c", command],
        "env": [{"name": "POSTGRES_PASSWORD", "value": password}],
        # Ready once is ready for good: on a busy machine a probe may be late.
        "startupProbe": {
            "exec": {"command": ["pg_isready", "--host=127.0.0.1", "--quiet"]},
            "periodSeconds": 1,
            "timeoutSeconds": 10,
            "failureThreshold": 60,
        },
        # Without a request it would get next to no processor on a busy node.
        "resources": {
            "requests": {"cpu": "400m", "memory": "256Mi"},
            "limits": {"cpu": "2", "memory": "512Mi"},
        },
        "volumeMounts": [{"name": "tls", "mountPath": "/tls"}],
    }
    namespace.apply(
        [
            _secret(f"{name}-app", {"uri": uri}),
            _secret(f"{name}-ca", {"ca.crt": certificate}),
            _secret(f"{name}-tls", {"tls.crt": certificate, "tls.key": key}),
            {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "metadata": {"name": name},
                "spec": {
                    "selector": {"matchLabels": labels},
                    "template": {
                        "metadata": {"labels": labels},
                        "spec": {
                            "automountServiceAccountToken": False,
                            "containers": [container],
                            "volumes": [{"name": "tls", "secret": {"secretName": f"{name}-tls"}}],
                        },
                    },
                },
            },
        ]
    )
    namespace.kubectl("rollout", "status", f"deployment/{name}", "--timeout=90s")


def _secret(name: str, data: dict[str, str]) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name},
        "stringData": data,
    }


def _self_signed(address: str, directory: Path) -> tuple[str, str]:
    certificate, key = directory / "tls.crt", directory / "tls.key"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    command += ["-subj", "/CN=database", "-addext", f"subjectAltName=IP:{address}"]
    subprocess.run([*command, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    return certificate.read_text(), key.read_text()
