"""The inspection finds what it is for: without this its silence would prove nothing."""

from pathlib import Path

import pytest

from tests.render.inspection import faults


@pytest.mark.parametrize(
    ("name", "content", "fault"),
    [
        ("README.md", "Hello {{ name }}\n", "leftover template syntax '{{ name }}\\n'"),
        ("README.md", "{% if x %}\n", "leftover template syntax '{% if x %}\\n'"),
        ("README.md", "{# why #}\n", "leftover template syntax '{# why #}\\n'"),
        ("a.py", "x = {{ name }}\n", "leftover template syntax in line 1"),
        ("a.py", 'x = "{{ name }}"\n', "leftover template syntax in line 1"),
        ("a.py", "x = 1  # {{ name }}\n", "leftover template syntax in line 1"),
        ("a.py", "{% endif %}\n", "cannot be parsed"),
        ("a.py", "x = (\n", "cannot be parsed"),
        ("a.json", "{,}\n", "cannot be parsed"),
        ("a.toml", "x = \n", "cannot be parsed"),
        ("a.yml", "x: [\n", "cannot be parsed"),
        ("a.yaml", "x: {{ name }}\n", "cannot be parsed"),
        ("ci.yml", "x: ${{ matrix.x }}{% x\n", "leftover template syntax"),
        ("deploy/observability/a.json", '{"x": "{{ name }}"}\n', "leftover template syntax"),
        ("deploy/observability/a.yaml.tpl", "x: {{ $labels.pod }}\n", "leftover template syntax"),
        ("a.txt", "x \n", "trailing blanks in line 1"),
        ("a.txt", "x\t\ny\n", "trailing blanks in line 1"),
        ("a.txt", "x\n\n\ny\n", "doubled blank line after line 1"),
        ("a.py", "x = 1\n\n\n\ny = 2\n", "doubled blank line after line 1"),
        ("a.py", "if x:\n    y = 1\n\n\n    z = 1\n", "doubled blank line after line 2"),
        ("a.txt", "x", "does not end with exactly one line feed"),
        ("a.txt", "x\n\n", "does not end with exactly one line feed"),
        ("a.txt", "\nx\n", "begins with a blank line"),
        ("a.txt", "x\r\n", "carriage return"),
        ("a.jinja", "x\n", "unsafe file name 'a.jinja'"),
        ("{{ x }}.txt", "x\n", "unsafe file name '{{ x }}.txt'"),
        ("{% if x %}y", "x\n", "unsafe file name '{% if x %}y'"),
    ],
)
def test_a_fault_is_found(tmp_path: Path, name: str, content: str, fault: str) -> None:
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode())
    assert any(fault in found for found in faults(tmp_path))


def test_bytes_that_are_no_text_are_found(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"\xff\n")
    assert faults(tmp_path) == ["a.txt: not UTF-8"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.py", 'x = f"{{{y:%H}}}"\n\n\ndef z():\n    return {1: {2: {}}}\n'),
        ("a.py", 'x = f"{y:.1%}"\n'),
        ("__init__.py", ""),
        ("a.json", '{"a": {"b": {}}}\n'),
        ("deploy/observability/a.json", '{"legendFormat": "{{pod}}"}\n'),
        ("deploy/observability/a.yaml.tpl", "summary: {{`{{ $labels.pod }}`}}\n"),
        (".github/workflows/ci.yml", "run: echo ${{ matrix.python }}\n"),
        ("Makefile", "x:\n\techo $${#y}\n"),
    ],
)
def test_what_only_looks_like_a_fault_is_left_alone(
    tmp_path: Path, name: str, content: str
) -> None:
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    assert faults(tmp_path) == []


def test_braces_of_an_answer_are_no_fault_and_others_still_are(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("# {{ 7 \\* 7 }}\n")
    assert faults(tmp_path, ["{{ 7 * 7 }}"]) == []
    (tmp_path / "README.md").write_text("# {{ 7 \\* 7 }} {{ name }}\n")
    assert len(faults(tmp_path, ["{{ 7 * 7 }}"])) == 1
