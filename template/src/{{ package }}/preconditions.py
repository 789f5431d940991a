"""Changes that overwrite nobody's: `ETag`, `If-Match` and `If-None-Match` (RFC 9110, section 13)."""

from typing import Annotated

from fastapi import Header

from .problems import Problem

IfMatch = Annotated[
    str | None,
    Header(
        description="The `ETag` of what is to be changed. Needed: 428 without it.",
        max_length=1000,
        examples=['"1"'],
    ),
]
IfNoneMatch = Annotated[
    str | None,
    Header(
        description="The `ETag` of what the client has: 304 while it is current.",
        max_length=1000,
        examples=['"1"'],
    ),
]


class PreconditionRequired(Problem):
    """A change was asked for without `If-Match`."""

    status, name, title = 428, "precondition-required", "If-Match is needed"

    def __init__(self) -> None:
        super().__init__("Read it first, then send its ETag in If-Match.")


class PreconditionFailed(Problem):
    """`If-Match` names another version than the current one."""

    status, name, title = 412, "precondition-failed", "Somebody else has changed it"

    def __init__(self) -> None:
        super().__init__("Read it again: it is not what If-Match says any more.")


def etag(version: int) -> str:
    """Answer the entity tag of a version."""
    return f'"{version}"'


def matches(condition: str, version: int) -> bool:
    """Say whether a list of entity tags, or `*`, names this version (strong comparison)."""
    tags = {tag.strip() for tag in condition.split(",")}
    return "*" in tags or etag(version) in tags


def unchanged(if_none_match: str | None, version: int) -> bool:
    """Say whether the client has this version already.

    The comparison is weak (RFC 9110, section 13.1.2): a proxy that compresses weakens the tag.
    """
    return if_none_match is not None and matches(if_none_match.replace("W/", ""), version)


def check(if_match: str | None, version: int) -> None:
    """Refuse a change whose author has not seen the current version.

    Raises:
        PreconditionRequired: there is no `If-Match`.
        PreconditionFailed: it names another version.
    """
    if if_match is None:
        raise PreconditionRequired
    if not matches(if_match, version):
        raise PreconditionFailed
