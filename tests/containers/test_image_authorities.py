"""Behind a private authority (EXI-ARCH-7): who issues tokens, the database, the package index.

Each has a certificate that only the organisation's own authority vouches for. Without its bundle
the image must refuse them, with it everything works, and the image itself never holds it.
"""

import base64
import functools
import http.server
import json
import ssl
import subprocess
import tarfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import httpx
import pytest
import trustme
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256

from tests.app.conftest import Project
from tests.containers.conftest import docker
from tests.containers.test_image import CONFINED, layers, network, wait_until_ready
from tests.engines import POSTGRES_IMAGE, require_image

pytestmark = pytest.mark.xdist_group("image")
__all__ = ["network"]  # fixture

ISSUER = "https://issuer:8443"
AUDIENCE = "dossiers"
KEY_ID = "test-1"
BUNDLE = "/etc/ssl/organisation/ca-bundle.crt"
#: Serves the files of /www as an identity provider that has just two of them.
SERVER = """
import functools, http.server, ssl
handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory="/www")
server = http.server.ThreadingHTTPServer(("", 8443), handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("/tls/server.pem")
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
"""


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA(organization_name="Organisation")


@pytest.fixture(scope="module")
def bundle(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the organisation hands out."""
    path = tmp_path_factory.mktemp("bundle") / "ca-bundle.crt"
    authority.cert_pem.write_to_path(path)
    path.chmod(0o644)
    return path


@pytest.fixture(scope="module")
def certified(
    authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Path]:
    """Makes a certificate: the file with it and its key, for the host of that name."""

    def certify(host: str) -> Path:
        path = tmp_path_factory.mktemp(host) / "server.pem"
        authority.issue_cert(host).private_key_and_cert_chain_pem.write_to_path(path)
        path.chmod(0o644)
        return path

    return certify


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def encoded(content: bytes) -> str:
    """Base64url without padding (RFC 7515, section 2)."""
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


@pytest.fixture(scope="module")
def token(key: rsa.RSAPrivateKey) -> str:
    """An agent's access token."""
    now = int(time.time())
    claims = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "agent-1",
        "iat": now,
        "exp": now + 3600,
        "realm_access": {"roles": ["agent"]},
    }
    header = {"alg": "RS256", "typ": "at+jwt", "kid": KEY_ID}
    signed = ".".join(encoded(json.dumps(part).encode()) for part in (header, claims))
    signature = key.sign(signed.encode(), padding.PKCS1v15(), SHA256())
    return f"{signed}.{encoded(signature)}"


@pytest.fixture(scope="module")
def issuer(
    key: rsa.RSAPrivateKey,
    certified: Callable[[str], Path],
    network: str,
    bases: Mapping[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[str]:
    """An identity provider, as far as a service sees it: its discovery document and its keys."""
    root = tmp_path_factory.mktemp("www")
    (root / ".well-known").mkdir()
    numbers = key.public_key().public_numbers()
    public = {
        "kty": "RSA",
        "kid": KEY_ID,
        "use": "sig",
        "alg": "RS256",
        "n": encoded(numbers.n.to_bytes(256, "big")),
        "e": encoded(numbers.e.to_bytes(3, "big")),
    }
    discovery = {"issuer": ISSUER, "jwks_uri": f"{ISSUER}/jwks"}
    (root / ".well-known" / "openid-configuration").write_text(json.dumps(discovery))
    (root / "jwks").write_text(json.dumps({"keys": [public]}))
    root.chmod(0o755)
    container = docker(
        *("run", "--detach", "--network", network, "--network-alias", "issuer"),
        *("--volume", f"{root}:/www:ro", "--volume", f"{certified('issuer').parent}:/tls:ro"),
        *("--user", "0", "--entrypoint", "python3", bases["BUILDER_IMAGE"], "-c", SERVER),
    )
    yield ISSUER
    docker("rm", "--force", container)


@pytest.fixture(scope="module")
def database(certified: Callable[[str], Path], network: str) -> Iterator[str]:
    """A PostgreSQL that can be reached by two names, of which its certificate has one."""
    require_image(POSTGRES_IMAGE)
    password = uuid.uuid4().hex
    entrypoint = json.loads(docker("inspect", "-f", "{{json .Config.Entrypoint}}", POSTGRES_IMAGE))
    # PostgreSQL takes a key that it owns, and that nobody else may read.
    script = (
        "install -o postgres -m 600 /tls/server.pem /tmp/server.pem && "
        f"exec {entrypoint[0]} postgres -c ssl=on -c fsync=off "
        "-c ssl_cert_file=/tmp/server.pem -c ssl_key_file=/tmp/server.pem"
    )
    names = ("--network-alias", "database", "--network-alias", "impostor")
    container = docker(
        *("run", "--detach", "--network", network, *names),
        *("--volume", f"{certified('database').parent}:/tls:ro"),
        *("--env", "POSTGRES_PASSWORD", "--entrypoint", "sh", POSTGRES_IMAGE, "-c", script),
        POSTGRES_PASSWORD=password,
    )
    try:
        ask = ["docker", "exec", container, "pg_isready", "--host=127.0.0.1", "--quiet"]
        deadline = time.monotonic() + 60
        while subprocess.run(ask, check=False, capture_output=True).returncode:
            assert time.monotonic() < deadline, docker("logs", container)
            time.sleep(0.1)
        yield f"postgresql://postgres:{password}@database/postgres"
    finally:
        docker("rm", "--force", "--volumes", container)


def run(image: str, command: str, network: str, *options: str, **settings: str) -> str:
    """Run a command of the image, confined as on the platform."""
    variables = [word for name in settings for word in ("--env", name)]
    confined = ["--network", network, *CONFINED, *variables]
    return docker("run", *options, *confined, image, command, **settings)


@pytest.fixture(scope="module")
def migrated(
    image: str,
    network: str,
    database: str,
    bundle: Path,
) -> str:
    """The address of the database, which the image has migrated over TLS that it has verified."""
    verified = {"PGSSLMODE": "verify-full", "PGSSLROOTCERT": BUNDLE}
    mount = ("--rm", "--volume", f"{bundle}:{BUNDLE}:ro")
    run(image, "migrate", network, *mount, ENV="test", DATABASE_URL=database, **verified)
    return database


@pytest.mark.parametrize("trusted", [True, False], ids=["with the bundle", "without it"])
def test_a_token_is_accepted_if_its_issuer_is_trusted(
    image: str,
    network: str,
    migrated: str,
    issuer: str,
    token: str,
    bundle: Path,
    trusted: bool,
) -> None:
    settings = {
        "ENV": "test",
        "OIDC_ISSUER": issuer,
        "OIDC_AUDIENCE": AUDIENCE,
        "DATABASE_URL": f"{migrated}?sslmode=verify-full",
        "PGSSLROOTCERT": BUNDLE,
    }
    if trusted:
        settings["SSL_CERT_FILE"] = BUNDLE
    published = ("--detach", "--publish", "127.0.0.1::8080")
    mount = ("--volume", f"{bundle}:{BUNDLE}:ro")
    container = run(image, "serve", network, *published, *mount, **settings)
    try:
        address = f"http://{docker('port', container, '8080').splitlines()[0]}"
        wait_until_ready(address, container)
        answer = httpx.get(
            f"{address}/api/v1/dossiers", headers={"Authorization": f"Bearer {token}"}, timeout=10
        )

        if trusted:
            assert answer.status_code == httpx.codes.OK, answer.text
        else:
            assert answer.status_code == httpx.codes.SERVICE_UNAVAILABLE, answer.text
            assert answer.headers["Content-Type"] == "application/problem+json"
            assert answer.json()["detail"] == "The identity provider does not answer."
            assert "Retry-After" in answer.headers
            assert httpx.get(f"{address}/health/live").is_success
    finally:
        docker("rm", "--force", container)


@pytest.mark.parametrize(
    ("trusted", "host"),
    [(False, "database"), (True, "impostor")],
    ids=["unknown authority", "another host's certificate"],
)
def test_a_database_that_nobody_vouches_for_gets_no_password(
    image: str,
    network: str,
    database: str,
    bundle: Path,
    trusted: bool,
    host: str,
) -> None:
    settings = {"ENV": "test", "PGSSLMODE": "verify-full"}
    settings["DATABASE_URL"] = database.replace("@database", f"@{host}")
    # Of the image's own authorities, none knows ours.
    settings["PGSSLROOTCERT"] = BUNDLE if trusted else "/etc/ssl/certs/ca-certificates.crt"
    mount = ("--volume", f"{bundle}:{BUNDLE}:ro")

    with pytest.raises(AssertionError, match="certificate verify failed") as refusal:
        run(image, "migrate", network, "--rm", *mount, **settings)

    assert "Traceback" not in str(refusal.value)


def pages(wheels: Path, directory: Path) -> None:
    """Make a package index of wheels: one page a project (PEP 503)."""
    for wheel in wheels.glob("*.whl"):
        project = wheel.name.partition("-")[0].replace("_", "-").replace(".", "-").lower()
        page = directory / "simple" / project / "index.html"
        page.parent.mkdir(parents=True, exist_ok=True)
        with page.open("a", encoding="utf-8") as links:
            links.write(f'<a href="/{wheel.name}">{wheel.name}</a>\n')
        (directory / wheel.name).symlink_to(wheel)


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves files and says nothing."""

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def index(project: Project, image: str, authority: trustme.CA, tmp_path: Path) -> Iterator[str]:
    """An index of the wheels that `make image` has downloaded, over TLS; yields its address."""
    assert image
    pages(project.path / "wheels", tmp_path / "index")
    handler = functools.partial(Quiet, directory=str(tmp_path / "index"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("localhost").configure_cert(context)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"https://localhost:{server.server_port}/simple/"
        server.shutdown()


def test_it_is_built_from_an_index_behind_a_private_authority(
    project: Project,
    bases: Mapping[str, str],
    image: str,
    name: str,
    index: str,
    bundle: Path,
    authority: trustme.CA,
    tmp_path: Path,
) -> None:
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", project.path, clone], check=True)
    arguments = {**bases, "PIP_INDEX_URL": index, "no_proxy": "localhost"}
    options = [word for pair in arguments.items() for word in ("--build-arg", "=".join(pair))]
    # The index is on this machine's loopback.
    command = ("build", "--no-cache", "--network", "host", *options)

    with pytest.raises(AssertionError, match="CERTIFICATE_VERIFY_FAILED"):
        docker(*command, str(clone))
    (clone / "ca-bundle.crt").write_bytes(bundle.read_bytes())
    docker(*command, "--tag", f"{name}:behind", str(clone))

    assert layers(f"{name}:behind") == layers(image)
    docker("save", "--output", str(tmp_path / "image.tar"), f"{name}:behind")
    secret = authority.cert_pem.bytes().strip().splitlines()[5]
    assert secret in bundle.read_bytes()
    with tarfile.open(tmp_path / "image.tar") as archive:
        for entry in archive:
            file = archive.extractfile(entry)
            if file:
                content = file.read()
                assert secret not in content, f"{entry.name} holds the authority"
                assert index.encode() not in content, f"{entry.name} names the index"
