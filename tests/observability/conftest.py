"""The rendered dashboard and rules, what the platform makes of them, and live services."""

import json
import shutil
import sqlite3
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import helm_python
import httpx
import pytest
import yaml

from tests.app.conftest import Project
from tests.render.conftest import nobodys_settings, template  # noqa: F401  (fixtures)
from tests.render.rendering import render

NAME = "dossiers-api"
DOSSIERS = "/api/v1/dossiers"
DOSSIER = {
    "subject": "Change of address",
    "applicant_name": "Ines Roux",
    "applicant_email": "ines@example.org",
}

# As cloud-pi-native/helm-charts does it in dso-observability/templates (_rules.yaml and
# _dashboards.yaml): rules are a template, of which the first line alone is indented; dashboards are
# text in a folded scalar; objects are called after the file.
CHART = {
    "Chart.yaml": "apiVersion: v2\nname: infra-observability\nversion: 0.1.0\n",
    "values.yaml": "global:\n  tenantId: tenant\n",
    "templates/objects.yaml": """\
{{- range $path, $_ := .Files.Glob "files/rules/*/*.yaml.tpl" }}
---
kind: PrometheusRule
metadata:
  name: {{ $.Values.global.tenantId }}-{{ base $path | trimSuffix ".yaml.tpl" }}
  labels:
    type: {{ dir $path | base }}
spec:
  {{ tpl ($.Files.Get $path) $ }}
{{- end }}
{{- range $path, $_ := .Files.Glob "files/dashboards/**.json" }}
---
kind: GrafanaDashboard
metadata:
  name: {{ $.Values.global.tenantId }}-{{ base $path | trimSuffix ".json" }}
spec:
  json: >
{{ $.Files.Get $path | indent 4 }}
{{- end }}
""",
}


def deployed(files: Path, directory: Path) -> list[dict[str, Any]]:
    """Render `files` with Helm's engine, in a chart that does what the platform's does."""
    for name, content in CHART.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    shutil.copytree(files, directory / "files")
    with helm_python.Chart.load(directory) as chart:
        manifests = chart.render(name="observability")
    (text,) = manifests.values()
    return [document for document in yaml.safe_load_all(text) if document]


def rule_files(objects: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The rules by the name of their file, as Prometheus reads them."""
    return {
        each["metadata"]["name"].removeprefix("tenant-"): each["spec"]
        for each in objects
        if each["kind"] == "PrometheusRule"
    }


def rules(spec: dict[str, Any]) -> list[dict[str, Any]]:
    """Every rule of a file."""
    return [rule for group in spec["groups"] for rule in group["rules"]]


@pytest.fixture(scope="session")
def project(
    template: Path,  # noqa: F811
    application_venv: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Project:
    """The application that the default answers render."""
    path = render(template, tmp_path_factory.mktemp("observed") / "dossiers", {})
    return Project(path, application_venv)


@pytest.fixture(scope="session")
def objects(project: Project, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What the platform deploys of the default project's files."""
    return deployed(project.path / "deploy/observability/files", tmp_path_factory.mktemp("chart"))


@pytest.fixture(scope="session")
def metric_rules(objects: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the default project's rules on metrics, as Prometheus' own files."""
    directory = tmp_path_factory.mktemp("rules")
    for name, spec in rule_files(objects).items():
        if not name.endswith("-logs"):
            (directory / f"{name}.yaml").write_text(yaml.safe_dump(spec, sort_keys=False))
    return directory


@pytest.fixture(scope="session")
def dashboard(objects: list[dict[str, Any]]) -> dict[str, Any]:
    """The dashboard, as Grafana gets it."""
    (text,) = (each["spec"]["json"] for each in objects if each["kind"] == "GrafanaDashboard")
    document: dict[str, Any] = json.loads(text)
    return document


@dataclass(frozen=True)
class Pods:
    """Two services: one that is well but for one table, one whose database does not answer."""

    well: str
    down: str
    directories: dict[str, Path]

    def log(self, which: str) -> list[str]:
        """The lines that one has written."""
        return (self.directories[which] / "service.log").read_text().splitlines()

    def scrape(self) -> str:
        """What both say of themselves."""
        return "".join(httpx.get(f"{url}/metrics").text for url in (self.well, self.down))


@pytest.fixture(scope="session")
def pods(project: Project, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pods]:
    """Both services, exercised so that every metric exists, and kept busy until the tests end."""
    directory = tmp_path_factory.mktemp("pods")
    other = Project(Path(shutil.copytree(project.path, directory / "other")), project.venv)
    database = directory / "dossiers.db"
    common = {"ENV": "local", "INSECURE_DISABLE_AUTHENTICATION": "true"}
    sqlite = common | {"DATABASE_URL": f"sqlite:///{database}", "DATABASE_TIMEOUT": "0.2"}
    # Port 1 refuses: nobody listens there.
    refused = common | {"DATABASE_URL": "postgresql://nobody@127.0.0.1:1/nowhere"}
    project.command("migrate", **sqlite)
    with (
        project.serving(sqlite) as well,
        other.serving(refused, until="/health/live") as down,
        httpx.Client(base_url=well) as client,
    ):
        client.post(DOSSIERS, json=DOSSIER).raise_for_status()
        with sqlite3.connect(database, isolation_level=None) as lock:
            lock.execute("BEGIN IMMEDIATE")
            assert client.post(DOSSIERS, json=DOSSIER).status_code == 503
        lock.close()
        # The code fails where it does not expect to: 500.
        with sqlite3.connect(database, isolation_level=None) as connection:
            connection.execute("DROP TABLE idempotency_keys")
        connection.close()
        key = {"Idempotency-Key": "once"}
        assert client.post(DOSSIERS, json=DOSSIER, headers=key).status_code == 500
        with _traffic(well, down):
            yield Pods(well, down, {"well": project.path, "down": other.path})


@contextmanager
def _traffic(well: str, down: str) -> Iterator[None]:
    """Some requests of every kind, several times a second."""
    over = threading.Event()

    def send(client: httpx.Client) -> None:
        for url in well, down:
            for path in "/health/startup", "/health/ready", DOSSIERS, "/unknown":
                client.get(url + path)
        key = {"Idempotency-Key": str(time.monotonic())}
        client.post(well + DOSSIERS, json=DOSSIER, headers=key)

    def go_on() -> None:
        with httpx.Client(timeout=10) as client:
            while not over.wait(0.2):
                send(client)

    with httpx.Client(timeout=10) as client:
        send(client)
    sender = threading.Thread(target=go_on)
    sender.start()
    try:
        yield
    finally:
        over.set()
        sender.join()


def run(*arguments: str | Path) -> str:
    """Run a program and return what it printed; where it fails, that is the message."""
    result = subprocess.run(arguments, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, (
        f"{' '.join(map(str, arguments))}:\n{result.stdout}{result.stderr}"
    )
    return result.stdout
