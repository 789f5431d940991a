"""Requests a second, tail and CPU: the rendered service between its baselines, in one run."""

import json
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from statistics import median

from benchmarks import load
from benchmarks.application import AUDIENCE, Application, settings
from benchmarks.process import Service, StartError, free_port, running
from benchmarks.report import Aim, Table
from benchmarks.startup import imported_megabytes

ROOT = Path(__file__).parents[1]
CONNECTIONS = 64
#: One person for each connection, so that no token is seen once only, nor just one.
TOKENS = CONNECTIONS
READ_AIM = 0.5
MEMORY_AIM = 90

READ = "Read by id"
OURS = "rendered service, everything on"
CONSTANT = "FastAPI, a constant"
DRIVER = "FastAPI + raw asyncpg"
ORM = "FastAPI + SQLAlchemy ORM"


@dataclass
class _Seen:
    rates: list[float] = field(default_factory=list)
    p50s: list[float] = field(default_factory=list)
    p99s: list[float] = field(default_factory=list)
    #: CPU microseconds of the whole service process for a request.
    cpus: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class _Operation:
    name: str
    #: The requests that each service gets; one that is not named has no such operation.
    requests: Mapping[str, Sequence[str]]


def measure(
    application: Application, database_url: str, work: Path, rounds: int, seconds: float
) -> list[Table]:
    """Load each service in turn, operation by operation: A B C D, A B C D.

    Args:
        application: the rendered service, whose database is migrated and holds the sample data.
        database_url: that database; the baselines read and write the same table.
        work: where the logs go.
        rounds: how many turns.
        seconds: how long one service is loaded in a turn.

    Raises:
        StartError: a service did not start.
        LoadError: a service gave an error, so there is nothing to compare.
    """
    with ExitStack() as stack:
        issuer, tokens = stack.enter_context(_identity_provider(application))
        services = {
            OURS: stack.enter_context(
                application.serving(settings(database_url, issuer), work / "service.log")
            ),
            CONSTANT: stack.enter_context(_baseline(application, "constant", work, {})),
            **{
                name: stack.enter_context(
                    _baseline(application, module, work, {"DATABASE_URL": database_url})
                )
                for name, module in ((DRIVER, "raw_driver"), (ORM, "orm"))
            },
        }
        operations = _operations(_ids(services[OURS], tokens[0]), tokens)
        for operation in operations:
            for name, requests in operation.requests.items():
                load.run(services[name].port, requests, min(1.0, seconds), CONNECTIONS)
        busy = 0.0
        tables = []
        for operation in operations:
            seen = {name: _Seen() for name in operation.requests}
            for _ in range(rounds):
                for name, requests in operation.requests.items():
                    busy = max(busy, _round(services[name], requests, seconds, seen[name]))
            tables.append(_table(operation.name, seen))
        tables.append(_memory(services, imported_megabytes(application)))
        tables[-1].remarks.append(
            f"Load: {rounds} rounds of {seconds:g} s in turn, medians, {CONNECTIONS} connections; "
            f"the load generator was at most {busy:.0%} busy."
        )
        return tables


def _round(service: Service, requests: Sequence[str], seconds: float, seen: _Seen) -> float:
    cpu = service.cpu_seconds()
    result = load.run(service.port, requests, seconds, CONNECTIONS)
    seen.cpus.append((service.cpu_seconds() - cpu) / result.requests * 1e6)
    seen.rates.append(result.rate)
    seen.p50s.append(result.p50)
    seen.p99s.append(result.p99)
    return result.busy


def _table(name: str, seen: Mapping[str, _Seen]) -> Table:
    driver = seen[DRIVER]
    rows = [
        [
            service,
            f"{median(figures.rates):.0f}",
            f"{median(figures.p50s):.1f}",
            f"{median(figures.p99s):.1f}",
            f"{median(figures.cpus):.0f}",
            f"{_ratio(figures.rates, driver.rates):.2f}",
            f"{_ratio(driver.cpus, figures.cpus):.2f}",
        ]
        for service, figures in seen.items()
    ]
    ratio = _ratio(seen[OURS].rates, driver.rates)
    aim = Aim("read by id, requests/s relative to raw asyncpg", ratio, "≥", READ_AIM)
    return Table(
        name,
        ["", "requests/s", "p50 ms", "p99 ms", "CPU µs", "rate ratio", "CPU ratio"],
        rows,
        [aim] if name == READ else [],
    )


def _ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The median of the rounds' own ratios: a neighbour's noise disturbs both sides of a round."""
    return median(one / other for one, other in zip(ours, theirs, strict=True))


def _memory(services: Mapping[str, Service], imported: float) -> Table:
    sizes = {name: service.resident_megabytes() for name, service in services.items()}
    rows = [[name, f"{size:.0f}"] for name, size in sizes.items()]
    return Table(
        "Resident memory after the load",
        ["", "MB"],
        [*rows, ["the rendered service's dependencies imported, nothing else", f"{imported:.0f}"]],
        [Aim("resident memory", sizes[OURS], "≤", MEMORY_AIM, " MB")],
    )


@contextmanager
def _baseline(
    application: Application, module: str, work: Path, environment: Mapping[str, str]
) -> Iterator[Service]:
    port = free_port()
    target = f"benchmarks.baselines.{module}:app"
    quiet = ("--no-access-log", "--log-level", "warning")
    command: list[str | Path] = [
        application.python,
        "-m",
        "uvicorn",
        target,
        "--port",
        str(port),
        *quiet,
    ]
    log = work / f"{module}.log"
    with running(
        command, port, "/openapi.json", cwd=ROOT, environment=environment, log=log
    ) as service:
        yield service


@contextmanager
def _identity_provider(application: Application) -> Iterator[tuple[str, list[str]]]:
    port = free_port()
    command = [application.python, ROOT / "benchmarks" / "identity.py"]
    process = subprocess.Popen(
        [*command, str(port), AUDIENCE, str(TOKENS)], stdout=subprocess.PIPE, text=True
    )
    try:
        lines = process.stdout or ()
        tokens = [line.strip() for line in islice(lines, TOKENS)]
        if len(tokens) < TOKENS:
            raise StartError("The benchmark's identity provider ended early.")
        yield f"http://127.0.0.1:{port}", tokens
    finally:
        process.kill()
        process.wait()


def _ids(service: Service, token: str) -> list[str]:
    request = urllib.request.Request(
        f"http://127.0.0.1:{service.port}/api/v1/dossiers?limit=100",
        headers={"Authorization": f"Bearer {token}"},
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return [dossier["id"] for dossier in json.load(response)["items"]]
    except urllib.error.HTTPError as error:
        raise load.LoadError(f"The list of dossiers cannot be had: {error.read()!r}") from error


def _operations(ids: Sequence[str], tokens: Sequence[str]) -> list[_Operation]:
    pairs = [(ids[number % len(ids)], tokens[number % len(tokens)]) for number in range(1000)]
    body = json.dumps(
        {
            "subject": "Demande d'aide à la rénovation énergétique",
            "applicant_name": "Zoé Lefèvre",
            "applicant_email": "zoe.lefevre@example.org",
        }
    )
    key = {"Idempotency-Key": load.UNIQUE}
    plain = (DRIVER, ORM)
    return [
        _Operation(
            READ,
            {
                OURS: [_http("GET", f"/api/v1/dossiers/{id_}", token) for id_, token in pairs],
                CONSTANT: [_http("GET", "/constant")],
                **{name: [_http("GET", f"/dossiers/{id_}") for id_ in ids] for name in plain},
            },
        ),
        _Operation(
            "List of 50",
            {
                OURS: [_http("GET", "/api/v1/dossiers?limit=50", token) for token in tokens],
                **{name: [_http("GET", "/dossiers?limit=50")] for name in plain},
            },
        ),
        _Operation(
            "Create",
            {
                OURS: [_http("POST", "/api/v1/dossiers", token, body, key) for token in tokens],
                **{name: [_http("POST", "/dossiers", None, body)] for name in plain},
            },
        ),
    ]


def _http(
    method: str,
    target: str,
    token: str | None = None,
    body: str = "",
    headers: Mapping[str, str] | None = None,
) -> str:
    lines = [f"{method} {target} HTTP/1.1", "Host: localhost", "Accept: application/json"]
    if token:
        lines.append(f"Authorization: Bearer {token}")
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body.encode())}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join([*lines, "", body])
