"""Requests that are safe to repeat: the `Idempotency-Key` header (EXI-ARCH-16).

https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/

What is kept is no copy of the answer, which would be personal data in a second place, but a
*receipt*: the little that the server chose, such as an id. The rest of the answer is in the
request, which must be the same the second time.
"""

import asyncio
import hashlib
import logging
from datetime import UTC, datetime, timedelta
from typing import Annotated

from fastapi import Header
from sqlalchemy import Column, Connection, String, Table, bindparam, delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import SQLAlchemyError

from .database import Database, UtcDateTime, metadata
from .personal_data import personal
from .problems import Problem, ServiceUnavailable

logger = logging.getLogger(__name__)

Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        description="Chosen by the client, anew for each thing it wants done. A request repeated "
        "with its key gets the first answer again, and does nothing twice.",
        min_length=1,
        max_length=255,
        pattern="^[A-Za-z0-9._:-]+$",
        examples=["8e03978e-40d5-43e8-bc93-6894a57f9324"],
    ),
]


class KeyReused(Problem):
    """The `Idempotency-Key` came before, with another request."""

    status, name, title = 422, "idempotency-key-reused", "The key belongs to another request"

    def __init__(self) -> None:
        super().__init__("Send this request with a new Idempotency-Key.")


#: The requests that were done, until their keys expire.
idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column(
        "caller",
        String(255),
        primary_key=True,
        info=personal("account", "to tell apart two callers with the same key", "anonymised"),
    ),
    Column("key", String(255), primary_key=True),
    Column("fingerprint", String(64), nullable=False),
    Column("receipt", String(255), nullable=False),
    Column("expires_at", UtcDateTime, nullable=False, index=True),
)

# SQLite understands PostgreSQL's `ON CONFLICT`. A concurrent request with the same key waits here
# until the first one has committed.
CLAIM = insert(idempotency_keys).on_conflict_do_nothing()
FIND = select(idempotency_keys.c.fingerprint, idempotency_keys.c.receipt).where(
    idempotency_keys.c.caller == bindparam("of_caller"),
    idempotency_keys.c.key == bindparam("of_key"),
)
FORGET = delete(idempotency_keys).where(
    idempotency_keys.c.caller == bindparam("of_caller"),
    idempotency_keys.c.key == bindparam("of_key"),
    idempotency_keys.c.expires_at < bindparam("now"),
)
PURGE = delete(idempotency_keys).where(idempotency_keys.c.expires_at < bindparam("now"))


def fingerprint(operation: str, body: str) -> str:
    """Answer what tells one request from another: a hash of the operation and its body."""
    return hashlib.sha256(f"{operation}\n{body}".encode()).hexdigest()


def claim(
    connection: Connection, *, caller: str, key: str, fingerprint: str, receipt: str, hours: int
) -> str:
    """Answer the receipt to go by: `receipt` the first time, the first one's afterwards.

    Args:
        connection: of the transaction that does the request's work.
        caller: who sent the key; two callers may choose the same.
        key: the header's value.
        fingerprint: of the request.
        receipt: what the server would choose if the request were new.
        hours: how long the key is remembered.

    Raises:
        KeyReused: the key was sent before, with another request.
    """
    now = datetime.now(UTC)
    connection.execute(FORGET, {"of_caller": caller, "of_key": key, "now": now})
    claimed = connection.execute(
        CLAIM,
        {
            "caller": caller,
            "key": key,
            "fingerprint": fingerprint,
            "receipt": receipt,
            "expires_at": now + timedelta(hours=hours),
        },
    )
    if claimed.rowcount:
        return receipt
    first = connection.execute(FIND, {"of_caller": caller, "of_key": key}).one()
    if first.fingerprint != fingerprint:
        raise KeyReused
    return str(first.receipt)


async def purge_forever(database: Database, interval: float = 3600) -> None:
    """Delete the keys that have expired, every `interval` seconds."""
    while True:
        await asyncio.sleep(interval)
        try:
            await database.write(
                lambda connection: connection.execute(PURGE, {"now": datetime.now(UTC)})
            )
        except (ServiceUnavailable, SQLAlchemyError):
            logger.warning("expired idempotency keys were not deleted; the next round will")
