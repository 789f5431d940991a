"""Dossiers over HTTP: what FastAPI needs to know, and nothing that another caller would need."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Path, Query, Request, Response, Security

from ..authentication import PROBLEMS, Caller, authenticate
from ..idempotency import Key, KeyReused
from ..pagination import Cursor, Limit
from ..preconditions import (
    IfMatch,
    IfNoneMatch,
    PreconditionFailed,
    PreconditionRequired,
    etag,
    unchanged,
)
from ..problems import (
    ContentTooLarge,
    InternalError,
    InvalidRequest,
    MalformedRequest,
    Problem,
    ServiceUnavailable,
    problem_responses,
)
from .model import State
from .schema import EXAMPLE_ID, DossierInput, DossierOutput, DossierPage, TransitionInput
from .service import DossierNotEditable, DossierNotFound, DossierService, TransitionNotAllowed

router = APIRouter(prefix="/api/v1/dossiers", tags=["dossiers"])


Reader = Annotated[Caller, Security(authenticate, scopes=["dossiers:read"])]
Writer = Annotated[Caller, Security(authenticate, scopes=["dossiers:write"])]
StateFilter = Annotated[
    State | None, Query(description="Only dossiers in this state.", examples=["submitted"])
]
DossierId = Annotated[UUID, Path(description="The dossier's id.", examples=[EXAMPLE_ID])]

ETAG: dict[str, Any] = {
    "ETag": {
        "description": "The version, for If-Match.",
        "required": True,
        "schema": {"type": "string", "examples": ['"1"']},
    }
}
LOCATION: dict[str, Any] = {
    "Location": {
        "description": "Where the dossier is.",
        "required": True,
        "schema": {"type": "string", "examples": [f"{router.prefix}/{EXAMPLE_ID}"]},
    }
}


def _problems(*problems: type[Problem]) -> dict[int | str, dict[str, Any]]:
    """The operation's own problems, and those that any operation may give."""
    return problem_responses(
        *problems, *PROBLEMS, InvalidRequest, InternalError, ServiceUnavailable
    )


BODY_PROBLEMS = (MalformedRequest, ContentTooLarge)


@router.post(
    "",
    operation_id="createDossier",
    summary="Open a dossier",
    status_code=201,
    response_description="The dossier, a draft.",
    response_model=DossierOutput,
    responses={**_problems(KeyReused, *BODY_PROBLEMS), 201: {"headers": ETAG | LOCATION}},
)
async def create_dossier(
    content: DossierInput, request: Request, caller: Writer, idempotency_key: Key = None
) -> Response:
    """Open a draft. Send an `Idempotency-Key` to be able to repeat the request without harm."""
    dossier = await _service(request).create(caller, content, idempotency_key)
    response = _answer(dossier, 201)
    response.headers["Location"] = f"{router.prefix}/{dossier.id}"
    return response


@router.get(
    "",
    operation_id="listDossiers",
    summary="List dossiers",
    response_description="A page of the list.",
    response_model=DossierPage,
    responses=_problems(),
)
async def list_dossiers(
    request: Request,
    caller: Reader,
    state: StateFilter = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Response:
    """List the dossiers that the caller may see, the newest first."""
    page = await _service(request).page(caller, state=state, cursor=cursor, limit=limit)
    return Response(page.model_dump_json(), media_type="application/json")


@router.get(
    "/{dossier_id}",
    operation_id="readDossier",
    summary="Read a dossier",
    response_description="The dossier.",
    response_model=DossierOutput,
    responses={
        **_problems(DossierNotFound),
        200: {"headers": ETAG},
        304: {"description": "It is what the client has.", "headers": ETAG},
    },
)
async def read_dossier(
    dossier_id: DossierId, request: Request, caller: Reader, if_none_match: IfNoneMatch = None
) -> Response:
    """Read one dossier; its `ETag` is what a change needs."""
    dossier = await _service(request).read(caller, dossier_id)
    if unchanged(if_none_match, dossier.version):
        return Response(status_code=304, headers={"ETag": etag(dossier.version)})
    return _answer(dossier)


@router.put(
    "/{dossier_id}",
    operation_id="replaceDossier",
    summary="Edit a draft",
    response_description="The dossier as it is now.",
    response_model=DossierOutput,
    responses={
        **_problems(
            DossierNotFound,
            DossierNotEditable,
            PreconditionFailed,
            PreconditionRequired,
            *BODY_PROBLEMS,
        ),
        200: {"headers": ETAG},
    },
)
async def replace_dossier(
    dossier_id: DossierId,
    content: DossierInput,
    request: Request,
    caller: Writer,
    if_match: IfMatch = None,
) -> Response:
    """Put another content in a dossier that was not submitted yet."""
    return _answer(await _service(request).replace(caller, dossier_id, if_match, content))


@router.post(
    "/{dossier_id}/transitions",
    operation_id="moveDossier",
    summary="Take a dossier a step further",
    response_description="The dossier in its new state.",
    response_model=DossierOutput,
    responses={
        **_problems(
            DossierNotFound,
            TransitionNotAllowed,
            PreconditionFailed,
            PreconditionRequired,
            *BODY_PROBLEMS,
        ),
        200: {"headers": ETAG},
    },
)
async def move_dossier(
    dossier_id: DossierId,
    step: TransitionInput,
    request: Request,
    caller: Writer,
    if_match: IfMatch = None,
) -> Response:
    """Submit a draft, take it under review, accept or reject it."""
    return _answer(await _service(request).move(caller, dossier_id, if_match, step.to))


def _service(request: Request) -> DossierService:
    """The application's service. A dependency would say the same, at four times the price."""
    service: DossierService = request.app.state.dossiers
    return service


def _answer(dossier: DossierOutput, status: int = 200) -> Response:
    return Response(
        dossier.model_dump_json(),
        status_code=status,
        headers={"ETag": etag(dossier.version)},
        media_type="application/json",
    )
