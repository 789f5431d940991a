"""From the start of the process to the first 200 on `/health/ready`, against the imports alone."""

import os
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import median

from benchmarks.application import Application
from benchmarks.report import Aim, Table

AIM = 1.5
#: What a service of this kind imports whatever it does: the floor of its start.
IMPORTS = (
    "import asyncpg, fastapi, httptools, jwt, prometheus_client, pydantic_settings, "
    "sqlalchemy.dialects.postgresql.asyncpg, uvicorn, uvloop"
)


def imported_megabytes(application: Application) -> float:
    """Answer the resident memory of a Python that imports the same and does nothing, in MB."""
    code = f"{IMPORTS}; import resource as r; print(r.getrusage(r.RUSAGE_SELF).ru_maxrss)"
    done = subprocess.run(
        [application.python, "-c", code],
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=True,
    )
    return int(done.stdout) * 1024 / 1e6


def measure(
    application: Application, environment: Mapping[str, str], log: Path, rounds: int
) -> Table:
    """Start the service and the bare imports in turn; the database is there and migrated.

    Args:
        application: what is started.
        environment: its settings.
        log: where its output goes.
        rounds: how often, after one start that writes the bytecode cache.
    """
    # The service is not timed while it ends: neither are the imports.
    code = f"{IMPORTS}; import os; os._exit(0)"
    imports, ready, cpu = [], [], []
    for number in range(rounds + 1):
        start = time.perf_counter()
        subprocess.run(
            [application.python, "-c", code], env={"PATH": os.environ["PATH"]}, check=True
        )
        imported = time.perf_counter() - start
        with application.serving(environment, log) as service:
            if number:
                imports.append(imported)
                ready.append(service.ready_after)
                cpu.append(service.cpu_seconds())
    ratio = median(ready) / median(imports)
    return Table(
        "Start",
        ["", "seconds"],
        [
            ["its dependencies imported, nothing else", f"{median(imports):.2f}"],
            ["first 200 on `/health/ready`", f"{median(ready):.2f}"],
            ["CPU seconds until then", f"{median(cpu):.2f}"],
        ],
        [Aim("ready, relative to the imports", ratio, "≤", AIM)],
        [f"{rounds} rounds in turn, medians, bytecode cached."],
    )
