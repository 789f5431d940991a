"""The call to the platform, against a server that answers as GitLab does, or as it should not."""

import datetime
import email.utils
import http.server
import io
import json
import re
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

import trigger_sync

TOKEN = "glptt-4242+/=s3cret"
READ_TOKEN = "glpat-1717s3cret"
TRIGGER = "POST /api/v4/projects/12/trigger/pipeline"
MIRROR = "GET /api/v4/projects/12"
TARGET = "GET /api/v4/projects/forge%2Fdossiers%2Fdossiers-api"
COMMIT = f"{TARGET}/repository/commits/main"
PIPELINES = f"{TARGET}/pipelines"
UUID = "8a3c3f6e-1a51-4c86-9d50-6a2a1d1b7f3e"


class Reply(NamedTuple):
    status: int
    content: Any = b""
    headers: tuple[tuple[str, str], ...] = ()

    @property
    def body(self) -> bytes:
        return (
            self.content if isinstance(self.content, bytes) else json.dumps(self.content).encode()
        )


class Asked(NamedTuple):
    what: str
    headers: dict[str, str]
    body: str


class Platform(http.server.ThreadingHTTPServer):
    """Gives the answers that a test has laid out for each request; the last one again and again."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.replies: dict[str, list[Reply]] = {}
        self.asked: list[Asked] = []
        self.address = f"http://127.0.0.1:{self.server_port}"

    def at(self, what: str, *replies: Reply) -> None:
        self.replies[what] = list(replies)


class Handler(http.server.BaseHTTPRequestHandler):
    server: Platform
    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        what = f"{self.command} {self.path.partition('?')[0]}"
        self.server.asked.append(
            Asked(what, {k.lower(): v for k, v in self.headers.items()}, body.decode())
        )
        replies = self.server.replies.get(what, [Reply(404, {"message": "404 Not Found"})])
        reply = replies.pop(0) if len(replies) > 1 else replies[0]
        self.send_response_only(reply.status)
        for name, value in {"Content-Length": str(len(reply.body)), **dict(reply.headers)}.items():
            if value:
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(reply.body)
        self.close_connection = True

    do_GET = do_POST = do_CONNECT = answer  # noqa: N815  (http.server names them so)

    def log_message(self, *_: object) -> None:
        """Keep the tests' output quiet."""


def pipeline(number: int, status: str = "success") -> dict[str, Any]:
    url = f"https://gitlab.example.org/-/pipelines/{number}"
    return {"id": number, "web_url": url, "status": status}


CREATED = Reply(201, pipeline(7, "created"))


@pytest.fixture
def platform(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Platform]:
    """A platform that accepts the call, and the environment that makes it; nobody waits long."""
    for name in (*trigger_sync.REFS, *trigger_sync.FLAGS, *trigger_sync.OPTIONAL, "CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("SSL_CERT_FILE", "CI_SERVER_TLS_CA_FILE", "GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY"):
        monkeypatch.delenv(name, raising=False)
    for name in ("http_proxy", "https_proxy", "no_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setattr(trigger_sync, "BACKOFF_SECONDS", 0.001)
    monkeypatch.setattr(trigger_sync, "POLL_SECONDS", 0.001)
    server = Platform()
    server.at(TRIGGER, CREATED)
    threading.Thread(target=server.serve_forever, args=(0.01,)).start()
    for name, value in {
        "GITLAB_URL": server.address,
        "GIT_MIRROR_PROJECT_ID": "12",
        "GIT_MIRROR_TOKEN": TOKEN,
        "REPOSITORY_NAME": "dossiers-api",
        "GIT_BRANCH_DEPLOY": "main",
        "GITHUB_OUTPUT": str(tmp_path / "output"),
    }.items():
        monkeypatch.setenv(name, value)
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def followed(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> Platform:
    """The same, where the call leads to a mirror pipeline and then to a build."""
    monkeypatch.setenv("GITLAB_READ_TOKEN", READ_TOKEN)
    platform.at(MIRROR, Reply(200, {"path_with_namespace": "forge/dossiers/mirror"}))
    platform.at(
        f"{MIRROR}/pipelines/7", Reply(200, pipeline(7, "running")), Reply(200, pipeline(7))
    )
    platform.at(TARGET, Reply(200, {"id": 34}))
    platform.at(
        COMMIT, Reply(200, {"id": "a" * 40}), Reply(200, {"id": "b" * 40, "message": "Change"})
    )
    old, new = pipeline(5), pipeline(9)
    platform.at(PIPELINES, Reply(200, [old]), Reply(200, []), Reply(200, [new, old]))
    platform.at(f"{PIPELINES}/9", Reply(200, new))
    return platform


def fields(body: str) -> dict[str, str]:
    return dict(re.findall(r'name="([^"]+)"\r\n\r\n(.*)\r\n', body))


def run(capsys: pytest.CaptureFixture[str], *arguments: str, code: int) -> tuple[str, str]:
    """Run it, see how it ends, and that no secret is in what it says."""
    assert trigger_sync.main(list(arguments)) == code
    output, errors = capsys.readouterr()
    assert "s3cret" not in output + errors
    return output, errors


# --- The call -----------------------------------------------------------------------------------


def test_the_call_is_the_documented_one(
    platform: Platform, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    output, errors = run(capsys, code=0)

    (asked,) = platform.asked
    assert asked.what == TRIGGER
    assert fields(asked.body) == {
        "token": TOKEN,
        "ref": "main",
        "variables[GIT_BRANCH_DEPLOY]": "main",
        "variables[PROJECT_NAME]": "dossiers-api",
    }
    assert output == "https://gitlab.example.org/-/pipelines/7\n"
    assert "The platform fetches main: pipeline 7." in errors
    assert (tmp_path / "output").read_text() == (
        "pipeline_id=7\npipeline_url=https://gitlab.example.org/-/pipelines/7\n"
    )


def test_variables_of_the_ci_name_the_branch_and_flags_are_sent_where_they_are_true(
    platform: Platform, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GIT_BRANCH_DEPLOY")
    monkeypatch.setenv("GITHUB_HEAD_REF", "feature/é")
    monkeypatch.setenv("GITHUB_REF_NAME", "12/merge")
    monkeypatch.setenv("CI_SKIP", "TRUE")
    monkeypatch.setenv("PUSH_TAGS", "false")

    run(capsys, code=0)

    sent = fields(platform.asked[0].body)
    assert sent["variables[GIT_BRANCH_DEPLOY]"] == "feature/é"
    assert sent["variables[CI_SKIP]"] == "true"
    assert "variables[PUSH_TAGS]" not in sent


def test_all_branches_need_no_branch(
    platform: Platform, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GIT_BRANCH_DEPLOY")
    monkeypatch.setenv("SYNC_ALL", "true")

    _, errors = run(capsys, code=0)

    sent = fields(platform.asked[0].body)
    assert sent["variables[SYNC_ALL]"] == "true"
    assert "variables[GIT_BRANCH_DEPLOY]" not in sent
    assert "The platform fetches every branch and tag" in errors


@pytest.mark.parametrize("arguments", [("--dry-run",), ("--dry-run", "--wait")])
def test_a_dry_run_sends_nothing_and_masks_the_tokens(
    followed: Platform, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    output, _ = run(capsys, *arguments, code=0)

    assert followed.asked == []
    assert output.splitlines()[:2] == [
        f"POST {followed.address}/api/v4/projects/12/trigger/pipeline",
        "  token=***",
    ]
    assert ("PRIVATE-TOKEN: ***" in output) == ("--wait" in arguments)


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        trigger_sync.main(["--help"])

    assert end.value.code == 0
    text = capsys.readouterr().out
    names = {name for required in trigger_sync.REQUIRED.values() for name in required}
    assert all(
        name in text
        for name in {*names, *trigger_sync.FLAGS, *trigger_sync.OPTIONAL, *trigger_sync.TOKENS}
    )


# --- The environment ----------------------------------------------------------------------------


def test_one_sentence_names_all_that_is_missing_and_where_it_is(
    platform: Platform, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("GITLAB_URL", "GIT_MIRROR_TOKEN", "GIT_BRANCH_DEPLOY"):
        monkeypatch.setenv(name, " ")

    _, errors = run(capsys, "--wait", code=2)

    assert errors == (
        "trigger_sync.py: Set GITLAB_URL, GIT_MIRROR_TOKEN, GITLAB_READ_TOKEN and "
        'GIT_BRANCH_DEPLOY. The console shows them: project, "Afficher les secrets". --help '
        "describes each.\n"
    )
    assert platform.asked == []


def test_a_single_missing_variable_is_named_alone(
    platform: Platform, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("REPOSITORY_NAME")
    assert "Set REPOSITORY_NAME. " in run(capsys, code=2)[1]
    assert platform.asked == []


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("GITLAB_URL", "gitlab.example.org", "GITLAB_URL is no address such as"),
        ("GITLAB_URL", "https://gitlab.example.org?s3cret", "GITLAB_URL is no address such as"),
        ("GITLAB_URL", "https://[s3cret", "GITLAB_URL is no address such as"),
        ("GITLAB_URL", "https://me:s3cret@gitlab.example.org", "Remove the user name and password"),
        ("GITLAB_URL", "http://gitlab.example.org", "the token would travel in clear"),
        ("GIT_MIRROR_TOKEN", "s3cret s3cret", "GIT_MIRROR_TOKEN holds blanks"),
        ("GIT_MIRROR_PROJECT_ID", "glptt-s3cret", "GIT_MIRROR_PROJECT_ID is not a number"),
        ("REPOSITORY_NAME", "Dossiers", "REPOSITORY_NAME is not a name of the console"),
        ("GIT_BRANCH_DEPLOY", "--upload-pack=s3cret", "GIT_BRANCH_DEPLOY is no short name"),
        ("GIT_BRANCH_DEPLOY", "refs/heads/main", "GIT_BRANCH_DEPLOY is no short name"),
        ("SYNC_ALL", "yes", "Write true or false into SYNC_ALL"),
    ],
)
def test_a_malformed_variable_is_named_and_its_value_is_not_shown(
    platform: Platform,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    value: str,
    sentence: str,
) -> None:
    monkeypatch.setenv(name, value)
    assert sentence in run(capsys, code=2)[1]
    assert platform.asked == []


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--token", "s3cret"], "There is an argument that --help does not list."),
        (["--via", "s3cret"], "argument --via: see --help."),
        (["--timeout", "0"], "Write a positive number of seconds"),
        (["--wait", "--via", "console"], "The console names no pipeline to wait for"),
    ],
)
def test_an_argument_that_it_does_not_know_is_not_repeated(
    capsys: pytest.CaptureFixture[str], arguments: list[str], sentence: str
) -> None:
    assert sentence in run(capsys, *arguments, code=2)[1]


# --- Answers ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "sentence"),
    [
        (Reply(400, {"message": {"base": ["Reference not found"]}}), "Reference not found"),
        (Reply(401, {"message": "401 Unauthorized"}), "GIT_MIRROR_TOKEN is no trigger token"),
        (Reply(403, {"message": "403 Forbidden"}), "forbids the call"),
        (Reply(404, {"message": "404 Not Found"}), "GitLab does not say which"),
        (Reply(418, b"teapot"), "answers 418. It says: nothing"),
        (Reply(404, b"<html>", (("Content-Type", "text/html"),)), "answers with a web page (404)"),
        (Reply(200, b" <!doctype html>"), "answers with a web page (200)"),
        (Reply(201, b"[" * 100_000), "but not as documented"),
        (Reply(201, {"id": True}), "but not as documented"),
        (Reply(201, b"1" * 1_000_001), "with more than 1000000 bytes"),
        (
            Reply(302, b"", (("Location", "https://sso.example.org/?t=s3cret"),)),
            "sso.example.org (302)",
        ),
        (Reply(307, b""), "sends the call elsewhere (307)"),
        (Reply(400, {"message": f"{TOKEN}\n::set-output::"}), "It says: *** ::set-output::."),
    ],
)
def test_a_refusal_is_explained_and_not_asked_again(
    platform: Platform, capsys: pytest.CaptureFixture[str], reply: Reply, sentence: str
) -> None:
    platform.at(TRIGGER, reply)

    assert sentence in run(capsys, code=3)[1]
    assert len(platform.asked) == 1


@pytest.mark.parametrize(
    "trouble",
    [
        Reply(500),
        Reply(502, b"<html>"),
        Reply(429, b"", (("Retry-After", "0"),)),
        Reply(201, pipeline(7), (("Content-Length", "5000"),)),
        Reply(201, b'{"id": 7, "we', (("Content-Length", ""),)),
    ],
)
def test_trouble_that_may_pass_is_asked_again(
    platform: Platform, capsys: pytest.CaptureFixture[str], trouble: Reply
) -> None:
    platform.at(TRIGGER, trouble, trouble, CREATED)

    _, errors = run(capsys, code=0)

    assert len(platform.asked) == 3
    assert errors.count("; again in ") == 2


def test_trouble_that_does_not_pass_ends_in_time(
    platform: Platform, capsys: pytest.CaptureFixture[str]
) -> None:
    platform.at(TRIGGER, Reply(503))
    assert "No proper answer in 0 s:" in run(capsys, "--timeout", "0.2", code=4)[1]


def test_a_server_that_wants_to_rest_longer_than_there_is_time_is_left_alone(
    platform: Platform, capsys: pytest.CaptureFixture[str]
) -> None:
    platform.at(TRIGGER, Reply(429, b"", (("Retry-After", "3600"),)))

    assert "asks to come back in 3600 s" in run(capsys, code=4)[1]
    assert len(platform.asked) == 1


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, 0),
        ({"retry-after": "120"}, 120),
        ({"retry-after": "soon"}, 0),
        (
            {
                "retry-after": "Fri, 31 Dec 1999 23:59:59 GMT",
                "date": "Fri, 31 Dec 1999 23:58:59 GMT",
            },
            60,
        ),
        ({"retry-after": "Fri, 31 Dec 1999 23:59:59 GMT"}, 0),
    ],
)
def test_retry_after_is_seconds_or_a_date(headers: dict[str, str], seconds: float) -> None:
    assert trigger_sync.retry_after(headers) == seconds


def test_a_date_without_the_servers_clock_is_compared_with_ours() -> None:
    then = email.utils.formatdate(time.time() + 60, usegmt=True)
    assert 50 < trigger_sync.retry_after({"retry-after": then}) <= 60


def test_a_call_that_takes_too_long_is_given_up() -> None:
    hurry = threading.Event()
    with pytest.raises(TimeoutError):
        trigger_sync.within(0.01, hurry.wait)
    hurry.set()


def test_a_server_that_is_not_there_is_asked_again(
    platform: Platform, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITLAB_URL", "http://localhost:9")
    assert "localhost:9 does not answer (" in run(capsys, "--timeout", "0.1", code=4)[1]
    assert platform.asked == []


# --- The network --------------------------------------------------------------------------------


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate that only its own authority vouches for, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    files = (tmp_path / "certificate.pem", tmp_path / "key.pem")
    files[0].write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return files


@pytest.fixture
def secure(
    platform: Platform, certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> Platform:
    """The same platform over TLS, by an authority of its own."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    platform.socket = context.wrap_socket(platform.socket, server_side=True)
    monkeypatch.setattr(platform, "handle_error", lambda *_: None)
    monkeypatch.setenv("GITLAB_URL", f"https://localhost:{platform.server_port}")
    return platform


def test_an_authority_that_nobody_trusts_is_refused_at_once(
    secure: Platform, capsys: pytest.CaptureFixture[str]
) -> None:
    _, errors = run(capsys, code=3)

    assert "is not trusted (self" in errors
    assert "CA_BUNDLE" in errors
    assert secure.asked == []


def test_an_authority_of_ones_own_is_trusted_where_it_is_named(
    secure: Platform,
    capsys: pytest.CaptureFixture[str],
    certificate: tuple[Path, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CA_BUNDLE", str(certificate[0]))
    run(capsys, code=0)
    assert len(secure.asked) == 1


def test_a_file_of_authorities_that_is_none_is_said(
    secure: Platform, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI_SERVER_TLS_CA_FILE", "/nowhere.pem")
    assert "CI_SERVER_TLS_CA_FILE does not name a readable file" in run(capsys, code=2)[1]
    assert secure.asked == []


@pytest.mark.parametrize(
    ("reply", "code", "sentence"),
    [
        (Reply(407), 3, "The proxy asks for a name and a password"),
        (Reply(403), 3, "The proxy refuses to connect to gitlab.example.org (403)"),
        (Reply(503), 4, "Tunnel connection failed: 503"),
    ],
)
def test_a_proxy_that_refuses_is_told_from_gitlab(
    platform: Platform,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    reply: Reply,
    code: int,
    sentence: str,
) -> None:
    monkeypatch.setenv("GITLAB_URL", "https://gitlab.example.org")
    monkeypatch.setenv("HTTPS_PROXY", f"me:s3cret@127.0.0.1:{platform.server_port}")
    platform.at("CONNECT gitlab.example.org:443", reply)

    assert sentence in run(capsys, "--timeout", "0.1", code=code)[1]
    assert not any(TOKEN in str(asked) for asked in platform.asked)


@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:1", "http://s3cret:s3cret", "http://"])
def test_a_proxy_that_it_cannot_use_is_said(
    platform: Platform,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    proxy: str,
) -> None:
    monkeypatch.setenv("GITLAB_URL", "https://gitlab.example.org")
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    assert "HTTPS_PROXY is no address of an HTTP proxy" in run(capsys, code=2)[1]
    assert platform.asked == []


# --- --wait -------------------------------------------------------------------------------------


def test_wait_follows_the_mirror_pipeline_and_the_build(
    followed: Platform, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    output, errors = run(capsys, "--wait", code=0)

    assert output.splitlines() == [
        "https://gitlab.example.org/-/pipelines/7",
        "https://gitlab.example.org/-/pipelines/9",
    ]
    assert errors.splitlines() == [
        "The platform fetches main: pipeline 7.",
        "mirror pipeline 7: running",
        "mirror pipeline 7: success",
        f"waiting for the build of {'b' * 12}",
        "build pipeline 9: success",
        "Done.",
    ]
    assert "build_pipeline_id=9\n" in (tmp_path / "output").read_text()
    # One token for each purpose, and neither where the other is meant.
    for asked in followed.asked:
        reads = asked.what != TRIGGER
        assert (asked.headers.get("private-token") == READ_TOKEN) == reads
        assert (TOKEN in asked.body) != reads


def test_the_repository_that_is_built_may_be_named(
    followed: Platform, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TARGET_PROJECT", "forge/dossiers/dossiers-api")
    run(capsys, "--wait", code=0)
    assert MIRROR not in [asked.what for asked in followed.asked]


def test_the_first_synchronisation_finds_no_branch_and_no_pipeline_before(
    followed: Platform, capsys: pytest.CaptureFixture[str]
) -> None:
    commit = Reply(200, {"id": "b" * 40})
    followed.at(COMMIT, Reply(404, {"message": "404 Commit Not Found"}), commit)
    followed.at(PIPELINES, Reply(200, []), Reply(200, ["nonsense", pipeline(9)]))
    assert "build pipeline 9: success" in run(capsys, "--wait", code=0)[1]


def test_nothing_new_is_a_success_without_a_build(
    followed: Platform, capsys: pytest.CaptureFixture[str]
) -> None:
    followed.at(COMMIT, Reply(200, {"id": "a" * 40}))
    assert f"Nothing to build: main was at {'a' * 12}" in run(capsys, "--wait", code=0)[1]


def test_a_commit_that_says_skip_ci_is_a_success_without_a_build(
    followed: Platform, capsys: pytest.CaptureFixture[str]
) -> None:
    skipped = {"id": "b" * 40, "message": "Documents [skip ci]"}
    followed.at(COMMIT, Reply(200, {"id": "a" * 40}), Reply(200, skipped))
    assert "Nothing to build: CI_SKIP or the message" in run(capsys, "--wait", code=0)[1]


def test_a_build_that_never_comes_is_a_failure(
    followed: Platform, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trigger_sync, "BUILD_SECONDS", 0.0)
    followed.at(PIPELINES, Reply(200, [pipeline(5)]))
    assert "no pipeline builds it. Is .gitlab-ci-dso.yml" in run(capsys, "--wait", code=1)[1]


def test_a_branch_that_did_not_arrive_is_a_failure(
    followed: Platform, capsys: pytest.CaptureFixture[str]
) -> None:
    followed.at(COMMIT, Reply(404, {"message": "404 Commit Not Found"}))
    assert "main is not in the repository" in run(capsys, "--wait", code=1)[1]


@pytest.mark.parametrize("jobs", [[], [{"name": "mirror", "web_url": "https://x.org/1"}, "?"]])
def test_a_pipeline_that_fails_names_its_jobs(
    followed: Platform, capsys: pytest.CaptureFixture[str], jobs: list[Any]
) -> None:
    followed.at(f"{MIRROR}/pipelines/7", Reply(200, pipeline(7, "failed")))
    followed.at(f"{MIRROR}/pipelines/7/jobs", Reply(200, jobs))

    _, errors = run(capsys, "--wait", code=1)

    assert "mirror pipeline 7 ended as failed" in errors
    assert ("mirror https://x.org/1" in errors) == bool(jobs)
    assert "The usual reasons" in errors


def test_a_pipeline_that_outlasts_the_patience_goes_on(
    followed: Platform, capsys: pytest.CaptureFixture[str]
) -> None:
    followed.at(f"{MIRROR}/pipelines/7", Reply(200, pipeline(7, "running")))
    _, errors = run(capsys, "--wait", "--wait-timeout", "0.2", code=5)
    assert "mirror pipeline 7 is running after 0 s; it goes on." in errors


@pytest.mark.parametrize(
    ("reply", "sentence"),
    [
        (Reply(401, {"message": "401 Unauthorized"}), "GITLAB_READ_TOKEN is unknown, expired"),
        (Reply(404, {"message": "404 Project Not Found"}), "the owner of GITLAB_READ_TOKEN"),
        (Reply(404, b"<html>"), "answers with a web page (404)"),
        (Reply(200, []), "but not as documented"),
    ],
)
def test_what_cannot_be_followed_is_not_triggered(
    followed: Platform, capsys: pytest.CaptureFixture[str], reply: Reply, sentence: str
) -> None:
    followed.at(MIRROR, reply)
    assert sentence in run(capsys, "--wait", code=3)[1]
    assert TRIGGER not in [asked.what for asked in followed.asked]


class Screen(io.StringIO):
    """What a person sees."""

    def isatty(self) -> bool:
        return True


def test_a_terminal_shows_the_seconds_on_one_line(
    followed: Platform, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = Screen()
    monkeypatch.setattr(sys, "stderr", screen)
    followed.at(
        f"{MIRROR}/pipelines/7", *[Reply(200, pipeline(7, "running"))] * 2, Reply(200, pipeline(7))
    )

    run(capsys, "--wait", code=0)

    assert screen.getvalue().count("\r\x1b[Kmirror pipeline 7: running, 0 s") == 2
    assert "running, 0 s\n\r\x1b[Kmirror pipeline 7: success, 0 s\n" in screen.getvalue()


# --- The console --------------------------------------------------------------------------------


@pytest.fixture
def console(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> Platform:
    monkeypatch.setenv("CONSOLE_URL", f"{platform.address}/")
    monkeypatch.setenv("CONSOLE_TOKEN", READ_TOKEN)
    monkeypatch.setenv("CONSOLE_REPOSITORY_ID", UUID)
    return platform


@pytest.mark.parametrize(
    ("variables", "path", "sent"),
    [
        ({}, "/api/v1", {"syncAllBranches": False, "branchName": "main"}),
        (
            {"CONSOLE_PROJECT_ID": UUID},
            f"/api/v2/projects/{UUID}",
            {"syncAllBranches": False, "branchName": "main"},
        ),
        ({"SYNC_ALL": "true"}, "/api/v1", {"syncAllBranches": True}),
    ],
)
def test_the_console_is_the_second_way(
    console: Platform,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    variables: dict[str, str],
    path: str,
    sent: dict[str, Any],
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    what = f"POST {path}/repositories/{UUID}/sync"
    console.at(what, Reply(204))

    output, errors = run(capsys, "--via", "console", code=0)

    (asked,) = console.asked
    assert (asked.what, json.loads(asked.body)) == (what, sent)
    assert asked.headers["x-dso-token"] == READ_TOKEN
    assert output == ""
    assert "The console has passed on" in errors
    shown, _ = run(capsys, "--via", "console", "--dry-run", code=0)
    assert json.dumps(sent) in shown


@pytest.mark.parametrize(
    ("status", "sentence"),
    [(403, "the right to manage repositories"), (422, "could not pass it on"), (200, "documented")],
)
def test_a_refusal_of_the_console_is_explained(
    console: Platform, capsys: pytest.CaptureFixture[str], status: int, sentence: str
) -> None:
    console.at(f"POST /api/v1/repositories/{UUID}/sync", Reply(status, {"error": "No"}))
    assert sentence in run(capsys, "--via", "console", code=3)[1]


def test_the_console_knows_fewer_settings(
    console: Platform, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI_SKIP", "true")
    assert "neither CI_SKIP nor PUSH_TAGS" in run(capsys, "--via", "console", code=2)[1]
    assert console.asked == []


# --- What it says -------------------------------------------------------------------------------


def test_github_gets_annotations_and_a_summary(
    platform: Platform,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary"))
    monkeypatch.setenv("GITHUB_OUTPUT", "/nowhere/output")
    platform.at(TRIGGER, Reply(400, {"message": "50%"}), Reply(201, {"id": 7, "web_url": "x\ny"}))

    assert "::error::127.0.0.1" in (refused := run(capsys, code=3)[0])
    assert "50%25." in refused
    output, errors = run(capsys, code=0)
    assert output == "Mirror pipeline of main: number 7, without an address\n"
    assert "GITHUB_OUTPUT could not be written: No such file or directory." in errors
    assert (tmp_path / "summary").read_text() == "Mirror pipeline of main: [7]()\n\n"


def test_a_long_answer_is_cut(platform: Platform, capsys: pytest.CaptureFixture[str]) -> None:
    platform.at(TRIGGER, Reply(400, {"message": "x" * 5000}))
    assert len(run(capsys, code=3)[1]) < 2100


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (KeyboardInterrupt(), 130, "Interrupted."),
        (RuntimeError(f"a fault that holds {TOKEN}"), 1, "RuntimeError: a fault that holds ***"),
    ],
)
def test_neither_an_interruption_nor_a_fault_shows_a_secret(
    platform: Platform,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    code: int,
    said: str,
) -> None:
    def fail(*_: object) -> Callable[[], None]:
        raise error

    monkeypatch.setattr(trigger_sync, "trigger", fail)
    assert said in run(capsys, code=code)[1]
    assert platform.asked == []
