"""`make bench`: every measure in one run, as a table on standard output.

Exits with 1 where a measure could not be taken. An aim that is missed is said and does not fail:
on a shared machine that would punish the neighbours.
"""

import argparse
import os
import platform
import sys
import time
from pathlib import Path
from subprocess import CalledProcessError

from benchmarks import application, image, postgresql, render, report, startup, throughput
from benchmarks.image import NoEngineError
from benchmarks.load import LoadError
from benchmarks.postgresql import NoPostgreSQLError
from benchmarks.process import StartError

ROOT = Path(__file__).parents[1]
WORK = ROOT / "build" / "bench"
PAGE = ROOT / "docs" / "explanation" / "performance.md"


def main() -> None:
    """Measure, print, and with `--write` put the tables into docs/explanation/performance.md."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=main.__doc__)
    parser.add_argument("--write", action="store_true", help=f"write the tables to {PAGE.name}")
    parser.add_argument(
        "--quick",
        action="store_true",
        default=bool(os.environ.get("QUICK")),
        help="one minute and rough figures, to see that it works (QUICK=1 does the same)",
    )
    arguments = parser.parse_args()
    if platform.system() != "Linux":
        sys.exit("The benchmark reads CPU time and memory from /proc: run it on Linux.")
    try:
        tables, missing = _measure(quick=arguments.quick)
    except (NoPostgreSQLError, StartError, LoadError, CalledProcessError) as error:
        sys.exit(str(error))
    print(tables)
    if missing:
        sys.exit(missing)
    if arguments.write:
        report.replace_between_markers(PAGE, tables)


def _measure(*, quick: bool) -> tuple[str, str]:
    """Answer the tables, and what could not be measured."""
    missing = ""
    began = time.monotonic()
    WORK.mkdir(parents=True, exist_ok=True)
    rounds = 3 if quick else 7

    template = WORK / "template"
    application.export_template(ROOT, template)
    _say("render")
    tables = [render.measure(template, WORK, rounds)]
    _say("install the rendered service")
    service = application.render(template, WORK / "dossiers-api")
    with postgresql.database() as url:
        environment = application.settings(url, "http://127.0.0.1:9")
        service.run(environment, "migrate")
        service.run(environment, "load-sample")
        _say("start")
        tables.append(startup.measure(service, environment, WORK / "start.log", rounds))
        _say("build and start the image")
        try:
            tables += image.measure(service.path, environment, 1 if quick else 3)
        except NoEngineError as error:
            missing = str(error)
        _say("load")
        tables += throughput.measure(
            service, url, WORK, rounds=1 if quick else 7, seconds=1 if quick else 4
        )
        where = report.machine(postgresql.version(url))
    _say(f"done in {time.monotonic() - began:.0f} s")
    return "\n".join([where, "", *(table.markdown() for table in tables)]), missing


def _say(text: str) -> None:
    print(f"bench: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
