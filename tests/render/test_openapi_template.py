"""The template's derived files are what the template's own code gives."""

import json
from pathlib import Path

import pytest
from jinja2 import Environment

from tests.application import make_environment
from tools.openapi_template import NotATemplateError, merge, templates


def test_the_derived_files_are_current(repository: Path) -> None:
    python = make_environment(repository) / "bin" / "python"
    stale = [path.name for path, text in templates(python).items() if path.read_text() != text]
    assert stale == [], "run .venv/bin/python tools/openapi_template.py"


@pytest.mark.parametrize(
    ("without", "with_oidc"),
    [
        ("a\nb\n", "a\nb\n"),
        ("a\nb\n", "a\nx\nb\n"),
        ("a\nx\nb\n", "a\nb\n"),
        ("a\nold\nb\n", "a\nnew\nnewer\nb\n"),
        ("a\n  {\n  }\n", "a\n  {\n  },\n  {\n    1\n  }\n"),
    ],
)
def test_a_merged_template_gives_each_text_back(without: str, with_oidc: str) -> None:
    template = Environment(keep_trailing_newline=True).from_string(  # noqa: S701
        merge(without, with_oidc)
    )
    assert template.render(authentication="none") == without
    assert template.render(authentication="oidc") == with_oidc


def test_answers_are_left_open() -> None:
    text = json.dumps({"title": "The name", "type": "urn:the-repository:x"})
    assert merge(text, text) == '{"title": {{ name_as_json }}, "type": "urn:{{ repository }}:x"}'


@pytest.mark.parametrize("text", ["{{ x }}", "{% x %}", "{# x #}", '"Welcome to The name"'])
def test_what_would_not_survive_is_refused(text: str) -> None:
    with pytest.raises(NotATemplateError):
        merge(text, text)
