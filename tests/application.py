"""One virtual environment with the rendered application's locked dependencies, for all tests.

The lock file is the same whatever the answers, so one installation serves every render:
`make VENV=<it> lint test` in a rendered project finds it complete. What `make install` does by
itself is tested once, in tests/app/test_fresh_project.py.
"""

import fcntl
import shutil
import subprocess
import sys
from pathlib import Path


def make_environment(repository: Path) -> Path:
    """Return the application's environment, installing it if this lock file never was."""
    lock = repository / "template" / "requirements-dev.lock"
    return install(lock, repository / "build", "application")


def install(lock: Path, parent: Path, name: str) -> Path:
    """Return the directory of an environment with what a lock file names.

    Args:
        lock: The lock file, with hashes.
        parent: Where the environment's directory is, or will be.
        name: What its name begins with; the lock file's checksum follows.

    Raises:
        subprocess.CalledProcessError: Something could not be had.
    """
    with lock.open("rb") as content:
        checksum = subprocess.run(
            ["cksum"], stdin=content, check=True, capture_output=True, text=True
        ).stdout.split()[0]
    directory = parent / f"{name}-{checksum}"
    # The file by which the rendered Makefile knows a complete installation.
    stamp = directory / f".installed-{checksum}"
    parent.mkdir(exist_ok=True)
    with directory.with_suffix(".lock").open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        if not stamp.exists():
            shutil.rmtree(directory, ignore_errors=True)
            subprocess.run([sys.executable, "-m", "venv", directory], check=True)
            uv = Path(sys.executable).with_name("uv")
            python = directory / "bin" / "python"
            options = [
                "--quiet",
                "--require-hashes",
                f"--python={python}",
                f"--requirements={lock}",
            ]
            subprocess.run([uv, "pip", "install", *options], check=True)
            stamp.touch()
    return directory
