"""What the API takes and gives: the words of the OpenAPI document."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from ..problems import explained
from .model import State

# One line of text that is not blank. Control characters are refused: PostgreSQL cannot store NUL,
# and line breaks in a subject end up in mail headers.
TEXT_PATTERN = explained(
    r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$",
    "Write one line of text, without control characters.",
)
# As browsers check it: https://html.spec.whatwg.org/multipage/input.html#valid-e-mail-address
EMAIL_PATTERN = explained(
    r"^[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+$",
    "Write an e-mail address such as name@example.org.",
)

Line = Annotated[str, Field(min_length=1, max_length=200, pattern=TEXT_PATTERN)]
Email = Annotated[str, Field(max_length=254, pattern=EMAIL_PATTERN)]

EXAMPLE_INPUT: dict[str, JsonValue] = {
    "subject": "Renewal of an identity card",
    "applicant_name": "Camille Martin",
    "applicant_email": "camille.martin@example.org",
}
EXAMPLE_ID = "0199f3b2-5c00-7000-8000-000000000000"
EXAMPLE: dict[str, JsonValue] = {
    "id": EXAMPLE_ID,
    "reference": "D2025-000000000",
    "state": "draft",
    **EXAMPLE_INPUT,
    "version": 1,
    "created_at": "2025-10-17T16:03:07.136000Z",
    "updated_at": "2025-10-17T16:03:07.136000Z",
}


class DossierInput(BaseModel):
    """What an applicant says of a dossier."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [EXAMPLE_INPUT]})

    subject: Line = Field(description="What it is about.")
    applicant_name: Line = Field(description="Who applies.")
    applicant_email: Email = Field(description="Where the applicant is reached.")


class DossierOutput(BaseModel):
    """A dossier. What was accepted once is not judged again: rules change, dossiers stay."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE]})

    id: UUID
    reference: str = Field(description="What people call it by.")
    state: State
    subject: str
    applicant_name: str
    applicant_email: str
    version: int = Field(ge=1, description="One more after each change; the ETag carries it.")
    created_at: datetime
    updated_at: datetime


class DossierPage(BaseModel):
    """Some of the dossiers, the newest first."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"items": [EXAMPLE], "next_cursor": None}]}
    )

    items: list[DossierOutput]
    next_cursor: str | None = Field(description="Give it as `cursor` for the next page, if any.")


class TransitionInput(BaseModel):
    """A step in the life of a dossier."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"to": "submitted"}]})

    to: State
