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
OURS, CONSTANT, EMPTY = "this template", "the same files as constants", "an empty template"

Render = Callable[[Path, Path], None]


def measure(template: Path, work: Path, rounds: int) -> Table:
    """Render `template` and its floors in turn, as a command and inside this process.

    Args:
        template: this template, as `export_template` made it.
        work: a directory for the floors and for what is rendered.
        rounds: how often.
    """
    destination = work / "rendered"
    shutil.rmtree(destination, ignore_errors=True)
    _in_process(template, destination)
    files = sum(path.is_file() for path in destination.rglob("*"))
    templates = {
        OURS: template,
        CONSTANT: _without_questions(work / "constant", destination),
        EMPTY: _without_questions(work / "empty"),
    }
    rows, floors = [], []
    ways: list[tuple[str, Render, int]] = [
        ("command", _as_command, resource.RUSAGE_CHILDREN),
        ("in Python", _in_process, resource.RUSAGE_SELF),
    ]
    for way, render, who in ways:
        walls: dict[str, list[float]] = {name: [] for name in templates}
        cpus: dict[str, list[float]] = {name: [] for name in templates}
        for _ in range(rounds):
            for name, source in templates.items():
                shutil.rmtree(destination, ignore_errors=True)
                cpu, start = _cpu(who), time.perf_counter()
                render(source, destination)
                walls[name].append(time.perf_counter() - start)
                cpus[name].append(_cpu(who) - cpu)
        seconds = {name: median(walls[name]) for name in templates}
        rows += [
            [f"{name}, {way}", f"{seconds[name]:.2f}", f"{median(cpus[name]):.2f}"]
            for name in templates
        ]
        floors.append((seconds[OURS] / seconds[EMPTY], seconds[CONSTANT] / seconds[EMPTY]))
    ratio, copying = floors[0]
    return Table(
        "Render",
        ["", "seconds", "CPU seconds"],
        rows,
        [Aim("render, as a command, relative to an empty template", ratio, "≤", AIM)],
        [
            f"Copier takes {copying:.2f} for the same {files} files without any variable.",
            f"{rounds} rounds in turn, medians.",
        ],
    )


def _without_questions(template: Path, content: Path | None = None) -> Path:
    """Make a template that copies `content`, or nothing, and asks nothing."""
    shutil.rmtree(template, ignore_errors=True)
    if content:
        shutil.copytree(content, template / "template")
    else:
        (template / "template").mkdir(parents=True)
    (template / "copier.yml").write_text("_subdirectory: template\n", encoding="utf-8")
    return template


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
