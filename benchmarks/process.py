"""A service in a process of its own: started, watched through /proc, and ended."""

import os
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
START_SECONDS = 30


class StartError(Exception):
    """A process that is needed did not start; the message has its last words."""


@dataclass(frozen=True)
class Service:
    """A running service on 127.0.0.1."""

    pid: int
    port: int
    #: Seconds from the start of the process to the first good answer.
    ready_after: float

    def cpu_seconds(self) -> float:
        """CPU time that the whole process has used, user and system (proc(5), /proc/pid/stat)."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND

    def resident_megabytes(self) -> float:
        """Resident memory of the process, in MB of 10⁶ bytes (VmRSS)."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
        return int(line.split()[1]) * 1024 / 1e6


def free_port() -> int:
    """Answer a TCP port on which nobody listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@contextmanager
def running(
    command: Sequence[str | Path],
    port: int,
    path: str,
    *,
    cwd: Path,
    environment: Mapping[str, str],
    log: Path,
) -> Iterator[Service]:
    """Run `command` until the block ends, from the moment when `path` answers 200.

    Raises:
        StartError: it ended, or did not answer within 30 s.
    """
    with log.open("wb") as output:
        start = time.perf_counter()
        process = subprocess.Popen(
            command,
            cwd=cwd,
            # Nothing of the caller's own configuration reaches what is measured.
            env={"PATH": os.environ["PATH"], **environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            while not answers(port, path):
                waited = time.perf_counter() - start
                if process.poll() is not None or waited > START_SECONDS:
                    words = log.read_text(errors="replace").strip()[-1000:]
                    raise StartError(f"{' '.join(map(str, command))} does not answer: {words}")
                time.sleep(0.002)
            yield Service(process.pid, port, time.perf_counter() - start)
        finally:
            process.kill()
            process.wait()


def answers(port: int, path: str) -> bool:
    """Answer whether 127.0.0.1:`port` says 200 for `path`."""
    try:
        with socket.create_connection(("127.0.0.1", port), 5) as connection:
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            return connection.recv(4096).startswith(b"HTTP/1.1 200")
    except OSError:
        return False
