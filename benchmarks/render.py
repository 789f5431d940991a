"""How long Copier takes for this template, and for an empty one: the difference is ours."""

import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import copier

from benchmarks.report import Aim, Table

AIM = 1.6
OURS, EMPTY = "this template", "an empty template"

Render = Callable[[Path, Path], None]


def measure(template: Path, work: Path, rounds: int) -> Table:
    """Render `template` and an empty one in turn, as a command and inside this process.

    Args:
        template: this template, as `export_template` made it.
        work: a directory for the empty template and for what is rendered.
        rounds: how often.
    """
    empty, destination = work / "empty", work / "rendered"
    (empty / "template").mkdir(parents=True, exist_ok=True)
    (empty / "copier.yml").write_text("_subdirectory: template\n", encoding="utf-8")
    templates = {OURS: template, EMPTY: empty}

    rows, ratios = [], []
    ways: list[tuple[str, Render, int]] = [
        ("command", _as_command, resource.RUSAGE_CHILDREN),
        ("in Python", _in_process, resource.RUSAGE_SELF),
    ]
    for way, render, who in ways:
        walls: dict[str, list[float]] = {OURS: [], EMPTY: []}
        cpus: dict[str, list[float]] = {OURS: [], EMPTY: []}
        for _ in range(rounds):
            for name, template in templates.items():
                shutil.rmtree(destination, ignore_errors=True)
                cpu, start = _cpu(who), time.perf_counter()
                render(template, destination)
                walls[name].append(time.perf_counter() - start)
                cpus[name].append(_cpu(who) - cpu)
        rows += [
            [f"{name}, {way}", f"{median(walls[name]):.2f}", f"{median(cpus[name]):.2f}"]
            for name in templates
        ]
        ratios.append(median(walls[OURS]) / median(walls[EMPTY]))
    _as_command(templates[OURS], destination)
    files = sum(path.is_file() for path in destination.rglob("*"))
    return Table(
        "Render",
        ["`copier copy --defaults`", "seconds", "CPU seconds"],
        rows,
        [
            Aim(
                "render, as a command, relative to an empty template",
                ratios[0],
                "≤",
                AIM,
            )
        ],
        [
            f"{files} files; {rounds} rounds in turn, medians.",
            f"In Python, where Copier is imported already, the ratio is {ratios[1]:.1f}.",
        ],
    )


def _as_command(template: Path, destination: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "copier", "copy", "--defaults", "--quiet", template, destination],
        check=True,
    )


def _in_process(template: Path, destination: Path) -> None:
    copier.run_copy(str(template), destination, defaults=True, quiet=True)


def _cpu(who: int) -> float:
    usage = resource.getrusage(who)
    return usage.ru_utime + usage.ru_stime
