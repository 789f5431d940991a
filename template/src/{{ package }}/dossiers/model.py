"""How a dossier is stored, and the states it goes through."""

import secrets
import time
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final
from uuid import UUID

from sqlalchemy import Column, Enum, Index, Integer, String, Table, Uuid

from ..database import UtcDateTime, metadata
from ..personal_data import personal


class State(StrEnum):
    """Where a dossier stands."""

    DRAFT = "draft"
    SUBMITTED = "submitted"
    UNDER_REVIEW = "under_review"
    ACCEPTED = "accepted"
    REJECTED = "rejected"


TRANSITIONS: Final = {
    State.DRAFT: frozenset({State.SUBMITTED}),
    State.SUBMITTED: frozenset({State.UNDER_REVIEW}),
    State.UNDER_REVIEW: frozenset({State.ACCEPTED, State.REJECTED}),
    State.ACCEPTED: frozenset[State](),
    State.REJECTED: frozenset[State](),
}
#: The states that a dossier never leaves.
CLOSED: Final = frozenset(state for state, following in TRANSITIONS.items() if not following)


dossiers: Final = Table(
    "dossiers",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("reference", String(20), nullable=False, unique=True),
    Column(
        "owner",
        String(255),
        nullable=False,
        info=personal("account", "to show applicants their own dossiers", "anonymised"),
    ),
    Column("subject", String(200), nullable=False),
    Column(
        "state",
        Enum(
            State,
            name="state",
            native_enum=False,
            length=20,
            create_constraint=True,
            values_callable=lambda states: [state.value for state in states],
        ),
        nullable=False,
    ),
    Column(
        "applicant_name",
        String(200),
        nullable=False,
        info=personal("identity", "to address the applicant", "anonymised"),
    ),
    Column(
        "applicant_email",
        String(254),
        nullable=False,
        info=personal("contact", "to reach the applicant", "anonymised@example.invalid"),
    ),
    Column("version", Integer, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    # The two ways in which a list is read: all of a caller's dossiers, or those in one state.
    Index("ix_dossiers_owner_id", "owner", "id"),
    Index("ix_dossiers_state_id", "state", "id"),
)


def new_id() -> UUID:
    """Answer a UUID version 7 (RFC 9562): unique, and in the order of creation."""
    milliseconds = time.time_ns() // 1_000_000
    value = milliseconds << 80 | 0x7 << 76 | secrets.randbits(12) << 64
    return UUID(int=value | 0b10 << 62 | secrets.randbits(62))


def created_at(dossier_id: UUID) -> datetime:
    """Answer the time that a UUID version 7 carries, to the millisecond."""
    return datetime.fromtimestamp((dossier_id.int >> 80) / 1000, UTC)


def reference(dossier_id: UUID) -> str:
    """Answer the reference that people use on the phone: no vowel, no letter that looks like a digit.

    It has the last 44 random bits of the id: the unique constraint guards against the improbable.
    """
    alphabet = "0123456789BCDFGHJKLMNPQRSTVWXYZ"
    bits, digits = dossier_id.int & ((1 << 44) - 1), ""
    while len(digits) < 9:
        bits, digit = divmod(bits, len(alphabet))
        digits += alphabet[digit]
    return f"D{created_at(dossier_id):%Y}-{digits}"
