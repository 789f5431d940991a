"""Rendering for tests, through Copier's Python API and without any trust."""

import subprocess
from pathlib import Path
from typing import Any

import copier

# A commit's name depends on its dates and author: fixed, so that two renders are the same bytes.
IDENTITY = {
    "GIT_AUTHOR_DATE": "2026-01-01T00:00:00Z",
    "GIT_AUTHOR_EMAIL": "test@example.org",
    "GIT_AUTHOR_NAME": "Test",
    "GIT_COMMITTER_DATE": "2026-01-01T00:00:00Z",
    "GIT_COMMITTER_EMAIL": "test@example.org",
    "GIT_COMMITTER_NAME": "Test",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "PATH": "/usr/local/bin:/usr/bin:/bin",
}


def clean_copy(repository: Path, destination: Path) -> Path:
    """Commit what Git knows or would add in `repository` to a new repository at `destination`."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=repository,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    for name in filter(None, listed.split("\0")):
        source = repository / name
        if source.is_file():
            target = destination / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())
            target.chmod(source.stat().st_mode)
    commit(destination)
    return destination


def commit(directory: Path) -> None:
    """Make `directory` a Git repository that holds everything in it."""
    for command in (["init", "--quiet"], ["add", "--all"], ["commit", "--quiet", "-m", "State"]):
        subprocess.run(["git", *command], cwd=directory, check=True, env=IDENTITY)


def render(template: Path, destination: Path, answers: dict[str, Any]) -> Path:
    """Render `template` into `destination` and return it.

    Raises:
        ValueError: Copier refused an answer.
    """
    copier.run_copy(
        str(template),
        destination,
        data=answers,
        defaults=True,
        quiet=True,
        unsafe=False,
        vcs_ref="HEAD",
    )
    return destination
