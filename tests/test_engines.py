import asyncio
import os
import subprocess
import sys
from pathlib import Path

import asyncpg

SUITE = """
from tests.engines import require_engine

def test_it():
    require_engine("Warp drive", "no dilithium")
"""


def run_suite(tmp_path: Path, repository: Path, **environment: str) -> tuple[int, str]:
    (tmp_path / "test_it.py").write_text(SUITE)
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-ra", "-p", "no:cacheprovider", str(tmp_path)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(repository), **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    return run.returncode, run.stdout


def test_a_missing_engine_is_skipped_by_name_with_the_reason(
    tmp_path: Path, repository: Path
) -> None:
    code, output = run_suite(tmp_path, repository, AMORCE_REQUIRE_ENGINES="0")
    assert code == 0
    assert "1 skipped" in output
    assert "needs Warp drive: no dilithium" in output


def test_a_missing_engine_fails_where_every_engine_is_required(
    tmp_path: Path, repository: Path
) -> None:
    code, output = run_suite(tmp_path, repository, AMORCE_REQUIRE_ENGINES="1")
    assert code == 1
    assert "needs Warp drive: no dilithium" in output


def test_postgresql_answers(postgresql_url: str) -> None:
    async def version() -> int:
        connection = await asyncpg.connect(postgresql_url)
        try:
            return int(await connection.fetchval("SHOW server_version_num"))
        finally:
            await connection.close()

    assert asyncio.run(version()) >= 150000
