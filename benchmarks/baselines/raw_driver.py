"""FastAPI and asyncpg without an ORM: SQL in the handler, rows into a response model."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from uuid import UUID, uuid4

import asyncpg
from fastapi import FastAPI, HTTPException, Request

from .schema import Dossier, Limit, NewDossier

READ = """SELECT id, reference, subject, state, applicant_name, applicant_email, version,
    created_at, updated_at FROM dossiers WHERE id = $1"""
BROWSE = """SELECT id, reference, subject, state, applicant_name, applicant_email, version,
    created_at, updated_at FROM dossiers ORDER BY id DESC LIMIT $1"""
CREATE = """INSERT INTO dossiers (id, reference, owner, subject, state, applicant_name,
    applicant_email, version, created_at, updated_at)
    VALUES ($1, $2, 'bench', $3, 'draft', $4, $5, 1, $6, $6) RETURNING *"""


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Keep as many connections as the rendered service does."""
    async with asyncpg.create_pool(os.environ["DATABASE_URL"], min_size=5, max_size=5) as pool:
        app.state.pool = pool
        yield


app = FastAPI(lifespan=lifespan)


@app.get("/dossiers/{dossier_id}")
async def read(dossier_id: UUID, request: Request) -> Dossier:
    """Answer one dossier."""
    async with request.app.state.pool.acquire() as connection:
        row = await connection.fetchrow(READ, dossier_id)
    if row is None:
        raise HTTPException(404)
    return Dossier(**row)


@app.get("/dossiers")
async def browse(request: Request, limit: Limit = 50) -> list[Dossier]:
    """Answer the newest dossiers."""
    async with request.app.state.pool.acquire() as connection:
        rows = await connection.fetch(BROWSE, limit)
    return [Dossier(**row) for row in rows]


@app.post("/dossiers", status_code=201)
async def create(new: NewDossier, request: Request) -> Dossier:
    """Store one dossier."""
    dossier_id, now = uuid4(), datetime.now(UTC)
    async with request.app.state.pool.acquire() as connection, connection.transaction():
        row = await connection.fetchrow(
            CREATE,
            dossier_id,
            dossier_id.hex[:20],
            new.subject,
            new.applicant_name,
            new.applicant_email,
            now,
        )
    return Dossier(**row)
