"""The how-to keeps its promises: each of its commands is run, in a rendered project."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.pipeline.conftest import CI
from tests.pipeline.servers import CREATED, GitLab, Server
from tests.render.rendering import commit, render

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "trigger-the-platform.md"
TEXT = GUIDE.read_text(encoding="utf-8")
COMMANDS = re.findall(r"(?m)^ {4}(\S.*)$", TEXT)


@pytest.fixture(scope="module")
def project(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = render(template, tmp_path_factory.mktemp("how-to") / "dossiers", {})
    commit(path)
    return path


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_works(command: str, project: Path) -> None:
    gitlab = GitLab()
    with Server([CREATED]).listening() as server:
        if "--wait" in command:
            server.behaviours[:] = [gitlab.behave(server)]
        result = subprocess.run(
            ["sh", "-c", command],
            cwd=project,
            env={
                "PATH": os.environ["PATH"],
                "GITLAB_URL": server.url,
                "GIT_MIRROR_PROJECT_ID": "12",
                "GIT_MIRROR_TOKEN": "glptt-s3cret",
                "GITLAB_READ_TOKEN": "glpat-s3cret",
                "REPOSITORY_NAME": "dossiers-api",
                "GIT_BRANCH_DEPLOY": "main",
                "CONSOLE_URL": server.url,
                "CONSOLE_TOKEN": "s3cret",
                "CONSOLE_REPOSITORY_ID": "8a3c3f6e-1a51-4c86-9d50-6a2a1d1b7f3e",
            },
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert result.returncode == 0, result.stderr
    assert "s3cret" not in result.stdout + result.stderr
    assert bool(server.requests) == ("trigger_sync" in command and "--dry-run" not in command)


def test_the_guide_shows_each_script_and_names_only_what_their_help_describes() -> None:
    sources = "".join((CI / name).read_text() for name in ("trigger_sync.py", "image_tag.py"))
    named = set(re.findall(r"`(--[a-z-]+|[A-Z]+(?:_[A-Z]+)+)", TEXT))

    assert len(COMMANDS) == 6
    assert {"--timeout", "CA_BUNDLE", "SYNC_ALL"} <= named
    assert [name for name in named - {"--help"} if name not in sources] == []
