"""The documents keep their promises: their links lead somewhere, their commands work."""

import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted(
    path
    for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *ROOT.glob("*/README.md")]
    if not path.is_relative_to(ROOT / "build")
)
#: Commands of the documents that another test runs for real, and where.
RUN_ELSEWHERE = {
    "curl": "tests/app/test_readme.py asks the same of the rendered README",
}


def commands(document: Path) -> list[str]:
    """Return the commands of a document: indented lines and code spans that begin like one."""
    text = document.read_text(encoding="utf-8")
    blocks = re.findall(r"(?m)^ {4}(\S.*)$", text)
    spans = re.findall(
        r"`((?:\w+=\S+ )*(?:make |copier copy \.|\.venv/bin/amorce |\.ci/run)[^`]*)`", text
    )
    starts = ("make ", "copier copy ", ".venv/bin/", "curl", "git ", "cd ", "images/", ".ci/run")
    return [
        command
        for command in [*blocks, *spans]
        if re.sub(r"^(\w+=\S+ )*", "", command).startswith(starts)
    ]


ALL_COMMANDS = sorted({(d.relative_to(ROOT), c) for d in DOCUMENTS for c in commands(d)}, key=str)


def targets(makefile: Path) -> set[str]:
    return set(re.findall(r"(?m)^([a-z-]+):", makefile.read_text(encoding="utf-8")))


def test_there_are_documents_and_commands_to_look_at() -> None:
    assert len(DOCUMENTS) > 10
    assert len(ALL_COMMANDS) > 20


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_relative_link_leads_to_a_file(document: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", document.read_text(encoding="utf-8"))

    missing = [
        link
        for link in links
        if not re.match(r"[a-z]+:|#", link)
        and not (document.parent / link.partition("#")[0]).exists()
    ]

    assert missing == []


@pytest.mark.parametrize(
    ("document", "command"), ALL_COMMANDS, ids=[f"{d}: {c}" for d, c in ALL_COMMANDS]
)
def test_every_command_is_one_that_works_or_that_a_test_runs(
    document: Path, command: str, tmp_path: Path
) -> None:
    words = shlex.split(re.sub(r"^(\w+=\S+ )*", "", command))
    program = words[0]
    if program == "make":
        # The rendered project has targets of its own, which tests/app runs.
        rendered = targets(ROOT / "template" / "Makefile.jinja")
        named = {word for word in words[1:] if "=" not in word}
        assert named <= targets(ROOT / "Makefile") | rendered, f"{document} names no such target"
    elif program in ("cd", "git") or program in RUN_ELSEWHERE:
        assert program != "git" or words[1] in ("init", "add")
    elif program in (".ci/run", "images/postgresql/build"):
        assert os.access(ROOT / program, os.X_OK)
    else:
        run(words, tmp_path)


def run(words: list[str], directory: Path) -> None:
    """Run a command that renders, on a destination of the test's own."""
    program = ROOT / ".venv" / "bin" / Path(words[0]).name
    arguments = [
        str(ROOT) if word == "." else word.replace("../", f"{directory}/") for word in words[1:]
    ]
    if "--defaults" not in arguments:
        arguments.append("--defaults")
    result = subprocess.run(
        [program, *arguments],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert result.returncode == 0, result.stderr
    assert [path.name for path in directory.iterdir()] != []
