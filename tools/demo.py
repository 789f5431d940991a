"""Show the template's result: render it with its defaults, install it, and start the service.

`make demo` runs `demo.py serve`, `make demo-check` runs `demo.py check`. The service listens on
127.0.0.1, on the port that PORT names.
"""

import argparse
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tools.contract import check_contract  # noqa: E402

PACKAGE = "dossiers_api"
#: What of a project is slow to have again: its virtual environment, and its image's wheels.
DOWNLOADS = (".venv", "wheels")
READY_SECONDS = 60
STOP_SECONDS = 20


class DemoError(Exception):
    """The demonstration cannot go on; the text says why, and how to mend it."""


def free_port(command: str) -> int:
    """Return the port that PORT names, known to be free.

    Raises:
        DemoError: It is no port, or something listens there.
    """
    said = os.environ.get("PORT", "8080")
    if not said.isascii() or not said.isdigit() or not 0 < int(said) < 65536:
        raise DemoError(f"PORT={said} is no port: give a number from 1 to 65535.")
    port = int(said)
    other = port + 1 if port < 65535 else 8080
    with socket.socket() as probe:
        # As the service will bind: connections of an earlier run that linger do not matter.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise DemoError(
                f"Port {port} cannot be used ({error.strerror}): stop what listens there, "
                f"or choose another one: PORT={other} make {command}"
            ) from error
    return port


def render(project: Path) -> None:
    """Render the checkout with its defaults, keeping what an earlier run has downloaded."""
    kept = {project / name: project.with_suffix(f".{name.lstrip('.')}") for name in DOWNLOADS}
    for path, aside in kept.items():
        if path.exists():
            shutil.rmtree(aside, ignore_errors=True)
            path.rename(aside)
    shutil.rmtree(project, ignore_errors=True)
    amorce = str(Path(sys.executable).with_name("amorce"))
    command = [amorce, "new", str(project), "--defaults", "--vcs-ref=HEAD", f"--template={ROOT}"]
    run(command, ROOT, project.with_suffix(".log"))
    for path, aside in kept.items():
        if aside.exists():
            aside.rename(path)


def run(command: list[str], directory: Path, log: Path, **settings: str) -> None:
    """Run a command, and show the end of what it said only where it fails.

    Raises:
        DemoError: It ended with another code than 0.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as output:
        ended = subprocess.run(
            command,
            cwd=directory,
            env=environment(**settings),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        )
    if ended.returncode:
        raise DemoError(f"`{shlex.join(command)}` failed with {ended.returncode}:\n{tail(log)}")


def environment(**settings: str) -> dict[str, str]:
    """Return what a command needs from this one's environment, and settings of its own.

    The service must not take a DATABASE_URL or an OTEL_* that the person has for something else.
    """
    passed = ("PATH", "HOME", "USER", "LANG", "LC_ALL", "TMPDIR", "SSL_CERT_FILE")
    families = ("PIP_", "http", "https", "no_proxy", "HTTP", "NO_PROXY", "GIT_")
    return {
        **{k: v for k, v in os.environ.items() if k in passed or k.startswith(families)},
        **settings,
    }


def tail(log: Path) -> str:
    """Return the last lines of a log, indented."""
    lines = log.read_text(errors="replace").splitlines()[-15:]
    return "\n".join(f"    {line}" for line in lines)


@contextmanager
def service(project: Path, port: int) -> Iterator[str]:
    """Yield the address of the rendered service with its sample data, and stop it in the end."""
    python = str(project / ".venv" / "bin" / "python")
    settings = {"ENV": "local", "INSECURE_DISABLE_AUTHENTICATION": "true"}
    log = project.with_suffix(".log")
    for command in ("migrate", "load-sample"):
        run([python, "-m", PACKAGE, command], project, log, **settings)
    with log.open("w") as output:
        process = subprocess.Popen(
            [python, "-m", PACKAGE, "serve"],
            cwd=project,
            env=environment(**settings, HOST="127.0.0.1", PORT=str(port)),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            # Ctrl-C is for this program, which then stops the service in order.
            start_new_session=True,
        )
    address = f"http://127.0.0.1:{port}"
    try:
        wait_until_ready(address, process, log)
        yield address
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_until_ready(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait for the service to say that it is ready.

    Raises:
        DemoError: It ended, or took longer than READY_SECONDS.
    """
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise DemoError(f"The service ended with {process.returncode}:\n{tail(log)}")
        with suppress(httpx.TransportError):
            if httpx.get(f"{address}/health/ready", timeout=2).status_code == httpx.codes.OK:
                return
        time.sleep(0.05)
    raise DemoError(f"The service was not ready within {READY_SECONDS} s:\n{tail(log)}")


def to_try(address: str) -> str:
    """Return requests to try, with identifiers that exist."""
    dossiers = f"{address}/api/v1/dossiers"
    first = httpx.get(dossiers, params={"limit": 1}, trust_env=False).json()["items"][0]["id"]
    example = (
        '{"subject": "Parking permit", "applicant_name": "Ada Lovelace", '
        '"applicant_email": "ada@example.org"}'
    )
    return f"""\
  curl -fsS '{dossiers}?state=submitted&limit=3'
  curl -fsS -i {dossiers}/{first}
  curl -fsS {dossiers} -H 'Content-Type: application/json' -d '{example}'"""


def invitation(address: str, project: Path) -> str:
    """Return what to try next."""
    return f"""
The service answers on {address}, with 1,000 invented dossiers. Try in another terminal:

{to_try(address)}

Its code is in {project}, its log in {project.with_suffix(".log")}.
Ctrl-C stops it.
"""


@contextmanager
def foreground() -> Iterator[None]:
    """Be the one whom the terminal's Ctrl-C reaches, so that `make` does not call it an error."""
    if not sys.stdin.isatty() or os.tcgetpgrp(0) != os.getpgrp():
        yield
        return
    group = os.getpgrp()
    # To change the terminal's group from the background, and Ctrl-Z, would stop this process
    # alone, with nobody to wake it up.
    for number in (signal.SIGTTOU, signal.SIGTSTP):
        signal.signal(number, signal.SIG_IGN)
    os.setpgid(0, 0)
    os.tcsetpgrp(0, os.getpgrp())
    try:
        yield
    finally:
        with suppress(OSError):  # the terminal was closed
            os.tcsetpgrp(0, group)


def say(text: str) -> None:
    """Print at once: these lines are the progress that a person waits for."""
    print(text, flush=True)


def demonstrate(*, check: bool, project: Path) -> int:
    """Render, install, start; then wait for Ctrl-C, or check the contract.

    Returns:
        The exit code.

    Raises:
        DemoError: A step failed.
    """
    port = free_port("demo-check" if check else "demo")
    say(f"Rendering the template into {project} ...")
    render(project)
    say("Installing its locked dependencies ...")
    make = ["make", "--silent", "install", "VENV=.venv", f"PYTHON={sys.executable}"]
    run(make, project, project.with_suffix(".log"))
    say("Creating its database, loading the sample data, starting it ...")
    with service(project, port) as address:
        if check:
            return check_contract(address)
        say(invitation(address, project))
        try:
            signal.pause()
        except KeyboardInterrupt:
            say("\nStopping.")
    return 0


def main() -> int:
    """Run the demonstration that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("mode", choices=["serve", "check"])
    parser.add_argument("--directory", type=Path, help="where to render (build/demo[-check])")
    arguments = parser.parse_args()
    check = arguments.mode == "check"
    project = arguments.directory or ROOT / "build" / ("demo-check" if check else "demo")
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    with foreground():
        try:
            return demonstrate(check=check, project=project.resolve())
        except DemoError as error:
            print(error, file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            print("\nInterrupted.", file=sys.stderr)
            return 128 + signal.SIGINT


if __name__ == "__main__":
    sys.exit(main())
