#!/usr/bin/env python3
"""Ask Cloud Pi Native to fetch a branch or a tag of this repository.

The platform does not watch your repository: this call tells it that there is something new. It clones
the repository, pushes the branch to a GitLab of its own, and there the push starts
.gitlab-ci-dso.yml. So two pipelines follow one call: the mirror's, whose address is printed, and the
build's. The call ends as soon as the first one exists; --wait follows both to their end.

environment of the call (in the console, project, "Afficher les secrets"):
  GITLAB_URL             the platform's GitLab, such as https://gitlab.example.org
  GIT_MIRROR_PROJECT_ID  number of the project's mirror repository there
  GIT_MIRROR_TOKEN       its trigger token: a secret, only ever a variable, never an argument
  REPOSITORY_NAME        what the console calls this repository
  GIT_BRANCH_DEPLOY      branch or tag; without it, the one that GitHub or GitLab CI works on
  SYNC_ALL               true: every branch and tag, and those that only the platform has are deleted
  CI_SKIP                true: fetch, but do not build
  PUSH_TAGS              true: the repository's tags too

environment of --wait:
  GITLAB_READ_TOKEN      access token with the scope read_api that sees both repositories
  TARGET_PROJECT         path or number of the repository that is built; without it,
                         REPOSITORY_NAME beside the mirror repository

environment of --via console, which answers with no pipeline to follow:
  CONSOLE_URL            the console, such as https://console.example.org
  CONSOLE_TOKEN          personal token, made in the console
  CONSOLE_REPOSITORY_ID  identifier of the repository (a UUID)
  CONSOLE_PROJECT_ID     identifier of the project: with it, version 2 of the API is called

environment of the network:
  HTTPS_PROXY, NO_PROXY  as curl reads them
  SSL_CERT_FILE          authorities to trust in place of the system's
  CA_BUNDLE, CI_SERVER_TLS_CA_FILE
                         files of authorities to trust beside them
  GITHUB_OUTPUT          gets pipeline_id, pipeline_url and, with --wait, build_pipeline_url

exit codes:
  0  asked; with --wait: fetched, and built or nothing to build
  1  a pipeline ended otherwise than with success
  2  something is missing or malformed here; nothing was sent
  3  refused: asking again would not help
  4  no proper answer in time; it may be asked again
  5  still running when --wait-timeout was over
"""

from __future__ import annotations

import argparse
import email.utils
import http.client
import ipaddress
import itertools
import json
import os
import queue
import re
import secrets
import ssl
import sys
import threading
import time
import traceback
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn, TypeVar
from urllib.error import URLError
from urllib.parse import quote, unquote, urlencode, urlsplit

T = TypeVar("T")

ATTEMPT_SECONDS = 30.0
BACKOFF_SECONDS = 1.0
LONGEST_BACKOFF_SECONDS = 30.0
POLL_SECONDS = 5.0
# GitLab creates the pipeline of a push a moment after the push.
BUILD_SECONDS = 90.0
MAX_ANSWER = 1_000_000

WHERE = 'The console shows them: project, "Afficher les secrets".'
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
# What `git check-ref-format` refuses, and a leading hyphen, which the mirror's git takes for an option.
NO_REF = re.compile(r"^$|^-|[\s\x00-\x1f\x7f~^:?*\[\\]|\.\.|@\{|//|^/|[/.]$|\.lock$|^refs/|^HEAD$")
SKIPPED = re.compile(r"\[(ci[ _-]skip|skip[ _-]ci)\]", re.IGNORECASE)

# What GitLab and the console answer, and what mends it. GitLab says 404, not 401, to a wrong token.
TRIGGER_REFUSALS = {
    400: "GitLab found the mirror repository but started nothing there. A ref that does not exist or "
    "a missing CI file is mended by reprovisioning the project in the console",
    401: "GIT_MIRROR_TOKEN is no trigger token. Copy it again from the console: project, "
    '"Afficher les secrets"',
    403: "GitLab, or a firewall in front of it, forbids the call: a pipeline's webhook may not make it",
    404: "either GIT_MIRROR_PROJECT_ID is not the mirror repository of GITLAB_URL, or GIT_MIRROR_TOKEN "
    "is not one of its tokens: GitLab does not say which. Copy both again from the console: project, "
    '"Afficher les secrets"',
}
READ_REFUSALS = {
    401: "GITLAB_READ_TOKEN is unknown, expired or revoked: make a new one with the scope read_api",
    403: "GITLAB_READ_TOKEN may not read: make a new one with the scope read_api",
    404: "there is no such thing, or the owner of GITLAB_READ_TOKEN is no member of its project; "
    "TARGET_PROJECT names the repository that is built",
}
CONSOLE_REFUSALS = {
    400: "the console does not accept the identifiers or the branch",
    401: "CONSOLE_TOKEN is unknown or expired: make a new one in the console",
    403: "it needs a person's token with the right to manage repositories, on a project that is "
    "neither locked nor archived",
    404: "CONSOLE_REPOSITORY_ID or CONSOLE_PROJECT_ID names nothing there",
    422: "the console could not pass it on to GitLab; reprovision the project, or look at its log",
}
ENDED = ("success", "failed", "canceled", "skipped", "manual")


class SyncError(Exception):
    """What ends the script, in a sentence for the person; `code` is the exit code."""

    code = 1


class ConfigurationError(SyncError):
    code = 2


class RefusedError(SyncError):
    code = 3


class UnreachableError(SyncError):
    code = 4


class StillRunningError(SyncError):
    code = 5


@dataclass(frozen=True)
class Request:
    """What is sent: a form or a JSON document makes it a POST."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    form: Mapping[str, str] | None = None
    document: Mapping[str, Any] | None = None

    @property
    def method(self) -> str:
        """The request's method."""
        return "GET" if self.form is None and self.document is None else "POST"

    def encoded(self) -> urllib.request.Request:
        """Encode it: a form as multipart/form-data (RFC 7578), which is what `curl -F` sends."""
        headers = {"User-Agent": "trigger_sync.py", "Accept": "application/json", **self.headers}
        body = None
        if self.form is not None:
            boundary = secrets.token_hex(16)
            headers["Content-Type"] = f"multipart/form-data; boundary={boundary}"
            parts = [
                f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
                for name, value in self.form.items()
            ]
            body = "".join([*parts, f"--{boundary}--\r\n"]).encode()
        elif self.document is not None:
            headers["Content-Type"] = "application/json"
            body = json.dumps(self.document).encode()
        return urllib.request.Request(self.url, body, headers, method=self.method)  # noqa: S310

    def lines(self) -> list[str]:
        """Show it to a person; whoever prints this masks the secrets."""
        return [
            f"{self.method} {self.url}",
            *(f"  {name}: {value}" for name, value in self.headers.items()),
            *(f"  {name}={value}" for name, value in (self.form or {}).items()),
            *([f"  {json.dumps(self.document)}"] if self.document is not None else []),
        ]


@dataclass(frozen=True)
class Answer:
    """What came back, whatever the status."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def document(self) -> Any:
        """Return the JSON document, or None where it is none."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return None

    def is_page(self) -> bool:
        """Tell whether it is a web page: nothing that an API answers."""
        return "html" in self.headers.get("content-type", "") or self.body.lstrip()[:1] == b"<"

    def words(self) -> str:
        """Return what the server says about it, on one line."""
        document = self.document()
        if isinstance(document, dict):
            document = document.get("message") or document.get("error") or document
        said = document if isinstance(document, str) else json.dumps(document)
        return said if document else "nothing"


class Report:
    """Everything that is printed goes through here, where no secret passes.

    Args:
        environment: The variables of the process.
        masked: What must never be shown, in whatever the servers and proxies answer either.
    """

    def __init__(self, environment: Mapping[str, str], masked: list[str]) -> None:
        self.environment = environment
        self.masked = masked
        self.status = ""
        self.since = 0.0
        self.open_line = False

    def clean(self, text: str) -> str:
        """Mask secrets; leave no control character that could pass for a command of the CI."""
        for secret in filter(None, self.masked):
            for form in {secret, quote(secret, safe=""), json.dumps(secret)[1:-1]}:
                text = text.replace(form, "***")
        text = re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+", " ", text)
        return text if len(text) <= 2000 else f"{text[:2000]}..."

    def say(self, text: str) -> None:
        """Tell the person how it goes, on standard error."""
        if self.open_line:
            sys.stderr.write("\n")
            self.open_line = False
        print(self.clean(text), file=sys.stderr, flush=True)

    def progress(self, text: str) -> None:
        """Say in what state something is: on a terminal on one line, elsewhere when it changes."""
        now = time.monotonic()
        changed = text != self.status
        if changed:
            self.status, self.since = text, now
        if sys.stderr.isatty():
            if changed and self.open_line:
                sys.stderr.write("\n")
            sys.stderr.write(f"\r\x1b[K{self.clean(text)}, {now - self.since:.0f} s")
            sys.stderr.flush()
            self.open_line = True
        elif changed:
            self.say(text)

    def result(self, title: str, name: str, pipeline: Mapping[str, Any]) -> None:
        """Print a pipeline's address on standard output, and tell GitHub Actions."""
        url = self.clean(str(pipeline.get("web_url")))
        if not re.fullmatch(r"https?://[^\s<>()\[\]]+", url):
            url = ""
        print(url or f"{title}: number {pipeline['id']}, without an address", flush=True)
        self.append("GITHUB_OUTPUT", f"{name}_id={pipeline['id']}\n{name}_url={url}\n")
        self.append("GITHUB_STEP_SUMMARY", f"{title}: [{pipeline['id']}]({url})\n\n")

    def fail(self, error: SyncError) -> None:
        """Say why it ends, for the person and as an annotation of GitHub Actions."""
        self.say(f"trigger_sync.py: {error}")
        if self.environment.get("GITHUB_ACTIONS") == "true":
            print(f"::error::{self.clean(str(error)).replace('%', '%25')}", flush=True)

    def append(self, variable: str, text: str) -> None:
        """Append to the file that a variable of GitHub Actions names, where it is set."""
        name = self.environment.get(variable)
        if name:
            try:
                with Path(name).open("a", encoding="utf-8") as file:
                    file.write(text)
            except OSError as error:
                # The pipeline runs already: that it could not be noted down undoes nothing.
                self.say(f"{variable} could not be written: {error.strerror}.")


class Client:
    """Sends requests to one server, again where that helps.

    Args:
        base: Address of the server; every request goes there and nowhere else.
        environment: Variables that name authorities.
        report: Where to say what happens meanwhile.

    Raises:
        ConfigurationError: A file of authorities or the proxy's address is no good.
    """

    def __init__(self, base: str, environment: Mapping[str, str], report: Report) -> None:
        self.host = urlsplit(base).netloc
        self.report = report
        handlers: list[Any] = [_EveryAnswer()]
        if base.startswith("http:"):
            # Of this machine to itself, in clear: no proxy may see it.
            handlers.append(urllib.request.ProxyHandler({}))
        else:
            report.masked += proxy_secrets(self.host)
            handlers.append(urllib.request.HTTPSHandler(context=trust(environment)))
        self.opener = urllib.request.build_opener(*handlers)

    def send(self, request: Request, seconds: float) -> Answer:
        """Send a request until it has an answer that would be the same the next time.

        A lost connection, 429 and 5xx are asked again, after a pause that doubles and of which a
        random part is waited (full jitter: callers that failed together do not return together).

        The answer to a POST may get lost after GitLab has created the pipeline. To ask again is
        harmless: a mirror pipeline takes the branch as it is when it runs, the second pushes what the
        first has pushed, and a push that changes nothing builds nothing.

        Args:
            request: What to send.
            seconds: For all attempts and pauses together.

        Raises:
            UnreachableError: There was no such answer in time.
            RefusedError: There will be none: the certificate is not trusted, the proxy refuses.
        """
        deadline = time.monotonic() + seconds
        for attempt in itertools.count():
            left = deadline - time.monotonic()
            pause = _random(min(LONGEST_BACKOFF_SECONDS, BACKOFF_SECONDS * 2 ** min(attempt, 10)))
            try:
                answer = within(min(ATTEMPT_SECONDS, left), lambda: self._once(request))
            except (OSError, http.client.HTTPException) as error:
                reason = self._permanent(error)
            else:
                if answer.status != 429 and answer.status < 500:
                    return answer
                reason = f"{self.host} answers {answer.status}"
                pause = max(pause, retry_after(answer.headers))
            if time.monotonic() + pause >= deadline:
                again = f", and asks to come back in {pause:.0f} s" if pause > 30 else ""
                raise UnreachableError(
                    f"No proper answer in {seconds:.0f} s: {reason}{again}. Try again later; "
                    "--timeout sets how long to try."
                )
            self.report.say(f"{reason}; again in {pause:.1f} s")
            time.sleep(pause)
        raise AssertionError  # pragma: no cover  (count() does not end)

    def _once(self, request: Request) -> Answer:
        with self.opener.open(request.encoded(), timeout=ATTEMPT_SECONDS) as response:
            body = response.read(MAX_ANSWER + 1)
            headers = {name.lower(): value for name, value in response.headers.items()}
            answer = Answer(response.status, headers, body)
            # Python does not mind an answer that ends too early, in the body or already in the head.
            # One that says nowhere how long it is ends where the connection does, so it is judged by
            # what is in it.
            cut = bool(response.length) or (
                response.length is None
                and not response.chunked
                and answer.status < 300
                and answer.document() is None
                and not answer.is_page()
            )
            if cut and len(body) <= MAX_ANSWER:
                raise http.client.IncompleteRead(body, response.length)
            return answer

    def _permanent(self, error: Exception) -> str:
        """Return why there was no answer, or raise where there never will be one."""
        cause = error.reason if isinstance(error, URLError) else error
        if isinstance(cause, ssl.SSLCertVerificationError):
            raise RefusedError(
                f"The certificate of {self.host} is not trusted ({cause.verify_message}). Put the "
                "certificates of your organisation's authorities into a file, and name it in CA_BUNDLE."
            )
        proxy = re.search(r"Tunnel connection failed: (4(?!29)\d\d)", str(cause))
        if proxy and proxy[1] == "407":
            raise RefusedError(
                "The proxy asks for a name and a password: write them into HTTPS_PROXY, "
                "http://name:password@proxy.example.org:3128."
            )
        if proxy:
            raise RefusedError(
                f"The proxy refuses to connect to {self.host} ({proxy[1]}): have it allowed there, or "
                "name it in NO_PROXY."
            )
        if isinstance(cause, http.client.IncompleteRead):
            return f"{self.host} broke off in the middle of its answer"
        return f"{self.host} does not answer ({cause or type(cause).__name__})"


class _EveryAnswer(urllib.request.HTTPErrorProcessor):
    """Hands every answer back as it is: no redirect is followed, because it would take the token along."""

    def http_response(self, request: Any, response: Any) -> Any:
        return response

    https_response = http_response


def _random(limit: float) -> float:
    return secrets.SystemRandom().uniform(0, limit)


def within(seconds: float, call: Callable[[], T]) -> T:
    """Return what a call returns, but do not wait longer.

    A socket's timeout is for one read, which a slow server never exceeds, and looking a name up has
    none. The thread that is left behind ends with the process.

    Args:
        seconds: How long to wait.
        call: What to run in a thread of its own.

    Raises:
        TimeoutError: It took longer.
        Exception: What the call raised.
    """
    results: queue.Queue[tuple[T | None, Exception | None]] = queue.Queue(1)

    def run() -> None:
        try:
            results.put((call(), None))
        except Exception as error:  # noqa: BLE001  (whatever it is, it is raised below)
            results.put((None, error))

    threading.Thread(target=run, daemon=True).start()
    try:
        result, error = results.get(timeout=max(0.0, seconds))
    except queue.Empty:
        raise TimeoutError(f"not within {seconds:.0f} s") from None
    if error is not None:
        raise error
    return result  # type: ignore[return-value]  # None where T is


def retry_after(headers: Mapping[str, str]) -> float:
    """Return the seconds that an answer asks to wait, 0 where it asks for nothing readable.

    It gives seconds or a date (RFC 9110, section 10.2.3). A date is compared with the server's own
    clock where it says the time, because ours may be wrong.
    """
    value = headers.get("retry-after", "").strip()
    if re.fullmatch("[0-9]{1,9}", value):
        return float(value)
    try:
        then = email.utils.parsedate_to_datetime(value).timestamp()
    except (TypeError, ValueError, OverflowError):
        return 0.0
    try:
        now = email.utils.parsedate_to_datetime(headers.get("date", "")).timestamp()
    except (TypeError, ValueError, OverflowError):
        now = time.time()
    return max(0.0, then - now)


def trust(environment: Mapping[str, str]) -> ssl.SSLContext:
    """Return the authorities to trust: the system's or SSL_CERT_FILE's, and those named beside them."""
    named = {
        variable: environment[variable]
        for variable in ("SSL_CERT_FILE", "CI_SERVER_TLS_CA_FILE", "CA_BUNDLE")
        if environment.get(variable)
    }
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # As curl does, and Python before 3.13: many organisations' authorities are older than these rules.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    variable = ""
    try:
        for variable, name in named.items():  # noqa: B007  (the message names it)
            context.load_verify_locations(name)
    except OSError as error:
        raise ConfigurationError(
            f"{variable} does not name a readable file of certificates in PEM form "
            f"({error.strerror or type(error).__name__}): mend or unset it."
        ) from None
    return context


def proxy_secrets(host: str) -> list[str]:
    """Return what must not be shown of the proxy's address.

    Raises:
        ConfigurationError: The address is none that this script can use.
    """
    address = urllib.request.getproxies().get("https", "")
    if not address or urllib.request.proxy_bypass(host):
        return []
    try:
        parts = urlsplit(address if "://" in address else f"http://{address}")
        usable = bool(parts.hostname) and parts.scheme in ("http", "https")
        usable = usable and (parts.port is None or parts.port > 0)
    except ValueError:
        usable = False
    if not usable:
        raise ConfigurationError(
            "HTTPS_PROXY is no address of an HTTP proxy: write it as http://proxy.example.org:3128."
        )
    return [parts.password, unquote(parts.password)] if parts.password else []


def refusal(answer: Answer, host: str, reasons: Mapping[int, str], wanted: str) -> RefusedError:
    """Explain an answer that is not the one that was wanted."""
    if 300 <= answer.status < 400:
        # No more of the address than that: a sign-in page's query may repeat what was sent.
        target = re.match(r"https?://[^/?#@\s]+(?![^/?#\s])", answer.headers.get("location", ""))
        place = f" to {target[0]}" if target else ""
        return RefusedError(
            f"{host} sends the call elsewhere{place} ({answer.status}), and a token does not follow. "
            f"Write the address that answers itself into {wanted}."
        )
    if answer.is_page():
        return RefusedError(
            f"{host} answers with a web page ({answer.status}): {wanted} is not the address of the "
            "API, or a sign-in, a proxy or a firewall stands in front of it."
        )
    if len(answer.body) > MAX_ANSWER:
        return RefusedError(f"{host} answers with more than {MAX_ANSWER} bytes: check {wanted}.")
    if answer.status in reasons:
        return RefusedError(
            f"{host} answers {answer.status}: {reasons[answer.status]}. It says: {answer.words()}."
        )
    if answer.status < 300:
        return RefusedError(
            f"{host} answers {answer.status}, but not as documented: {wanted} is not the address of "
            "the API, or something in between changes its answers."
        )
    return RefusedError(f"{host} answers {answer.status}. It says: {answer.words()}.")


@dataclass(frozen=True)
class Settings:
    """The environment, checked."""

    via: str
    url: str
    values: Mapping[str, str]
    ref: str
    flags: Mapping[str, bool]


REQUIRED = {
    "mirror": ("GITLAB_URL", "GIT_MIRROR_PROJECT_ID", "GIT_MIRROR_TOKEN", "REPOSITORY_NAME"),
    "console": ("CONSOLE_URL", "CONSOLE_TOKEN", "CONSOLE_REPOSITORY_ID"),
}
OPTIONAL = ("TARGET_PROJECT", "CONSOLE_PROJECT_ID")
FLAGS = ("SYNC_ALL", "CI_SKIP", "PUSH_TAGS")
TOKENS = ("GIT_MIRROR_TOKEN", "GITLAB_READ_TOKEN", "CONSOLE_TOKEN")
# A pull request's branch comes before GITHUB_REF_NAME, which then is no branch that anybody has.
REFS = ("GIT_BRANCH_DEPLOY", "GITHUB_HEAD_REF", "GITHUB_REF_NAME", "CI_COMMIT_REF_NAME")


def configure(environment: Mapping[str, str], via: str, *, wait: bool) -> Settings:
    """Read and check the environment.

    Args:
        environment: The variables of the process.
        via: "mirror" for the trigger of the mirror repository, "console" for the console's API.
        wait: Whether what --wait needs is needed.

    Raises:
        ConfigurationError: Something is missing or malformed; no value is shown, because people mix
            up variables, and the wrong one may hold the secret.
    """
    stripped = {name: value.strip() for name, value in environment.items()}
    required = [*REQUIRED[via], *(["GITLAB_READ_TOKEN"] if wait else [])]
    values = {name: stripped.get(name, "") for name in (*required, *OPTIONAL)}
    flags = {name: stripped.get(name, "").lower() or "false" for name in FLAGS}
    ref = next((stripped[name] for name in REFS if stripped.get(name)), "")

    missing = [name for name in required if not values[name]]
    if not ref and (wait or flags["SYNC_ALL"] != "true"):
        missing.append("GIT_BRANCH_DEPLOY")
    if missing:
        raise ConfigurationError(
            f"Set {' and '.join(filter(None, [', '.join(missing[:-1]), missing[-1]]))}. {WHERE} "
            "--help describes each."
        )
    for name, value in flags.items():
        if value not in ("true", "false"):
            raise ConfigurationError(f"Write true or false into {name}.")
    for name in TOKENS:
        if not re.fullmatch(r"[!-~]*", values.get(name, "")):
            raise ConfigurationError(f"{name} holds blanks or other characters that no token has.")
    if via == "console" and "true" in (flags["CI_SKIP"], flags["PUSH_TAGS"]):
        raise ConfigurationError(
            "The console's API knows neither CI_SKIP nor PUSH_TAGS: unset them."
        )
    if ref and NO_REF.search(ref):
        raise ConfigurationError(
            "GIT_BRANCH_DEPLOY is no short name of a branch or a tag, such as main or v1.2.0."
        )
    for name, pattern, what in (
        ("GIT_MIRROR_PROJECT_ID", re.compile("[0-9]+"), "a number"),
        ("REPOSITORY_NAME", re.compile("[a-z0-9][a-z0-9-]*[a-z0-9]"), "a name of the console"),
        ("CONSOLE_REPOSITORY_ID", UUID, "a UUID"),
        ("CONSOLE_PROJECT_ID", UUID, "a UUID"),
    ):
        if values.get(name) and not pattern.fullmatch(values[name]):
            raise ConfigurationError(f"{name} is not {what}. {WHERE}")
    variable = REQUIRED[via][0]
    url = address(variable, values[variable])
    return Settings(via, url, values, ref, {name: flags[name] == "true" for name in FLAGS})


def address(variable: str, value: str) -> str:
    """Check a server's address, and return it without a slash at its end.

    Raises:
        ConfigurationError: It is no address to which a token may be sent.
    """
    try:
        parts = urlsplit(value)
        host = (parts.hostname or "").encode("idna").decode()
        well_formed = bool(re.fullmatch(r"[!-~]+", value)) and (
            parts.port is None or parts.port > 0
        )
    except ValueError:
        host, well_formed = "", False
    if (
        not host
        or not well_formed
        or parts.query
        or parts.fragment
        or parts.scheme
        not in (
            "http",
            "https",
        )
    ):
        raise ConfigurationError(f"{variable} is no address such as https://gitlab.example.org.")
    if parts.username is not None:
        raise ConfigurationError(f"Remove the user name and password from {variable}.")
    if parts.scheme == "http" and not is_loopback(host):
        raise ConfigurationError(
            f"{variable} begins with http://, and the token would travel in clear: write https://."
        )
    return value.rstrip("/")


def is_loopback(host: str) -> bool:
    """Tell whether a host is this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def sync_request(settings: Settings) -> Request:
    """Return the call that asks for the fetch.

    The mirror's is the one that the platform documents ("Dépôts", its guide): `ref` is a branch of
    the mirror repository, never ours. What is the platform's default is left out.
    """
    values = settings.values
    if settings.via == "mirror":
        return Request(
            f"{settings.url}/api/v4/projects/{values['GIT_MIRROR_PROJECT_ID']}/trigger/pipeline",
            form={
                "token": values["GIT_MIRROR_TOKEN"],
                "ref": "main",
                **({"variables[GIT_BRANCH_DEPLOY]": settings.ref} if settings.ref else {}),
                "variables[PROJECT_NAME]": values["REPOSITORY_NAME"],
                **{f"variables[{name}]": "true" for name, on in settings.flags.items() if on},
            },
        )
    project = values["CONSOLE_PROJECT_ID"]
    path = f"/api/v2/projects/{project}" if project else "/api/v1"
    every = settings.flags["SYNC_ALL"]
    return Request(
        f"{settings.url}{path}/repositories/{values['CONSOLE_REPOSITORY_ID']}/sync",
        {"x-dso-token": values["CONSOLE_TOKEN"]},
        document={"syncAllBranches": True}
        if every
        else {"syncAllBranches": False, "branchName": settings.ref},
    )


def trigger(client: Client, settings: Settings, seconds: float) -> Mapping[str, Any]:
    """Send the call, and return the mirror's pipeline; nothing where the console was asked.

    Raises:
        RefusedError: The answer is not the documented one.
    """
    answer = client.send(sync_request(settings), seconds)
    if settings.via == "console":
        if answer.status != 204:
            raise refusal(answer, client.host, CONSOLE_REFUSALS, "CONSOLE_URL")
        return {}
    pipeline = answer.document()
    if answer.status != 201 or not isinstance(pipeline, dict) or not _is_number(pipeline.get("id")):
        raise refusal(answer, client.host, TRIGGER_REFUSALS, "GITLAB_URL")
    return pipeline


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


@dataclass(frozen=True)
class Before:
    """What the built repository was before the call: what differs afterwards, the call has caused."""

    project: str
    commit: str | None
    newest: int


class Follower:
    """Follows pipelines by GitLab's API, with the token that may read.

    Args:
        client: Sends the requests.
        settings: Names the repository and the branch.
        seconds: For everything together, from now on.
    """

    def __init__(self, client: Client, settings: Settings, seconds: float) -> None:
        self.client = client
        self.settings = settings
        self.report = client.report
        self.seconds = seconds
        self.deadline = time.monotonic() + seconds
        self.mirror = settings.values["GIT_MIRROR_PROJECT_ID"]

    def request(self, path: str, **query: str) -> Request:
        """Return the request that reads something below /projects."""
        token = {"PRIVATE-TOKEN": self.settings.values["GITLAB_READ_TOKEN"]}
        query_string = f"?{urlencode(query)}" if query else ""
        return Request(f"{self.settings.url}/api/v4/projects/{path}{query_string}", token)

    def read(self, kind: type[T], path: str, **query: str) -> T:
        """Read a document of GitLab.

        Raises:
            RefusedError: It is not there, or not of the documented kind.
        """
        document = self.read_or_none(kind, path, **query)
        if document is None:
            raise RefusedError(f"{self.client.host} answers 404 for {path}: {READ_REFUSALS[404]}.")
        return document

    def read_or_none(self, kind: type[T], path: str, **query: str) -> T | None:
        """Read a document of GitLab, or return None where it says that there is none."""
        # What was begun in time gets an answer, or the reason why there is none.
        seconds = max(ATTEMPT_SECONDS, self.deadline - time.monotonic())
        answer = self.client.send(self.request(path, **query), seconds)
        document = answer.document()
        if answer.status == 404 and not answer.is_page():
            return None
        if answer.status != 200 or not isinstance(document, kind):
            raise refusal(answer, self.client.host, READ_REFUSALS, "GITLAB_URL")
        return document

    def before(self) -> Before:
        """Find the repository that will be built, and how it is now."""
        target = self.settings.values["TARGET_PROJECT"]
        if not target:
            mirror = self.read(dict, self.mirror)
            group = str(mirror.get("path_with_namespace", "")).rpartition("/")[0]
            target = f"{group}/{self.settings.values['REPOSITORY_NAME']}"
        project = quote(target, safe="")
        self.read(dict, project)
        commit = self.commit(project)
        newest = self.read(list, f"{project}/pipelines", per_page="1")
        return Before(
            project, str(commit.get("id")) if commit else None, max(map(_number, newest), default=0)
        )

    def commit(self, project: str) -> dict[str, Any] | None:
        """Return the commit at the end of the branch, None where there is no such branch."""
        ref = quote(self.settings.ref, safe="")
        return self.read_or_none(dict, f"{project}/repository/commits/{ref}")

    def build(self, before: Before) -> dict[str, Any] | None:
        """Return the pipeline that the mirror's push has caused, None where it had not to cause any.

        Raises:
            SyncError: There should be one, and there is none.
        """
        ref = self.settings.ref
        commit = self.commit(before.project)
        if commit is None:
            raise SyncError(f"The mirror pipeline succeeded, but {ref} is not in the repository.")
        sha = str(commit.get("id"))
        if sha == before.commit:
            self.report.say(f"Nothing to build: {ref} was at {sha[:12]} on the platform already.")
            return None
        if self.settings.flags["CI_SKIP"] or SKIPPED.search(str(commit.get("message"))):
            self.report.say(f"Nothing to build: CI_SKIP or the message of {sha[:12]} says so.")
            return None
        end = min(self.deadline, time.monotonic() + BUILD_SECONDS)
        while True:
            # A newer commit may have arrived meanwhile: then its own pipeline is not ours.
            found = self.read(list, f"{before.project}/pipelines", ref=ref, sha=sha)
            fresh = [pipeline for pipeline in found if _number(pipeline) > before.newest]
            if fresh:
                pipeline: dict[str, Any] = max(fresh, key=_number)
                return pipeline
            if time.monotonic() >= end:
                raise SyncError(
                    f"{ref} is at {sha[:12]} on the platform now, but no pipeline builds it. Is "
                    ".gitlab-ci-dso.yml at the root of the repository, and do its rules let "
                    f"{ref} through?"
                )
            self.report.progress(f"waiting for the build of {sha[:12]}")
            time.sleep(POLL_SECONDS)

    def follow(self, title: str, project: str, number: int, hint: str) -> None:
        """Wait until a pipeline has succeeded.

        Raises:
            SyncError: It ended otherwise.
            StillRunningError: It did not end in time.
        """
        path = f"{project}/pipelines/{number}"
        while True:
            status = self.read(dict, path).get("status")
            self.report.progress(f"{title} {number}: {status}")
            if status == "success":
                return
            if status in ENDED:
                jobs = self.read(list, f"{path}/jobs", **{"scope[]": "failed"})
                failed = [
                    f"{job.get('name')} {job.get('web_url')}"
                    for job in jobs
                    if isinstance(job, dict)
                ]
                raise SyncError(
                    f"{title} {number} ended as {status}{': ' if failed else ''}{', '.join(failed)}. "
                    f"{hint}"
                )
            if time.monotonic() + POLL_SECONDS >= self.deadline:
                raise StillRunningError(
                    f"{title} {number} is {status} after {self.seconds:.0f} s; it goes on. "
                    "--wait-timeout sets how long to wait."
                )
            time.sleep(POLL_SECONDS)


def _number(pipeline: object) -> int:
    number = pipeline.get("id") if isinstance(pipeline, dict) else None
    return number if isinstance(number, int) else 0


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        # The message would quote what was typed, and somebody types a token.
        raise ConfigurationError(f"{message.partition(':')[0]}: see --help.")


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line.

    Raises:
        ConfigurationError: There is something that --help does not list.
    """
    parser = _Parser(
        prog="trigger_sync.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--wait", action="store_true", help="follow both pipelines to their end")
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="print what would be sent, secrets masked; send nothing",
    )
    parser.add_argument(
        "--via",
        choices=["mirror", "console"],
        default="mirror",
        help="whom to ask: the mirror repository's trigger, or the console (default: %(default)s)",
    )
    parser.add_argument(
        "--timeout",
        type=float,
        default=300.0,
        metavar="SECONDS",
        help="for the call, all attempts together (default: %(default)g)",
    )
    parser.add_argument(
        "--wait-timeout",
        type=float,
        default=3600.0,
        metavar="SECONDS",
        help="for both pipelines together (default: %(default)g)",
    )
    options, unknown = parser.parse_known_args(arguments)
    if unknown:
        raise ConfigurationError(
            "There is an argument that --help does not list. Everything but the options there, and "
            "every secret above all, comes from the environment."
        )
    if not (0 < options.timeout < 1e6 and 0 < options.wait_timeout < 1e6):
        raise ConfigurationError(
            "Write a positive number of seconds into --timeout, --wait-timeout."
        )
    if options.wait and options.via == "console":
        raise ConfigurationError(
            "The console names no pipeline to wait for: leave out one of both."
        )
    return options


def run(options: argparse.Namespace, environment: Mapping[str, str], report: Report) -> None:
    """Do what the command line asks for.

    Raises:
        SyncError: It did not come to a good end.
    """
    settings = configure(environment, options.via, wait=options.wait)
    client = Client(settings.url, environment, report)
    what = "every branch and tag" if settings.flags["SYNC_ALL"] else settings.ref
    follower = Follower(client, settings, options.timeout) if options.wait else None
    if options.dry_run:
        for line in sync_request(settings).lines():
            print(report.clean(line))
        if follower:
            print("\n".join(map(report.clean, follower.request(f"{follower.mirror}/...").lines())))
        return
    before = follower.before() if follower else None
    pipeline = trigger(client, settings, options.timeout)
    if not pipeline:
        report.say(f"The console has passed on the synchronisation of {what}.")
        return
    report.say(f"The platform fetches {what}: pipeline {pipeline['id']}.")
    report.result(f"Mirror pipeline of {what}", "pipeline", pipeline)
    if follower is None or before is None:
        return
    follower.seconds = options.wait_timeout
    follower.deadline = time.monotonic() + options.wait_timeout
    follower.follow(
        "mirror pipeline",
        follower.mirror,
        pipeline["id"],
        "The usual reasons: REPOSITORY_NAME is not the console's, the branch is not in the external "
        "repository, or the credentials that the console has for that have expired.",
    )
    build = follower.build(before)
    if build is not None:
        report.result(f"Build pipeline of {what}", "build_pipeline", build)
        follower.follow("build pipeline", before.project, build["id"], "Its log says why.")
    report.say("Done.")


def main(arguments: list[str] | None = None) -> int:
    """Run the command line, and return its exit code.

    Args:
        arguments: The command line; that of the process where it is None.
    """
    environment = dict(os.environ)
    report = Report(environment, [environment.get(name, "").strip() for name in TOKENS])
    try:
        run(parse(arguments), environment, report)
    except SyncError as error:
        report.fail(error)
        return error.code
    except KeyboardInterrupt:
        report.say("Interrupted. What runs on the platform goes on.")
        return 130
    except Exception:  # noqa: BLE001  (Python's own report would not mask the secrets)
        for line in traceback.format_exc().splitlines():
            report.say(line)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
