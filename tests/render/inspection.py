"""What is wrong with a rendered file, whatever it is for."""

import ast
import io
import json
import re
import tokenize
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

# An opening or closing mark of Jinja; `${#x}` and `${{ x }}` belong to the shell and to GitHub.
JINJA = re.compile(r"(?<!\$)\{\{|\{%|%\}|(?<!\$)\{#|#\}")
GITHUB_EXPRESSION = re.compile(r"\$\{\{[^{}]*\}\}")
#: What Grafana (a label's value) and Helm (text for Prometheus) find in the files made for them.
GRAFANA_LABEL = re.compile(r"\{\{[a-z_]+\}\}")
HELM_TEXT = re.compile(r"\{\{`[^`\n]*`\}\}")
SAFE_NAME = re.compile(r"[A-Za-z0-9_.-]+")


def faults(root: Path, free_text: Iterable[str] = ()) -> list[str]:
    """Inspect every file under `root`.

    Args:
        root: A rendered project.
        free_text: Answers whose braces may appear, in any of the forms that templates use.

    Returns:
        One line for each fault, with the file it is in; empty when there is none.
    """
    allowed = sorted({form for text in free_text for form in _forms(text)}, key=len, reverse=True)
    return [
        f"{path.relative_to(root)}: {fault}"
        for path in sorted(root.rglob("*"))
        for fault in _faults_of(path, root, allowed)
    ]


def _forms(text: str) -> Iterator[str]:
    """The ways in which a template may write `text`: as typed, or escaped for a language."""
    json_form = json.dumps(text, ensure_ascii=False)[1:-1]
    yield text
    yield json_form
    yield json_form.replace('\\"', '"').replace("'", "\\'")
    yield re.sub(r"([\\`*_\[\]<>#&|~$])", r"\\\1", text)
    yield yaml.safe_dump(text, allow_unicode=True, width=10_000).splitlines()[0].strip("'\"")


def _faults_of(path: Path, root: Path, allowed: list[str]) -> Iterator[str]:
    if not SAFE_NAME.fullmatch(path.name) or path.name.endswith(".jinja"):
        yield f"unsafe file name {path.name!r}"
    if path.is_dir():
        return
    content = path.read_bytes()
    try:
        text = content.decode()
    except UnicodeDecodeError:
        yield "not UTF-8"
        return
    python = path.suffix == ".py"
    yield from _layout_faults(text, python=python or path.name.endswith(".py.mako"))
    if path.is_relative_to(root / "deploy" / "helm" / "templates"):
        return  # Helm's own language; tests/deployment looks at what Helm makes of it
    try:
        document = _parse(path, text)
    except (ValueError, SyntaxError, yaml.YAMLError) as error:
        yield f"cannot be parsed: {error}"
        return
    for form in allowed:
        text = text.replace(form, "")
    if python:
        yield from _python_scars(document, content, allowed)
        return
    if path.is_relative_to(root / ".github"):
        text = GITHUB_EXPRESSION.sub("", text)
    if path.is_relative_to(root / "deploy" / "observability"):
        text = HELM_TEXT.sub("", GRAFANA_LABEL.sub("", text))
    for found in JINJA.finditer(text):
        yield f"leftover template syntax {text[found.start() :][:40]!r}"


def _layout_faults(text: str, *, python: bool) -> Iterator[str]:
    if "\r" in text:
        yield "carriage return"
    if text and (not text.endswith("\n") or text.endswith("\n\n")):
        yield "does not end with exactly one line feed"
    if text.startswith("\n"):
        yield "begins with a blank line"
    for number, line in enumerate(text.split("\n"), 1):
        if line != line.rstrip(" \t"):
            yield f"trailing blanks in line {number}"
    # Python sets its top-level definitions apart with two blank lines, and nothing else.
    doubled = r"\n\n\n(?=[\n \t])" if python else r"\n\n\n"
    for found in re.finditer(doubled, text):
        yield f"doubled blank line after line {text.count(chr(10), 0, found.start()) + 1}"


def _parse(path: Path, text: str) -> Any:  # noqa: ANN401  (whatever the file's language yields)
    match path.suffix:
        case ".py":
            return ast.parse(text)
        case ".json":
            return json.loads(text)
        case ".toml":
            return tomllib.loads(text)
        case ".yml" | ".yaml":
            return list(yaml.safe_load_all(text))
        case _:
            return None


def _python_scars(tree: ast.Module, content: bytes, allowed: list[str]) -> Iterator[str]:
    """Jinja in Python, where `{{` may be part of an f-string and `%}` of a format.

    A leftover expression parses as a set in a set, which no program can build.
    """
    formats = {
        id(part)
        for node in ast.walk(tree)
        if isinstance(node, ast.JoinedStr)
        for part in node.values
    } | {
        id(part)
        for node in ast.walk(tree)
        if isinstance(node, ast.FormattedValue) and isinstance(node.format_spec, ast.JoinedStr)
        for part in node.format_spec.values
    }
    strings = [
        (node.lineno, node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and id(node) not in formats
    ]
    comments = [
        (token.start[0], token.string)
        for token in tokenize.tokenize(io.BytesIO(content).readline)
        if token.type == tokenize.COMMENT
    ]
    for line, text in strings + comments:
        for form in allowed:
            text = text.replace(form, "")  # noqa: PLW2901
        if JINJA.search(text):
            yield f"leftover template syntax in line {line}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Set) and any(isinstance(item, ast.Set) for item in node.elts):
            yield f"leftover template syntax in line {node.lineno}"
