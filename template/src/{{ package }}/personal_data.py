"""Personal data, tagged where they are stored, so that nobody has to remember them (EXI-DATA-2).

A column that holds personal data says so in its `info`:

    applicant_email: Mapped[str] = mapped_column(
        String(254), info=personal("e-mail", "to reach the applicant", "anonymised@example.invalid")
    )

The tags drive the `anonymise` command and the table in `docs/personal-data.md`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, MetaData, Table

TAG = "personal_data"


@dataclass(frozen=True, slots=True)
class PersonalData:
    """What a column holds about a person.

    Args:
        category: the kind of data, as the record of processing activities names it (GDPR art. 30).
        purpose: why the service needs it.
        replacement: what stands in its place once it is anonymised.
    """

    category: str
    purpose: str
    replacement: str


def personal(category: str, purpose: str, replacement: str) -> dict[str, Any]:
    """Answer the `info` of a column that holds personal data."""
    return {TAG: PersonalData(category, purpose, replacement)}


def tagged(metadata: MetaData) -> Iterator[tuple[Column[Any], PersonalData]]:
    """Answer every column that holds personal data, table by table."""
    for table in metadata.sorted_tables:
        for column in table.columns:
            if TAG in column.info:
                yield column, column.info[TAG]


def replacements(table: Table) -> dict[str, str]:
    """Answer the values that anonymise a row of `table`."""
    return {
        column.name: column.info[TAG].replacement for column in table.columns if TAG in column.info
    }
