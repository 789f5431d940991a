"""The rendered README keeps its promises: each of its commands is run."""

import re
import shlex
from pathlib import Path

import httpx
import pytest

from tests.app.conftest import PACKAGE, Project

SERVED_AT = "http://127.0.0.1:8080"


def commands(markdown: Path) -> list[str]:
    """Return the commands of a document's indented blocks, continued lines joined."""
    blocks = re.findall(r"(?m)^ {4}(\S.*?(?:\\\n.*)*)$", markdown.read_text(encoding="utf-8"))
    return [re.sub(r"\s*\\\n\s*", " ", block) for block in blocks]


@pytest.fixture(scope="module")
def readme(project: Project) -> list[str]:
    return commands(project.path / "README.md")


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, str]:
    return {
        "ENV": "local",
        "INSECURE_DISABLE_AUTHENTICATION": "true",
        "DATABASE_URL": f"sqlite:///{tmp_path / 'readme.db'}",
    }


def test_every_command_of_the_readme_is_of_a_kind_that_is_tested(readme: list[str]) -> None:
    assert {command.split()[0] for command in readme} == {"make", "curl", "python", "docker"}


def test_every_make_target_of_the_readme_exists(readme: list[str], project: Project) -> None:
    targets = [command.split()[1:] for command in readme if command.startswith("make")]

    assert ["run"] in targets
    for words in targets:
        project.make("--dry-run", *words)


def test_every_request_of_the_readme_is_answered(
    readme: list[str], project: Project, settings: dict[str, str]
) -> None:
    project.command("migrate", **settings)
    project.command("load-sample", **settings)
    requests = [shlex.split(command)[1:] for command in readme if command.startswith("curl")]

    assert len(requests) == 3
    with project.serving(settings) as address:
        for words in requests:
            url = words[-1].replace(SERVED_AT, address)
            content = words[words.index("--json") + 1] if "--json" in words else None
            response = httpx.request(
                "POST" if content else "GET",
                url,
                content=content,
                headers={"Content-Type": "application/json"},
            )
            assert response.is_success, f"{words}: {response.text}"


def test_every_administration_command_of_the_readme_works(
    readme: list[str], project: Project, settings: dict[str, str]
) -> None:
    administration = [command for command in readme if command.startswith("python")]

    assert len(administration) == 3
    for command in administration:
        words = shlex.split(command, comments=True)
        assert words[:3] == ["python", "-m", PACKAGE]
        assert project.command(*words[3:], **settings)
