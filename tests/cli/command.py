"""The installed `amorce` command, as a person runs it."""

import os
import subprocess
import sys
from pathlib import Path

AMORCE = Path(sys.executable).with_name("amorce")
COPIER = Path(sys.executable).with_name("copier")


def amorce(
    *arguments: str | Path, cwd: Path | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run `amorce` without a terminal."""
    return subprocess.run(
        [AMORCE, *arguments],
        cwd=cwd,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def assert_refused(run: subprocess.CompletedProcess[str], code: int, sentence: str) -> None:
    """Assert that the command ended with that code and with one sentence that says why."""
    assert (run.returncode, run.stdout) == (code, ""), run
    assert run.stderr.startswith("Error: ")
    assert run.stderr.count("\n") == 1, run.stderr
    assert sentence in run.stderr, run.stderr


def tree(root: Path) -> dict[str, tuple[int, bytes]]:
    """Return mode and bytes of every file below a directory, by relative path."""
    return {
        str(path.relative_to(root)): (path.stat().st_mode, path.read_bytes())
        for path in root.rglob("*")
        if path.is_file()
    }
