"""The database's schema, in steps that two versions of the service can share. See README.md."""

from pathlib import Path
from typing import TYPE_CHECKING

from ..settings import DatabaseSettings

if TYPE_CHECKING:
    from alembic.config import Config

#: The step that this code needs. A later one is welcome: it was made to suit this code as well.
SCHEMA_VERSION = "0001"
#: Any number, the same in every release: two runners that ask for it take turns.
ADVISORY_LOCK = 7_303_014


def configuration(settings: DatabaseSettings) -> "Config":
    """Answer what Alembic's commands need to know.

    Args:
        settings: the database's URL.
    """
    # Imported here: a service that only serves need not pay for it.
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.attributes["settings"] = settings
    return config


def upgrade(settings: DatabaseSettings) -> None:
    """Bring the schema to the newest step; nothing happens where it is there already.

    Args:
        settings: the database's URL.

    Raises:
        ServiceUnavailable, sqlalchemy.exc.SQLAlchemyError: the database refused or broke off;
            nothing changed.
    """
    from alembic import command

    command.upgrade(configuration(settings), "head")
