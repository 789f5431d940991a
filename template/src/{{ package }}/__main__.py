"""The command line: `python -m <package> COMMAND`."""

import argparse
import asyncio
import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from . import DESCRIPTION, SERVICE, __version__
from .settings import LOCAL, ConfigurationError, DatabaseSettings, Settings, load, load_database

#: Exit codes: the work failed; the command or the configuration is wrong; Ctrl-C, as shells say it.
FAILED, MISUSED, INTERRUPTED = 1, 2, 130


class Misuse(Exception):
    """The command asks for something that makes no sense here."""


class Failure(Exception):
    """The work could not be done; the message says why."""


def serve(_: argparse.Namespace) -> None:
    """Answer HTTP requests until SIGTERM or Ctrl-C."""
    from .app import create_app
    from .observability import configure_logging
    from .server import serve as run

    settings = load()
    configure_logging(settings.log_level)
    os.environ.setdefault("OTEL_SERVICE_NAME", SERVICE)
    run(create_app(settings), settings)


def migrate(_: argparse.Namespace) -> None:
    """Bring the database's schema to what this version needs."""
    from .migrations import SCHEMA_VERSION, upgrade

    settings = load_database()
    with _database_errors():
        upgrade(settings)
    print(f"The schema is at {SCHEMA_VERSION}.")


def load_sample(arguments: argparse.Namespace) -> None:
    """Load 1,000 invented dossiers."""
    from .dossiers.sample import load as load_dossiers

    settings = load_database()
    if settings.env != LOCAL and not arguments.force:
        raise Misuse(
            f"load-sample fills ENV={settings.env} with invented data: add --force to do so"
        )
    print(f"Loaded {_write(settings, load_dossiers)} dossiers.")


def anonymise(arguments: argparse.Namespace) -> None:
    """Replace personal data, for good."""
    from .dossiers.service import anonymise as anonymise_dossiers

    settings = load_database()
    if arguments.all and settings.env != LOCAL and not arguments.force:
        raise Misuse(
            f"anonymise --all replaces everybody's data in ENV={settings.env}: add --force to do so"
        )
    count = _write(
        settings, lambda connection: anonymise_dossiers(connection, arguments.closed_before)
    )
    print(f"Anonymised {count} dossiers.")


def openapi(_: argparse.Namespace) -> None:
    """Print the OpenAPI document."""
    from .app import create_app

    # The document does not depend on where the service runs, so nothing need be configured.
    document = create_app(Settings.model_construct(env=LOCAL)).openapi()
    print(json.dumps(document, indent=2, ensure_ascii=False))


def check_config(_: argparse.Namespace) -> None:
    """Print the settings in force, secrets masked."""
    for name, value in load().masked().items():
        print(f"{name}={value}")


def _write(settings: DatabaseSettings, work: Callable[[Connection], int]) -> int:
    from .database import Database, patient

    async def run() -> int:
        database = Database(patient(settings))
        try:
            return await database.write(work)
        finally:
            await database.close()

    with _database_errors():
        return asyncio.run(run())


@contextlib.contextmanager
def _database_errors() -> Iterator[None]:
    from .problems import ServiceUnavailable

    try:
        yield
    except (OSError, SQLAlchemyError, ServiceUnavailable) as error:
        # What clients are told of it says nothing: whoever runs a command may know the reason.
        cause = error.__cause__ if isinstance(error, ServiceUnavailable) else error
        # The driver's first line: the rest is SQL, values and advice for programmers.
        reason = str(getattr(cause, "orig", cause)).partition("\n")[0] or type(cause).__name__
        raise Failure(f"{reason} (is DATABASE_URL right, and has `migrate` run?)") from error


def _day(text: str) -> datetime:
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text} is no day: write YYYY-MM-DD") from None


def parser() -> argparse.ArgumentParser:
    """Answer what understands the command line."""
    result = argparse.ArgumentParser(prog=f"python -m {__package__}", description=DESCRIPTION)
    result.add_argument("--version", action="version", version=__version__)
    commands = result.add_subparsers(metavar="COMMAND", required=True)

    def command(run: Callable[[argparse.Namespace], None]) -> Any:
        added = commands.add_parser(
            run.__name__.replace("_", "-"), help=run.__doc__, description=run.__doc__
        )
        added.set_defaults(run=run)
        return added

    command(serve)
    command(migrate)
    command(load_sample).add_argument("--force", action="store_true", help="outside ENV=local too")
    anonymising = command(anonymise)
    anonymising.add_argument("--force", action="store_true", help="--all outside ENV=local too")
    which = anonymising.add_mutually_exclusive_group(required=True)
    which.add_argument("--closed-before", type=_day, metavar="YYYY-MM-DD", help="retention is over")
    which.add_argument("--all", action="store_true", help="to make test data of a copy")
    command(openapi)
    command(check_config)
    return result


def main(arguments: list[str] | None = None) -> int:
    """Run one command, and answer its exit code."""
    parsed = parser().parse_args(arguments)
    try:
        parsed.run(parsed)
    except (ConfigurationError, Misuse) as error:
        print(f"{SERVICE}: {error}", file=sys.stderr)
        return MISUSED
    except (Failure, OSError) as error:
        print(f"{SERVICE}: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


if __name__ == "__main__":
    sys.exit(main())
