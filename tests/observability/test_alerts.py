"""Each alert fires when it must, and only then: promtool runs the unit tests in alerts/."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.engines import require_program
from tests.observability.conftest import deployed, rule_files, rules, run
from tests.render.rendering import render

ALERTS = Path(__file__).with_name("alerts")


def test_prometheus_takes_the_rules(metric_rules: Path) -> None:
    promtool = require_program("promtool", "prometheus")
    for path in metric_rules.iterdir():
        assert "SUCCESS" in run(promtool, "check", "rules", "--lint=all", "--lint-fatal", path)


@pytest.mark.parametrize("name", ["service", "platform"])
def test_the_alerts_fire_when_they_must(metric_rules: Path, tmp_path: Path, name: str) -> None:
    _run_unit_tests(metric_rules, tmp_path, name)


def test_the_alerts_on_an_external_database_fire_when_they_must(
    template: Path, tmp_path: Path
) -> None:
    path = render(template, tmp_path / "project", {"database": "external"})
    objects = deployed(path / "deploy/observability/files", tmp_path / "chart")
    directory = tmp_path / "rules"
    directory.mkdir()
    for name, spec in rule_files(objects).items():
        (directory / f"{name}.yaml").write_text(yaml.safe_dump(spec))
    _run_unit_tests(directory, tmp_path, "platform-external")


def test_an_alert_that_does_not_fire_is_noticed(metric_rules: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(metric_rules, broken)
    path = broken / "dossiers-api-service.yaml"
    path.write_text(path.read_text().replace("> 0.9", "> 1.9"))
    with pytest.raises(AssertionError, match="DatabasePoolExhausted"):
        _run_unit_tests(broken, tmp_path, "service")


def test_every_alert_is_seen_to_fire_and_to_be_silent(objects: list[dict[str, Any]]) -> None:
    for name in "service", "platform":
        tests = yaml.safe_load((ALERTS / f"{name}.yaml").read_text())["tests"]
        cases = [case for test in tests for case in test["promql_expr_test"]]
        for rule in rules(rule_files(objects)[f"dossiers-api-{name}"]):
            if "alert" in rule:
                mentions = [case for case in cases if f'"{rule["alert"]}"' in case["expr"]]
                assert any(case["exp_samples"] for case in mentions), rule["alert"]
                assert any(not case["exp_samples"] for case in mentions), rule["alert"]


def _run_unit_tests(directory: Path, tmp_path: Path, name: str) -> None:
    promtool = require_program("promtool", "prometheus")
    work = tmp_path / "promtool"
    shutil.copytree(directory, work)
    shutil.copy(ALERTS / f"{name}.yaml", work / "unit.yaml")
    run(promtool, "test", "rules", work / "unit.yaml")
