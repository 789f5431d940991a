"""What can be done with dossiers, whoever asks and however."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Connection, Row, Select, bindparam, delete, insert, select, update

from .. import idempotency
from ..authentication import Caller
from ..database import Database
from ..idempotency import fingerprint, idempotency_keys
from ..pagination import decode_cursor, encode_cursor
from ..personal_data import replacements
from ..preconditions import check
from ..problems import Forbidden, Problem
from .model import CLOSED, TRANSITIONS, State, created_at, dossiers, new_id, reference
from .schema import DossierInput, DossierOutput, DossierPage

#: Those who may do this see everybody's dossiers; others see their own.
REVIEW: Final = "dossiers:review"

# Statements are built once: building one anew costs as much as sending it.
COLUMNS: Final = tuple(dossiers.columns)
NAMES: Final = tuple(column.name for column in COLUMNS)
READ: Final = select(*COLUMNS).where(dossiers.c.id == bindparam("of_id"))
# Nobody else changes the row between our reading and our writing. (SQLite lets one write at a time.)
READ_TO_CHANGE: Final = READ.with_for_update()
INSERT: Final = insert(dossiers)
UPDATE: Final = (
    update(dossiers)
    .where(dossiers.c.id == bindparam("of_id"))
    .values(version=dossiers.c.version + 1, updated_at=bindparam("now"))
)
REPLACE: Final = UPDATE.values(
    subject=bindparam("subject"),
    applicant_name=bindparam("applicant_name"),
    applicant_email=bindparam("applicant_email"),
).returning(*COLUMNS)
MOVE: Final = UPDATE.values(state=bindparam("to")).returning(*COLUMNS)


def _page(*, of_owner: bool, of_state: bool, after: bool) -> Select[Any]:
    statement = select(*COLUMNS).order_by(dossiers.c.id.desc()).limit(bindparam("size"))
    if of_owner:
        statement = statement.where(dossiers.c.owner == bindparam("of_owner"))
    if of_state:
        statement = statement.where(dossiers.c.state == bindparam("of_state"))
    if after:
        statement = statement.where(dossiers.c.id < bindparam("after"))
    return statement


PAGES: Final = {
    (of_owner, of_state, after): _page(of_owner=of_owner, of_state=of_state, after=after)
    for of_owner in (False, True)
    for of_state in (False, True)
    for after in (False, True)
}


class DossierNotFound(Problem):
    """No dossier that the caller may see has this id."""

    status, name, title = 404, "dossier-not-found", "There is no such dossier"

    def __init__(self) -> None:
        super().__init__("No dossier that you may see has this id.")


class DossierNotEditable(Problem):
    """The dossier is not a draft any more; `state` says what it is."""

    status, name, title = 409, "dossier-not-editable", "The dossier cannot be edited any more"

    def __init__(self, state: State) -> None:
        super().__init__(f"It is {state.value}; only a draft can be edited.", state=state.value)


class TransitionNotAllowed(Problem):
    """No step leads from the dossier's `state` to the one asked for; `allowed` lists those that do."""

    status, name, title = 409, "transition-not-allowed", "The dossier cannot take this step"

    def __init__(self, state: State, to: State) -> None:
        allowed = sorted(following.value for following in TRANSITIONS[state])
        super().__init__(
            f"It is {state.value}, and cannot become {to.value}.",
            state=state.value,
            allowed=allowed,
        )


class DossierService:
    """Opens, reads and moves dossiers.

    Args:
        database: where they are kept.
        idempotency_hours: how long a creation's key is remembered.
    """

    def __init__(self, database: Database, idempotency_hours: int) -> None:
        self._database = database
        self._idempotency_hours = idempotency_hours

    async def create(
        self, caller: Caller, content: DossierInput, key: str | None = None
    ) -> DossierOutput:
        """Open a dossier, once for each `key`.

        Raises:
            KeyReused: the key came before with another content.
        """
        dossier_id = new_id()

        def work(connection: Connection) -> DossierOutput:
            if key is None:
                return _insert(connection, caller, dossier_id, content)
            first = idempotency.claim(
                connection,
                caller=caller.subject,
                key=key,
                fingerprint=fingerprint("dossiers.create", content.model_dump_json()),
                receipt=dossier_id.hex,
                hours=self._idempotency_hours,
            )
            if first != dossier_id.hex:
                return DossierOutput(**_opened(caller, UUID(first), content))
            return _insert(connection, caller, dossier_id, content)

        return await self._database.write(work)

    async def read(self, caller: Caller, dossier_id: UUID) -> DossierOutput:
        """Answer one dossier.

        Raises:
            DossierNotFound: there is none, or it is somebody else's.
        """
        row = await self._database.read(
            lambda connection: _find(connection, READ, caller, dossier_id)
        )
        return DossierOutput.model_validate(_values(row))

    async def page(
        self, caller: Caller, *, state: State | None, cursor: str | None, limit: int
    ) -> DossierPage:
        """Answer the dossiers that the caller may see, the newest first, `limit` at a time."""
        values: dict[str, Any] = {"size": limit + 1}
        if of_owner := REVIEW not in caller.scopes:
            values["of_owner"] = caller.subject
        if of_state := state is not None:
            values["of_state"] = state
        if after := cursor is not None:
            values["after"] = decode_cursor(cursor)
        statement = PAGES[of_owner, of_state, after]
        rows = await self._database.read(
            lambda connection: connection.execute(statement, values).all()
        )
        items = [_values(row) for row in rows[:limit]]
        more = len(rows) > limit
        return DossierPage.model_validate(
            {"items": items, "next_cursor": encode_cursor(items[-1]["id"]) if more else None}
        )

    async def replace(
        self, caller: Caller, dossier_id: UUID, if_match: str | None, content: DossierInput
    ) -> DossierOutput:
        """Put another content in a draft.

        Raises:
            DossierNotFound: there is none, or it is somebody else's.
            PreconditionRequired, PreconditionFailed: see `preconditions`.
            DossierNotEditable: it was submitted.
        """

        def work(connection: Connection) -> DossierOutput:
            row = _find(connection, READ_TO_CHANGE, caller, dossier_id)
            check(if_match, row.version)
            if row.state is not State.DRAFT:
                raise DossierNotEditable(row.state)
            return _change(connection, REPLACE, row, content.model_dump())

        return await self._database.write(work)

    async def move(
        self, caller: Caller, dossier_id: UUID, if_match: str | None, to: State
    ) -> DossierOutput:
        """Take a dossier to its next state.

        Raises:
            DossierNotFound: there is none, or it is somebody else's.
            PreconditionRequired, PreconditionFailed: see `preconditions`.
            TransitionNotAllowed: no step leads from its state to that one.
            Forbidden: the step is a reviewer's.
        """
        if to is not State.SUBMITTED and REVIEW not in caller.scopes:
            raise Forbidden("Applicants submit; the other steps are a reviewer's.")

        def work(connection: Connection) -> DossierOutput:
            row = _find(connection, READ_TO_CHANGE, caller, dossier_id)
            check(if_match, row.version)
            if to not in TRANSITIONS[row.state]:
                raise TransitionNotAllowed(row.state, to)
            return _change(connection, MOVE, row, {"to": to})

        return await self._database.write(work)


def anonymise(connection: Connection, closed_before: datetime | None) -> int:
    """Replace the personal data of dossiers, and answer how many there were.

    Args:
        connection: of a transaction.
        closed_before: only those that were closed before this time; None for every one.
    """
    statement = update(dossiers).values(
        **replacements(dossiers),
        version=dossiers.c.version + 1,
    )
    if closed_before is None:
        # Keys say who opened which dossier. Those of closed dossiers have expired long since.
        connection.execute(delete(idempotency_keys))
    else:
        statement = statement.where(
            dossiers.c.state.in_(CLOSED), dossiers.c.updated_at < closed_before
        )
    return connection.execute(statement).rowcount


def _opened(caller: Caller, dossier_id: UUID, content: DossierInput) -> dict[str, Any]:
    """A new dossier: all of it follows from its id, its content and who opened it."""
    opened_at = created_at(dossier_id)
    return {
        "id": dossier_id,
        "reference": reference(dossier_id),
        "owner": caller.subject,
        **content.model_dump(),
        "state": State.DRAFT,
        "version": 1,
        "created_at": opened_at,
        "updated_at": opened_at,
    }


def _insert(
    connection: Connection, caller: Caller, dossier_id: UUID, content: DossierInput
) -> DossierOutput:
    values = _opened(caller, dossier_id, content)
    connection.execute(INSERT, values)
    return DossierOutput(**values)


def _find(
    connection: Connection, statement: Select[Any], caller: Caller, dossier_id: UUID
) -> Row[Any]:
    row = connection.execute(statement, {"of_id": dossier_id}).one_or_none()
    # Somebody else's dossier is not found rather than forbidden: its existence is nobody's business.
    if row is None or (row.owner != caller.subject and REVIEW not in caller.scopes):
        raise DossierNotFound
    return row


def _change(
    connection: Connection, statement: Any, row: Row[Any], values: Mapping[str, Any]
) -> DossierOutput:
    changed = connection.execute(
        statement, {"of_id": row.id, "now": datetime.now(UTC), **values}
    ).one()
    return DossierOutput.model_validate(_values(changed))


def _values(row: Row[Any]) -> dict[str, Any]:
    """The columns by name; reading them off the row one by one takes Pydantic four times as long."""
    return dict(zip(NAMES, row, strict=True))
