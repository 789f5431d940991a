"""PostgreSQL fails in every way that operators know; the service recovers (EXI-ARCH-15).

What each test shows is a row of docs/reference/degradation.md. The service is never restarted: one
goes through all of it, another one through a proxy.
"""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.containers import faults
from tests.containers.conftest import docker
from tests.containers.faults import (
    CROWD,
    LONGEST,
    POOL_SIZE,
    PROBLEM,
    RECOVERY,
    Postgresql,
    Proxy,
    Service,
)

pytestmark = pytest.mark.xdist_group("faults")


#: Seconds that an answer may take which asks nothing of anybody else, on a busy machine.
PROMPT = 2


@pytest.fixture(scope="module")
def network() -> Iterator[str]:
    with faults.network() as name:
        yield name


@pytest.fixture(scope="module")
def postgresql(image: str, network: str) -> Iterator[Postgresql]:
    with faults.postgresql(network) as server:
        faults.run(image, network, server.uri(), "migrate")
        yield server


@pytest.fixture(scope="module")
def service(
    image: str, postgresql: Postgresql, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    directory = tmp_path_factory.mktemp("direct")
    with faults.service(image, postgresql.network, postgresql.uri(), directory) as running:
        yield running


@pytest.fixture(scope="module")
def proxy(image: str, network: str) -> Iterator[Proxy]:
    with faults.proxy(image, network) as running:
        yield running


@pytest.fixture(scope="module")
def distant(
    image: str, postgresql: Postgresql, proxy: Proxy, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    """A service whose way to the database is in the test's hands."""
    directory, uri = tmp_path_factory.mktemp("distant"), postgresql.uri("proxy")
    with faults.service(image, postgresql.network, uri, directory) as running:
        running.peer = proxy.container
        yield running


@contextmanager
def fault(service: Service, postgresql: Postgresql) -> Iterator[None]:
    """What happens inside is over when this ends: all is well before, and soon after."""
    sound(service)
    yield
    end = time.monotonic() + RECOVERY
    service.wait("/health/ready", 200, RECOVERY)
    service.wait("/health", 200, RECOVERY)
    while Counter(answer.status_code for answer in service.ask("POST")) != {201: CROWD}:
        assert time.monotonic() < end, service.logs()
    sound(service)
    nothing_leaks(service, postgresql)


def sound(service: Service) -> None:
    for method, status in ("GET", 200), ("POST", 201):
        assert {answer.status_code for answer in service.ask(method)} == {status}
    assert service.status("/health/live") == 200
    assert service.status("/health/ready") == 200
    assert service.status("/health") == 200


def nothing_leaks(service: Service, postgresql: Postgresql) -> None:
    """The server knows the connections that the pool has, and no other."""
    count = "SELECT count(*) FROM pg_stat_activity WHERE client_addr = '{}'"
    address = docker(
        "inspect", "-f", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", service.peer
    )
    deadline = time.monotonic() + 10
    while True:
        pool, known = service.pool(), int(postgresql.sql(count.format(address)))
        if pool["used"] == 0 and pool["idle"] == known <= POOL_SIZE:
            return
        assert time.monotonic() < deadline, f"the pool has {pool}, the server knows {known}"
        time.sleep(0.2)


def refused(answers: list[httpx.Response]) -> None:
    """Each was told that the service is not available for now, and when to come back."""
    assert {answer.status_code for answer in answers} == {503}
    for answer in answers:
        assert answer.headers["content-type"] == PROBLEM
        assert answer.headers["retry-after"].isdigit()
        assert answer.json()["status"] == 503


def cut_off(service: Service) -> None:
    """Nothing that needs the database works, and all the rest does."""
    refused(service.ask("GET", "POST"))
    service.wait("/health/ready", 503, LONGEST)
    health = service.client.get("/health")
    refused([health])
    (check,) = health.json()["checks"]["database:responseTime"]
    assert check["status"] == "fail"
    assert check["output"] == health.json()["detail"] == "The database does not answer."
    alive(service)


def alive(service: Service) -> None:
    answer = service.client.get("/health/live")
    assert (answer.status_code, answer.json()) == (200, {"status": "pass"})
    assert answer.elapsed.total_seconds() < PROMPT


def read_only(service: Service) -> None:
    """Reads go on; writes are refused, and come back later."""
    refused(service.ask("POST"))
    assert {answer.status_code for answer in service.ask("GET")} == {200}
    assert service.status("/health/ready") == 200
    alive(service)


@contextmanager
def load(service: Service) -> Iterator[Counter[int]]:
    """Reads, writes and probes without a pause; yields how many answers had which status."""
    statuses: Counter[int] = Counter()
    over = threading.Event()

    def ask(method: str) -> None:
        while not over.is_set():
            statuses.update(answer.status_code for answer in service.ask(method, number=POOL_SIZE))

    def probe() -> None:
        while not over.is_set():
            alive(service)
            time.sleep(0.05)

    threads = [threading.Thread(target=ask, args=[method]) for method in ("GET", "POST")]
    threads.append(threading.Thread(target=probe))
    for thread in threads:
        thread.start()
    try:
        yield statuses
    finally:
        over.set()
        for thread in threads:
            thread.join()


def test_stopped(service: Service, postgresql: Postgresql) -> None:
    with fault(service, postgresql):
        docker("stop", postgresql.container)
        cut_off(service)
        docker("start", postgresql.container)
        postgresql.wait()


def test_killed(service: Service, postgresql: Postgresql) -> None:
    with fault(service, postgresql):
        docker("kill", postgresql.container)
        cut_off(service)
        docker("start", postgresql.container)
        postgresql.wait()


def test_frozen(service: Service, postgresql: Postgresql) -> None:
    with fault(service, postgresql):
        docker("pause", postgresql.container)
        try:
            cut_off(service)
        finally:
            docker("unpause", postgresql.container)


def test_frozen_and_back_before_the_time_limit(service: Service, postgresql: Postgresql) -> None:
    with fault(service, postgresql), load(service) as statuses:
        time.sleep(0.3)
        docker("pause", postgresql.container)
        time.sleep(0.5)
        docker("unpause", postgresql.container)
        time.sleep(0.3)

    assert set(statuses) == {200, 201}


def test_restarted_under_load(service: Service, postgresql: Postgresql) -> None:
    with fault(service, postgresql), load(service) as statuses:
        docker("restart", postgresql.container)
        postgresql.wait()
        time.sleep(0.3)

    # A restart that is quicker than the time limit is seen by nobody.
    assert {200, 201} <= set(statuses) <= {200, 201, 503}


def test_connections_cut_by_the_administrator(service: Service, postgresql: Postgresql) -> None:
    with fault(service, postgresql):
        postgresql.cut()
        assert {answer.status_code for answer in service.ask("POST")} == {201}
        postgresql.cut()
        assert {answer.status_code for answer in service.ask("GET")} == {200}


def test_connections_cut_under_load(service: Service, postgresql: Postgresql) -> None:
    with fault(service, postgresql), load(service) as statuses:
        for _ in range(5):
            postgresql.cut()

    assert {200, 201} <= set(statuses) <= {200, 201, 503}


def test_connections_reset_on_the_way(
    distant: Service, postgresql: Postgresql, proxy: Proxy
) -> None:
    with fault(distant, postgresql), load(distant) as statuses:
        for _ in range(10):
            proxy.tell("reset")
            time.sleep(0.1)

    assert {200, 201} <= set(statuses) <= {200, 201, 503}


def test_no_network(service: Service, postgresql: Postgresql) -> None:
    with fault(service, postgresql):
        docker("network", "disconnect", postgresql.network, postgresql.container)
        try:
            cut_off(service)
        finally:
            docker(
                *("network", "connect", "--alias", "database"),
                *(postgresql.network, postgresql.container),
            )


def test_slow(distant: Service, postgresql: Postgresql, proxy: Proxy) -> None:
    with fault(distant, postgresql):
        proxy.tell("delay 0.02")
        try:
            sound(distant)
        finally:
            proxy.tell("delay 0")


def test_too_slow(distant: Service, postgresql: Postgresql, proxy: Proxy) -> None:
    """No step takes as long as the limit, and yet nobody waits longer than that."""
    with fault(distant, postgresql):
        proxy.tell("delay 0.6")
        try:
            refused(distant.ask("POST"))
            alive(distant)
        finally:
            proxy.tell("delay 0")


def test_a_table_is_locked(service: Service, postgresql: Postgresql) -> None:
    postgresql.sql("CREATE ROLE locker SUPERUSER LOGIN")
    with fault(service, postgresql):
        lock = "BEGIN; LOCK dossiers; SELECT pg_sleep(60)"
        postgresql.shell(f"psql -U locker dossiers -c '{lock}'", "--detach")
        while not postgresql.sql("SELECT 1 FROM pg_locks WHERE mode = 'AccessExclusiveLock'"):
            pass
        refused(service.ask("GET", "POST"))
        assert service.status("/health/ready") == 200
        alive(service)
        postgresql.cut("locker")
    postgresql.sql("DROP ROLE locker")


def test_the_server_became_read_only(service: Service, postgresql: Postgresql) -> None:
    with fault(service, postgresql):
        postgresql.sql("ALTER SYSTEM SET default_transaction_read_only = on")
        postgresql.sql("SELECT pg_reload_conf()")
        try:
            read_only(service)
        finally:
            postgresql.sql("ALTER SYSTEM RESET default_transaction_read_only")
            postgresql.sql("SELECT pg_reload_conf()")


def test_after_a_failover_the_connections_lead_to_a_replica(
    service: Service, postgresql: Postgresql
) -> None:
    """Nobody cuts them: the service itself must see that others would lead to the new primary."""
    with fault(service, postgresql):
        postgresql.sql("ALTER ROLE dossiers SET default_transaction_read_only = on")
        postgresql.cut()
        try:
            read_only(service)
        finally:
            postgresql.sql("ALTER ROLE dossiers RESET default_transaction_read_only")


@contextmanager
def small_disk(postgresql: Postgresql) -> Iterator[None]:
    """The dossiers are on a disk of their own, a small one."""
    postgresql.shell("mkdir /small/data && chown postgres:postgres /small/data")
    postgresql.sql("CREATE TABLESPACE small LOCATION '/small/data'")
    postgresql.sql("TRUNCATE dossiers; ALTER TABLE dossiers SET TABLESPACE small")
    try:
        yield
    finally:
        postgresql.shell("rm -f /small/ballast && chmod -R u+w /small/data")
        postgresql.sql("ALTER TABLE dossiers SET TABLESPACE pg_default")
        postgresql.sql("DROP TABLESPACE small")
        postgresql.shell("rm -r /small/data")


def test_the_disk_is_full(service: Service, postgresql: Postgresql) -> None:
    with small_disk(postgresql), fault(service, postgresql):
        postgresql.shell("cat /dev/zero >/small/ballast || true")
        # What is left in the table's last page can still be written.
        while 201 in (answer.status_code for answer in service.ask("POST", number=4 * CROWD)):
            pass
        read_only(service)
        postgresql.shell("rm /small/ballast")


def test_the_disk_is_read_only(service: Service, postgresql: Postgresql) -> None:
    """PostgreSQL says the same of a file that may not be written and of such a disk: 42501."""
    with small_disk(postgresql), fault(service, postgresql):
        postgresql.shell("chmod -R a-w /small/data")
        postgresql.cut()
        refused(service.ask("GET", "POST"))
        assert service.status("/health/ready") == 200
        alive(service)
        postgresql.shell("chmod -R u+w /small/data")


def test_others_took_every_connection(service: Service, postgresql: Postgresql) -> None:
    # Three are a superuser's, and one of these is asking.
    left = (
        "SELECT 25 - 3 - count(*) + 1 FROM pg_stat_activity WHERE backend_type = 'client backend'"
    )
    postgresql.sql("CREATE ROLE greedy LOGIN")
    with fault(service, postgresql):
        postgresql.cut()
        deadline = time.monotonic() + 20
        while (number := int(postgresql.sql(left))) > 0:
            assert time.monotonic() < deadline
            sleep = "psql -U greedy postgres -c 'SELECT pg_sleep(60)' &"
            postgresql.shell(f"for i in $(seq {number}); do {sleep} done; wait", "--detach")
            time.sleep(0.5)
        cut_off(service)
        postgresql.cut("greedy")
    postgresql.sql("DROP ROLE greedy")


def test_the_password_is_changed(service: Service, postgresql: Postgresql) -> None:
    """The server knows it first; the service finds it where its Secret is mounted."""
    with fault(service, postgresql):
        postgresql.password += "2"
        postgresql.sql(f"ALTER ROLE dossiers PASSWORD '{postgresql.password}'")
        # Those who are in stay in.
        sound(service)
        postgresql.cut()
        cut_off(service)
        service.tell(postgresql.uri())


def test_the_database_is_not_there(service: Service, postgresql: Postgresql) -> None:
    """As while an operator restores it, or has not created it yet."""
    with fault(service, postgresql):
        postgresql.cut()
        postgresql.sql("ALTER DATABASE dossiers RENAME TO absent", "postgres")
        try:
            cut_off(service)
        finally:
            postgresql.sql("ALTER DATABASE absent RENAME TO dossiers", "postgres")


def test_a_service_that_starts_first_waits_for_its_database(
    image: str, postgresql: Postgresql, tmp_path: Path
) -> None:
    uri = postgresql.uri(database="later")
    with faults.service(image, postgresql.network, uri, tmp_path) as early:
        assert early.status("/health/startup") == 503
        cut_off(early)
        postgresql.create("later")
        deadline = time.monotonic() + RECOVERY
        while "migrate it" not in early.client.get("/health/startup").json()["detail"]:
            assert time.monotonic() < deadline, early.logs()
            time.sleep(0.1)
        faults.run(image, postgresql.network, uri, "migrate")
        early.wait("/health/startup", 200, RECOVERY)
        sound(early)
    postgresql.sql("DROP DATABASE later WITH (FORCE)", "postgres")
