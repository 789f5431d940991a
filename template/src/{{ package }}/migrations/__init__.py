"""The database's schema, in steps that two versions of the service can share. See README.md."""

from pathlib import Path

from ..settings import Settings

#: The step that this code needs. A later one is welcome: it was made to suit this code as well.
SCHEMA_VERSION = "0001"


def upgrade(settings: Settings) -> None:
    """Bring the schema to the newest step; nothing happens where it is there already.

    Args:
        settings: the database's URL.

    Raises:
        OSError, sqlalchemy.exc.SQLAlchemyError: the database refused or broke off; nothing changed.
    """
    # Imported here: a service that only serves need not pay for it.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.attributes["settings"] = settings
    command.upgrade(config, "head")
