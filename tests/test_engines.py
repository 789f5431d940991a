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


def run_suite(
    tmp_path: Path, repository: Path, suite: str = SUITE, **environment: str
) -> tuple[int, str]:
    (tmp_path / "test_it.py").write_text(suite)
    # The hook that writes the summary.
    plugins = ["-p", "no:cacheprovider", "-p", "tests.conftest"]
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-ra", *plugins, str(tmp_path)],
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


NOT_RUN = """
from tests.engines import not_run

def test_it():
    not_run("the weather", "no window", "WEATHER")
"""


def test_a_check_that_was_not_run_has_a_section_of_the_summary(
    tmp_path: Path, repository: Path
) -> None:
    code, output = run_suite(tmp_path, repository, NOT_RUN, AMORCE_REQUIRE_ENGINES="0")
    assert code == 0
    summary = output.partition("NOT RUN, and so not known to be good")[2]
    assert summary.split("\n", 1)[1].strip().startswith("the weather: no window\n")


def test_a_check_that_was_not_run_fails_where_every_engine_is_required(
    tmp_path: Path, repository: Path
) -> None:
    code, output = run_suite(tmp_path, repository, NOT_RUN, AMORCE_REQUIRE_ENGINES="1")
    assert code == 1
    assert "no window (WEATHER=unreachable would allow it)" in output


def test_unless_somebody_has_said_that_it_cannot_be_run(tmp_path: Path, repository: Path) -> None:
    code, output = run_suite(
        tmp_path, repository, NOT_RUN, AMORCE_REQUIRE_ENGINES="1", WEATHER="unreachable"
    )
    assert code == 0
    assert "NOT RUN, and so not known to be good" in output


def test_postgresql_answers(postgresql_url: str) -> None:
    async def version() -> int:
        connection = await asyncpg.connect(postgresql_url)
        try:
            return int(await connection.fetchval("SHOW server_version_num"))
        finally:
            await connection.close()

    assert asyncio.run(version()) >= 150000
