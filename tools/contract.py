"""Ask a running service every operation of its OpenAPI document, and hold it to the document."""

import re
import uuid
from typing import Any

import httpx
import jsonschema

DOSSIERS = "/api/v1/dossiers"
PROBLEM = "application/problem+json"
CONTENT = {
    "subject": "Parking permit",
    "applicant_name": "Ada Lovelace",
    "applicant_email": "ada@example.org",
}


class Contract:
    """A conversation with a service, each answer compared with the service's own document.

    Attributes:
        failures: How many answers were not as documented.
    """

    def __init__(self, client: httpx.Client, document: dict[str, Any]) -> None:
        self.failures = 0
        self._client = client
        self._document = document
        self._operations = {
            (method, path): operation
            for path, methods in document["paths"].items()
            for method, operation in methods.items()
        }
        self._asked: set[tuple[str, str]] = set()

    def ask(
        self,
        method: str,
        path: str,
        expected: int,
        *,
        content: object = None,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> httpx.Response:
        """Send a request and print a line that says whether the answer is as documented.

        Args:
            method: HTTP method.
            path: Path and query.
            expected: The status that this request must get.
            content: What to send as JSON.
            body: What to send as it is, instead.
            headers: Request headers.
        """
        sent = {"Content-Type": "application/json"} if body is not None else {}
        response = self._client.request(
            method, path, json=content, content=body, headers={**sent, **(headers or {})}
        )
        wrong = self._judge(method.lower(), response, expected)
        label = f"{method} {path} -> {response.status_code} {_summary(response)}".rstrip()
        if wrong:
            self.failures += 1
            print(f"FAIL {label}: {wrong}; it answered {response.text[:300]!r}")
        else:
            print(f"ok   {label}")
        return response

    def _judge(self, method: str, response: httpx.Response, expected: int) -> str | None:
        """Say what is wrong with an answer, None where nothing is."""
        media_type = response.headers.get("content-type", "").partition(";")[0]
        if response.status_code != expected:
            return f"expected status {expected}"
        key = self._find(method, response.request.url.path)
        if key is None:
            # A path or a method that the document does not know can only be refused.
            return None if expected in (404, 405) and media_type == PROBLEM else "not documented"
        self._asked.add(key)
        documented = self._operations[key]["responses"].get(str(expected))
        if documented is None:
            return f"expected a documented status, which {expected} is not"
        for header in documented.get("headers", {}):
            if header.lower() not in response.headers:
                return f"expected the header {header}"
        contents = documented.get("content", {})
        if not contents:
            return None if not response.content else "expected no body"
        if media_type not in contents:
            return f"expected {' or '.join(contents)}, got {media_type or 'no content type'}"
        if not media_type.endswith("json"):
            return None
        return self._compare(response, contents[media_type].get("schema", {}))

    def _find(self, method: str, path: str) -> tuple[str, str] | None:
        """Return the operation that a request is for; a path without variables goes first."""
        for template in sorted((each for _, each in self._operations), key=lambda t: t.count("{")):
            pattern = re.sub(r"\\\{[^}]+\\\}", "[^/]+", re.escape(template))
            if re.fullmatch(pattern, path):
                key = (method, template)
                return key if key in self._operations else None
        return None

    def _compare(self, response: httpx.Response, schema: dict[str, Any]) -> str | None:
        # References are to the document's root, so the schema is read beside its components.
        whole = {**schema, "components": self._document.get("components", {})}
        try:
            jsonschema.Draft202012Validator(whole).validate(response.json())
        except jsonschema.ValidationError as error:
            return f"expected what the schema says, but at {error.json_path}: {error.message}"
        except ValueError:
            return "expected JSON"
        return None

    def require(self, what: str, *, holds: bool) -> None:
        """Print a line for something that no schema can say."""
        print(f"{'ok  ' if holds else 'FAIL'} {what}")
        self.failures += not holds

    def not_asked(self) -> list[str]:
        """Return the documented operations that nobody has asked."""
        missing = set(self._operations) - self._asked
        return sorted(f"{method.upper()} {path}" for method, path in missing)


def _summary(response: httpx.Response) -> str:
    """Return an answer's media type, and a problem's title instead."""
    media_type: str = response.headers.get("content-type", "")
    if media_type == PROBLEM:
        return str(response.json().get("title"))
    return media_type


def check_contract(address: str) -> int:
    """Ask everything, print a line for each answer, and say how it went.

    Returns:
        0 where every operation was asked and every answer was as documented, else 1.
    """
    with httpx.Client(base_url=address, timeout=10) as client:
        answer = client.get("/openapi.json")
        answer.raise_for_status()
        contract = Contract(client, answer.json())
        print(f"ok   GET /openapi.json -> {answer.status_code}")
        try:
            ask_operations(contract)
            ask_dossiers(contract)
            ask_what_is_refused(contract)
        except (KeyError, IndexError, TypeError, ValueError, httpx.TransportError) as error:
            print(f"FAIL the rest could not be asked: {error!r}")
            contract.failures += 1
        for missing in contract.not_asked():
            print(f"FAIL {missing} is documented, and was not asked")
            contract.failures += 1
    if contract.failures:
        print(f"{contract.failures} answers were not as documented.")
        return 1
    print("Every documented operation answered as documented.")
    return 0


def ask_operations(contract: Contract) -> None:
    """Ask what the platform asks."""
    for path in ("/health", "/health/live", "/health/ready", "/health/startup", "/metrics"):
        contract.ask("GET", path, 200)


def ask_dossiers(contract: Contract) -> None:
    """Take a dossier through its life, and read the list."""
    key = {"Idempotency-Key": str(uuid.uuid4())}
    created = contract.ask("POST", DOSSIERS, 201, content=CONTENT, headers=key)
    path = created.headers["Location"]
    dossier = created.json()["id"]
    again = contract.ask("POST", DOSSIERS, 201, content=CONTENT, headers=key)
    contract.require("the same key creates nothing new", holds=again.json()["id"] == dossier)
    other = {**CONTENT, "subject": "Something else"}
    contract.ask("POST", DOSSIERS, 422, content=other, headers=key)

    first = contract.ask("GET", path, 200).headers["ETag"]
    contract.ask("GET", path, 304, headers={"If-None-Match": first})
    contract.ask("PUT", path, 428, content=other)
    changed = contract.ask("PUT", path, 200, content=other, headers={"If-Match": first})
    contract.require("an update is kept", holds=changed.json()["subject"] == other["subject"])
    contract.ask("PUT", path, 412, content=CONTENT, headers={"If-Match": first})

    step = f"{path}/transitions"
    tag = changed.headers["ETag"]
    contract.ask("POST", step, 428, content={"to": "submitted"})
    contract.ask("POST", step, 412, content={"to": "submitted"}, headers={"If-Match": first})
    contract.ask("POST", step, 409, content={"to": "accepted"}, headers={"If-Match": tag})
    for state in ("submitted", "under_review", "accepted"):
        moved = contract.ask("POST", step, 200, content={"to": state}, headers={"If-Match": tag})
        tag = moved.headers["ETag"]
    contract.ask("PUT", path, 409, content=CONTENT, headers={"If-Match": tag})

    page = contract.ask("GET", f"{DOSSIERS}?limit=2", 200).json()
    after = contract.ask("GET", f"{DOSSIERS}?limit=2&cursor={page['next_cursor']}", 200).json()
    seen = [item["id"] for item in page["items"] + after["items"]]
    contract.require("two pages of 2 have 4 dossiers", holds=len(set(seen)) == 4)
    rejected = contract.ask("GET", f"{DOSSIERS}?state=rejected&limit=5", 200).json()["items"]
    states = {item["state"] for item in rejected}
    contract.require("a filter by state gives that state only", holds=states == {"rejected"})


def ask_what_is_refused(contract: Contract) -> None:
    """Ask for what is not there, and send what cannot be read."""
    unknown = f"{DOSSIERS}/{uuid.uuid4()}"
    contract.ask("GET", unknown, 404)
    contract.ask("PUT", unknown, 404, content=CONTENT, headers={"If-Match": '"1"'})
    contract.ask("GET", f"{DOSSIERS}/not-an-id", 422)
    contract.ask("GET", f"{DOSSIERS}?limit=0", 422)
    contract.ask("GET", f"{DOSSIERS}?state=lost", 422)
    contract.ask("GET", f"{DOSSIERS}?cursor=forged", 422)
    contract.ask("POST", DOSSIERS, 422, content={})
    contract.ask("POST", DOSSIERS, 400, body=b"{")
    contract.ask("POST", DOSSIERS, 413, body=b'"' + b"x" * 1_000_000 + b'"')
    contract.ask("GET", "/nowhere", 404)
    contract.ask("DELETE", DOSSIERS, 405)
