"""Where the database is reached: one pool, two doors (read and write), time limits, one retry.

Work is a plain function over a Core `Connection`: nothing can be awaited inside a transaction, and
the function can be run again when the link was lost before anything was decided.
"""

import asyncio
import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime
from time import monotonic
from typing import Any, NamedTuple, TypeVar

from asyncpg import InterfaceError, PostgresError
from sqlalchemy import (
    Connection,
    DateTime,
    Dialect,
    Engine,
    ExceptionContext,
    MetaData,
    TypeDecorator,
    create_engine,
    event,
)
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.util import greenlet_spawn

from . import SERVICE
from .problems import ServiceUnavailable
from .settings import DatabaseSettings

#: A replica, or a server that lets nobody write for now.
READ_ONLY = "25006"
#: PostgreSQL's errors that an operator or time mends, and no change of this code: connection,
#: sign-in, no such database (yet), resources, operator, system, no right to a table or its file
#: (https://www.postgresql.org/docs/current/errcodes-appendix.html).
UNAVAILABLE_SQLSTATES = ("08", "28", "3D", "53", "57", "58", "42501", READ_ONLY)

#: Seconds for work that no request waits for; a migration also waits for another one to finish.
PATIENCE_SECONDS = 600

T = TypeVar("T")
Work = Callable[[Connection], T]


#: Every table joins it; constraints have names, so that migrations can drop them.
metadata = MetaData(
    naming_convention={
        "ix": "ix_%(column_0_label)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)


class _SqliteUtc(TypeDecorator[datetime]):
    """SQLite keeps no time zone: what goes in is UTC, and comes out as UTC."""

    impl = DateTime
    cache_ok = True

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Answer the time with its zone."""
        return value and value.replace(tzinfo=UTC)


#: A point in time, in UTC on every database.
UtcDateTime = DateTime(timezone=True).with_variant(_SqliteUtc(), "sqlite")


class Connections(NamedTuple):
    """The pool's connections, by state."""

    used: int
    idle: int


class Database:
    """A pool of connections and the two ways to use it.

    Args:
        settings: the URL, the size of the pool and the time limits.
    """

    def __init__(self, settings: DatabaseSettings) -> None:
        self._timeout = settings.database_timeout
        self._reads = _engine(settings)
        if self._reads.dialect.name == "sqlite":
            self._writes = self._reads
            # A plain BEGIN takes the lock at the first write, and fails if that is too late.
            self._opening = ["BEGIN IMMEDIATE"]
        else:
            # The same pool: a connection is in AUTOCOMMIT again when it comes back.
            self._writes = self._reads.execution_options(isolation_level="READ COMMITTED")
            self._opening = []
        # SQLAlchemy's pool lets a newcomer overtake those who wait, so that some wait for seconds.
        # This queue is first come, first served, and the pool behind it makes nobody wait.
        self._turns = asyncio.Semaphore(settings.database_pool_size)
        #: When the database last answered, in seconds of the monotonic clock.
        self.answered_at = float("-inf")

    async def read(self, work: Work[T]) -> T:
        """Answer the result of `work`, whose statements each stand alone.

        Raises:
            ServiceUnavailable: the database refused, broke off, or did not answer in time.
        """

        def run() -> T:
            with self._reads.connect() as connection:
                return work(connection)

        return await self._run(run, repeatable=lambda: True)

    async def write(self, work: Work[T]) -> T:
        """Answer the result of `work`, run in one transaction.

        It is committed when this returns, so an answer that says so is true; any exception rolls
        it back. `work` may run twice, and must touch nothing but the database.

        Raises:
            ServiceUnavailable: the database refused, broke off, or did not answer in time. Where
                the link was lost during COMMIT nobody knows the outcome: callers who must not
                repeat themselves send an `Idempotency-Key`.
        """
        committing = False

        def run() -> T:
            nonlocal committing
            with self._writes.connect() as connection:
                for statement in self._opening:
                    connection.exec_driver_sql(statement)
                result = work(connection)
                committing = True
                connection.commit()
                return result

        return await self._run(run, repeatable=lambda: not committing)

    async def _run(self, run: Callable[[], T], repeatable: Callable[[], bool]) -> T:
        detail = "The database is too busy."
        try:
            # One limit for all of it: each step of a slow database may be in time, and the sum late.
            async with asyncio.timeout(self._timeout), self._turns:
                detail = "The database does not answer."
                try:
                    # One greenlet for checkout, statements and return; each alone costs twice.
                    result = await greenlet_spawn(run)
                except DBAPIError as error:
                    # A restart leaves dead connections in the pool, and this first error empties
                    # it: cheaper than asking before each use whether the connection still lives.
                    if not (error.connection_invalidated and repeatable()):
                        raise
                    result = await greenlet_spawn(run)
        except (OSError, PoolTimeoutError, InterfaceError, PostgresError) as error:
            # The last two are the driver's own: a new connection died before it was ready for use.
            raise ServiceUnavailable(detail) from error
        except DBAPIError as error:
            if _may_recover(error):
                raise ServiceUnavailable(detail) from error
            raise
        self.answered_at = monotonic()
        return result

    def connections(self) -> Connections:
        """Answer how many connections are used and idle."""
        pool: Any = self._reads.pool
        return Connections(pool.checkedout(), pool.checkedin())

    async def close(self) -> None:
        """Close every connection."""
        await greenlet_spawn(self._reads.dispose)


def patient(settings: DatabaseSettings) -> DatabaseSettings:
    """Answer the same settings for work that no request waits for: a migration, a command."""
    return settings.model_copy(update={"database_timeout": PATIENCE_SECONDS})


def _engine(settings: DatabaseSettings) -> Engine:
    """An engine that connects at first use.

    Its driver is asynchronous, so it is used in a greenlet. SQLAlchemy's own asynchronous engine
    wraps this same one, makes a greenlet for each step, and brings the ORM into memory.
    """
    url = settings.sqlalchemy_url
    if url.get_backend_name() == "sqlite":
        engine = create_engine(
            url,
            pool_size=settings.database_pool_size,
            max_overflow=0,
            hide_parameters=True,
            # None: the driver begins no transaction of its own; `Database.write` does.
            connect_args={"isolation_level": None, "timeout": settings.database_timeout},
        )
        event.listen(engine, "connect", _configure_sqlite)
        return engine
    engine = create_engine(
        url,
        pool_size=settings.database_pool_size,
        max_overflow=0,
        # Reads are single statements: without BEGIN and ROLLBACK they take one round trip.
        isolation_level="AUTOCOMMIT",
        skip_autocommit_rollback=True,
        # Values are personal data: an error must not carry them into a log.
        hide_parameters=True,
        connect_args={
            "timeout": settings.database_connect_timeout,
            "command_timeout": settings.database_timeout,
            "server_settings": {
                "application_name": SERVICE,
                # Planning for the JIT compiler costs more than these small queries.
                "jit": "off",
                "timezone": "UTC",
                # The server gives up too, so that a query whose caller left takes no lock for long.
                "statement_timeout": str(int(settings.database_timeout * 1000)),
                "idle_in_transaction_session_timeout": str(int(settings.database_timeout * 2000)),
            },
        },
    )

    def renew(_: object, __: object, ___: object, parameters: dict[str, Any]) -> None:
        """Sign in with what the mounted Secret says now: passwords are changed while we run."""
        parameters |= settings.renewed_url().translate_connect_args(username="user")

    event.listen(engine, "do_connect", renew)
    event.listen(engine, "handle_error", _leave_replica)
    return engine


def _leave_replica(context: ExceptionContext) -> None:
    """Give up a connection that cannot write: after a failover, a new one leads to the primary."""
    if getattr(context.original_exception, "sqlstate", None) == READ_ONLY:
        context.is_disconnect = True
        # Those that are good enough for reading may stay.
        context.invalidate_pool_on_disconnect = False


def _configure_sqlite(connection: Any, _: object) -> None:
    cursor = connection.cursor()
    # Readers go on while one writes; an acknowledged write survives `kill -9`.
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _may_recover(error: DBAPIError) -> bool:
    sqlstate = getattr(error.orig, "sqlstate", None)
    if sqlstate:
        return str(sqlstate).startswith(UNAVAILABLE_SQLSTATES)
    if isinstance(error.orig, sqlite3.OperationalError):
        # Locked, full, not to be opened; but not wrong SQL, such as a table that is missing.
        return error.orig.sqlite_errorcode != sqlite3.SQLITE_ERROR
    return error.connection_invalidated
