"""FastAPI and the SQLAlchemy ORM as tutorials write it: a session by dependency, ORM rows out."""

import os
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID, uuid4

from fastapi import Depends, FastAPI, HTTPException
from sqlalchemy import DateTime, select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from .schema import Dossier, Limit, NewDossier

ADDRESS = os.environ["DATABASE_URL"].partition("://")[2]
engine = create_async_engine(f"postgresql+asyncpg://{ADDRESS}")
sessions = async_sessionmaker(engine, expire_on_commit=False)
app = FastAPI()


class Base(DeclarativeBase):
    """What every table descends from."""


class Row(Base):
    """A row of the rendered service's table."""

    __tablename__ = "dossiers"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    reference: Mapped[str]
    owner: Mapped[str]
    subject: Mapped[str]
    state: Mapped[str]
    applicant_name: Mapped[str]
    applicant_email: Mapped[str]
    version: Mapped[int]
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    updated_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))


async def get_session() -> AsyncIterator[AsyncSession]:
    """Open a session for one request."""
    async with sessions() as session:
        yield session


Session = Annotated[AsyncSession, Depends(get_session)]


@app.get("/dossiers/{dossier_id}", response_model=Dossier)
async def read(dossier_id: UUID, session: Session) -> Row:
    """Answer one dossier."""
    row = await session.get(Row, dossier_id)
    if row is None:
        raise HTTPException(404)
    return row


@app.get("/dossiers", response_model=list[Dossier])
async def browse(session: Session, limit: Limit = 50) -> list[Row]:
    """Answer the newest dossiers."""
    return list(await session.scalars(select(Row).order_by(Row.id.desc()).limit(limit)))


@app.post("/dossiers", status_code=201, response_model=Dossier)
async def create(new: NewDossier, session: Session) -> Row:
    """Store one dossier."""
    dossier_id, now = uuid4(), datetime.now(UTC)
    row = Row(
        id=dossier_id,
        reference=dossier_id.hex[:20],
        owner="bench",
        state="draft",
        version=1,
        created_at=now,
        updated_at=now,
        **new.model_dump(),
    )
    session.add(row)
    await session.commit()
    return row
