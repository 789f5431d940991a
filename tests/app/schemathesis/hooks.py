"""What a careful client does, and a generator does not."""

import uuid
from typing import Any

import schemathesis


@schemathesis.hook
def before_call(
    context: schemathesis.HookContext,  # noqa: ARG001
    case: schemathesis.Case[Any],
    kwargs: dict[str, Any],  # noqa: ARG001
) -> None:
    """Give each valid request an idempotency key of its own: a used one is refused, rightly."""
    valid = case.meta is None or case.meta.generation.mode.is_positive
    if valid and "Idempotency-Key" in case.headers:
        case.headers["Idempotency-Key"] = str(uuid.uuid4())
