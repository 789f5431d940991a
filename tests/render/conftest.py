"""The template as the working tree has it, ready for Copier."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.render.rendering import clean_copy

# Every answer, computed ones included, as one JSON object.
PROBE = """\
{
{%- for name, value in {
    'name': name, 'package': package, 'deployed_repository': deployed_repository,
    'environments': environments, 'name_as_python': name_as_python,
    'licence_expression': licence_expression,
}.items() %}
  {{ name | to_json }}: {{ value | to_json(ensure_ascii=false) }}{{ '' if loop.last else ',' }}
{%- endfor %}
}
"""


@pytest.fixture(scope="session", autouse=True)
def nobodys_settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Copier and Git as on a fresh machine, whatever the developer has configured."""
    empty = tmp_path_factory.mktemp("settings") / "settings.yml"
    empty.write_text("defaults: {}\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COPIER_SETTINGS_PATH", str(empty))
        patch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
        patch.setenv("GIT_CONFIG_NOSYSTEM", "1")
        yield


@pytest.fixture(scope="session")
def template(
    repository: Path, tmp_path_factory: pytest.TempPathFactory, nobodys_settings: None
) -> Path:
    """The working tree as one commit, so that neither history nor litter matters."""
    assert nobodys_settings is None
    return clean_copy(repository, tmp_path_factory.mktemp("template"))


@pytest.fixture(scope="session")
def questionnaire(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The questions alone: they render their answers and nothing else."""
    root = tmp_path_factory.mktemp("questionnaire")
    shutil.copy(repository / "copier.yml", root)
    shutil.copytree(repository / "includes", root / "includes")
    (root / "template").mkdir()
    shutil.copy(
        repository / "template" / "{{ _copier_conf.answers_file }}.jinja", root / "template"
    )
    (root / "template" / "probe.json.jinja").write_text(PROBE)
    return root
