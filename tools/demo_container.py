"""Show the template's result in containers: its image, and PostgreSQL beside it, on this machine.

`make demo-container` runs `demo_container.py up` and leaves the containers running; `make down`
runs `demo_container.py down`. What `up` makes carries a label with the rendered project's path, by
which `down` finds it whatever became of `up`.
"""

import argparse
import fcntl
import hashlib
import os
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from shutil import which
from typing import TextIO

import httpx

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tools.demo import DemoError, foreground, free_port, render, say, tail, to_try  # noqa: E402

ENGINES = ("docker", "podman")
LABEL = "org.amorce.demo"
READY_SECONDS = 60
STOP_SECONDS = 30
#: What `make images` builds, by the variable that names another image instead.
LOCAL_IMAGES = {
    "BUILDER_IMAGE": "localhost/amorce/python-builder:3.13",
    "RUNTIME_IMAGE": "localhost/amorce/python-runtime:3.13",
    "POSTGRES_IMAGE": "localhost/amorce/postgresql:17",
}
PUBLIC_POSTGRES = "docker.io/library/postgres:17"
#: As a platform confines it: the image's own user is not root, and /tmp is all that it may write.
CONFINED = (
    *("--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL"),  # noqa: S108  (in the container)
    *("--security-opt", "no-new-privileges", "--memory", "256m"),
)

NO_PERMISSION = re.compile("permission denied", re.IGNORECASE)
NO_SPACE = re.compile("no space left on device", re.IGNORECASE)
BUSY_PORT = re.compile("port is already allocated|address already in use", re.IGNORECASE)
#: What engines say where a registry cannot be reached at all.
UNREACHABLE = re.compile(
    "no such host|dial tcp|connection refused|i/o timeout|name resolution|network is unreachable"
    "|TLS handshake timeout|deadline exceeded|Client.Timeout|pinging container registry .*: EOF",
    re.IGNORECASE,
)
REFUSED = re.compile(
    "denied|unauthorized|authentication required|forbidden|toomanyrequests|too many requests",
    re.IGNORECASE,
)
NO_SUCH_IMAGE = re.compile(
    "not found|manifest unknown|name unknown|does not exist|invalid reference", re.IGNORECASE
)
WRONG_DIGEST = re.compile("verification failed|does not match|invalid.*digest", re.IGNORECASE)


class EngineError(Exception):
    """A command of the engine failed; the text is what it said."""


@dataclass(frozen=True)
class Engine:
    """A container engine that answers.

    Attributes:
        program: `docker` or `podman`.
    """

    program: str

    def __call__(self, *arguments: str, **secrets: str) -> str:
        """Run one of the engine's commands and return what it printed.

        Args:
            arguments: The command and its options.
            secrets: Environment variables that `--env NAME` hands on: arguments can be read by
                anybody on the machine.

        Raises:
            EngineError: It failed.
        """
        ended = subprocess.run(
            [self.program, *arguments],
            env={**os.environ, **secrets},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if ended.returncode:
            raise EngineError((ended.stderr or ended.stdout).strip())
        return ended.stdout.strip()

    def has(self, image: str) -> bool:
        """Return whether the engine holds an image."""
        with suppress(EngineError):
            return bool(self("image", "inspect", "--format", "{{.Id}}", image))
        return False


@dataclass(frozen=True)
class Demonstration:
    """What one demonstration makes: all of it is named after where its project is rendered."""

    project: Path

    @property
    def name(self) -> str:
        """The name of the network, the volume and the containers."""
        return f"amorce-demo-{hashlib.sha256(bytes(self.project)).hexdigest()[:8]}"

    @property
    def image(self) -> str:
        """The application's image, whatever its tag."""
        return f"localhost/amorce/{self.name}"

    @property
    def label(self) -> str:
        """The label of all that is made."""
        return f"{LABEL}={self.project}"

    def running(self, engine: Engine) -> bool:
        """Return whether the application's container runs."""
        return bool(engine("ps", "--quiet", "--filter", f"name=^{self.name}$"))

    def remove(self, engine: Engine) -> list[str]:
        """Remove what carries the label; return what that was."""
        mine = ("--filter", f"label={self.label}", "--quiet")
        images = ("--filter", f"reference={self.image}", "--quiet")
        kinds = (
            ("container", ("ps", "--all", *mine), ("rm", "--force", "--volumes")),
            ("network", ("network", "ls", *mine), ("network", "rm")),
            ("volume", ("volume", "ls", *mine), ("volume", "rm", "--force")),
            ("image", ("images", *images), ("rmi", "--force")),
        )
        removed = []
        for kind, listing, removal in kinds:
            if found := sorted(set(engine(*listing).split())):
                engine(*removal, *found)
                removed.append(f"{len(found)} {kind}{'s' if len(found) > 1 else ''}")
        return removed

    @contextmanager
    def starting(self) -> Iterator[TextIO]:
        """Be the only one who starts it; yields the lock, which `down` finds us by.

        Raises:
            DemoError: Somebody else is at it.
        """
        with self._lock() as lock:
            if not _take(lock):
                raise DemoError("It is being started already: wait, or end that with `make down`.")
            lock.truncate(0)
            lock.write(str(os.getpgrp()))
            lock.flush()
            yield lock

    def end_start(self) -> None:
        """End an `up` that is still at work, or what it has left behind of its work."""
        with self._lock() as lock:
            # Whoever holds it, be it an orphan of a killed `up`, is of the group that it names.
            for number in (signal.SIGTERM, signal.SIGKILL):
                deadline = time.monotonic() + STOP_SECONDS
                while not _take(lock):
                    lock.seek(0)
                    if time.monotonic() > deadline:
                        break
                    if group := lock.read():
                        with suppress(ProcessLookupError):
                            os.killpg(int(group), number)
                    time.sleep(1)
                else:
                    return
        raise DemoError("Something that started it does not end: look for it with `ps`.")

    @contextmanager
    def _lock(self) -> Iterator[TextIO]:
        path = self.project.with_suffix(".lock")
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a+") as lock:
            yield lock


def _take(lock: TextIO) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def find_engines() -> list[Engine]:
    """Return the engines that answer, the one that CONTAINER_ENGINE names or all that are here.

    Raises:
        DemoError: There is none.
    """
    named = os.environ.get("CONTAINER_ENGINE")
    found, refusals = [], []
    for program in [named] if named else ENGINES:
        if which(program) is None:
            continue
        try:
            Engine(program)("ps", "--quiet")
        except EngineError as error:
            refusals.append((program, str(error)))
        else:
            found.append(Engine(program))
    if found:
        return found
    for program, said in refusals:
        if NO_PERMISSION.search(said):
            raise DemoError(
                f"{program} does not let you use its engine: join the group docker (sudo usermod "
                "-aG docker $USER, then sign in again), or say CONTAINER_ENGINE=podman."
            )
    for program, said in refusals:
        raise DemoError(f"{program} does not answer ({_last_line(said)}): start its engine.")
    raise DemoError(
        f"CONTAINER_ENGINE={named} is no program here: install it, or name another one."
        if named
        else "There is no container engine here: install Docker or Podman "
        "(Debian: apt-get install docker.io) and start it."
    )


def choose_images(engine: Engine, lock: TextIO) -> Mapping[str, str]:
    """Return the base images, and say which: the person's, the public ones, or our own.

    Raises:
        DemoError: One cannot be had.
    """
    dockerfile = (ROOT / "template" / "Dockerfile.jinja").read_text(encoding="utf-8")
    public = dict(re.findall(r"(?m)^ARG (\w+_IMAGE)=(.+)$", dockerfile))
    public["POSTGRES_IMAGE"] = PUBLIC_POSTGRES
    named = {name: os.environ[name] for name in public if os.environ.get(name)}
    for name, image in named.items():
        if not have(engine, image, name):
            raise DemoError(f"No registry answers for {name}={image}: name an image that is here.")
    if len(named) == len(public):
        say("Base images: those that you name.")
        return named
    # The smallest first: it tells whether a registry answers.
    order = ("RUNTIME_IMAGE", "BUILDER_IMAGE", "POSTGRES_IMAGE")
    others = [name for name in order if name not in named]
    if all(have(engine, public[name], name) for name in others):
        say(f"Base images: {', '.join(public[name] for name in others)}, public ones.")
        return {**public, **named}
    missing = [LOCAL_IMAGES[name] for name in others if not engine.has(LOCAL_IMAGES[name])]
    for image in missing:
        say(f"No registry answers: building {image} from Debian packages ...")
        script = ROOT / "images" / image.rpartition("/")[2].partition(":")[0] / "build"
        log = ROOT / "build" / "images.log"
        if execute([str(script), image], ROOT, log, lock, CONTAINER_ENGINE=engine.program):
            raise DemoError(explained(engine, log) or f"{image} cannot be built:\n{tail(log)}")
    say(f"Base images: {', '.join(LOCAL_IMAGES[name] for name in others)}: no registry answers.")
    return {**LOCAL_IMAGES, **named}


def have(engine: Engine, image: str, name: str) -> bool:
    """Return whether the engine holds an image or could pull it; False where no registry answers.

    Args:
        engine: Where.
        image: Which.
        name: The variable by which a person may name another one.

    Raises:
        DemoError: The registry answers, and does not give it.
    """
    if engine.has(image):
        return True
    try:
        engine("pull", "--quiet", image)
    except EngineError as error:
        said = str(error)
        if NO_SPACE.search(said):
            raise DemoError(no_space(engine)) from error
        if UNREACHABLE.search(said):
            return False
        mend = f"say {name}=<an image that you can pull>"
        if WRONG_DIGEST.search(said):
            sentence = f"{image} is not what its registry gives: correct the digest, or {mend}."
        elif REFUSED.search(said):
            sentence = (
                f"Its registry refuses {image}, or has no such image: "
                f"sign in with `{engine.program} login`, or {mend}."
            )
        elif NO_SUCH_IMAGE.search(said):
            sentence = f"Its registry has no {image}: correct its name, tag or digest, or {mend}."
        else:
            sentence = f"{image} cannot be pulled ({_last_line(said)}): {mend}."
        raise DemoError(sentence) from error
    return True


def execute(command: list[str], directory: Path, log: Path, lock: TextIO, **settings: str) -> int:
    """Run a long command and return its exit code; what it says goes to `log`.

    It holds the lock too, so that `down` finds it even as an orphan.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as output:
        return subprocess.run(
            command,
            cwd=directory,
            env={k: v for k, v in os.environ.items() if not k.startswith("MAKE")} | settings,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            pass_fds=[lock.fileno()],
            check=False,
        ).returncode


def explained(engine: Engine, log: Path) -> str | None:
    """Return the sentence for a failure whose reason a log gives; None where it is another one."""
    if NO_SPACE.search(log.read_text(errors="replace")):
        return no_space(engine)
    return None


def no_space(engine: Engine) -> str:
    """Return the sentence for a full disk."""
    return (
        f"No space is left on the device: make room (`{engine.program} system df` shows what "
        "images and containers take), then try again."
    )


def build(
    engine: Engine, demonstration: Demonstration, images: Mapping[str, str], lock: TextIO
) -> str:
    """Build the application's image with the project's own Makefile, and return its name.

    Raises:
        DemoError: It cannot be built.
    """
    project = demonstration.project
    log = project.with_suffix(".log")
    # Its own repository: the image's labels must not name Amorce's commit.
    author = ["-c", "user.name=Amorce", "-c", "user.email=demo@example.org"]
    for words in (["init"], ["add", "--all"], [*author, "commit", "--no-gpg-sign", "-m", "Render"]):
        if execute(["git", *words], project, log, lock):
            raise DemoError(explained(engine, log) or f"git failed:\n{tail(log)}")
    bases = [f"{name}={images[name]}" for name in ("BUILDER_IMAGE", "RUNTIME_IMAGE")]
    made = [f"IMAGE={demonstration.image}", "TAG=demo", f"CONTAINER_ENGINE={engine.program}"]
    tools = ["VENV=.venv", f"PYTHON={sys.executable}"]
    if execute(["make", "image", *tools, *bases, *made], project, log, lock):
        raise DemoError(explained(engine, log) or f"The image cannot be built:\n{tail(log)}")
    return f"{demonstration.image}:demo"


def start(
    engine: Engine, demonstration: Demonstration, image: str, postgresql: str, port: int
) -> str:
    """Start PostgreSQL, prepare its database, serve; return the address when it is ready.

    Raises:
        DemoError: Something ended, or took longer than READY_SECONDS.
        EngineError: The engine refused.
    """
    name, label = demonstration.name, ("--label", demonstration.label)
    password = uuid.uuid4().hex
    engine("network", "create", *label, name)
    engine("volume", "create", *label, name)
    database = engine(
        *("run", "--detach", "--name", f"{name}-database", *label),
        *("--network", name, "--network-alias", "database", "--memory", "512m"),
        *("--volume", f"{name}:/var/lib/postgresql/data"),
        *("--env", "POSTGRES_PASSWORD", postgresql),
        POSTGRES_PASSWORD=password,
    )
    # Not by its socket: there, the server that only prepares the database answers too.
    ask = ("exec", database, "pg_isready", "--host=127.0.0.1", "--quiet")
    wait(engine, database, "PostgreSQL", lambda: engine(*ask))

    settings = {
        "ENV": "local",
        "INSECURE_DISABLE_AUTHENTICATION": "true",
        "DATABASE_URL": f"postgresql://postgres:{password}@database/postgres",
    }
    confined = [*label, "--network", name, *CONFINED]
    for variable in settings:
        confined += ["--env", variable]
    for command in ("migrate", "load-sample"):
        engine("run", "--rm", *confined, image, command, **settings)
    published = ("--publish", f"127.0.0.1:{port}:8080")
    container = engine("run", "--detach", "--name", name, *published, *confined, image, **settings)
    address = f"http://127.0.0.1:{port}"
    ready = f"{address}/health/ready"
    wait(
        engine,
        container,
        "The service",
        lambda: httpx.get(ready, timeout=2, trust_env=False).raise_for_status(),
    )
    return address


def wait(engine: Engine, container: str, what: str, ask: Callable[[], object]) -> None:
    """Wait until `ask` raises nothing.

    Raises:
        DemoError: The container ended, or it took longer than READY_SECONDS.
    """
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        with suppress(EngineError, httpx.HTTPError):
            ask()
            return
        if engine("inspect", "--format", "{{.State.Running}}", container) != "true":
            break
        time.sleep(0.1)
    said = subprocess.run(
        [engine.program, "logs", "--tail", "15", container],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    ).stdout
    raise DemoError(no_space(engine) if NO_SPACE.search(said) else f"{what} is not ready:\n{said}")


def up(project: Path) -> None:
    """Render, build, start, and say what to try.

    Raises:
        DemoError: A step failed; what had been made until then is removed again.
    """
    engine = find_engines()[0]
    demonstration = Demonstration(project)
    with demonstration.starting() as lock:
        if demonstration.running(engine):
            raise DemoError("It is running already: `make down` removes it.")
        port = free_port("demo-container")
        # What an `up` that was killed may have left.
        demonstration.remove(engine)
        try:
            images = choose_images(engine, lock)
            say(f"Rendering the template into {project} ...")
            render(project)
            say(f"Building its image with {engine.program} ...")
            image = build(engine, demonstration, images, lock)
            say("Starting PostgreSQL, migrating, loading the sample data, serving ...")
            address = start(engine, demonstration, image, images["POSTGRES_IMAGE"], port)
            say(invitation(engine, demonstration, address))
        except BaseException as error:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)
            demonstration.remove(engine)
            if isinstance(error, EngineError):
                raise DemoError(refusal(engine, str(error), port)) from error
            raise


def refusal(engine: Engine, said: str, port: int) -> str:
    """Return the sentence for what the engine said when it refused to start something."""
    if NO_SPACE.search(said):
        return no_space(engine)
    if BUSY_PORT.search(said):
        return (
            f"{engine.program} cannot use port {port}: stop what listens there, or choose another "
            f"one: PORT={port % 65535 + 1} make demo-container"
        )
    return f"{engine.program} refuses: {_last_line(said)}"


def invitation(engine: Engine, demonstration: Demonstration, address: str) -> str:
    """Return what to try next."""
    name, image = demonstration.name, f"{demonstration.image}:demo"
    return f"""
The service answers on {address}, with 1,000 invented dossiers in PostgreSQL. Try:

{to_try(address)}
  {engine.program} logs {name}
  {engine.program} run --rm {image} --version

It is not root, has no shell, no capability and nothing to write on but /tmp.
Its project is in {demonstration.project}. `make down` removes what runs.
"""


def down(project: Path) -> None:
    """Remove what `up` made, on every engine that answers.

    Raises:
        DemoError: There is no engine, or it refuses.
    """
    engines = find_engines()
    demonstration = Demonstration(project)
    demonstration.end_start()
    removed = []
    for engine in engines:
        try:
            removed += [f"{what} of {engine.program}" for what in demonstration.remove(engine)]
        except EngineError as error:
            raise DemoError(f"{engine.program} refuses: {_last_line(str(error))}") from error
    say(f"Removed: {', '.join(removed)}." if removed else "There is nothing to remove.")
    if removed:
        say(f"Kept, for the next time: the base images, the build cache, {project}.")


def _last_line(said: str) -> str:
    return said.splitlines()[-1].strip().rstrip(".") if said else "it says nothing"


def main() -> int:
    """Do what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("mode", choices=["up", "down"])
    parser.add_argument(
        "--directory",
        type=Path,
        default=ROOT / "build" / "demo-container",
        help="where to render (build/demo-container)",
    )
    arguments = parser.parse_args()
    project = arguments.directory.resolve()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    with foreground():
        if os.getpgrp() != os.getpid():
            # A group of our own, by which `down` ends us and all that we have started.
            os.setpgid(0, 0)
        try:
            up(project) if arguments.mode == "up" else down(project)
        except (DemoError, EngineError) as error:
            print(error, file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            print("\nInterrupted.", file=sys.stderr)
            return 128 + signal.SIGINT
    return 0


if __name__ == "__main__":
    sys.exit(main())
