"""A throw-away issuer of JSON Web Tokens for trying and testing: its keys, tokens, and HTTPS server on loopback.

It signs whatever it is asked to, wrong claims included. Its keys live in memory; its folder holds what others need of
it: ``jwks.json``, and ``ca.pem`` while it serves.
"""

import json
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from archive.lab.tls import make_tls

NAME: Final = "urn:strongroom:lab:jwt"
LIFETIME_SECONDS: Final = 300
CONFIGURATION_PATH: Final = "/.well-known/openid-configuration"
_KEYS_PATH: Final = "/keys"

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey

_MAKERS: Final[Mapping[str, Callable[[], PrivateKey]]] = {
    **dict.fromkeys(
        ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
        lambda: rsa.generate_private_key(public_exponent=65_537, key_size=2048),
    ),
    "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "ES384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "ES512": lambda: ec.generate_private_key(ec.SECP521R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate,
}


class JwtIssuer:
    """One issuer. Not thread-safe; whoever starts it stops it."""

    def __init__(
        self, folder: Path, *, audience: str, algorithms: Iterable[str] = ("ES256",), name: str = NAME
    ) -> None:
        """Make its keys, and write ``jwks.json``.

        Args:
            folder: new or its own.
            audience: for whom its tokens are, unless one says otherwise.
            algorithms: a key for each; the first one signs unless a token asks for another.
            name: ``iss``.
        """
        self.folder = folder
        self.audience = audience
        self.name = name
        self.keys: dict[str, tuple[str, PrivateKey]] = {}
        """By algorithm: key id and private key."""
        self._algorithms = tuple(algorithms)
        self._server: ThreadingHTTPServer | None = None
        self._thread: threading.Thread | None = None
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.rotate()

    @property
    def jwks_file(self) -> Path:
        """The public keys as a file (RFC 7517 5)."""
        return self.folder / "jwks.json"

    @property
    def ca(self) -> Path:
        """PEM of the CA of the server's certificate, while it serves."""
        return self.folder / "ca.pem"

    @property
    def discovery(self) -> str:
        """Where it describes itself, while it serves."""
        return self._url(CONFIGURATION_PATH)

    def jwks(self) -> dict[str, Any]:
        """The public keys of now."""
        return {"keys": [_public(key, name, algorithm) for algorithm, (name, key) in self.keys.items()]}

    def rotate(self) -> None:
        """Replace every key: what the former ones signed is from now on signed by nobody."""
        self.keys = {algorithm: (uuid4().hex, _MAKERS[algorithm]()) for algorithm in self._algorithms}
        self.jwks_file.write_text(json.dumps(self.jwks(), indent=1))

    def token(
        self, subject: str, *, algorithm: str | None = None, header: Mapping[str, Any] | None = None, **claims: Any
    ) -> str:
        """A token about somebody, good for five minutes from now.

        Args:
            subject: ``sub``.
            algorithm: which of the keys signs.
            header: more of it, or other; None removes a parameter.
            claims: more of them, or others; None removes a claim.
        """
        chosen = algorithm or self._algorithms[0]
        name, key = self.keys[chosen]
        now = int(time.time())
        usual = {"iss": self.name, "sub": subject, "aud": self.audience, "iat": now, "exp": now + LIFETIME_SECONDS}
        said = {key: value for key, value in {**usual, "jti": uuid4().hex, **claims}.items() if value is not None}
        named = {key: value for key, value in {"kid": name, **(header or {})}.items() if value is not None}
        return jwt.api_jws.encode(json.dumps(said).encode(), key, algorithm=chosen, headers=named)

    def start(self) -> None:
        """Serve the keys over HTTPS on a free port of 127.0.0.1, under a CA made for it."""
        context = self._server_context()
        self._server = server = _Server(("127.0.0.1", 0), _handler(self))
        server.daemon_threads = True
        # The handshake is the handler's, so that a silent client holds up nobody.
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        self._thread = threading.Thread(target=server.serve_forever, args=(0.05,), name="lab-jwt", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the server; harmless when it does not run."""
        server, self._server = self._server, None
        if server is not None and self._thread is not None:
            server.shutdown()
            server.server_close()
            self._thread.join()

    def document(self, path: str) -> Mapping[str, Any] | None:
        """What the server answers at a path; None: nothing is there."""
        match path:
            case "/.well-known/openid-configuration":
                return {"issuer": self.name, "jwks_uri": self._url(_KEYS_PATH)}
            case "/keys":
                return self.jwks()
            case _:
                return None

    def _url(self, path: str) -> str:
        if self._server is None:
            raise RuntimeError("the issuer does not serve")
        return f"https://127.0.0.1:{self._server.server_address[1]}{path}"

    def _server_context(self) -> ssl.SSLContext:
        make_tls(self.folder, "127.0.0.1")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.folder / "server.pem", self.folder / "server.key")
        return context


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that hang up, or distrust the CA, are the trial's business."""


def _handler(issuer: JwtIssuer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = 10

        def do_GET(self) -> None:
            document = issuer.document(self.path)
            body = json.dumps(document).encode() if document is not None else b""
            self.send_response(200 if document is not None else 404)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing: the archive's log is not the issuer's."""

    return Handler


def _public(key: PrivateKey, name: str, algorithm: str) -> dict[str, Any]:
    match key:
        case rsa.RSAPrivateKey():
            members = RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
        case ec.EllipticCurvePrivateKey():
            members = ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
        case _:
            members = OKPAlgorithm.to_jwk(key.public_key(), as_dict=True)
    members.pop("key_ops", None)
    return {**members, "kid": name, "alg": algorithm, "use": "sig"}
