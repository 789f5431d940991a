"""The scripts of the rendered application, run as a pipeline runs them: by any Python."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.render.conftest import nobodys_settings, template  # noqa: F401  (fixtures)

CI = Path(__file__).resolve().parents[2] / "template" / "ci"
#: The oldest Python that the scripts promise to run on.
OLDEST = (3, 9)


@dataclass(frozen=True)
class Script:
    """A script and the Python that runs it."""

    path: Path
    python: Path

    def command(self, *arguments: str, **constants: object) -> list[str]:
        """Return the command that runs it, with other values for some of its constants."""
        if not constants:
            return [str(self.python), str(self.path), *arguments]
        set_ = "".join(f"script.{name} = {value!r}; " for name, value in constants.items())
        code = (
            f"import sys; sys.path.insert(0, {str(self.path.parent)!r}); "
            f"import {self.path.stem} as script; {set_}sys.exit(script.main())"
        )
        return [str(self.python), "-c", code, *arguments]

    def __call__(
        self, environment: Mapping[str, str], *arguments: str, **constants: object
    ) -> subprocess.CompletedProcess[str]:
        """Run it with this environment and nothing else of ours."""
        return subprocess.run(
            self.command(*arguments, **constants),
            env={"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1", **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


def oldest_python() -> Path:
    """Return a Python 3.9 where there is one, else the one that runs the tests.

    What no newer Python can show, `test_python.py` shows without running anything.
    """
    name = "python{}.{}".format(*OLDEST)
    versions = Path.home() / ".pyenv" / "versions"
    candidates = [
        *([Path(found)] if (found := shutil.which(name)) else []),
        *versions.glob("{}.{}.*/bin/python".format(*OLDEST)),
    ]
    for candidate in candidates:
        # A version manager's command may be there without the version.
        said = subprocess.run([candidate, "--version"], capture_output=True, text=True, check=False)
        if said.returncode == 0:
            return candidate
    return Path(sys.executable)


@pytest.fixture(scope="session")
def python() -> Path:
    return oldest_python()


@pytest.fixture(scope="session")
def trigger_sync(python: Path) -> Script:
    return Script(CI / "trigger_sync.py", python)
