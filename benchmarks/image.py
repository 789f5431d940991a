"""The image: how large it is, how long it takes to build again, and from its start to readiness."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import redirect_stdout
from datetime import datetime
from pathlib import Path
from statistics import median

from benchmarks.process import START_SECONDS, StartError, answers, free_port
from benchmarks.report import Aim, Table
from tools.demo import DemoError
from tools.demo_container import CONFINED, Engine, EngineError, choose_images, find_engines

TAG = "localhost/amorce/bench:latest"
IMPORTS = "import fastapi, sqlalchemy, time; print(time.time())"
RUNTIME_MEGABYTES, IMAGE_MEGABYTES = 55, 90
SECOND_BUILD, READY_SECONDS = 0.2, 1.5


class NoEngineError(Exception):
    """No image can be built here; the message says what to do."""


def measure(project: Path, environment: Mapping[str, str], rounds: int) -> list[Table]:
    """Build the image with and without the cache, and start it, in turn.

    Args:
        project: the rendered project, installed.
        environment: the service's settings; its database is on this machine, there and migrated.
        rounds: how often.

    Raises:
        NoEngineError: no container engine answers, or it has no base images.
        StartError: the service in the image does not become ready.
    """
    try:
        engine = find_engines()[0]
        # What it says is progress; standard output is for the tables.
        with Path(os.devnull).open("a") as nobody, redirect_stdout(sys.stderr):
            bases = choose_images(engine, nobody)
        return _measure(engine, bases, project, environment, rounds)
    except (DemoError, EngineError) as error:
        raise NoEngineError(f"The image cannot be measured: {error}") from error


def _measure(
    engine: Engine,
    bases: Mapping[str, str],
    project: Path,
    environment: Mapping[str, str],
    rounds: int,
) -> list[Table]:
    subprocess.run(["make", "--silent", "wheels"], cwd=project, check=True)
    copy = project.with_name("image")
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(project, copy, ignore=shutil.ignore_patterns(".venv", "build"))
    [main] = (copy / "src").glob("*/__main__.py")
    arguments = [f"{name}={bases[name]}" for name in ("BUILDER_IMAGE", "RUNTIME_IMAGE")]
    build = ["build", *(word for each in arguments for word in ("--build-arg", each))]
    build += ["--quiet", "--tag", TAG]

    first, second, imported, ready = [], [], [], []
    try:
        for number in range(rounds):
            first.append(_seconds(engine, *build, "--no-cache", str(copy)))
            with main.open("a") as source:
                source.write(f"# change {number}\n")
            second.append(_seconds(engine, *build, str(copy)))
            imported.append(_imported(engine))
            ready.append(_ready(engine, environment))
        sizes = [_megabytes(engine, image) for image in (bases["RUNTIME_IMAGE"], TAG)]
    finally:
        engine("rmi", "--force", TAG)
    again, start = median(second) / median(first), median(ready)
    return [
        Table(
            "Image",
            ["", "MB"],
            [
                ["runtime's base image", f"{sizes[0]:.0f}"],
                ["with the application", f"{sizes[1]:.0f}"],
            ],
            [
                Aim("runtime's base image", sizes[0], "≤", RUNTIME_MEGABYTES, " MB"),
                Aim("image with the application", sizes[1], "≤", IMAGE_MEGABYTES, " MB"),
            ],
            [f"Uncompressed, on {bases['RUNTIME_IMAGE']}."],
        ),
        Table(
            "Image's build and start",
            ["", "seconds"],
            [
                ["first build", f"{median(first):.1f}"],
                ["second build, after a change of source", f"{median(second):.1f}"],
                [f"`{IMPORTS.partition(', time')[0]}` in the container", f"{median(imported):.2f}"],
                ["first 200 on `/health/ready` after its start", f"{start:.2f}"],
            ],
            [
                Aim("second build, relative to the first", again, "≤", SECOND_BUILD),
                Aim("ready after the container's start", start, "≤", READY_SECONDS, " s"),
            ],
            [
                f"Ready, relative to the imports: {start / median(imported):.2f}.",
                f"{rounds} rounds in turn, medians, base images and wheels at hand.",
            ],
        ),
    ]


def _seconds(engine: Engine, *arguments: str) -> float:
    began = time.perf_counter()
    engine(*arguments)
    return time.perf_counter() - began


def _megabytes(engine: Engine, image: str) -> float:
    return int(engine("image", "inspect", "--format", "{{.Size}}", image)) / 1e6


def _imported(engine: Engine) -> float:
    """Answer the seconds from a container's start to the end of the imports."""
    entry = ("--entrypoint", "python3")
    container = engine("run", "--detach", *CONFINED, *entry, TAG, "-c", IMPORTS)
    try:
        engine("wait", container)
        return float(engine("logs", container)) - _started(engine, container)
    finally:
        engine("rm", "--force", container)


def _ready(engine: Engine, environment: Mapping[str, str]) -> float:
    """Answer the seconds from a container's start to its readiness."""
    port = free_port()
    settings = {**environment, "PORT": str(port)}
    # The database listens on this machine's loopback.
    options = ["--network", "host", *CONFINED]
    for variable in settings:
        options += ["--env", variable]
    container = engine("run", "--detach", *options, TAG, **settings)
    try:
        deadline = time.monotonic() + START_SECONDS
        while not answers(port, "/health/ready"):
            if time.monotonic() > deadline:
                raise StartError(f"The image does not serve: {engine('logs', container)}")
            time.sleep(0.005)
        return time.time() - _started(engine, container)
    finally:
        engine("rm", "--force", container)


def _started(engine: Engine, container: str) -> float:
    """Answer when a container's process was started, in seconds since 1970."""
    said = engine("inspect", "--format", "{{json .State.StartedAt}}", container).strip('"')
    return datetime.fromisoformat(said).timestamp()
