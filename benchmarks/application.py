"""The rendered service, made with the template's defaults and run with everything on."""

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import copier

from benchmarks.process import Service, StartError, free_port, running

PACKAGE = "dossiers_api"
AUDIENCE = "bench"
#: What a copy reads of this repository.
PARTS = ("copier.yml", "template", "includes")


@dataclass(frozen=True)
class Application:
    """A rendered project and the environment that its own Makefile made."""

    path: Path

    @property
    def python(self) -> Path:
        """The interpreter that has the project's locked dependencies."""
        return self.path / ".venv" / "bin" / "python"

    def run(self, environment: Mapping[str, str], *arguments: str) -> None:
        """Run one of the service's commands to its end.

        Raises:
            StartError: it failed.
        """
        _run([self.python, "-m", PACKAGE, *arguments], self.path, environment)

    @contextmanager
    def serving(self, environment: Mapping[str, str], log: Path) -> Iterator[Service]:
        """Serve until the block ends, from the moment of readiness. Its JSON logs go to `log`."""
        port = free_port()
        with running(
            [self.python, "-m", PACKAGE, "serve"],
            port,
            "/health/ready",
            cwd=self.path,
            environment={**environment, "PORT": str(port)},
            log=log,
        ) as service:
            yield service


def export_template(root: Path, template: Path) -> None:
    """Copy what Copier reads of the repository at `root` to the plain directory `template`.

    Of a Git repository Copier makes a clone first. Its seconds are the same for any template, so
    they would only flatter a ratio.
    """
    shutil.rmtree(template, ignore_errors=True)
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *PARTS],
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for name in filter(None, listed.split("\0")):
        if (root / name).exists():
            (template / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(root / name, template / name)


def render(template: Path, path: Path) -> Application:
    """Render `template` to `path` and install it; a second time takes little.

    Raises:
        StartError: its installation failed.
    """
    copier.run_copy(str(template), path, defaults=True, overwrite=True, quiet=True)
    _run(["make", "install"], path, os.environ)
    return Application(path)


def settings(database_url: str, issuer: str) -> dict[str, str]:
    """Answer the service's environment: production's, but for an issuer without TLS."""
    return {
        "ENV": "local",
        "DATABASE_URL": database_url,
        "OIDC_ISSUER": issuer,
        "OIDC_AUDIENCE": AUDIENCE,
    }


def _run(command: list[str | Path], cwd: Path, environment: Mapping[str, str]) -> None:
    done = subprocess.run(
        command,
        cwd=cwd,
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        words = (done.stderr or done.stdout).strip()[-1000:]
        raise StartError(f"{' '.join(map(str, command))} fails: {words}")
