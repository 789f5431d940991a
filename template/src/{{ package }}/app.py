"""The only place where the parts are put together."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from fastapi import FastAPI

from . import (
    CONTACT,
    DESCRIPTION,
    LICENCE,
    NAME,
    OWNER,
    __version__,
    health,
    observability,
    problems,
)
from .authentication import token_verifier
from .database import Database
from .dossiers import api as dossiers
from .dossiers.service import DossierService
from .health import Health, HealthDocument
from .idempotency import purge_forever
from .observability import Metrics
from .problems import ProblemDocument
from .security import SecurityMiddleware
from .settings import Settings


class Service(FastAPI):
    """FastAPI, whose OpenAPI document also has the schemas that only responses refer to."""

    def openapi(self) -> dict[str, Any]:
        """Answer the OpenAPI 3.1 document."""
        document = super().openapi()
        if "contact" not in document["info"]:
            # Given to FastAPI, it would want a library to check the address.
            document["info"]["contact"] = {"name": OWNER, "email": CONTACT}
            for model in HealthDocument, ProblemDocument:
                schema = model.model_json_schema(
                    mode="serialization", ref_template="#/components/schemas/{model}"
                )
                document["components"]["schemas"] |= schema.pop("$defs", {})
                document["components"]["schemas"][schema["title"]] = schema
        return document


def create_app(settings: Settings) -> FastAPI:
    """Answer the service, ready to be served; it connects to the database at first use.

    Args:
        settings: the configuration in force.
    """
    database = Database(settings)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        purge = asyncio.create_task(purge_forever(database))
        yield
        purge.cancel()
        await database.close()

    app = Service(
        title=NAME,
        description=DESCRIPTION,
        version=__version__,
        license_info={"name": LICENCE},
        # An included router would be searched twice for each request; the busiest comes first.
        routes=[*dossiers.router.routes, *health.router.routes],
        lifespan=lifespan,
        # Their pages load scripts from a public network, which a sovereign platform does not reach.
        docs_url=None,
        redoc_url=None,
        # A path has one spelling: no answer that sends the client to another one.
        redirect_slashes=False,
        # Exports where the standard OTEL_EXPORTER_OTLP_* variables say so, and only there.
        telemetry={"auto_configure": True},
    )
    app.state.health = Health(settings, database)
    app.state.dossiers = DossierService(database, settings.idempotency_hours)
    app.state.token_verifier = token_verifier(settings)
    problems.install(app)
    observability.install(app, Metrics(settings, database))
    app.add_middleware(SecurityMiddleware, max_body_size=settings.max_body_size)
    return app
