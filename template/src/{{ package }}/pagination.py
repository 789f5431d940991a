"""Cursors: where a page ended, in a form that clients hand back without looking inside.

A cursor is the id of the last item, nothing more. It gives no right, so there is nothing to sign:
whoever makes one up lands somewhere else in a list that they may read anyway.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Annotated
from uuid import UUID

from fastapi import Query

Cursor = Annotated[
    str | None,
    Query(
        description="The `next_cursor` of the page before.",
        # 16 bytes in base64url; the last character carries two bits.
        pattern="^[A-Za-z0-9_-]{21}[AQgw]$",
        examples=["AZnzslwAcACAAAAAAAAAAA"],
    ),
]
Limit = Annotated[int, Query(description="Most items on a page.", ge=1, le=100, examples=[20])]


def encode_cursor(last: UUID) -> str:
    """Answer the cursor of the page that comes after `last`."""
    return urlsafe_b64encode(last.bytes).decode().rstrip("=")


def decode_cursor(cursor: str) -> UUID:
    """Answer the id that `cursor`, which has the pattern above, was made from."""
    return UUID(bytes=urlsafe_b64decode(cursor + "=="))
