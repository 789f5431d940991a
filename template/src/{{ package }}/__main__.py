"""The command line: `python -m <package> COMMAND`."""

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from . import DESCRIPTION, SERVICE, __version__
from .settings import LOCAL, ConfigurationError, Settings, load

#: Exit codes: 1 the work failed, 2 the command or the configuration is wrong.
FAILED, MISUSED = 1, 2


class Misuse(Exception):
    """The command asks for something that makes no sense here."""


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

    upgrade(load())
    print(f"The schema is at {SCHEMA_VERSION}.")


def load_sample(arguments: argparse.Namespace) -> None:
    """Load 1,000 invented dossiers."""
    from .dossiers.sample import load as load_dossiers

    settings = load()
    if settings.env != LOCAL and not arguments.force:
        raise Misuse(
            f"load-sample fills ENV={settings.env} with invented data: add --force to do so"
        )
    print(f"Loaded {_write(settings, load_dossiers)} dossiers.")


def anonymise(arguments: argparse.Namespace) -> None:
    """Replace personal data, for good."""
    from .dossiers.service import anonymise as anonymise_dossiers

    count = _write(
        load(), lambda connection: anonymise_dossiers(connection, arguments.closed_before)
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


def _write(settings: Settings, work: Callable[[Connection], int]) -> int:
    from .database import Database

    async def run() -> int:
        database = Database(settings)
        try:
            return await database.write(work)
        finally:
            await database.close()

    return asyncio.run(run())


def _day(text: str) -> datetime:
    return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)


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
    which = command(anonymise).add_mutually_exclusive_group(required=True)
    which.add_argument("--closed-before", type=_day, metavar="YYYY-MM-DD", help="retention is over")
    which.add_argument("--all", action="store_true", help="to make test data of a copy")
    command(openapi)
    command(check_config)
    return result


def main(arguments: list[str] | None = None) -> int:
    """Run one command, and answer its exit code."""
    from .problems import ServiceUnavailable

    parsed = parser().parse_args(arguments)
    try:
        parsed.run(parsed)
    except (ConfigurationError, Misuse) as error:
        print(f"{SERVICE}: {error}", file=sys.stderr)
        return MISUSED
    except (OSError, SQLAlchemyError, ServiceUnavailable) as error:
        print(f"{SERVICE}: {error}", file=sys.stderr)
        return FAILED
    return 0


if __name__ == "__main__":
    sys.exit(main())
