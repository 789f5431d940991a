"""Write the template's copies of what a rendered project derives from its own code.

A project holds its openapi.json and the tables of its docs, and `make docs` there writes them. A
fresh one must hold them too, whatever the answers, so the template has them with the answers left
open. This renders the template twice, with recognisable answers, lets each render write its
documents, and puts the two together again:

    python tools/openapi_template.py

Run it after any change that a rendered project would answer with `make docs`.
"""

import difflib
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import copier

ROOT = Path(__file__).resolve().parents[1]
TEMPLATE = ROOT / "template"
SETTINGS = re.compile("<!-- settings -->.*<!-- /settings -->", re.DOTALL)

ANSWERS = {
    "name": "The name",
    "description": "The description.",
    "owning_team": "The team",
    "contact": "the.contact@example.org",
    "repository": "the-repository",
    "licence": "EUPL-1.2",
}
# What stands for an answer in the template; quoted strings first, they are JSON.
EXPRESSIONS = {
    '"The name"': "{{ name_as_json }}",
    '"The description."': "{{ description_as_json }}",
    '"The team"': "{{ owning_team_as_json }}",
    '"EUPL-1.2"': '"{{ licence_expression }}"',
    "the.contact@example.org": "{{ contact }}",
    "the-repository": "{{ repository }}",
}


class NotATemplateError(Exception):
    """A document holds what Jinja would take for its own, or an answer nobody can tell apart."""


def templates(python: Path) -> dict[Path, str]:
    """Return the text of each file of the template that is derived.

    Args:
        python: an interpreter that has the rendered application's dependencies.

    Raises:
        NotATemplateError: a document cannot be written as a template.
        subprocess.CalledProcessError: a render could not write its documents.
    """
    with tempfile.TemporaryDirectory() as scratch:
        without, with_oidc = (
            _render(Path(scratch) / each, each, python) for each in ("none", "oidc")
        )

        def both(name: str, part: Callable[[str], str] = str) -> str:
            texts = (part((render / name).read_text()) for render in (without, with_oidc))
            return merge(*texts)

        readme = TEMPLATE / "README.md.jinja"
        table = both("README.md", lambda text: _only(SETTINGS.findall(text)))
        return {
            TEMPLATE / "openapi.json.jinja": both("openapi.json"),
            TEMPLATE / "docs" / "problems.md.jinja": both("docs/problems.md"),
            TEMPLATE / "docs" / "personal-data.md": both("docs/personal-data.md"),
            readme: SETTINGS.sub(lambda _: table, readme.read_text()),
        }


def merge(without: str, with_oidc: str) -> str:
    """Return a template that gives the first text without OIDC, and the second with it.

    Raises:
        NotATemplateError: a text holds what Jinja would take for its own.
    """
    old, new = (_open(text).split("\n") for text in (without, with_oidc))
    merged: list[str] = []
    changes = difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes()
    for change, old_from, old_to, new_from, new_to in changes:
        if change == "equal":
            merged += old[old_from:old_to]
            continue
        if new_from < new_to:
            merged += ['{%- if authentication == "oidc" %}', *new[new_from:new_to]]
            if old_from < old_to:
                merged += ["{%- else %}", *old[old_from:old_to]]
        else:
            merged += ['{%- if authentication == "none" %}', *old[old_from:old_to]]
        merged += ["{%- endif %}"]
    return "\n".join(merged)


def _open(text: str) -> str:
    """Leave the answers open."""
    for syntax in ("{{", "{%", "{#"):
        if syntax in text:
            raise NotATemplateError(f"a document has {syntax}, which Jinja would read: reword it")
    for answer, expression in EXPRESSIONS.items():
        text = text.replace(answer, expression)
    for answer in ANSWERS.values():
        if answer in text:
            raise NotATemplateError(
                f"{answer!r} is not alone in its JSON string: extend EXPRESSIONS"
            )
    return text


def _only(found: list[str]) -> str:
    if len(found) != 1:
        raise NotATemplateError("README.md needs one pair of markers <!-- settings -->")
    return found[0]


def _render(destination: Path, authentication: str, python: Path) -> Path:
    source = destination.with_suffix(".template")
    for directory in ("includes", "template"):
        shutil.copytree(ROOT / directory, source / directory)
    shutil.copy(ROOT / "copier.yml", source)
    copier.run_copy(
        str(source),
        destination,
        data={**ANSWERS, "authentication": authentication},
        defaults=True,
        quiet=True,
    )
    subprocess.run(
        [python, "docs/generate.py"], cwd=destination, check=True, stdout=subprocess.DEVNULL
    )
    return destination


def main() -> None:
    """Write the files that differ."""
    sys.path.insert(0, str(ROOT))
    from tests.application import make_environment

    for path, text in templates(make_environment(ROOT) / "bin" / "python").items():
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
            print(f"Wrote {path.relative_to(ROOT)}.")


if __name__ == "__main__":
    main()
