"""A destroyed database comes back (EXI-ORG-18): the rendered chart's Jobs, on a real PostgreSQL.

The object store is moto, a stand-in for S3 that listens on this machine. Where the Jobs' images are
not here, POSTGRES_IMAGE stands in for both, with the rclone of the lock file in it.
"""

import asyncio
import hashlib
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

import asyncpg
import httpx
import pytest
import yaml
from helm_python import Chart

from tests.app.conftest import Project, free_port
from tests.containers.jobs import Kubelet, Manifest
from tests.engines import POSTGRES_IMAGE, require_image
from tests.render.conftest import nobodys_settings, template  # noqa: F401  (fixtures)
from tests.render.rendering import render

pytestmark = pytest.mark.xdist_group("backup")

RCLONE = Path(sys.executable).with_name("rclone")
BUCKET = "dossiers-backups"
LOCATION = f"{BUCKET}/dossiers-api/prod"
#: What an address must write in percent-encoding.
PASSWORD = "p@ss/w:rd %41\\x41 é?#"

T = TypeVar("T")


@dataclass
class Store:
    """An object store, and the keys to it."""

    endpoint: str
    access_key = "access"
    secret_key = "secret"

    def rclone(self, *arguments: str, given: bytes = b"") -> bytes:
        """Ask the store something, as an operator would."""
        return subprocess.run(
            [RCLONE, *arguments],
            env={
                "RCLONE_CONFIG": "/notfound",
                "RCLONE_S3_PROVIDER": "Other",
                "RCLONE_S3_ENDPOINT": self.endpoint,
                "RCLONE_S3_ACCESS_KEY_ID": self.access_key,
                "RCLONE_S3_SECRET_ACCESS_KEY": self.secret_key,
            },
            input=given,
            capture_output=True,
            timeout=60,
            check=True,
        ).stdout

    def dumps(self) -> list[str]:
        """The names of the dumps, oldest first."""
        names = self.rclone("lsf", f":s3:{LOCATION}").decode().splitlines()
        return sorted(name for name in names if name.endswith(".dump"))

    def put(self, name: str, content: bytes, said: bytes) -> None:
        """Store something as a complete dump, under the checksum of what is `said` to be in it."""
        self.rclone("rcat", f":s3:{LOCATION}/{name}", given=content)
        line = f"{hashlib.sha256(said).hexdigest()}  {name}\n"
        self.rclone("rcat", f":s3:{LOCATION}/{name}.sha256", given=line.encode())


@dataclass
class Database:
    """A database of its own for the application, and its owner's address."""

    server: str
    url: str

    @property
    def settings(self) -> dict[str, str]:
        """What the application needs to use it."""
        return {
            "ENV": "local",
            "INSECURE_DISABLE_AUTHENTICATION": "true",
            "DATABASE_URL": self.url,
        }

    def ask(self, work: Callable[[asyncpg.Connection], Coroutine[Any, Any, T]]) -> T:
        """Answer what `work` finds."""
        return asyncio.run(_with(self.url, work))

    def destroy(self, copied: str = "template1") -> None:
        """Drop the database with all that is in it, and make a new one."""

        async def recreate(connection: asyncpg.Connection) -> None:
            await connection.execute("DROP DATABASE IF EXISTS backed_up WITH (FORCE)")
            await connection.execute(f"CREATE DATABASE backed_up OWNER backed_up TEMPLATE {copied}")

        asyncio.run(_with(self.server, recreate))

    def content(self) -> dict[str, list[str]]:
        """Every row of every table, and every constraint and index, as text and in order."""

        async def read(connection: asyncpg.Connection) -> dict[str, list[str]]:
            found = {}
            tables = await connection.fetch(
                "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1"
            )
            for (table,) in tables:
                rows = await connection.fetch(f'SELECT t::text FROM "{table}" t ORDER BY 1')  # noqa: S608
                found[table] = [row[0] for row in rows]
            rules = await connection.fetch(
                # A check is written with other casts once it was dumped; its name must do.
                "SELECT conname || CASE contype WHEN 'c' THEN '' ELSE pg_get_constraintdef(oid) END"
                " FROM pg_constraint WHERE connamespace = 'public'::regnamespace"
                " UNION SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1"
            )
            found["rules"] = [row[0] for row in rules]
            return found

        return self.ask(read)


async def _with(url: str, work: Callable[[asyncpg.Connection], Coroutine[Any, Any, T]]) -> T:
    connection = await asyncpg.connect(url)
    try:
        return await work(connection)
    finally:
        await connection.close()


@pytest.fixture(scope="module")
def project(
    template: Path,  # noqa: F811
    application_venv: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Project:
    """The application on a database outside the cluster."""
    answers = {"database": "external", "deployment": "helm"}
    path = render(template, tmp_path_factory.mktemp("backup") / "dossiers", answers)
    return Project(path, application_venv)


@pytest.fixture(scope="module")
def database(postgresql_url: str) -> Database:
    """The application's database."""
    parts = urlsplit(postgresql_url)
    host = parts.netloc.rpartition("@")[2]

    async def make_owner(connection: asyncpg.Connection) -> None:
        literal = await connection.fetchval("SELECT quote_literal($1)", PASSWORD)
        await connection.execute(f"CREATE ROLE backed_up LOGIN PASSWORD {literal}")

    asyncio.run(_with(postgresql_url, make_owner))
    url = f"postgresql://backed_up:{quote(PASSWORD, safe='')}@{host}/backed_up"
    return Database(postgresql_url, url)


@pytest.fixture(scope="module")
def sample(project: Project, database: Database) -> str:
    """A database with the application's schema and sample, to copy."""
    database.destroy()
    project.command("migrate", **database.settings)
    project.command("load-sample", **database.settings)

    async def keep(connection: asyncpg.Connection) -> None:
        await connection.execute("ALTER DATABASE backed_up RENAME TO backup_sample")

    asyncio.run(_with(database.server, keep))
    return "backup_sample"


@pytest.fixture
def full(database: Database, sample: str) -> dict[str, list[str]]:
    """The content of the database: the application's schema and its sample."""
    database.destroy(copied=sample)
    content = database.content()
    assert len(content["dossiers"]) == 1000
    assert content["alembic_version"] == ["(0001)"]
    return content


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    """The address of the object store."""
    port = free_port()
    with subprocess.Popen(
        [Path(sys.executable).with_name("moto_server"), "--host=127.0.0.1", f"--port={port}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            endpoint = f"http://127.0.0.1:{port}"
            deadline = time.monotonic() + 30
            while True:
                try:
                    httpx.get(endpoint, timeout=2)
                    break
                except httpx.TransportError:
                    assert time.monotonic() < deadline, "moto does not answer"
                    time.sleep(0.1)
            yield endpoint
        finally:
            process.terminate()


@pytest.fixture
def store(moto: str) -> Store:
    """The object store, with an empty bucket."""
    httpx.post(f"{moto}/moto-api/reset", timeout=10).raise_for_status()
    store = Store(moto)
    store.rclone("mkdir", f":s3:{BUCKET}")
    return store


def rendered(project: Project, **backup: object) -> list[Manifest]:
    """The chart's objects in production, with these values of `backup`."""
    chart = project.path / "deploy" / "helm"
    values = yaml.safe_load((chart / "values-prod.yaml").read_text(encoding="utf-8"))
    values["backup"] |= backup
    with Chart.load(str(chart)) as loaded:
        files = loaded.render(values, name="release", namespace="dossiers-prod")
    manifests = [text for name, text in files.items() if name.endswith(".yaml")]
    return [each for text in manifests for each in yaml.safe_load_all(text) if each]


@dataclass
class Backups:
    """The two CronJobs, in a namespace with their Secrets."""

    project: Project
    database: Database
    store: Store
    directory: Path

    def run(self, name: str, **restore: object) -> tuple[int, str]:
        """Run a Job of the CronJob `name`; return its exit code and what it printed."""
        manifests = rendered(self.project, s3={"endpoint": self.store.endpoint}, restore=restore)
        [job] = [
            each
            for each in manifests
            if each["kind"] == "CronJob" and each["metadata"]["name"] == f"dossiers-api-{name}"
        ]
        secrets = {
            # The PostgreSQL of the tests speaks no TLS; what the URL says goes before PGSSLMODE.
            "dossiers-api-database": {"uri": f"{self.database.url}?sslmode=disable\n"},
            "dossiers-api-backup": {
                "AWS_ACCESS_KEY_ID": self.store.access_key,
                "AWS_SECRET_ACCESS_KEY": self.store.secret_key,
            },
        }
        defaults = yaml.safe_load((self.project.path / "deploy/helm/values.yaml").read_text())
        images = defaults["backup"]["images"]
        stand_ins = {
            images["postgresql"]: (POSTGRES_IMAGE, {}),
            images["rclone"]: (POSTGRES_IMAGE, {RCLONE: "/usr/local/bin/rclone"}),
        }
        code, output = Kubelet(self.directory, manifests, secrets, stand_ins).run(job)
        assert PASSWORD not in output
        return code, output


@pytest.fixture
def backups(project: Project, database: Database, store: Store, tmp_path: Path) -> Backups:
    require_image(POSTGRES_IMAGE)
    return Backups(project, database, store, tmp_path)


def test_a_destroyed_database_comes_back_row_for_row(
    full: dict[str, list[str]],
    backups: Backups,
    database: Database,
    project: Project,
    capsys: pytest.CaptureFixture[str],
) -> None:
    began = time.monotonic()
    code, output = backups.run("backup")
    assert code == 0, output
    assert "Dumped and read back 3 tables" in output
    assert "read it back: the same" in output
    dumped = time.monotonic()

    database.destroy()
    assert database.content() == {"rules": []}
    destroyed = time.monotonic()
    code, output = backups.run("restore")
    assert code == 0, output
    restored = time.monotonic()

    assert database.content() == full
    with project.serving(database.settings) as url:
        page = httpx.get(f"{url}/api/v1/dossiers", params={"limit": 5}).raise_for_status().json()
        assert len(page["items"]) == 5
    with capsys.disabled():
        print(
            f"\nbackup {dumped - began:.1f} s, restore {restored - destroyed:.1f} s:"
            f" {sum(map(len, full.values()))} rows and rules are the same"
        )


def test_a_database_that_holds_anything_is_left_alone_unless_told(
    full: dict[str, list[str]], backups: Backups, database: Database
) -> None:
    assert backups.run("backup")[0] == 0

    async def spoil(connection: asyncpg.Connection) -> None:
        await connection.execute("UPDATE dossiers SET subject = 'spoilt'")
        await connection.execute("CREATE TABLE newer (id integer)")

    database.ask(spoil)
    spoilt = database.content()

    code, output = backups.run("restore")
    assert code != 0
    assert "The database is not empty: it holds 4 tables" in output
    assert database.content() == spoilt

    code, output = backups.run("restore", overwrite=True)
    assert code == 0, output
    assert database.content() == full


def test_a_dump_that_is_not_what_was_backed_up_is_refused(
    full: dict[str, list[str]], backups: Backups, database: Database, store: Store
) -> None:
    assert backups.run("backup")[0] == 0
    [name] = store.dumps()
    dump = store.rclone("cat", f":s3:{LOCATION}/{name}")
    damaged = bytearray(dump)
    damaged[len(dump) * 3 // 4] ^= 0xFF
    # Whoever damages the store cannot repair the checksum; whoever damaged the dump before it was
    # summed would be caught by reading it.
    store.put("2099-01-01T00-00-00Z.dump", bytes(damaged), said=dump)
    store.put("2099-01-02T00-00-00Z.dump", bytes(damaged), said=bytes(damaged))
    store.put("2099-01-03T00-00-00Z.dump", dump[:-100], said=dump[:-100])

    for day, reason in ("01", "name an earlier dump"), ("02", "pg_restore: error"), ("03", "error"):
        code, output = backups.run("restore", dump=f"2099-01-{day}T00-00-00Z.dump", overwrite=True)
        assert code != 0
        assert reason in output
        assert database.content() == full

    code, output = backups.run("restore", dump="2026-01-01T00-00-00Z.dump")
    assert code != 0
    assert "has no complete dump called 2026-01-01T00-00-00Z.dump, but these:" in output
    assert name in output


def test_a_dump_that_was_not_stored_whole_is_no_backup(
    full: dict[str, list[str]], backups: Backups, store: Store
) -> None:
    """Without its checksum, which is stored last, no restore takes it."""
    assert full
    store.put("2099-01-01T00-00-00Z.dump", b"half of", said=b"")
    store.rclone("deletefile", f":s3:{LOCATION}/2099-01-01T00-00-00Z.dump.sha256")

    code, output = backups.run("restore")
    assert code != 0
    assert f"There is no complete dump in s3://{LOCATION}." in output


def test_a_store_that_refuses_fails_the_job(
    full: dict[str, list[str]], backups: Backups, store: Store
) -> None:
    assert full
    store.rclone("rmdir", f":s3:{BUCKET}")

    code, output = backups.run("backup")

    assert code != 0
    assert "NoSuchBucket" in output
    assert "Stored" not in output


def test_an_empty_database_is_no_backup(backups: Backups, database: Database, store: Store) -> None:
    database.destroy()

    code, output = backups.run("backup")

    assert code != 0
    assert "does /run/secrets/database/uri name the right database" in output
    assert store.dumps() == []


def test_old_dumps_go_only_after_a_new_one_came(
    full: dict[str, list[str]], backups: Backups, database: Database, store: Store
) -> None:
    assert full
    old = "2020-01-01T00-00-00Z.dump"
    store.put(old, b"old", said=b"old")
    store.rclone("rcat", f":s3:{LOCATION}/notes.txt", given=b"somebody else's")
    for name in old, f"{old}.sha256", "notes.txt":
        store.rclone("touch", "--timestamp", "2020-01-01T00:00:00", f":s3:{LOCATION}/{name}")
    database.destroy()
    assert backups.run("backup")[0] != 0
    assert store.dumps() == [old]

    database.destroy(copied="backup_sample")
    code, output = backups.run("backup")

    assert code == 0, output
    [kept] = store.dumps()
    assert kept > old
    files = store.rclone("lsf", f":s3:{LOCATION}").decode().split()
    assert sorted(files) == [kept, f"{kept}.sha256", "notes.txt"]
