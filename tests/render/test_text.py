"""Any accepted text survives its way into Python, JSON, YAML, TOML and Markdown."""

import ast
import json
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from jinja2 import FileSystemLoader, StrictUndefined
from jinja2.sandbox import SandboxedEnvironment
from markdown_it import MarkdownIt

# As Copier makes it; test_pairwise.py goes through Copier itself.
ENVIRONMENT = SandboxedEnvironment(
    loader=FileSystemLoader(Path(__file__).resolve().parents[2]),
    extensions=["jinja2_ansible_filters.AnsibleCoreFiltersExtension"],
    undefined=StrictUndefined,
)
MACROS: Any = ENVIRONMENT.get_template("includes/text.jinja").module

punctuation = st.sampled_from("\"'\\`*_[]()<>#&|~$!-+=.:1{}% ")
anything = st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"])
texts = (
    st.text(punctuation | anything, min_size=1, max_size=40)
    .map(str.strip)
    .filter(lambda text: not MACROS.refuse_text(text, 200))
)
quick = settings(max_examples=40, deadline=None)


@pytest.mark.parametrize(
    "character",
    "\0\t\x0b\x1b\x7f\x80\x85\x9f\u061c\u200b\u200e\u200f\u2028\u2029\u202a\u202e\u2060\u2066\u2069"
    "\ufeff\ud800\udfff\ufff9\ufffe\uffff",
    ids=lambda character: f"U+{ord(character):04X}",
)
def test_an_invisible_character_is_refused_by_its_number(character: str) -> None:
    assert MACROS.refuse_text(f"a{character}b", 200) == (
        f"Remove the invisible character U+{ord(character):04X} at position 2: it can make text "
        "read as something else."
    )


@quick
@given(st.lists(texts, min_size=20, max_size=40))
def test_a_python_literal_is_what_ruff_would_write(batch: list[str]) -> None:
    lines = [f"    {MACROS.as_python(text)},\n" for text in batch]
    source = "".join(["TEXTS = [\n", *lines, "]\n"])
    assert ast.literal_eval(source.removeprefix("TEXTS = ")) == batch
    ruff = subprocess.run(
        [sys.executable, "-m", "ruff", "format", "--isolated", "--no-cache", "-"],
        input=source,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=True,
    )
    assert ruff.stdout == source


@quick
@given(texts)
def test_one_json_string_serves_json_yaml_and_toml(text: str) -> None:
    written = ENVIRONMENT.from_string("{{ text | to_json(ensure_ascii=false) }}").render(text=text)
    assert json.loads(written) == text
    assert yaml.safe_load(f"x: {written}") == {"x": text}
    assert tomllib.loads(f"x = {written}") == {"x": text}


MARKDOWN = MarkdownIt("gfm-like", {"linkify": False})


def shown(markdown: str) -> list[str]:
    """The text of each block, with everything that is no text marked."""
    return [
        "".join(child.content if child.type == "text" else f"<{child.type}>" for child in children)
        for token in MARKDOWN.parse(markdown)
        if (children := token.children) is not None
    ]


@quick
@given(texts)
def test_markdown_shows_what_was_typed(text: str) -> None:
    written = MACROS.as_markdown(text)
    assert shown(f"# {written}\n") == [text]
    assert shown(f"{written}\n") == [text]
    assert shown(f"> {written}\n\n- {written}\n\n1. {written}\n") == [text] * 3
    assert shown(f"before\n{written}\n") == [f"before<softbreak>{text}"]
    assert shown(f"| a |\n|---|\n| {written} |\n") == ["a", text]
    assert shown(f"**{written}.**\n")[0].removesuffix("<strong_close>").endswith(f"{text}.")
