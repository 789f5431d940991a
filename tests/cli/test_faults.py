"""A render that is interrupted, killed or out of space leaves nothing half-written."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.cli.command import AMORCE, amorce
from tests.engines import require_engine


def start_and_wait_for_files(template: Path, place: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [AMORCE, "new", place / "app", "--template", template, "--defaults"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while not any(path.is_file() for path in place.rglob("*")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return process


@pytest.mark.parametrize(
    ("number", "code", "said"),
    [
        (signal.SIGINT, 130, "\nInterrupted: nothing was written.\n"),
        (signal.SIGTERM, 143, ""),
    ],
)
def test_an_interrupted_render_leaves_nothing(
    slow_template: Path, place: Path, number: signal.Signals, code: int, said: str
) -> None:
    process = start_and_wait_for_files(slow_template, place)
    process.send_signal(number)
    assert process.communicate(timeout=60) == ("", said)
    assert process.returncode == code
    assert list(place.iterdir()) == []


def test_a_killed_render_leaves_nothing_at_the_destination(
    slow_template: Path, place: Path
) -> None:
    process = start_and_wait_for_files(slow_template, place)
    process.kill()
    process.communicate(timeout=60)
    assert not (place / "app").exists()
    again = amorce(
        "new", place / "app", "--template", slow_template, "--defaults", "--vcs-ref=1.0.0"
    )
    assert again.returncode == 0, again.stderr
    assert (place / "app" / "README.md").exists()


def on_file_system(place: Path, options: str, *arguments: str | Path) -> tuple[int, str, str]:
    """Run `amorce` with a file system of its own at a place, and list what it left there."""
    unshare = ["unshare", "--mount", *(() if os.geteuid() == 0 else ("--map-root-user",))]
    try:
        subprocess.run([*unshare, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        require_engine("a mount namespace", f"unshare is refused ({error})")
    script = (
        'mount -t tmpfs -o "$0" tmpfs "$1" && shift && "$@"; code=$?; ls -A "$PLACE"; exit $code'
    )
    run = subprocess.run(
        [*unshare, "sh", "-c", script, options, place, AMORCE, *arguments],
        env={**os.environ, "PLACE": str(place)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return run.returncode, run.stdout, run.stderr


def test_a_full_disk_is_said_and_nothing_left(template: Path, place: Path) -> None:
    (template / "template" / "large.bin").write_bytes(b"x" * 200_000)
    code, left, said = on_file_system(
        place, "size=64k", "new", place / "app", "--template", template, "--defaults",
        "--vcs-ref=HEAD",
    )  # fmt: skip
    assert (code, left) == (4, "")
    assert said == (
        f"Error: {place}/app cannot be written (No space left on device): "
        "mend that, or choose another destination.\n"
    )


def test_an_unwritable_destination_is_said(template: Path, place: Path) -> None:
    code, left, said = on_file_system(
        place, "ro", "new", place / "app", "--template", template, "--defaults"
    )
    assert (code, left) == (4, "")
    assert "cannot be written (Read-only file system)" in said
