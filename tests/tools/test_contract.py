"""The check of a running service must find what is not as documented."""

import httpx
import pytest

from tools.contract import Contract

PROBLEM = {"content": {"application/problem+json": {"schema": {"required": ["title"]}}}}
DOCUMENT = {
    "paths": {
        "/things": {
            "post": {
                "responses": {
                    "201": {
                        "headers": {"ETag": {}},
                        "content": {
                            "application/json": {"schema": {"$ref": "#/components/schemas/Thing"}}
                        },
                    },
                    "422": PROBLEM,
                }
            }
        },
        "/things/{id}": {"get": {"responses": {"304": {"description": "Same"}, "404": PROBLEM}}},
        "/things/special": {"get": {"responses": {"200": {"content": {"text/plain": {}}}}}},
    },
    "components": {
        "schemas": {"Thing": {"type": "object", "properties": {"id": {"type": "integer"}}}}
    },
}
JSON = {"content-type": "application/json", "etag": '"1"'}
PROBLEM_JSON = {"content-type": "application/problem+json"}


def contract_with(answer: httpx.Response) -> Contract:
    transport = httpx.MockTransport(lambda _: answer)
    return Contract(httpx.Client(base_url="http://service", transport=transport), DOCUMENT)


@pytest.mark.parametrize(
    ("method", "path", "answer"),
    [
        ("POST", "/things", httpx.Response(201, headers=JSON, content=b'{"id": 1}')),
        ("POST", "/things", httpx.Response(422, headers=PROBLEM_JSON, content=b'{"title": "No"}')),
        ("GET", "/things/7", httpx.Response(304)),
        ("GET", "/things/special", httpx.Response(200, text="special")),
        ("GET", "/nowhere", httpx.Response(404, headers=PROBLEM_JSON, content=b"{}")),
        ("DELETE", "/things", httpx.Response(405, headers=PROBLEM_JSON, content=b"{}")),
    ],
)
def test_what_is_documented_passes(
    method: str, path: str, answer: httpx.Response, capsys: pytest.CaptureFixture[str]
) -> None:
    contract = contract_with(answer)
    contract.ask(method, path, answer.status_code)
    assert contract.failures == 0
    assert capsys.readouterr().out.startswith(f"ok   {method} {path} -> {answer.status_code}")


@pytest.mark.parametrize(
    ("expected", "answer", "said"),
    [
        (201, httpx.Response(200, headers=JSON, content=b'{"id": 1}'), "expected status 201"),
        (201, httpx.Response(201, json={"id": 1}), "expected the header ETag"),
        (201, httpx.Response(201, headers=JSON, content=b'{"id": "1"}'), "at $.id: '1' is not"),
        (201, httpx.Response(201, headers=JSON, content=b"{"), "expected JSON"),
        (
            201,
            httpx.Response(201, headers={**JSON, "content-type": "text/html"}),
            "expected application/json, got text/html",
        ),
        (422, httpx.Response(422, headers=PROBLEM_JSON, content=b"{}"), "'title' is a required"),
        (409, httpx.Response(409, headers=PROBLEM_JSON, content=b"{}"), "which 409 is not"),
    ],
)
def test_what_is_not_as_documented_is_said(
    expected: int, answer: httpx.Response, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    contract = contract_with(answer)
    contract.ask("POST", "/things", expected, content={})
    assert contract.failures == 1
    line = capsys.readouterr().out
    assert line.startswith(f"FAIL POST /things -> {answer.status_code}")
    assert said in line


def test_a_body_where_none_is_documented_is_said() -> None:
    contract = contract_with(httpx.Response(304, content=b"body"))
    contract.ask("GET", "/things/7", 304)
    assert contract.failures == 1


def test_an_undocumented_operation_is_said() -> None:
    contract = contract_with(httpx.Response(200, json={}))
    contract.ask("PATCH", "/things", 200)
    assert contract.failures == 1


def test_what_nobody_asked_is_listed() -> None:
    contract = contract_with(httpx.Response(200, text="special"))
    contract.ask("GET", "/things/special", 200)
    assert contract.not_asked() == ["GET /things/{id}", "POST /things"]
