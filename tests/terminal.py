"""A person at a terminal."""

import os
import pty
import select
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path


class Terminal:
    """A command that runs on a terminal of its own.

    Args:
        command: What the person typed.
        cwd: Where.
        environment: Variables on top of this process's.

    Attributes:
        screen: All that the command has written so far.
    """

    def __init__(
        self,
        command: Sequence[str | Path],
        cwd: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.screen = ""
        self._controller, terminal = pty.openpty()
        self._process = subprocess.Popen(
            command,
            cwd=cwd,
            env={
                **os.environ,
                "TERM": "xterm",
                "PROMPT_TOOLKIT_NO_CPR": "1",
                **(environment or {}),
            },
            # Ctrl-C reaches only those whose controlling terminal this is.
            preexec_fn=lambda: os.login_tty(terminal),  # noqa: PLW1509
        )
        os.close(terminal)

    def wait_for(self, text: str, seconds: float = 60) -> None:
        """Read until a text is on the screen."""
        deadline = time.monotonic() + seconds
        while text not in self.screen:
            assert time.monotonic() < deadline, self.screen
            assert self._read(), self.screen

    def type(self, keys: str) -> None:
        """Type some keys."""
        os.write(self._controller, keys.encode())

    def end(self, seconds: float = 60) -> int:
        """Wait for the command to end, and return its exit code."""
        deadline = time.monotonic() + seconds
        while self._read():
            assert time.monotonic() < deadline, self.screen
        os.close(self._controller)
        return self._process.wait(timeout=seconds)

    def _read(self) -> bool:
        """Read what there is; False where nobody can write any more."""
        if select.select([self._controller], [], [], 0.1)[0]:
            try:
                self.screen += os.read(self._controller, 4096).decode(errors="replace")
            except OSError:  # Linux says so when the other side has closed
                return False
        return True
