"""The rules on logs find the lines that the service and its commands really write.

No engine evaluates LogQL here: Loki is no package of Debian, PyPI or npm. What follows reads the
few forms that the rules use, refuses every other, and applies them to real lines. That Loki accepts
the rules is not proved.
"""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.app.conftest import PACKAGE, Project
from tests.observability.conftest import NAME, Pods, rule_files, rules

pytestmark = pytest.mark.xdist_group("observability")

QUERY = re.compile(
    r"sum by \(namespace\) \(\n"
    r"  count_over_time\("
    r'\{app_kubernetes_io_name="(?P<name>[\w-]+)", container="(?P<container>\w+)"\}'
    r"(?: \|(?P<operator>[=~]) `(?P<text>[^`]+)`)"
    r'(?P<json> \| json \| (?P<field>\w+)="(?P<value>\w+)")?'
    r" \[\d+m\]\)\n"
    r"\) > 0\n"
)


def found(query: str, container: str, lines: list[str]) -> list[str]:
    """The lines of a container that a rule counts."""
    parts = QUERY.fullmatch(query)
    assert parts, f"this test cannot read {query}"
    assert parts["name"] == NAME
    if parts["container"] != container:
        return []
    if parts["operator"] == "=":
        lines = [line for line in lines if parts["text"] in line]
    else:
        lines = [line for line in lines if re.search(parts["text"], line)]
    if parts["json"]:
        lines = [line for line in lines if json.loads(line)[parts["field"]] == parts["value"]]
    return lines


@pytest.fixture(scope="session")
def queries(objects: list[dict[str, Any]]) -> dict[str, str]:
    """The rules on logs, by their alert."""
    return {rule["alert"]: rule["expr"] for rule in rules(rule_files(objects)[f"{NAME}-logs"])}


def fired(queries: dict[str, str], container: str, lines: list[str]) -> dict[str, list[str]]:
    """The alerts that these lines raise, and the lines that raise each."""
    counted = {alert: found(query, container, lines) for alert, query in queries.items()}
    return {alert: each for alert, each in counted.items() if each}


def complaint(project: Project, *arguments: str, **variables: str) -> list[str]:
    """What a command that fails writes, on both outputs, as a container's log has it."""
    result = subprocess.run(
        [project.venv / "bin/python", "-m", PACKAGE, *arguments],
        cwd=project.path,
        env={"PYTHONPATH": "src", "PATH": "/usr/bin:/bin", **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode != 0
    return result.stdout.splitlines()


def test_an_error_is_found_and_a_refusal_is_none(pods: Pods, queries: dict[str, str]) -> None:
    raised = fired(queries, "api", pods.log("well"))
    assert raised.keys() == {"ErrorsLogged"}
    assert all("no such table: idempotency_keys" in line for line in raised["ErrorsLogged"])
    # A database that does not answer is expected: 503, and a WARNING.
    assert any('"level":"WARNING"' in line for line in pods.log("down"))
    assert fired(queries, "api", pods.log("down")) == {}


def test_a_migration_that_fails_is_found(project: Project, queries: dict[str, str]) -> None:
    lines = complaint(
        project, "migrate", ENV="prod", DATABASE_URL="postgresql://nobody@127.0.0.1:1/nowhere"
    )
    assert fired(queries, "migrate", lines) == {"MigrationFailureLogged": lines}


def test_a_migration_that_crashes_is_found(
    project: Project, queries: dict[str, str], tmp_path: Path
) -> None:
    lines = complaint(project, "migrate", ENV="prod", DATABASE_URL=f"sqlite:///{tmp_path}")
    assert fired(queries, "migrate", lines).keys() == {"MigrationFailureLogged"}


def test_a_migration_that_succeeds_is_silent(
    project: Project, queries: dict[str, str], tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path / 'dossiers.db'}"
    lines = project.command("migrate", ENV="local", DATABASE_URL=url).splitlines()
    assert lines
    assert fired(queries, "migrate", lines) == {}


def test_a_setting_that_is_refused_is_found(project: Project, queries: dict[str, str]) -> None:
    lines = complaint(project, "serve", ENV="prod", PORT="many")
    assert fired(queries, "api", lines) == {"ConfigurationRefused": lines}


def test_the_dashboard_s_logs_are_those_of_the_service(
    dashboard: dict[str, Any], pods: Pods
) -> None:
    (target,) = (
        target
        for panel in dashboard["panels"]
        for target in panel.get("targets", [])
        if target["datasource"]["type"] == "loki"
    )
    selector, _, pattern = target["expr"].partition(" |~ ")
    assert selector == '{app_kubernetes_io_name="$job", namespace=~"$namespace"}'
    lines = pods.log("well")
    shown = [line for line in lines if re.search(pattern.strip("`"), line)]
    assert shown
    levels = {json.loads(line)["level"] for line in shown}
    assert levels == {"WARNING", "ERROR"}
    hidden = [json.loads(line)["level"] for line in lines if line not in shown]
    assert set(hidden) == {"INFO"}
