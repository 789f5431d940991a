"""Schemathesis, every check and phase, against the running service and its published contract."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.app.conftest import Project, free_port

HERE = Path(__file__).parent / "schemathesis"
EXAMPLES = 40


@contextmanager
def identity_provider(project: Project, repository: Path) -> Iterator[tuple[str, str]]:
    """Yield an issuer on this machine, and a token of an agent that it has signed."""
    port = free_port()
    script = repository / "benchmarks" / "identity.py"
    with subprocess.Popen(
        [project.venv / "bin" / "python", script, str(port), "test", "1"],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        try:
            yield f"http://127.0.0.1:{port}", process.stdout.readline().strip()
        finally:
            process.terminate()


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_no_request_that_schemathesis_can_think_of_breaks_the_contract(
    database: str,
    project: Project,
    repository: Path,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    if database == "sqlite":
        url = f"sqlite:///{tmp_path / 'test.db'}"
    else:
        url = request.getfixturevalue("postgresql_url")
    with identity_provider(project, repository) as (issuer, token):
        settings = {
            "ENV": "local",
            "DATABASE_URL": url,
            "OIDC_ISSUER": issuer,
            "OIDC_AUDIENCE": "test",
        }
        project.command("migrate", **settings)
        project.command("load-sample", **settings)
        with project.serving(settings) as address:
            result = subprocess.run(
                [
                    Path(sys.executable).with_name("schemathesis"),
                    f"--config-file={HERE / 'schemathesis.toml'}",
                    "run",
                    f"{address}/openapi.json",
                    "--checks=all",
                    "--seed=1",
                    f"--max-examples={EXAMPLES}",
                    f"--header=Authorization: Bearer {token}",
                ],
                cwd=tmp_path,
                env={**os.environ, "SCHEMATHESIS_HOOKS": "hooks", "PYTHONPATH": str(HERE)},
                capture_output=True,
                text=True,
                timeout=300,
                check=False,
            )
        log = (project.path / "service.log").read_text()

    assert result.returncode == 0, result.stdout
    assert "Selected: 10/10" in result.stdout
    assert "Tested: 10" in result.stdout
    assert '"level":"ERROR"' not in log
