"""An identity provider for the length of a benchmark: an RSA key, its JWKS, and signed tokens.

Runs in the rendered application's environment, which has PyJWT. Prints the tokens, one a line,
then serves the discovery document and the keys on 127.0.0.1 until it is ended.
"""

import json
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

KEY_ID = "bench-1"
LIFETIME_SECONDS = 3600


def main(port: int, audience: str, tokens: int) -> None:
    """Serve on `port` after printing `tokens` tokens for `audience`, each of another person."""
    issuer = f"http://127.0.0.1:{port}"
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public = RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
    documents = {
        "/.well-known/openid-configuration": {"issuer": issuer, "jwks_uri": f"{issuer}/jwks"},
        "/jwks": {"keys": [{**public, "kid": KEY_ID, "use": "sig", "alg": "RS256"}]},
    }

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            document = documents.get(self.path)
            body = json.dumps(document).encode()
            self.send_response(404 if document is None else 200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing: standard output carries the tokens."""

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    now = int(time.time())
    for number in range(tokens):
        claims = {
            "iss": issuer,
            "aud": audience,
            "sub": f"agent-{number}",
            "iat": now,
            "exp": now + LIFETIME_SECONDS,
            "realm_access": {"roles": ["agent"]},
        }
        sys.stdout.write(jwt.encode(claims, key, "RS256", headers={"kid": KEY_ID}) + "\n")
    sys.stdout.flush()
    server.serve_forever()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
