"""One version takes over from another under load, and nobody notices; a dead replica loses nothing.

Where there is a cluster, tests/cluster asks the same of a real one.
"""

import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import httpx
import pytest

from tests.app.conftest import Project
from tests.containers.conftest import docker
from tests.containers.endpoints import Endpoints, endpoints
from tests.containers.test_image import CONFINED, database, network
from tests.load import Order, created, load

pytestmark = pytest.mark.xdist_group("image")
__all__ = ["database", "network"]  # fixtures

#: Seconds that the news of a terminated replica take to reach everybody.
NEWS_SECONDS = 1
#: The service's settings must fit that, and the grace period must fit both.
DRAIN_SECONDS, SHUTDOWN_TIMEOUT, GRACE_SECONDS = 3, 10, 20
RATE = 100


@dataclass(frozen=True)
class Replica:
    """A container of some version, and its port on 127.0.0.1."""

    container: str
    port: int

    def terminate(self, service: Endpoints) -> None:
        """Stop as a kubelet does: SIGTERM, SIGKILL after the grace period; the news come later."""
        service.remove(self.port, after=NEWS_SECONDS)
        docker("stop", "--time", str(GRACE_SECONDS), self.container)
        state = docker("inspect", "-f", "{{.State.ExitCode}}", self.container)
        assert state == "0", docker("logs", "--tail", "20", self.container)


class Deployment:
    """Replicas behind a service, replaced as a Deployment with maxUnavailable 0 replaces them.

    Args:
        service: What follows their readiness.
        network: The network that they share with their database.
        settings: Their environment.
    """

    def __init__(self, service: Endpoints, network: str, settings: Mapping[str, str]) -> None:
        self.service = service
        self.replicas: list[Replica] = []
        self._network = network
        self._settings = settings

    def update(self, image: str) -> None:
        """Replace each replica, one at a time, once its successor is ready."""
        for old in list(self.replicas):
            self.add(image)
            self.replicas.remove(old)
            old.terminate(self.service)

    def add(self, image: str) -> None:
        """Start a replica, and wait until it gets requests."""
        variables = [word for name in self._settings for word in ("--env", name)]
        container = docker(
            *("run", "--detach", "--network", self._network, "--publish", "127.0.0.1::8080"),
            *(*CONFINED, "--label", f"amorce-test={self._network}", *variables, image),
            **self._settings,
        )
        port = int(docker("port", container, "8080").splitlines()[0].rpartition(":")[2])
        self.replicas.append(Replica(container, port))
        self.service.add(port)
        self.wait_until_all_are_ready()

    def wait_until_all_are_ready(self) -> None:
        """Wait until the service knows every replica."""
        deadline = time.monotonic() + 60
        while missing := {each.port for each in self.replicas} - set(self.service.ready()):
            lost = [each.container for each in self.replicas if each.port in missing]
            assert time.monotonic() < deadline, docker("logs", "--tail", "20", lost[0])
            time.sleep(0.05)

    def remove(self) -> None:
        """Remove every container that there is, or was."""
        label = f"label=amorce-test={self._network}"
        if containers := docker("ps", "--all", "--quiet", "--filter", label).split():
            docker("rm", "--force", *containers)

    def versions(self) -> set[str]:
        """Return the commits that the replicas say they were built from."""
        addresses = [f"http://127.0.0.1:{each.port}/health" for each in self.replicas]
        return {httpx.get(each).json()["releaseId"] for each in addresses}


@pytest.fixture
def deployment(network: str, database: str, image: str) -> Iterator[Deployment]:
    """Two replicas of the first version, on a migrated database."""
    settings = {
        "ENV": "local",
        "INSECURE_DISABLE_AUTHENTICATION": "true",
        "DATABASE_URL": database,
        "DRAIN_SECONDS": str(DRAIN_SECONDS),
        "SHUTDOWN_TIMEOUT": str(SHUTDOWN_TIMEOUT),
    }
    variables = [word for name in settings for word in ("--env", name)]
    docker(
        *("run", "--rm", "--network", network, *CONFINED, *variables, image, "migrate"), **settings
    )
    with endpoints() as service:
        deployment = Deployment(service, network, settings)
        try:
            for _ in range(2):
                deployment.add(image)
            yield deployment
        finally:
            deployment.remove()


@pytest.fixture
def next_image(project: Project, bases: Mapping[str, str], name: str) -> str:
    """The next version: the same code, built from another commit."""
    project.make("image", f"IMAGE={name}", "TAG=next", "REVISION=next", **bases)
    return f"{name}:next"


def test_a_rolling_update_and_a_rollback_lose_no_request(
    deployment: Deployment, image: str, next_image: str
) -> None:
    run = uuid.uuid4().hex
    first = deployment.versions()

    with load(Order(deployment.service.address, RATE, run)) as running:
        deployment.update(next_image)
        second = deployment.versions()
        deployment.update(image)
        third = deployment.versions()
        report = running.stop()

    assert (second, third) == ({"next"}, first)
    assert report.failures == {}, report
    assert created(deployment.service.address, run) == dict.fromkeys(range(report.creations), 1)


def test_a_replica_that_is_killed_loses_no_write_that_it_acknowledged(
    deployment: Deployment, image: str
) -> None:
    """Requests in flight are lost with it; sent again, they create nothing twice."""
    run = uuid.uuid4().hex

    with load(Order(deployment.service.address, RATE, run)) as running:
        time.sleep(1)
        killed = deployment.replicas.pop(0)
        docker("kill", "--signal", "KILL", killed.container)
        deployment.add(image)
        time.sleep(1)
        report = running.stop()

    # Until the next probe, half of the new connections still go to the dead one.
    assert sum(report.failures.values()) < 3 * RATE, report
    assert report.unknown == 0, report
    assert created(deployment.service.address, run) == dict.fromkeys(range(report.creations), 1)
