"""Dashboards and rules ask for nothing that the service does not expose."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.observability.conftest import NAME, Pods, deployed, rule_files, rules
from tests.observability.promql import Series, faults, live
from tests.observability.queries import panel_queries
from tests.render.rendering import render

pytestmark = pytest.mark.xdist_group("observability")


@pytest.fixture(scope="session")
def series(pods: Pods) -> dict[str, Series]:
    """What a live service exposes."""
    return live(pods.scrape())


def test_the_dashboard_asks_for_what_there_is(
    dashboard: dict[str, Any], series: dict[str, Series]
) -> None:
    queries = panel_queries(dashboard)
    assert len(queries) > 20
    assert {title: found for title, query in queries if (found := faults(query, series))} == {}


def test_the_rules_ask_for_what_there_is(
    objects: list[dict[str, Any]], series: dict[str, Series]
) -> None:
    service = rules(rule_files(objects)[f"{NAME}-service"])
    recorded: dict[str, Series] = {rule["record"]: [{}] for rule in service if "record" in rule}
    assert recorded
    found = {
        rule.get("alert", rule.get("record")): faults(rule["expr"], series | recorded)
        for rule in service
    }
    assert {name: each for name, each in found.items() if each} == {}


@pytest.mark.parametrize("database", ["cloudnativepg", "external"])
def test_the_platform_s_rules_ask_for_what_its_exporters_document(
    template: Path, tmp_path: Path, database: str
) -> None:
    path = render(template, tmp_path / "project", {"database": database})
    objects = deployed(path / "deploy/observability/files", tmp_path / "chart")
    table = yaml.safe_load(Path(__file__).with_name("exporters.yaml").read_text())
    documented = {
        name: [dict.fromkeys(labels, "")]
        for source in table
        for name, labels in source["metrics"].items()
    }
    for rule in rules(rule_files(objects)[f"{NAME}-platform"]):
        # Names and labels: nobody here has the values.
        found = faults(rule["expr"], documented, target=())
        assert [each for each in found if not each.startswith("no series ")] == []


def test_a_metric_that_the_service_drops_would_be_noticed(
    dashboard: dict[str, Any], objects: list[dict[str, Any]], series: dict[str, Series]
) -> None:
    used = [query for _, query in panel_queries(dashboard)]
    used += [rule["expr"] for rule in rules(rule_files(objects)[f"{NAME}-service"])]
    own = [name for name in series if any(name in query for query in used)]
    assert len(own) > 8
    for name in own:
        less = {other: each for other, each in series.items() if other != name}
        assert any(f"no metric {name}" in faults(query, less) for query in used)
