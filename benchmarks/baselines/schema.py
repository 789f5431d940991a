"""What the two database baselines receive and answer: a dossier, as the rendered service has it."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import Query
from pydantic import BaseModel, ConfigDict

Limit = Annotated[int, Query(ge=1, le=100)]


class NewDossier(BaseModel):
    """What a caller sends."""

    subject: str
    applicant_name: str
    applicant_email: str


class Dossier(BaseModel):
    """What a caller gets back."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    reference: str
    subject: str
    state: str
    applicant_name: str
    applicant_email: str
    version: int
    created_at: datetime
    updated_at: datetime
