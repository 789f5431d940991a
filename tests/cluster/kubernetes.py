"""A real cluster, and a namespace of its own for each part of the suite."""

import json
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests.app.conftest import free_port
from tests.load import Order, Report, created, read_report

KUBECTL = Path(sys.executable).with_name("kubectl")
#: The same object in an older version of its API, and the fields that came later.
OLDER = {
    ("policy/v1", "PodDisruptionBudget"): ("policy/v1beta1", ["unhealthyPodEvictionPolicy"]),
    ("batch/v1", "CronJob"): ("batch/v1beta1", ["timeZone"]),
    ("autoscaling/v2", "HorizontalPodAutoscaler"): ("autoscaling/v2beta2", []),
}
WAVE = "argocd.argoproj.io/sync-wave"

Object = dict[str, Any]


class Cluster:
    """The cluster that KUBECONFIG names.

    Attributes:
        left_out: What the tests could not ask of it, each in a sentence.
    """

    def __init__(self) -> None:
        self.left_out: dict[str, None] = {}
        # A method's own cache would keep the cluster for ever.
        self.knows = cache(self._knows)

    def kubectl(self, *arguments: str, given: str | None = None, seconds: float = 120) -> str:
        """Run kubectl and return what it printed; where it fails, that is the message."""
        result = self.try_kubectl(*arguments, given=given, seconds=seconds)
        said = f"{result.stdout}{result.stderr}"
        assert result.returncode == 0, f"kubectl {' '.join(arguments)}:\n{said}"
        return result.stdout.strip()

    def try_kubectl(
        self, *arguments: str, given: str | None = None, seconds: float = 120
    ) -> subprocess.CompletedProcess[str]:
        """Run kubectl, which may fail."""
        return subprocess.run(
            [KUBECTL, *arguments],
            input=given,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )

    def _knows(self, version: str, kind: str) -> bool:
        """Say whether the API has a kind of object."""
        path = f"/apis/{version}" if "/" in version else f"/api/{version}"
        answer = self.try_kubectl("get", "--raw", path)
        resources = json.loads(answer.stdout)["resources"] if answer.returncode == 0 else []
        return any(each["kind"] == kind for each in resources)

    def version(self) -> str:
        """Return the version of the API server."""
        return str(json.loads(self.kubectl("get", "--raw", "/version"))["gitVersion"])

    def fit(self, objects: list[Object]) -> list[Object]:
        """Return the objects as this cluster's API knows them, without those that it does not know.

        What is left out is noted.
        """
        fitting = []
        for each in objects:
            version, kind = each["apiVersion"], each["kind"]
            label = f"{kind} {version}"
            if self.knows(version, kind):
                fitting.append(each)
                continue
            older, fields = OLDER.get((version, kind), ("", []))
            if older and self.knows(older, kind):
                self.leave_out(f"{label}: applied as {' without '.join([older, *fields])}")
                spec = {name: value for name, value in each["spec"].items() if name not in fields}
                fitting.append({**each, "apiVersion": older, "spec": spec})
            else:
                self.leave_out(f"{label}: the cluster's API does not know it")
        return fitting

    def leave_out(self, what: str) -> None:
        """Note what a test could not ask of this cluster."""
        self.left_out[f"{what} (Kubernetes {self.version()})"] = None

    @contextmanager
    def namespace(self) -> Iterator["Namespace"]:
        """Make a namespace as the platform makes them, and delete it in the end."""
        name = f"amorce-test-{uuid.uuid4().hex[:8]}"
        self.kubectl("create", "namespace", name)
        try:
            namespace = Namespace(self, name)
            namespace.apply([SAME_NAMESPACE])
            yield namespace
        finally:
            self.kubectl("delete", "namespace", name, "--wait=false")


#: The platform's own rule: pods of a namespace may talk to each other.
SAME_NAMESPACE: Object = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "NetworkPolicy",
    "metadata": {"name": "allow-same-namespace"},
    "spec": {"podSelector": {}, "ingress": [{"from": [{"podSelector": {}}]}]},
}


class Namespace:
    """A namespace of a cluster.

    Args:
        cluster: The cluster.
        name: The namespace's name.
    """

    def __init__(self, cluster: Cluster, name: str) -> None:
        self.cluster = cluster
        self.name = name

    def kubectl(self, *arguments: str, given: str | None = None, seconds: float = 120) -> str:
        """Run kubectl here."""
        return self.cluster.kubectl(
            f"--namespace={self.name}", *arguments, given=given, seconds=seconds
        )

    def get(self, *arguments: str) -> Object:
        """Return an object."""
        found: Object = json.loads(self.kubectl("get", *arguments, "--output=json"))
        return found

    def apply(self, objects: list[Object], *, dry_run: bool = False) -> None:
        """Apply objects, all of which the cluster must know."""
        arguments = ["--dry-run=server"] if dry_run else []
        self.kubectl("apply", "--filename=-", *arguments, given=yaml.safe_dump_all(objects))

    def sync(self, objects: list[Object]) -> None:
        """Apply objects as Argo CD does: wave by wave, Jobs deleted first and waited for."""
        objects = self.cluster.fit(objects)
        for wave in sorted({_wave(each) for each in objects}):
            members = [each for each in objects if _wave(each) == wave]
            jobs = [each["metadata"]["name"] for each in members if each["kind"] == "Job"]
            if jobs:
                self.kubectl("delete", "job", "--ignore-not-found", *jobs)
            self.apply(members)
            for job in jobs:
                self.wait_for_job(job)

    def wait_for_job(self, name: str) -> None:
        """Wait until a Job has completed."""

        def completed() -> bool:
            status = self.get("job", name)["status"]
            failed = [each for each in status.get("conditions", []) if each["type"] == "Failed"]
            assert not failed, self.kubectl("logs", f"job/{name}")
            return bool(status.get("succeeded"))

        wait_until(completed, 90, self.describe)

    def wait_for_rollout(self, name: str) -> None:
        """Wait until a Deployment's pods are all new, ready, and the old ones gone."""
        self.kubectl("rollout", "status", f"deployment/{name}", "--timeout=90s")
        deployment = self.get("deployment", name)
        selector = deployment["spec"]["selector"]["matchLabels"]

        def only_new() -> bool:
            return len(self.pods(selector)) == int(deployment["spec"]["replicas"])

        wait_until(only_new, 60, self.describe)

    def pods(self, labels: dict[str, str]) -> list[Object]:
        """Return the pods with some labels, those included that are being terminated."""
        selector = ",".join(f"{name}={value}" for name, value in labels.items())
        return list(self.get("pods", f"--selector={selector}")["items"])

    def python(self, pod: str, code: str) -> subprocess.CompletedProcess[str]:
        """Run Python code in a pod's container, as its own user."""
        return self.cluster.try_kubectl(
            f"--namespace={self.name}", "exec", pod, "--", "python3", "-c", code
        )

    def describe(self) -> str:
        """Say what there is, and the last things that happened."""
        pods = self.kubectl("get", "pods,jobs", "--output=wide")
        events = self.kubectl("get", "events", "--sort-by=.lastTimestamp").splitlines()[-25:]
        return "\n".join([pods, *events])

    @contextmanager
    def reach(self, service: str) -> Iterator[str]:
        """Yield an address under which this machine reaches a Service.

        It is the Service's own where this machine is a part of the cluster, else kubectl's tunnel
        to one of its pods.
        """
        address = self.get("service", service)["spec"]["clusterIP"]
        try:
            socket.create_connection((address, 80), timeout=2).close()
        except OSError:
            self.cluster.leave_out(
                "The contract through the Service: its address is not reached from this machine, "
                "so kubectl port-forward led to one pod"
            )
        else:
            yield f"http://{address}"
            return
        port = free_port()
        forward = ["port-forward", f"service/{service}", f"{port}:80"]
        with subprocess.Popen([str(KUBECTL), f"--namespace={self.name}", *forward]) as tunnel:
            try:
                wait_until(lambda: answers(f"http://127.0.0.1:{port}/health/live"), 30)
                yield f"http://127.0.0.1:{port}"
            finally:
                tunnel.terminate()

    @contextmanager
    def load(self, service: str, image: str, rate: float) -> Iterator["Load"]:
        """Put a Service under load from a pod beside it until the block ends.

        Args:
            service: The Service; it is asked by its address, as not every cluster has DNS.
            image: An image that has Python.
            rate: Requests a second.
        """
        spec = self.get("service", service)["spec"]
        address = f"http://{spec['clusterIP']}:{spec['ports'][0]['port']}"
        order = Order(address, rate, run=uuid.uuid4().hex)
        source = Path(__file__).parents[1] / "load.py"
        name = f"load-{order.run[:8]}"
        self.apply(
            [
                {
                    "apiVersion": "v1",
                    "kind": "ConfigMap",
                    "metadata": {"name": name},
                    "data": {source.name: source.read_text(encoding="utf-8")},
                },
                _load_pod(name, image, order),
            ]
        )
        load = Load(self, service, name, order)
        try:
            wait_until(lambda: load.log() == "started", 60, lambda: self.describe() + load.log())
            yield load
        finally:
            self.kubectl("delete", f"pod/{name}", f"configmap/{name}", "--grace-period=1")


class Load:
    """A load generator that runs as a pod."""

    def __init__(self, namespace: Namespace, service: str, name: str, order: Order) -> None:
        self._namespace = namespace
        self._service = service
        self._name = name
        self._order = order
        self._begun = time.monotonic()

    def log(self) -> str:
        """Return what it has written."""
        return self._namespace.cluster.try_kubectl(
            f"--namespace={self._namespace.name}", "logs", self._name
        ).stdout.strip()

    def stop(self, after: int = 0) -> Report:
        """Stop once so many requests were sent, and return what was seen."""
        # A twentieth more: a busy machine sends the first and the last a little late.
        time.sleep(max(0, self._begun + 1.05 * after / self._order.rate - time.monotonic()))
        stopped = self._namespace.python(self._name, "import os; os.kill(1, 15)")
        assert stopped.returncode == 0, stopped.stderr
        wait_until(lambda: self.log().startswith("started\n"), 60, self.log)
        return read_report(self.log())

    def created(self) -> dict[int, int]:
        """Return how often the service has the dossier of each creation."""
        with self._namespace.reach(self._service) as address:
            return dict(created(address, self._order.run))


def _load_pod(name: str, image: str, order: Order) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "securityContext": {
                "runAsNonRoot": True,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [
                {
                    "name": "load",
                    "image": image,
                    "imagePullPolicy": "IfNotPresent",
                    "command": ["python3", "/load/load.py", json.dumps(asdict(order))],
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "capabilities": {"drop": ["ALL"]},
                    },
                    "resources": {
                        "requests": {"cpu": "200m", "memory": "64Mi"},
                        "limits": {"cpu": "1", "memory": "128Mi"},
                    },
                    "volumeMounts": [{"name": "load", "mountPath": "/load"}],
                }
            ],
            "volumes": [{"name": "load", "configMap": {"name": name}}],
        },
    }


def _wave(each: Object) -> int:
    return int(each["metadata"].get("annotations", {}).get(WAVE, "0"))


def answers(url: str) -> bool:
    """Say whether somebody answers well."""
    try:
        return httpx.get(url, timeout=5).is_success
    except httpx.TransportError:
        return False


def wait_until(
    holds: Callable[[], bool], seconds: float, explain: Callable[[], str] = lambda: ""
) -> None:
    """Wait until something holds; where it does not in time, the explanation is the message."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"not within {seconds} s:\n{explain()}"
        time.sleep(0.5)
