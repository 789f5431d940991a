"""The call to the platform over real connections, to servers that misbehave in every way."""

import json
import os
import re
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from email import message_from_bytes
from email.utils import formatdate
from pathlib import Path

import pytest

from tests.engines import require_engine
from tests.pipeline.conftest import Script
from tests.pipeline.servers import (
    CREATED,
    PIPELINE,
    Authority,
    Behaviour,
    GitLab,
    Server,
    answer,
    drip,
    flood,
    reset,
    silence,
    tunnel,
    write,
)

TOKEN = "glptt-Aa1+/=%zz s3cret".replace(" ", "")
QUICK = {"BACKOFF_SECONDS": 0.01, "ATTEMPT_SECONDS": 1.0, "POLL_SECONDS": 0.01}
Run = Callable[..., subprocess.CompletedProcess[str]]


def environment(server: Server, **variables: str) -> dict[str, str]:
    return {
        "GITLAB_URL": server.url,
        "GIT_MIRROR_PROJECT_ID": "12",
        "GIT_MIRROR_TOKEN": TOKEN,
        "REPOSITORY_NAME": "dossiers-api",
        "GIT_BRANCH_DEPLOY": "main",
        **variables,
    }


def fields(request: bytes) -> dict[str, str]:
    """Read a form as a server's library does."""
    head, _, body = request.partition(b"\r\n\r\n")
    message = message_from_bytes(head.partition(b"\r\n")[2] + b"\r\n\r\n" + body)
    assert message.is_multipart()
    return {
        str(part.get_param("name", header="content-disposition")): str(part.get_payload())
        for part in message.get_payload()
        if not isinstance(part, str)
    }


@pytest.fixture
def run(trigger_sync: Script) -> Run:
    """Run the script against a server, and see that it shows no secret."""

    def _run(
        server: Server, *arguments: str, code: int, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        result = trigger_sync(environment(server, **variables), *arguments, **QUICK)
        assert "s3cret" not in result.stdout + result.stderr
        assert result.returncode == code, result.stderr
        return result

    return _run


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def gitlab() -> Iterator[Server]:
    """A server that answers as GitLab does."""
    with Server([CREATED]).listening() as server:
        yield server


# --- What is sent -------------------------------------------------------------------------------


def test_it_sends_what_the_documented_curl_sends(gitlab: Server, run: Run) -> None:
    """The platform's guide ("Dépôts") has this command."""
    command = (
        'curl -X POST --fail -F token="$GIT_MIRROR_TOKEN" -F ref=main '
        '-F "variables[GIT_BRANCH_DEPLOY]=$BRANCH" -F "variables[PROJECT_NAME]=$REPO" '
        '"$GITLAB_URL/api/v4/projects/$GIT_MIRROR_PROJECT_ID/trigger/pipeline"'
    )
    variables = environment(gitlab, BRANCH="feature/é", REPO="dossiers-api", NO_PROXY="*")
    shell = ["sh", "-c", command]
    try:
        subprocess.run(
            shell,
            env={"PATH": os.environ["PATH"], **variables},
            check=True,
            capture_output=True,
            timeout=20,
        )
    except subprocess.CalledProcessError as error:
        require_engine("curl", str(error))

    run(gitlab, code=0, GIT_BRANCH_DEPLOY="feature/é")

    theirs, ours = gitlab.requests
    assert theirs.partition(b" HTTP/")[0] == ours.partition(b" HTTP/")[0]
    assert fields(theirs) == fields(ours)
    assert fields(ours)["token"] == TOKEN


def test_no_process_shows_the_token_in_its_arguments(trigger_sync: Script) -> None:
    with (
        Server([silence]).listening() as server,
        subprocess.Popen(
            trigger_sync.command(),
            env={"PATH": os.environ["PATH"], **environment(server)},
            stderr=subprocess.PIPE,
            text=True,
        ) as process,
    ):
        wait_for(lambda: bool(server.requests))
        arguments = Path(f"/proc/{process.pid}/cmdline").read_bytes()
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=10) == 130
        assert process.stderr is not None
        said = process.stderr.read()
    assert b"trigger_sync.py" in arguments
    assert b"s3cret" not in arguments
    assert said == "Interrupted. What runs on the platform goes on.\n"


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


# --- What goes wrong on the way and may pass ----------------------------------------------------

TROUBLES = {
    "reset": reset(),
    "closed without a word": write(b""),
    "half a status line": write(b"HTTP/1.1 20"),
    "half a head": write(b"HTTP/1.1 201 Created\r\nContent-Type: appl"),
    "half a body": write(b'HTTP/1.1 201 Created\r\nContent-Length: 90\r\n\r\n{"id": 7,'),
    "half a chunk": write(b'HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n50\r\n{"id"'),
    "reset in the body": reset(b'HTTP/1.1 201 Created\r\nContent-Length: 90\r\n\r\n{"id": 7,'),
    "not HTTP": write(b"220 mail.example.org ESMTP\r\n"),
    "a header without an end": write(b"HTTP/1.1 201 Created\r\nX: " + b"x" * 100_000 + b"\r\n\r\n"),
    "silence": silence,
    "a head that drips": drip(b"HTTP/1.1 201 Cre", b"a", 0.1),
    "a body that drips": drip(b"HTTP/1.1 201 Created\r\nContent-Length: 9999\r\n\r\n", b" ", 0.1),
    "half a body that says no length": write(b'HTTP/1.1 201 Created\r\n\r\n{"id": 7,'),
    "500": answer(500, b"<html>"),
    "503": answer(503, {"message": "Maintenance"}, "Retry-After: 0"),
    "429": answer(429, b"Retry later\n", "Retry-After: never"),
}


@pytest.mark.parametrize("trouble", TROUBLES.values(), ids=TROUBLES.keys())
def test_it_asks_again_after(trouble: Behaviour, run: Run) -> None:
    with Server([trouble, CREATED]).listening() as server:
        result = run(server, code=0)
        assert result.stdout == f"{PIPELINE['web_url']}\n"
        assert len(server.requests) == 2
        assert result.stderr.count("; again in ") == 1


@pytest.mark.parametrize("trouble", TROUBLES.values(), ids=TROUBLES.keys())
def test_it_gives_up_in_time_after_nothing_but(trouble: Behaviour, run: Run) -> None:
    with Server([trouble]).listening() as server:
        start = time.monotonic()
        result = run(server, "--timeout", "0.4", code=4)
        assert time.monotonic() - start < 5
        assert "No proper answer in 0 s:" in result.stderr


def test_a_storm_of_429_is_sat_out_as_the_server_asks(run: Run) -> None:
    date = f"Retry-After: {formatdate(time.time() + 3600 + 1, usegmt=True)}"
    clock = f"Date: {formatdate(time.time() + 3600, usegmt=True)}"
    storm = [answer(429, b"", "Retry-After: 1"), answer(429, b"", date, clock)]
    with Server([*storm, answer(429), CREATED]).listening() as server:
        start = time.monotonic()
        run(server, code=0)
        # A second each, though the date is an hour away by this machine's clock.
        assert 2 <= time.monotonic() - start < 6
        assert len(server.requests) == 4


def test_pauses_double_and_are_drawn_by_lot(run: Run) -> None:
    with Server([*[answer(502)] * 6, CREATED]).listening() as server:
        said = run(server, code=0).stderr

    pauses = [float(seconds) for seconds in re.findall(r"again in ([0-9.]+) s", said)]
    assert len(pauses) == 6
    assert all(pause <= 0.01 * 2**n + 0.05 for n, pause in enumerate(pauses))


def test_a_lost_answer_costs_a_second_pipeline_and_no_more(run: Run) -> None:
    """GitLab has created the first: what the second pushes is there already, and builds nothing."""
    with Server([reset(b"HTTP/1.1 201 Created\r\n"), CREATED]).listening() as server:
        run(server, code=0)
        first, second = map(fields, server.requests)
        assert first == second


# --- What will not pass -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("behaviour", "sentence"),
    [
        (answer(401, {"message": "401 Unauthorized"}), "GIT_MIRROR_TOKEN is no trigger token"),
        (answer(404, {"message": "404 Not Found"}), "GitLab does not say which"),
        (answer(404, b"<!DOCTYPE html>", "Content-Type: text/html"), "a web page (404)"),
        (answer(400, {"message": {"base": ["Reference not found"]}}), "Reference not found"),
        (answer(418, {"error": TOKEN}, reason=TOKEN), "It says: ***."),
        (
            answer(400, {"message": "\x1b[2J::add-mask::x\n::error::y"}),
            "says:  [2J::add-mask::x ::",
        ),
        (answer(201, b"\xff\xfe"), "not as documented"),
        (answer(201, b"[" * 500_000), "not as documented"),
        (answer(201, {"message": "202 Accepted"}), "not as documented"),
        (flood, "more than 1000000 bytes"),
    ],
)
def test_it_asks_no_second_time_and_explains(behaviour: Behaviour, sentence: str, run: Run) -> None:
    with Server([behaviour]).listening() as server:
        assert sentence in run(server, code=3).stderr
        assert len(server.requests) == 1


@pytest.mark.parametrize("status", [302, 308])
@pytest.mark.parametrize("there", ["the same host", "another host"])
def test_no_redirect_takes_the_token_along(status: int, there: str, run: Run) -> None:
    with Server([CREATED]).listening() as other, Server([CREATED]).listening() as server:
        target = server if there == "the same host" else other
        address = target.url.replace("127.0.0.1", "me:s3cret@127.0.0.1")
        for location in (f"{target.url}/sign-in?token={TOKEN}", f"{address}/"):
            server.requests.clear()
            server.behaviours[:] = [answer(status, b"", f"Location: {location}"), CREATED]
            result = run(server, code=3)
            assert "sends the call elsewhere" in result.stderr
            assert len(server.requests) == 1
        assert other.requests == []


# --- The network --------------------------------------------------------------------------------


def test_ipv6(run: Run) -> None:
    if not socket.has_ipv6:
        require_engine("IPv6", "this Python has none")
    try:
        server = Server([CREATED], host="::1")
        with server.listening():
            run(server, code=0)
    except OSError as error:
        require_engine("IPv6", str(error))


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "CA_BUNDLE", "CI_SERVER_TLS_CA_FILE"])
def test_an_organisations_authority_is_trusted_where_it_is_named(
    variable: str, authority: Authority, run: Run
) -> None:
    with Server([CREATED], tls=authority.server()).listening() as server:
        run(server, code=0, **{variable: str(authority.bundle)})
        assert fields(server.requests[0])["token"] == TOKEN


@pytest.mark.parametrize(
    ("host", "days", "trusted", "reason"),
    [
        ("localhost", 1, False, "unable to get local issuer certificate"),
        ("gitlab.example.org", 1, True, "Hostname mismatch"),
        ("localhost", -1, True, "certificate has expired"),
    ],
)
def test_a_certificate_that_proves_nothing_gets_no_token(
    host: str, days: int, trusted: bool, reason: str, authority: Authority, run: Run
) -> None:
    variables = {"CA_BUNDLE": str(authority.bundle)} if trusted else {}
    with Server([CREATED], tls=authority.server(host, days)).listening() as server:
        result = run(server, code=3, **variables)
        assert reason in result.stderr
        assert server.requests == []


def test_a_proxy_carries_the_call_and_sees_nothing_of_it(authority: Authority, run: Run) -> None:
    with Server([CREATED], tls=authority.server()).listening() as server:
        target = ("127.0.0.1", server.port)
        with Server([lambda stream: tunnel(stream, target)]).listening() as proxy:
            variables = {
                "CA_BUNDLE": str(authority.bundle),
                "HTTPS_PROXY": proxy.url.replace("//", "//me:proxy-s3cret@"),
            }
            run(server, code=0, **variables)
            (seen,) = proxy.requests
            assert seen.startswith(f"CONNECT localhost:{server.port} ".encode())
            assert b"Proxy-Authorization: Basic " in seen
            assert TOKEN.encode() not in seen

            run(server, code=0, NO_PROXY="localhost", **variables)
            assert len(proxy.requests) == 1
        assert len(server.requests) == 2


def test_a_proxy_that_is_busy_is_asked_again(authority: Authority, run: Run) -> None:
    with Server([CREATED], tls=authority.server()).listening() as server:
        target = ("127.0.0.1", server.port)
        behaviours = [answer(503), reset(), lambda stream: tunnel(stream, target)]
        with Server(behaviours).listening() as proxy:
            run(server, code=0, CA_BUNDLE=str(authority.bundle), https_proxy=proxy.url)
            assert len(proxy.requests) == 3


@pytest.mark.parametrize("status", [403, 407])
def test_a_proxy_that_refuses_is_not_asked_again(status: int, run: Run) -> None:
    with Server([answer(status, reason=f"No {TOKEN} proxy-s3cret")]).listening() as proxy:
        address = proxy.url.replace("//", "//me:proxy-s3cret@")
        somewhere = Server([], host="gitlab.example.org")
        url = "https://gitlab.example.org"
        result = run(somewhere, code=3, GITLAB_URL=url, HTTPS_PROXY=address)
        assert "The proxy" in result.stderr
        assert len(proxy.requests) == 1


def test_what_is_said_to_this_machine_in_clear_goes_through_no_proxy(
    gitlab: Server, run: Run
) -> None:
    with Server([CREATED]).listening() as proxy:
        run(gitlab, code=0, HTTP_PROXY=proxy.url, http_proxy=proxy.url, ALL_PROXY=proxy.url)
        assert proxy.requests == []


# --- --wait -------------------------------------------------------------------------------------


def test_waiting_survives_a_platform_that_stumbles(run: Run) -> None:
    """Every second connection fails, each time in another way."""
    gitlab = GitLab()
    with Server([]).listening() as server:
        proper = gitlab.behave(server)
        troubles = [reset(), answer(502, b"<html>"), write(b"HTTP/1.1 200 OK\r\nContent-Le")]
        for trouble in troubles * 4:
            server.behaviours += [trouble, proper]
        result = run(server, "--wait", code=0, GITLAB_READ_TOKEN="glpat-s3cret")

    assert gitlab.triggered == 1
    assert result.stdout.splitlines() == [PIPELINE["web_url"], "https://gitlab.example.org/9"]
    assert "build pipeline 9: success" in result.stderr
    for request in server.requests:
        posts = request.startswith(b"POST")
        assert (TOKEN.encode() in request) == posts
        assert (b"glpat-s3cret" in request) != posts


def test_two_calls_at_once_follow_each_its_own(run: Run) -> None:
    with Server([CREATED]).listening() as server:
        results: list[str] = []
        threads = [
            threading.Thread(target=lambda: results.append(run(server, code=0).stdout))
            for _ in range(2)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert results == [f"{PIPELINE['web_url']}\n"] * 2


def test_github_reads_the_addresses(gitlab: Server, run: Run, tmp_path: Path) -> None:
    output, summary = tmp_path / "output", tmp_path / "summary"
    run(
        gitlab,
        code=0,
        GITHUB_ACTIONS="true",
        GITHUB_OUTPUT=str(output),
        GITHUB_STEP_SUMMARY=str(summary),
    )
    assert output.read_text() == f"pipeline_id=7\npipeline_url={PIPELINE['web_url']}\n"
    assert summary.read_text() == f"Mirror pipeline of main: [7]({PIPELINE['web_url']})\n\n"


def test_an_answer_cannot_write_outputs_of_its_own(run: Run, tmp_path: Path) -> None:
    evil = {"id": 7, "web_url": "https://x.org/\nname=value"}
    output = tmp_path / "output"
    with Server([answer(201, evil)]).listening() as server:
        run(server, code=0, GITHUB_OUTPUT=str(output))
    assert output.read_text() == "pipeline_id=7\npipeline_url=\n"


def test_the_form_holds_what_a_branch_may_be_called(gitlab: Server, run: Run) -> None:
    for number, ref in enumerate(['quote"semi;colon', "ünï-☃", "a&b=c%20d", "--no"]):
        run(gitlab, code=2 if ref == "--no" else 0, GIT_BRANCH_DEPLOY=ref)
        if ref != "--no":
            assert (
                f'"variables[GIT_BRANCH_DEPLOY]"\r\n\r\n{ref}\r\n'
                in gitlab.requests[number].decode()
            )


def test_json_that_lies_about_its_pipelines_is_refused(run: Run) -> None:
    lies: list[object] = [None, {"id": "7"}, "created"]
    for lie in lies:
        with Server([answer(201, json.dumps(lie).encode())]).listening() as server:
            run(server, code=3)
