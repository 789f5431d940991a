"""Every error of this API is a problem document (RFC 9457), and this file is where they are made.

A problem's `type` is stable: clients may test it. Its `detail` is for a person, and never carries
what the caller sent, a stack trace or SQL.
"""

import logging
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any, ClassVar

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import to_json
from starlette.exceptions import HTTPException

from . import SERVICE

MEDIA_TYPE = "application/problem+json"

logger = logging.getLogger(__name__)


class Problem(Exception):
    """An error that the caller is told about. Subclasses fix its status, type and title.

    The first line of a subclass's docstring says when it happens: the OpenAPI document and
    `docs/problems.md` repeat it to the caller.

    Args:
        detail: what happened, in one sentence that helps the caller mend it.
        headers: response headers that the status calls for.
        extensions: further members of the document (RFC 9457, section 3.2).
    """

    status: ClassVar[int]
    name: ClassVar[str]
    title: ClassVar[str]
    #: Response headers that always come with it, and what they say.
    described_headers: ClassVar[Mapping[str, str]] = {}

    def __init__(
        self, detail: str, *, headers: Mapping[str, str] | None = None, **extensions: Any
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.headers = headers
        self.extensions = extensions

    @classmethod
    def when(cls) -> str:
        """Answer in what case the caller gets it, in one sentence."""
        return (cls.__doc__ or cls.title).partition("\n")[0]

    def response(self) -> Response:
        """Answer the HTTP response that carries this problem."""
        return problem_response(
            self.status, self.name, self.title, self.detail, self.headers, self.extensions
        )


class MalformedRequest(Problem):
    """The body is not valid UTF-8 JSON, or the bytes are not HTTP/1.1."""

    status, name, title = 400, "malformed-request", "The request cannot be read"


class InvalidRequest(Problem):
    """A parameter, header or member of the body is missing or has a value out of bounds."""

    status, name, title = 422, "invalid-request", "The request has invalid values"


class Forbidden(Problem):
    """The caller is known, but none of its roles allows this."""

    status, name, title = 403, "forbidden", "The caller's roles do not allow this"


class ContentTooLarge(Problem):
    """The body is larger than `MAX_BODY_SIZE`."""

    status, name, title = 413, "content-too-large", "The body is too large"


class InternalError(Problem):
    """The service has a bug; its logs have the request id."""

    status, name, title = 500, "internal-error", "The service failed"


class ServiceUnavailable(Problem):
    """Something that the service needs does not answer; the same request may succeed later.

    EXI-ARCH-15: what depends on it degrades, and recovers by itself.
    """

    status, name, title = 503, "service-unavailable", "The service is not available for now"
    described_headers: ClassVar = {"Retry-After": "Seconds to wait before the next attempt."}

    def __init__(self, detail: str, *, retry_after: int = 2, **extensions: Any) -> None:
        super().__init__(detail, headers={"Retry-After": str(retry_after)}, **extensions)


class ProblemDocument(BaseModel):
    """An error, as RFC 9457 describes it."""

    model_config = ConfigDict(title="Problem", extra="allow")

    type: str = Field(description="Stable identifier of the kind of problem.")
    title: str = Field(description="Short summary of the kind of problem.")
    status: int = Field(description="HTTP status code.", ge=400, le=599)
    detail: str = Field(description="What happened this time.")


_explanations: dict[str, str] = {}


def explained(pattern: str, sentence: str) -> str:
    """Answer `pattern`; whoever sends what does not match it is told `sentence` instead of it."""
    _explanations[pattern] = sentence
    return pattern


def problem_type(name: str) -> str:
    """Answer the URN that identifies a kind of problem (RFC 9457, section 3.1.1)."""
    return f"urn:problem-type:{SERVICE}:{name}"


def problem_response(
    status: int,
    name: str,
    title: str,
    detail: str,
    headers: Mapping[str, str] | None = None,
    extensions: Mapping[str, Any] | None = None,
) -> Response:
    """Answer a problem document as an HTTP response."""
    document = {"type": problem_type(name), "title": title, "status": status, "detail": detail}
    content = to_json(document | dict(extensions or {}))
    return Response(content, status_code=status, headers=headers, media_type=MEDIA_TYPE)


def problem_responses(*problems: type[Problem]) -> dict[int | str, dict[str, Any]]:
    """Answer the OpenAPI description of the problems that an operation may give."""
    responses: dict[int | str, dict[str, Any]] = {}
    for problem in problems:
        example = {
            "type": problem_type(problem.name),
            "title": problem.title,
            "status": problem.status,
            "detail": problem.when(),
        }
        response = responses.setdefault(
            problem.status,
            {
                "description": problem.title,
                **_described(problem.described_headers),
                "content": {
                    MEDIA_TYPE: {
                        "schema": {"$ref": "#/components/schemas/Problem"},
                        "examples": {},
                    }
                },
            },
        )
        response["content"][MEDIA_TYPE]["examples"][problem.name] = {"value": example}
    return responses


def _described(headers: Mapping[str, str]) -> dict[str, Any]:
    described = {
        name: {"description": says, "required": True, "schema": {"type": "string"}}
        for name, says in headers.items()
    }
    return {"headers": described} if described else {}


async def _problem(_: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    if error.status >= ServiceUnavailable.status:
        # The caller is told what; the operator wants to know why. Types only: texts quote values.
        fields = {"problem": error.name, "causes": list(_causes(error))}
        logger.warning(error.detail, extra={"fields": fields})
    return error.response()


def _causes(error: BaseException) -> Iterator[str]:
    cause = error.__cause__
    while cause is not None:
        yield type(cause).__name__
        cause = cause.__cause__


async def _http_error(request: Request, error: Exception) -> Response:
    """What Starlette and FastAPI refuse themselves: no route, wrong method, unreadable body."""
    assert isinstance(error, HTTPException)
    if error.status_code == MalformedRequest.status:
        return MalformedRequest("The body is not valid UTF-8 JSON.").response()
    if error.status_code == ContentTooLarge.status:
        return ContentTooLarge(error.detail).response()
    status = HTTPStatus(error.status_code)
    headers = dict(error.headers or {})
    route = request.scope.get("route")
    if status is HTTPStatus.METHOD_NOT_ALLOWED and route:
        # Starlette names the methods of the first route with this path, not those of all of them.
        operations = request.app.openapi()["paths"][route.path]
        headers["Allow"] = ", ".join(sorted(method.upper() for method in operations))
    name = status.phrase.lower().replace(" ", "-")
    return problem_response(
        status.value, name, status.phrase, f"{status.description or status.phrase}.", headers
    )


async def _validation_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    errors = error.errors()
    if errors[0]["type"] == "json_invalid":
        return MalformedRequest("The body is not valid UTF-8 JSON.").response()
    details = [
        {
            "location": [_printable(part) for part in item["loc"]],
            "detail": _explanations.get(item.get("ctx", {}).get("pattern"), item["msg"]),
        }
        for item in errors[:20]
    ]
    return InvalidRequest("See `errors` for each of them.", errors=details).response()


def _printable(part: str | int) -> str | int:
    """A member's name comes from the caller: keep it short, and encodable in UTF-8."""
    return part if isinstance(part, int) else part[:100].encode(errors="replace").decode()


def install(app: FastAPI) -> None:
    """Make every error of `app` a problem document. Unforeseen ones: see `observability`."""
    app.add_exception_handler(Problem, _problem)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
