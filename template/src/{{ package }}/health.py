"""What Kubernetes and the platform ask about the service's health (EXI-ARCH-12).

*live* asks nothing of anybody else: a dead database is no reason to restart a sound process.
*ready* asks the database, and turns false at SIGTERM, before connections close.
*startup* waits until the schema is the one this code needs, or a later one.
*/health* is the aggregate that describes itself.
"""

import asyncio
from time import monotonic, perf_counter
from typing import Any, Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field, JsonValue
from pydantic_core import to_json
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from . import DESCRIPTION, SERVICE, __version__
from .database import Database
from .migrations import SCHEMA_VERSION
from .problems import ServiceUnavailable, problem_responses
from .settings import Settings

MEDIA_TYPE = "application/health+json"
#: Probes that come faster than this share one answer: nobody can flood the database through them.
CACHE_SECONDS = 1.0
SCHEMA = text("SELECT max(version_num) FROM alembic_version")

router = APIRouter(tags=["operations"])


class Check(BaseModel):
    """The state of one component."""

    model_config = ConfigDict(populate_by_name=True)

    status: Literal["pass", "fail"]
    component_type: str = Field("datastore", serialization_alias="componentType")
    observed_value: float | None = Field(None, serialization_alias="observedValue")
    observed_unit: str = Field("ms", serialization_alias="observedUnit")
    output: str | None = None


EXAMPLE: dict[str, JsonValue] = {
    "status": "pass",
    "serviceId": SERVICE,
    "description": DESCRIPTION,
    "version": __version__,
    "releaseId": "3f2a9c1",
    "checks": {
        "database:responseTime": [
            {
                "status": "pass",
                "componentType": "datastore",
                "observedValue": 1.2,
                "observedUnit": "ms",
            }
        ]
    },
}


class HealthDocument(BaseModel):
    """The service's health (draft-inadarei-api-health-check-06)."""

    model_config = ConfigDict(title="Health", json_schema_extra={"examples": [EXAMPLE]})

    status: Literal["pass"] = "pass"
    service_id: str = Field(SERVICE, serialization_alias="serviceId")
    description: str = DESCRIPTION
    version: str = __version__
    release_id: str = Field(serialization_alias="releaseId")
    checks: dict[str, list[Check]]


class Health:
    """Knows how the service is.

    Args:
        settings: for the revision, and the time limits.
        database: the one dependency.
    """

    def __init__(self, settings: Settings, database: Database) -> None:
        self.revision = settings.revision
        self.draining = False
        self._database = database
        self._started = False
        self._lock = asyncio.Lock()
        self._check = Check(status="fail")
        self._checked_at = float("-inf")

    async def database(self) -> Check:
        """Answer whether the database answers, in how many milliseconds, with what schema."""
        async with self._lock:
            if monotonic() - self._checked_at > CACHE_SECONDS:
                start = perf_counter()
                self._check = await self._ask(start)
                self._checked_at = monotonic()
            return self._check

    async def _ask(self, start: float) -> Check:
        try:
            version = await self._database.read(_schema_version)
        except ServiceUnavailable as error:
            return Check(status="fail", output=error.detail)
        except DBAPIError:
            version = ""
        if version < SCHEMA_VERSION:
            return Check(
                status="fail", output=f"The schema is not at {SCHEMA_VERSION}: migrate it."
            )
        return Check(status="pass", observed_value=round((perf_counter() - start) * 1000, 3))

    async def require_ready(self) -> None:
        """Refuse traffic while draining, or while the database does not answer.

        Raises:
            ServiceUnavailable: with the reason.
        """
        if self.draining:
            raise ServiceUnavailable("The service is stopping.")
        # A busy database that answers requests is well: the probe must not queue behind them.
        if not self._started or monotonic() - self._database.answered_at > CACHE_SECONDS:
            await self._require_database()

    async def require_started(self) -> None:
        """Refuse until the schema has been seen to be recent enough, once.

        Raises:
            ServiceUnavailable: with the reason.
        """
        if not self._started:
            await self._require_database()

    async def _require_database(self) -> None:
        check = await self.database()
        if check.status == "fail":
            raise ServiceUnavailable(str(check.output))
        self._started = True


def _schema_version(connection: Connection) -> str:
    return str(connection.execute(SCHEMA).scalar_one() or "")


PASS = b'{"status":"pass"}'
PROBE: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Yes.",
        "content": {
            MEDIA_TYPE: {
                "schema": {
                    "type": "object",
                    "properties": {"status": {"const": "pass"}},
                    "required": ["status"],
                    "examples": [{"status": "pass"}],
                }
            }
        },
    }
}


@router.get(
    "/health",
    operation_id="readHealth",
    summary="How the service is, with its dependencies",
    response_description="It is well.",
    response_class=Response,
    responses={
        200: {"content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Health"}}}},
        **problem_responses(ServiceUnavailable),
    },
)
async def read_health(request: Request) -> Response:
    """Describe the service, its version and the state of what it depends on."""
    health: Health = request.app.state.health
    check = await health.database()
    document = HealthDocument(release_id=health.revision, checks={"database:responseTime": [check]})
    content = document.model_dump(by_alias=True, exclude_none=True)
    if check.status == "fail":
        del content["status"]
        return ServiceUnavailable(str(check.output), **content).response()
    return Response(to_json(content), media_type=MEDIA_TYPE)


@router.get(
    "/health/live",
    operation_id="readLiveness",
    summary="Does the process answer?",
    response_class=Response,
    responses=PROBE,
)
async def read_liveness() -> Response:
    """Answer, and nothing else: whoever restarts this process cannot mend its dependencies."""
    return Response(PASS, media_type=MEDIA_TYPE)


@router.get(
    "/health/ready",
    operation_id="readReadiness",
    summary="May traffic come?",
    response_class=Response,
    responses={**PROBE, **problem_responses(ServiceUnavailable)},
)
async def read_readiness(request: Request) -> Response:
    """Say whether this process can do useful work now."""
    await request.app.state.health.require_ready()
    return Response(PASS, media_type=MEDIA_TYPE)


@router.get(
    "/health/startup",
    operation_id="readStartup",
    summary="Has the service started?",
    response_class=Response,
    responses={**PROBE, **problem_responses(ServiceUnavailable)},
)
async def read_startup(request: Request) -> Response:
    """Say whether the schema is recent enough for this code; once yes, always yes."""
    await request.app.state.health.require_started()
    return Response(PASS, media_type=MEDIA_TYPE)
