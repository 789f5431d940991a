"""What guards every request and response, whatever the operation."""

from fastapi.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

#: What a browser obeys (OWASP REST security cheat sheet).
HEADERS = [
    # An API has no page to show: nothing may be loaded, framed or guessed from its answers.
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    # Answers carry personal data: neither a proxy nor a browser keeps them.
    (b"cache-control", b"no-store"),
    # Ignored over plain HTTP; over HTTPS, browsers never come back without it (EXI-ARCH-14).
    (b"strict-transport-security", b"max-age=31536000; includeSubDomains"),
]


class SecurityMiddleware:
    """Adds the headers above to each response, and stops reading bodies that are too large.

    Args:
        app: what it guards.
        max_body_size: in bytes.
    """

    def __init__(self, app: ASGIApp, max_body_size: int) -> None:
        self.app = app
        self.max_body_size = max_body_size

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request (ASGI)."""
        size = 0

        async def receive_within_limit() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > self.max_body_size:
                # FastAPI passes this one on; any other error while reading becomes its own 400.
                raise HTTPException(413, f"The body may take {self.max_body_size} bytes.")
            return message

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"].extend(HEADERS)
            await send(message)

        await self.app(scope, receive_within_limit, send_with_headers)
