"""Replicas and versions that share one schema, and a service that is killed at its work.

Expand and contract (EXI-ARCH-21): what a rolling update does to the database, step by step.
"""

import asyncio
import shutil
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path

import httpx
import pytest

from tests.app.conftest import PACKAGE, Project
from tests.containers import faults
from tests.containers.conftest import docker
from tests.containers.faults import CONTENT, DOSSIERS, RECOVERY, Postgresql
from tests.render.rendering import commit
from tools.contract import check_contract

pytestmark = pytest.mark.xdist_group("faults")

#: The next version's step: the old code knows nothing of the column, and need not.
STEP = '''"""Add the channel by which a dossier came."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Expand: a column that may be empty."""
    op.add_column("dossiers", sa.Column("channel", sa.String(20), nullable=True))


def downgrade() -> None:
    """Take it away again."""
    op.drop_column("dossiers", "channel")
'''


@pytest.fixture(scope="module")
def network() -> Iterator[str]:
    with faults.network() as name:
        yield name


@pytest.fixture(scope="module")
def postgresql(network: str) -> Iterator[Postgresql]:
    with faults.postgresql(network) as server:
        yield server


@pytest.fixture
def database(postgresql: Postgresql) -> Iterator[str]:
    """An empty database; yields its name."""
    postgresql.create("shared")
    yield "shared"
    postgresql.sql("DROP DATABASE shared WITH (FORCE)", "postgres")


@pytest.fixture(scope="module")
def next_image(
    project: Project,
    bases: Mapping[str, str],
    image: str,  # noqa: ARG001  (made first)
    name: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> str:
    """The image of the project's next version, which writes to a column of its own."""
    path = tmp_path_factory.mktemp("next") / "dossiers"
    # With the wheels, which making the first image fetched.
    shutil.copytree(project.path, path)
    package = path / "src" / PACKAGE
    replace(package / "migrations" / "__init__.py", 'VERSION = "0001"', 'VERSION = "0002"')
    (package / "migrations" / "versions" / "0002_add_channel.py").write_text(STEP, encoding="utf-8")
    column = '    Column("channel", String(20), default="web"),\n'
    version = '    Column("version", Integer, nullable=False),\n'
    replace(package / "dossiers" / "model.py", version, version + column)
    commit(path)
    Project(path, project.venv).make("image", f"IMAGE={name}", "TAG=next", **bases)
    return f"{name}:next"


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1
    path.write_text(text.replace(old, new), encoding="utf-8")


def test_replicas_that_migrate_at_once_migrate_once(
    image: str, postgresql: Postgresql, database: str
) -> None:
    uri, created = postgresql.uri(database=database), "CREATE TABLE dossiers"
    before = postgresql.log().count(created)

    runners = [faults.begin(image, postgresql.network, uri, "migrate") for _ in range(3)]
    said = [runner.communicate(timeout=60)[0].strip() for runner in runners]

    assert [runner.returncode for runner in runners] == [0, 0, 0], said
    assert said == ["The schema is at 0001."] * 3
    assert postgresql.log().count(created) == before + 1


def test_two_versions_share_the_schema_of_the_later_one(
    image: str,
    next_image: str,
    postgresql: Postgresql,
    database: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A rolling update, step by step, and the way back."""
    network, uri = postgresql.network, postgresql.uri(database=database)
    for name in "migrate", "load-sample":
        faults.run(image, network, uri, name)
    with (
        faults.service(image, network, uri, tmp_path) as old,
        faults.service(next_image, network, uri, tmp_path) as new,
    ):
        old.wait("/health/ready", 200, RECOVERY)
        for path in "/health/startup", "/health/ready":
            answer = new.client.get(path)
            assert answer.status_code == 503
            assert answer.json()["detail"] == "The schema is not at 0002: migrate it."
        assert new.status("/health/live") == 200

        faults.run(next_image, network, uri, "migrate")

        new.wait("/health/startup", 200, RECOVERY)
        for one, other in (old, new), (new, old):
            assert check_contract(one.address) == 0, capsys.readouterr().out
            created = one.client.post(DOSSIERS, json=CONTENT)
            assert created.status_code == 201
            seen = other.client.get(created.headers["Location"])
            assert (seen.status_code, seen.json()) == (200, created.json())
        # The old version's dossiers have none.
        channels = "SELECT DISTINCT coalesce(channel, 'none') FROM dossiers ORDER BY 1"
        assert postgresql.sql(channels, database).split() == ["none", "web"]

    # The old version came back: its migration is content, and it starts.
    faults.run(image, network, uri, "migrate")
    with faults.service(image, network, uri, tmp_path) as back:
        back.wait("/health/startup", 200, RECOVERY)
        assert check_contract(back.address) == 0, capsys.readouterr().out
    assert postgresql.sql("SELECT version_num FROM alembic_version", database) == "0002"


def test_a_service_killed_at_its_work_loses_nothing_and_repeats_nothing(
    image: str, postgresql: Postgresql, database: str, tmp_path: Path
) -> None:
    """What was acknowledged is there; what was not is sent again, with the same key."""
    uri = postgresql.uri(database=database)
    faults.run(image, postgresql.network, uri, "migrate")
    keys = [uuid.uuid4().hex for _ in range(500)]
    # Time enough for everybody: what is not acknowledged here was killed.
    patient = {"DATABASE_TIMEOUT": "30"}
    with faults.service(image, postgresql.network, uri, tmp_path, **patient) as service:
        service.wait("/health/ready", 200, RECOVERY)

        first = asyncio.run(create(service.address, keys, service.container))
        stored = int(postgresql.sql("SELECT count(*) FROM dossiers", database))
        assert 0 < len(first) <= stored < len(keys)

        service.client.close()
        service.start()
        service.wait("/health/ready", 200, RECOVERY)
        for dossier in list(first.values())[-20:]:
            assert service.client.get(f"{DOSSIERS}/{dossier['id']}").json() == dossier
        second = asyncio.run(create(service.address, keys))

    assert second.keys() == set(keys)
    assert {key: second[key] for key in first} == first
    assert len({dossier["id"] for dossier in second.values()}) == len(keys)
    ids = postgresql.sql("SELECT id FROM dossiers", database).split()
    assert sorted(ids) == sorted(str(dossier["id"]) for dossier in second.values())


async def create(
    address: str, keys: list[str], victim: str | None = None
) -> dict[str, dict[str, object]]:
    """Create a dossier for each key, forty at a time; answer those that were acknowledged.

    Args:
        address: of the service.
        keys: one for each dossier.
        victim: the container to kill in the middle.
    """
    acknowledged: dict[str, dict[str, object]] = {}
    turns, middle = asyncio.Semaphore(40), asyncio.Event()
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=address, timeout=30, limits=limits) as client:

        async def one(key: str) -> None:
            headers = {"Idempotency-Key": key}
            async with turns:
                try:
                    answer = await client.post(DOSSIERS, json=CONTENT, headers=headers)
                except httpx.TransportError:
                    return
            assert answer.status_code == 201, answer.text
            acknowledged[key] = answer.json()
            if len(acknowledged) == len(keys) // 4:
                middle.set()

        async def kill() -> None:
            await middle.wait()
            await asyncio.to_thread(docker, "kill", "--signal=KILL", str(victim))

        await asyncio.gather(*(one(key) for key in keys), *([kill()] if victim else []))
    return acknowledged
