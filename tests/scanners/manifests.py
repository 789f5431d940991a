"""The manifests of a rendered project, as the cluster would get them, in files."""

from collections.abc import Iterable
from pathlib import Path

import yaml
from helm_python.chart import Chart

from tests.deployment.rendering import kustomize, values_of


def write_manifests(project: Path, environments: Iterable[str], directory: Path) -> None:
    """Write what every environment gets, of the chart and of the overlays, into a directory.

    A finding names nothing but a file: that of the chart has the name of its template, that of an
    overlay the kind and the name of its object.
    """
    for environment in environments:
        place = directory / "helm" / environment
        for path, text in from_helm(project, environment).items():
            (place / path).parent.mkdir(parents=True, exist_ok=True)
            (place / path).write_text(text, encoding="utf-8")
        place = directory / "kustomize" / environment
        place.mkdir(parents=True)
        for each in kustomize(project, environment):
            file = place / f"{each['kind'].lower()}-{each['metadata']['name']}.yaml"
            assert not file.exists(), file
            file.write_text(yaml.safe_dump(each), encoding="utf-8")


def from_helm(project: Path, environment: str) -> dict[str, str]:
    """What the chart's templates make of an environment's values, by their paths in the chart."""
    with Chart.load(project / "deploy" / "helm") as chart:
        rendered = chart.render(values_of(project, environment), name="a-release")
    return {
        path.partition("/")[2]: text
        for path, text in rendered.items()
        if path.endswith(".yaml") and text.strip()
    }
