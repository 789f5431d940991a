"""A service and its PostgreSQL in containers: what breaks them, and what is seen from outside."""

import asyncio
import os
import re
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from tests.containers.conftest import docker
from tests.engines import POSTGRES_IMAGE, require_image

DOSSIERS = "/api/v1/dossiers"
CONTENT = {
    "subject": "Parking permit",
    "applicant_name": "Ada Lovelace",
    "applicant_email": "ada@example.org",
}
PROBLEM = "application/problem+json"
#: What the services of these tests are told, in seconds and in connections.
DATABASE_TIMEOUT, POOL_SIZE = 2, 5
#: More requests at once than the pool has connections, so that some have to wait.
CROWD = 2 * POOL_SIZE
#: The longest that any request may take, as docs/reference/degradation.md says: the time limit,
#: and what a connection that does not answer is given to say good-bye. One more for this machine.
LONGEST = DATABASE_TIMEOUT + 2 + 1
#: Within how many seconds of its database's return a service must be as it was.
RECOVERY = 5
#: Where the services find the address of their database.
SECRET = "/database-uri"

SETTINGS = {
    "ENV": "local",
    "INSECURE_DISABLE_AUTHENTICATION": "true",
    "DATABASE_URL_FILE": SECRET,
    "DATABASE_TIMEOUT": str(DATABASE_TIMEOUT),
    "DATABASE_CONNECT_TIMEOUT": str(DATABASE_TIMEOUT),
    "DATABASE_POOL_SIZE": str(POOL_SIZE),
    "DRAIN_SECONDS": "0",
}


@dataclass
class Postgresql:
    """A PostgreSQL server, and who may use it.

    Attributes:
        container: Its id.
        network: Where it is called `database`.
        password: That of the role `dossiers`, which owns the database `dossiers`.
    """

    container: str
    network: str
    password: str = field(default_factory=lambda: uuid.uuid4().hex)

    def sql(self, statement: str, database: str = "dossiers") -> str:
        """Run a statement as the superuser and return what it printed."""
        command = ["docker", "exec", "--interactive", self.container, "psql", "--quiet"]
        command += ["--no-psqlrc", "--no-align", "--tuples-only", "--set=ON_ERROR_STOP=1"]
        result = subprocess.run(
            [*command, "--username=postgres", database],
            input=statement,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert result.returncode == 0, result.stderr
        return result.stdout.strip()

    def shell(self, command: str, *options: str) -> str:
        """Run a shell command in the container, as root."""
        return docker("exec", *options, "--user=root", self.container, "sh", "-c", command)

    def uri(self, host: str = "database", database: str = "dossiers") -> str:
        """Return the address of a database, for a container of the same network."""
        return f"postgresql://dossiers:{self.password}@{host}/{database}"

    def wait(self) -> None:
        """Wait until it accepts connections."""
        # Not by its socket: there, the server that only prepares the database answers too.
        ask = ["docker", "exec", self.container, "pg_isready", "--host=127.0.0.1", "--quiet"]
        deadline = time.monotonic() + 60
        while subprocess.run(ask, check=False, capture_output=True).returncode:
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.1)

    def log(self) -> str:
        """Return what the server wrote, each statement that changes tables with it."""
        result = subprocess.run(
            ["docker", "logs", self.container], check=True, capture_output=True, text=True
        )
        return result.stdout + result.stderr

    def cut(self, role: str = "dossiers") -> None:
        """Do to a role's connections what an administrator does."""
        kill = "SELECT pg_terminate_backend(pid, 1000) FROM pg_stat_activity WHERE usename = '{}'"
        self.sql(kill.format(role), "postgres")

    def create(self, database: str) -> None:
        """Create a database without tables."""
        self.sql(f"CREATE DATABASE {database} OWNER dossiers", "postgres")


@contextmanager
def network() -> Iterator[str]:
    """A network where containers find one another by name."""
    name = f"amorce-test-{uuid.uuid4().hex[:8]}"
    docker("network", "create", name)
    try:
        yield name
    finally:
        docker("network", "rm", name)


@contextmanager
def postgresql(network: str) -> Iterator[Postgresql]:
    """A PostgreSQL with an empty database, and a small disk on /small."""
    require_image(POSTGRES_IMAGE)
    container = docker(
        *("run", "--detach", "--network", network, "--network-alias", "database"),
        *("--env", "POSTGRES_PASSWORD", "--tmpfs", "/small:size=4m", POSTGRES_IMAGE),
        # Nothing here outlives the run; what changes tables is counted in the log.
        *("postgres", "-c", "fsync=off", "-c", "max_connections=25", "-c", "log_statement=ddl"),
        POSTGRES_PASSWORD=uuid.uuid4().hex,
    )
    try:
        server = Postgresql(container, network)
        server.wait()
        server.sql(f"CREATE ROLE dossiers LOGIN PASSWORD '{server.password}'", "postgres")
        server.create("dossiers")
        yield server
    finally:
        docker("rm", "--force", "--volumes", container)


@dataclass
class Service:
    """A container of the application's image.

    Attributes:
        container: Its id.
        directory: Where this process may write files.
        client: How it is reached.
        peer: The container that the database sees.
    """

    container: str
    directory: Path
    client: httpx.Client = field(init=False)
    peer: str = field(init=False)

    def __post_init__(self) -> None:
        self.peer = self.container

    def tell(self, uri: str) -> None:
        """Put the database's address where the service reads it, as a mounted Secret changes."""
        path = self.directory / "uri"
        path.write_text(uri, encoding="utf-8")
        path.chmod(0o644)
        docker("cp", str(path), f"{self.container}:{SECRET}")

    def start(self) -> None:
        """Start it, for the first time or again, and wait until it listens."""
        docker("start", self.container)
        port = docker("port", self.container, "8080").splitlines()[0].rpartition(":")[2]
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60)
        deadline = time.monotonic() + 30
        while True:
            try:
                self.client.get("/health/live")
            except httpx.TransportError:
                assert time.monotonic() < deadline, self.logs()
                time.sleep(0.05)
            else:
                return

    @property
    def address(self) -> str:
        """Where it listens."""
        return str(self.client.base_url).rstrip("/")

    def logs(self) -> str:
        """Return the last of what it wrote."""
        return docker("logs", "--tail", "20", self.container)

    def status(self, path: str) -> int:
        """Return the status of the answer to a GET."""
        return self.client.get(path).status_code

    def ask(self, *methods: str, number: int = CROWD) -> list[httpx.Response]:
        """Send as many requests of each method at once; each must be answered in time."""
        return asyncio.run(self._ask(methods, number))

    async def _ask(self, methods: tuple[str, ...], number: int) -> list[httpx.Response]:
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(base_url=self.address, timeout=60, limits=limits) as client:

            async def ask(method: str) -> httpx.Response:
                if method == "GET":
                    return await client.get(DOSSIERS, params={"limit": 1})
                headers = {"Idempotency-Key": uuid.uuid4().hex}
                return await client.post(DOSSIERS, json=CONTENT, headers=headers)

            answers = await asyncio.gather(*(ask(method) for method in methods * number))
        for answer in answers:
            assert answer.elapsed.total_seconds() < LONGEST, f"{answer.request}: {answer.elapsed}"
        return answers

    def wait(self, path: str, expected: int, seconds: float) -> None:
        """Wait until a path is answered so."""
        deadline = time.monotonic() + seconds
        while (status := self.status(path)) != expected:
            assert time.monotonic() < deadline, f"{path} is still {status}:\n{self.logs()}"
            time.sleep(0.05)

    def pool(self) -> Mapping[str, int]:
        """Return the number of connections by state, as its metrics say."""
        metric = r'db_client_connection_count{db_client_connection_state="(\w+)"} (\d+)'
        found = dict(re.findall(metric, self.client.get("/metrics").text))
        return {state: int(number) for state, number in found.items()}


@contextmanager
def service(
    image: str, network: str, uri: str, directory: Path, **settings: str
) -> Iterator[Service]:
    """The application's image, running; its database need not be there."""
    environment = {**SETTINGS, **settings}
    container = docker(
        *("create", "--network", network, "--publish", "127.0.0.1::8080"),
        *(word for name in environment for word in ("--env", name)),
        image,
        **environment,
    )
    try:
        running = Service(container, directory)
        running.tell(uri)
        running.start()
        try:
            yield running
        finally:
            running.client.close()
    finally:
        docker("rm", "--force", container)


def begin(image: str, network: str, uri: str, name: str) -> subprocess.Popen[str]:
    """Begin one of the application's commands in a container of its own."""
    return subprocess.Popen(
        [
            *("docker", "run", "--rm", "--network", network),
            *("--env", "ENV=local", "--env", "INSECURE_DISABLE_AUTHENTICATION=true"),
            *("--env", "DATABASE_URL", image, name),
        ],
        env={**os.environ, "DATABASE_URL": uri},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def run(image: str, network: str, uri: str, name: str) -> None:
    """Run one of the application's commands, and see it succeed."""
    process = begin(image, network, uri, name)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 0, said


@dataclass
class Proxy:
    """The way between a service and its database, in the test's hands.

    Attributes:
        container: Its id.
        port: Where it takes commands.
    """

    container: str
    port: int

    def tell(self, order: str) -> None:
        """Give it a command, see proxy.py, and wait until it is done."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as link:
            link.sendall(f"{order}\n".encode())
            assert link.recv(100) == b"done\n"


@contextmanager
def proxy(image: str, network: str) -> Iterator[Proxy]:
    """A proxy called `proxy` in front of `database`; any image that has Python will do."""
    program = Path(__file__).with_name("proxy.py").read_text(encoding="utf-8")
    container = docker(
        *("run", "--detach", "--network", network, "--network-alias", "proxy"),
        *("--publish", "127.0.0.1::9000", "--entrypoint", "python3"),
        *(image, "-c", program, "database", "5432"),
    )
    try:
        port = docker("port", container, "9000").splitlines()[0].rpartition(":")[2]
        yield Proxy(container, int(port))
    finally:
        docker("rm", "--force", container)
