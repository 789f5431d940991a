"""Sample dossiers for demonstrations and tests (EXI-DATA-1): invented, always the same, CC0-1.0."""

import random
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection
from sqlalchemy.dialects.postgresql import insert

from .model import TRANSITIONS, State, created_at, dossiers, reference

GIVEN_NAMES = ["Camille", "Dominique", "Ines", "Jules", "Karim", "Léa", "Maëlys", "Noé", "Zoé"]
FAMILY_NAMES = ["Bernard", "Diallo", "Garnier", "Le Goff", "Martin", "Nguyen", "Petit", "Roux"]
SUBJECTS = [
    "Renewal of an identity card",
    "Change of address",
    "Association: declaration of a new board",
    "Permit for a public event",
    "Reimbursement of a fee paid twice",
]
FIRST = datetime(2026, 1, 1, tzinfo=UTC)


def sample_dossiers(count: int = 1000) -> list[dict[str, Any]]:
    """Answer the rows of `count` dossiers, one every ten minutes or so since 1 January 2026."""
    # Not for secrets: the same dossiers every time is the point.
    chance = random.Random(2026)  # noqa: S311
    milliseconds = int(FIRST.timestamp() * 1000)
    rows = []
    for number in range(count):
        milliseconds += chance.randrange(600_000, 660_000)
        dossier_id = UUID(int=milliseconds << 80 | 0x7 << 76 | 0b10 << 62 | chance.getrandbits(62))
        steps = _walk(chance)
        given, family = chance.choice(GIVEN_NAMES), chance.choice(FAMILY_NAMES)
        rows.append(
            {
                "id": dossier_id,
                "reference": reference(dossier_id),
                "owner": f"sample-{number % 50}",
                "subject": chance.choice(SUBJECTS),
                "state": steps[-1],
                "applicant_name": f"{given} {family}",
                "applicant_email": f"applicant-{number}@example.org",
                "version": len(steps),
                "created_at": created_at(dossier_id),
                "updated_at": created_at(dossier_id),
            }
        )
    return rows


def load(connection: Connection) -> int:
    """Insert the sample dossiers that are not there yet, and answer how many that were."""
    return connection.execute(
        insert(dossiers).values(sample_dossiers()).on_conflict_do_nothing()
    ).rowcount


def _walk(chance: random.Random) -> list[State]:
    """The states that a dossier has been through."""
    steps = [State.DRAFT]
    while TRANSITIONS[steps[-1]] and chance.random() < 0.75:
        steps.append(chance.choice(sorted(TRANSITIONS[steps[-1]])))
    return steps
