"""A small template of its own, so that these tests are about the command line alone."""

import subprocess
from pathlib import Path

import pytest

COPIER_YML = """
_subdirectory: template
_envops: {undefined: jinja2.StrictUndefined}
name:
  type: str
  default: Dossiers
  validator: "{% if name | length < 3 %}Write at least 3 characters.{% endif %}"
colour:
  type: str
  choices: [red, blue]
  default: red
places:
  type: yaml
  default: {here: 1}
"""

FILES = {
    "copier.yml": COPIER_YML,
    "template/README.md.jinja": "# {{ name }} in {{ colour }} at {{ places }}\n",
    "template/{{ _copier_conf.answers_file }}.jinja": "{{ _copier_answers | to_nice_yaml }}",
    "template/folder.txt.jinja": "{{ _folder_name }}\n",
    "template/run.sh": "#!/bin/sh\n",
    "template/src/{{ colour }}.py": "",
}


def git(directory: Path, *arguments: str) -> None:
    identity = ("-c", "user.name=Test", "-c", "user.email=test@example.org")
    subprocess.run(["git", "-C", directory, *identity, *arguments], check=True, capture_output=True)


def write(directory: Path, files: dict[str, str]) -> None:
    for name, content in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


@pytest.fixture
def template(tmp_path: Path) -> Path:
    """A tagged template in Git, with a later commit on top."""
    root = tmp_path / "template"
    write(root, FILES)
    (root / "template/run.sh").chmod(0o755)
    git(root.parent, "init", "--quiet", str(root))
    git(root, "add", ".")
    git(root, "commit", "--quiet", "--message", "First")
    git(root, "tag", "1.0.0")
    write(root, {"template/later.txt": "after 1.0.0\n"})
    git(root, "add", ".")
    git(root, "commit", "--quiet", "--message", "Second")
    return root


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """An empty directory to render into."""
    path = tmp_path / "place"
    path.mkdir()
    return path


@pytest.fixture
def slow_template(template: Path) -> Path:
    """The same, with a file that takes minutes to render."""
    loop = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}\n"
    write(template, {"template/zzz/slow.txt.jinja": loop})
    git(template, "add", ".")
    git(template, "commit", "--quiet", "--message", "Slow")
    git(template, "tag", "2.0.0")
    return template
