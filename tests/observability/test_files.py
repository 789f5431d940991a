"""The files are what the platform's chart takes, and their objects what a person can work with."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.app.conftest import Project
from tests.observability.conftest import NAME, deployed, rule_files, rules, run
from tests.render.rendering import render

FILES = Path("deploy/observability/files")


def test_every_file_becomes_an_object_with_a_name_of_its_own(objects: list[dict[str, Any]]) -> None:
    assert sorted((each["kind"], each["metadata"]["name"]) for each in objects) == [
        ("GrafanaDashboard", f"tenant-{NAME}"),
        ("PrometheusRule", f"tenant-{NAME}-logs"),
        ("PrometheusRule", f"tenant-{NAME}-platform"),
        ("PrometheusRule", f"tenant-{NAME}-service"),
    ]
    kinds = {each["metadata"]["name"]: each["metadata"].get("labels") for each in objects}
    assert kinds[f"tenant-{NAME}-logs"] == {"type": "logs"}
    assert kinds[f"tenant-{NAME}-service"] == {"type": "metrics"}


def test_the_chart_that_indents_one_line_loses_nothing(
    project: Project, objects: list[dict[str, Any]]
) -> None:
    for each in objects:
        if each["kind"] == "PrometheusRule":
            assert each["spec"].keys() == {"groups"}
    for path in (project.path / FILES).rglob("*.tpl"):
        first, *others = path.read_text().splitlines()
        assert first == "groups:"
        assert [line for line in others if not line.startswith("  ")] == []


def test_what_belongs_to_prometheus_survives_helm(objects: list[dict[str, Any]]) -> None:
    texts = [
        text
        for spec in rule_files(objects).values()
        for rule in rules(spec)
        for text in rule.get("annotations", {}).values()
    ]
    assert any("{{ $labels.pod }}" in text for text in texts)
    assert any("{{ $value | humanizePercentage }}" in text for text in texts)
    assert not any("`" in text or "<no value>" in text for text in texts)


def test_helm_would_eat_what_stands_without_backquotes(project: Project, tmp_path: Path) -> None:
    files = Path(shutil.copytree(project.path / FILES, tmp_path / "files"))
    path = files / "rules/metrics" / f"{NAME}-service.yaml.tpl"
    naked = path.read_text().replace("{{`{{ $labels.pod }}`}}", "{{ $labels.pod }}")
    path.write_text(naked)
    with pytest.raises(Exception, match="undefined variable"):
        deployed(files, tmp_path / "chart")


def test_every_alert_says_how_bad_it_is_for_whom_and_where_help_is(
    project: Project, objects: list[dict[str, Any]]
) -> None:
    runbook = (project.path / "docs/operations.md").read_text()
    sections = re.findall(r"(?m)^## (.+)$", runbook)
    alerts = [
        rule for spec in rule_files(objects).values() for rule in rules(spec) if "alert" in rule
    ]
    names = [alert["alert"] for alert in alerts]
    assert len(set(names)) == len(names)
    for alert in alerts:
        assert alert["labels"].keys() == {"severity", "service"}
        assert alert["labels"]["severity"] in {"critical", "warning"}
        assert alert["annotations"].keys() == {"summary", "description", "runbook"}
        anchor = alert["annotations"]["runbook"]
        assert anchor == f"docs/operations.md#{alert['alert'].lower()} (repository {NAME})"
    assert set(names) <= set(sections)
    for name in names:
        section = runbook.partition(f"\n## {name}\n")[2].partition("\n## ")[0]
        assert "**Symptom.**" in section
        assert "**Meaning.**" in section
        assert re.findall(r"(?m)^\d\.", section) == ["1.", "2.", "3."]
    links = re.findall(r"\]\(#([a-z]+)\)", runbook)
    assert set(links) <= {section.lower() for section in sections}


def test_the_readme_s_command_makes_the_runbook_a_link(project: Project, tmp_path: Path) -> None:
    readme = (project.path / "deploy/observability/README.md").read_text()
    (expression,) = re.findall(r"sed -i '(.+)' \\\n", readme)
    destination = tmp_path / "infra-observability"
    shutil.copytree(project.path / FILES, destination / "files")
    run("sed", "-i", expression, *sorted((destination / "files/rules").glob("*/*.tpl")))
    alerts = [
        rule
        for spec in rule_files(deployed(destination / "files", tmp_path / "chart")).values()
        for rule in rules(spec)
        if "alert" in rule
    ]
    assert alerts
    for alert in alerts:
        link = f"https://forge.example.org/{NAME}/docs/operations.md#{alert['alert'].lower()}"
        assert alert["annotations"]["runbook_url"] == link


@pytest.mark.parametrize(
    ("criticality", "budget"), [("high", 0.001), ("medium", 0.005), ("low", 0.01)]
)
def test_criticality_sets_the_objective(
    template: Path, tmp_path: Path, criticality: str, budget: float
) -> None:
    path = render(template, tmp_path / "project", {"criticality": criticality})
    objects = deployed(path / FILES, tmp_path / "chart")
    alerts = {
        rule["alert"]: rule["expr"]
        for rule in rules(rule_files(objects)[f"{NAME}-service"])
        if "alert" in rule
    }
    assert alerts["ErrorBudgetBurnsFast"].count(f"> 14.4 * {budget}\n") == 2
    assert alerts["ErrorBudgetBurnsSlowly"].count(f"> {budget}\n") == 2
    dashboard = (path / FILES / "dashboards" / f"{NAME}.json").read_text()
    assert f'/ {budget}"' in dashboard


def test_a_repository_that_begins_with_a_digit_has_the_names_of_its_objects(
    template: Path, tmp_path: Path
) -> None:
    path = render(template, tmp_path / "project", {"repository": "2-wheels"})
    objects = deployed(path / FILES, tmp_path / "chart")
    assert {each["metadata"]["name"] for each in objects} == {
        "tenant-app-2-wheels",
        "tenant-app-2-wheels-logs",
        "tenant-app-2-wheels-platform",
        "tenant-app-2-wheels-service",
    }
    (refused,) = (
        rule["expr"]
        for rule in rules(rule_files(objects)["app-2-wheels-logs"])
        if rule["alert"] == "ConfigurationRefused"
    )
    # The objects have the one name, the service speaks of itself by the other.
    assert 'app_kubernetes_io_name="app-2-wheels"' in refused
    assert "`^2-wheels: `" in refused


def test_the_dashboard_is_what_grafana_imports(dashboard: dict[str, Any]) -> None:
    assert dashboard["uid"] == NAME
    assert dashboard["title"] == "Dossiers"
    assert "id" not in dashboard
    # Grafana 10 to 12 write 39 to 41, and read older ones.
    assert dashboard["schemaVersion"] == 39
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(ids)) == len(ids)
    variables = {each["name"] for each in dashboard["templating"]["list"]}
    assert variables == {"metrics", "logs", "job", "env", "namespace", "pod"}
    used = set(re.findall(r"\$\{?([a-z][a-z_]*)\b", json.dumps(dashboard)))
    assert used - {"__rate_interval", "__all"} == variables


def test_every_panel_explains_itself(dashboard: dict[str, Any]) -> None:
    panels = [panel for panel in dashboard["panels"] if panel["type"] != "row"]
    titles = [panel["title"] for panel in panels]
    assert len(set(titles)) == len(titles)
    for panel in panels:
        assert len(panel["description"]) > 40, panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"]
        kind = panel["datasource"]["type"]
        source = {"type": kind, "uid": {"prometheus": "${metrics}", "loki": "${logs}"}[kind]}
        for target in panel["targets"]:
            assert target["datasource"] == panel["datasource"] == source


def test_no_panel_covers_another(dashboard: dict[str, Any]) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert max(x for x, _ in cells) < 24
        assert not cells & taken, panel["title"]
        taken |= cells


def test_the_runbook_speaks_of_panels_that_exist(
    project: Project, dashboard: dict[str, Any]
) -> None:
    runbook = (project.path / "docs/operations.md").read_text()
    titles = {panel["title"] for panel in dashboard["panels"]}
    spoken = set(re.findall(r"\*([A-Z][^*]+)\*", " ".join(runbook.replace("**", "").split())))
    quoted = {each for each in spoken if each in titles}
    assert len(quoted) > 8
    # What is in italics is a panel, a word of Kubernetes', or a message of the service.
    others = {"Last State", "Symptom.", "Meaning."}
    assert {each for each in spoken - titles - others if not each.startswith("The ")} == set()


def test_the_table_of_exporters_is_used(objects: list[dict[str, Any]]) -> None:
    table = yaml.safe_load(Path(__file__).with_name("exporters.yaml").read_text())
    names = {name for source in table for name in source["metrics"]}
    used = json.dumps(rule_files(objects)[f"{NAME}-platform"])
    # An external database is backed up by a CronJob.
    assert {name for name in names if name not in used} == {
        "kube_cronjob_status_last_successful_time"
    }
