"""Servers that misbehave: on a bare socket, because a library would not let them."""

import contextlib
import datetime
import ipaddress
import json
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

Behaviour = Callable[[socket.socket], None]
PIPELINE = {"id": 7, "web_url": "https://gitlab.example.org/-/pipelines/7", "status": "created"}


@dataclass
class Server:
    """Listens on a port; each connection gets the next behaviour, the last for good.

    Args:
        behaviours: What to do with a connection once its request is read.
        tls: Speaks TLS by this context.
        host: The address to listen on.

    Attributes:
        requests: What was read, whole requests in the order of their arrival.
    """

    behaviours: list[Behaviour]
    tls: ssl.SSLContext | None = None
    host: str = "127.0.0.1"
    requests: list[bytes] = field(default_factory=list)
    port: int = 0

    @contextlib.contextmanager
    def listening(self) -> Iterator["Server"]:
        """Listen until the block ends."""
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        with socket.create_server((self.host, 0), family=family) as listener:
            self.port = listener.getsockname()[1]
            threading.Thread(target=self._accept, args=(listener,), daemon=True).start()
            yield self
            # Wakes accept(), which closing alone does not.
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)

    @property
    def url(self) -> str:
        """The server's address; by its name where a certificate is looked at."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"https://localhost:{self.port}" if self.tls else f"http://{host}:{self.port}"

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        # The other side gives up first, and that is what many tests are about.
        with contextlib.suppress(OSError), connection:
            connection.settimeout(20)
            stream = self.tls.wrap_socket(connection, server_side=True) if self.tls else connection
            with stream:
                self.requests.append(read_request(stream))
                behaviour = self.behaviours[0]
                if len(self.behaviours) > 1:
                    self.behaviours.pop(0)
                behaviour(stream)


def read_request(stream: socket.socket) -> bytes:
    """Read a request's head and as much body as it announces."""
    data = b""
    while b"\r\n\r\n" not in data:
        if not (received := stream.recv(65536)):
            raise ConnectionError
        data += received
    head, _, body = data.partition(b"\r\n\r\n")
    length = next(
        (
            int(line[15:])
            for line in head.lower().split(b"\r\n")
            if line.startswith(b"content-length:")
        ),
        0,
    )
    while len(body) < length:
        body += stream.recv(65536)
    return head + b"\r\n\r\n" + body


# --- What a server may do -----------------------------------------------------------------------


def answer(status: int, content: object = b"", *headers: str, reason: str = "Said") -> Behaviour:
    """Answer as one should."""
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    lines = [f"HTTP/1.1 {status} {reason}", f"Content-Length: {len(body)}", *headers]
    return write("\r\n".join([*lines, "Connection: close", "", ""]).encode() + body)


def write(data: bytes) -> Behaviour:
    """Write these bytes and close."""

    def behave(stream: socket.socket) -> None:
        stream.sendall(data)

    return behave


CREATED = answer(201, PIPELINE, "Content-Type: application/json")


def reset(data: bytes = b"") -> Behaviour:
    """Write some bytes, then drop the connection without a goodbye (RST)."""

    def behave(stream: socket.socket) -> None:
        stream.sendall(data)
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    return behave


def drip(head: bytes, each: bytes, pause: float) -> Behaviour:
    """Write a beginning, then a little at a time without an end."""

    def behave(stream: socket.socket) -> None:
        stream.sendall(head)
        while True:
            stream.sendall(each)
            time.sleep(pause)

    return behave


def silence(stream: socket.socket) -> None:
    """Read, and never answer."""
    stream.recv(1)


def flood(stream: socket.socket) -> None:
    """Answer without an end, as fast as it is read."""
    stream.sendall(b"HTTP/1.1 201 Created\r\n\r\n")
    while True:
        stream.sendall(b" " * 1_000_000)


def tunnel(stream: socket.socket, target: tuple[str, int]) -> None:
    """Be a proxy: carry bytes between the connection and the target until one side ends."""
    with socket.create_connection(target) as other:
        stream.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        back = threading.Thread(target=_carry, args=(other, stream), daemon=True)
        back.start()
        _carry(stream, other)
        back.join(timeout=10)


def _carry(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)


class GitLab:
    """Enough of GitLab for one synchronisation: what it answers follows from what has happened."""

    def __init__(self) -> None:
        self.triggered = 0
        self.polls = 0

    def behave(self, server: Server) -> Behaviour:
        def _behave(stream: socket.socket) -> None:
            method, path, _ = server.requests[-1].decode().split(" ", 2)
            answer(*self.reply(method, path))(stream)

        return _behave

    def reply(self, method: str, path: str) -> tuple[int, object]:
        path = path.removeprefix("/api/v4/projects/")
        target = "forge%2Fdossiers%2Fdossiers-api"
        done = self.polls >= 3
        commit = {"id": ("b" if done else "a") * 40, "message": "Change"}
        build = {"id": 9, "web_url": "https://gitlab.example.org/9", "status": "success"}
        if method == "POST":
            self.triggered += 1
            return 201, PIPELINE
        if path == "12/pipelines/7":
            self.polls += 1
            return 200, {**PIPELINE, "status": "success" if self.polls >= 3 else "running"}
        answers: dict[str, object] = {
            "12": {"path_with_namespace": "forge/dossiers/mirror"},
            target: {"id": 34},
            f"{target}/repository/commits/main": commit,
            f"{target}/pipelines": [build] if self.polls >= 3 else [{"id": 5}],
            f"{target}/pipelines/9": build,
        }
        found = answers.get(path.partition("?")[0])
        return (200, found) if found else (404, {"message": "404 Not Found"})


# --- Authorities --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Authority:
    """A certification authority that nobody has heard of, of the kind that organisations have.

    It has no key identifiers, as older ones have not.

    Args:
        directory: Where its files go.
    """

    directory: Path
    key: ec.EllipticCurvePrivateKey = field(
        default_factory=lambda: ec.generate_private_key(ec.SECP256R1())
    )
    name: x509.Name = field(
        default_factory=lambda: x509.Name(
            [x509.NameAttribute(NameOID.COMMON_NAME, "Some ministry")]
        )
    )

    @property
    def bundle(self) -> Path:
        """The file that lets somebody trust it."""
        path = self.directory / "authorities.pem"
        if not path.exists():
            certificate = self._certify(self.name, self.key, 1, [], authority=True)
            path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        return path

    def server(self, host: str = "localhost", days: int = 1) -> ssl.SSLContext:
        """Return the context of a server with this name, certified until so many days from now."""
        key = ec.generate_private_key(ec.SECP256R1())
        names: list[x509.GeneralName] = [x509.DNSName(host)]
        if host == "localhost":
            names.append(x509.IPAddress(ipaddress.ip_address("127.0.0.1")))
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
        certificate = self._certify(subject, key, days, names, authority=False)
        path = self.directory / f"{host}{days}.pem"
        path.write_bytes(
            certificate.public_bytes(serialization.Encoding.PEM)
            + key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        return context

    def _certify(
        self,
        subject: x509.Name,
        key: ec.EllipticCurvePrivateKey,
        days: int,
        names: list[x509.GeneralName],
        *,
        authority: bool,
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder(
                self.name, subject, key.public_key(), x509.random_serial_number()
            )
            .not_valid_before(now - datetime.timedelta(days=30))
            .not_valid_after(now + datetime.timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return builder.sign(self.key, hashes.SHA256())
