"""A time stamping authority of ``openssl ts``, and the HTTP in front of it, which may misbehave."""

import ssl
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Self

_CONFIGURATION = """
[tsa]
serial = {folder}/{name}.serial
signer_digest = sha256
default_policy = 1.2.3.4
digests = sha256
accuracy = secs:1
ess_cert_id_alg = sha256
"""
TIME_STAMPING = "extendedKeyUsage=critical,timeStamping"


def openssl(*words: object, check: bool = True) -> subprocess.CompletedProcess[bytes]:
    """Run openssl, which is another hand than the product's libraries."""
    return subprocess.run(["openssl", *map(str, words)], check=check, capture_output=True, timeout=30)


@dataclass
class Authority:
    """A root, and a certificate under it that stamps."""

    folder: Path
    name: str

    @classmethod
    def made(cls, folder: Path, name: str = "tsa", *, usage: str = TIME_STAMPING, days: int = 2) -> "Authority":
        """``usage``: the extension; ``days``: how long the stamping certificate holds, less than 0: it is over."""
        made = cls(folder, name)
        folder.mkdir(exist_ok=True)
        key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
        openssl("req", "-x509", *key, "-keyout", made.at("ca.key"), "-out", made.ca, "-subj", f"/CN={name} root")
        openssl("req", *key, "-keyout", made.at("key"), "-out", made.at("csr"), "-subj", f"/O=Clock/CN={name}")
        made.at("extensions").write_text(usage + "\n")
        signed = ("-CA", made.ca, "-CAkey", made.at("ca.key"), "-CAcreateserial", "-extfile", made.at("extensions"))
        openssl("x509", "-req", "-in", made.at("csr"), *signed, "-days", days, "-out", made.at("pem"))
        made.at("serial").write_text("01\n")
        made.at("cnf").write_text(_CONFIGURATION.format(folder=folder, name=name))
        return made

    def at(self, suffix: str) -> Path:
        return self.folder / f"{self.name}.{suffix}"

    @property
    def ca(self) -> Path:
        return self.at("ca.pem")

    def answer(self, query: bytes) -> bytes:
        """The answer to a request."""
        self.at("query").write_bytes(query)
        names = ("-queryfile", self.at("query"), "-signer", self.at("pem"), "-inkey", self.at("key"))
        done = openssl("ts", "-reply", "-config", self.at("cnf"), "-section", "tsa", *names, "-out", self.at("reply"))
        assert done.returncode == 0
        return self.at("reply").read_bytes()

    def resigned(self, token: bytes) -> bytes:
        """What a token says under this signature. For certificates with which ``openssl ts`` refuses to stamp."""
        self.at("token").write_bytes(token)
        openssl("cms", "-verify", "-noverify", "-inform", "DER", "-in", self.at("token"), "-out", self.at("info"))
        kind = ("-econtent_type", "1.2.840.113549.1.9.16.1.4", "-nodetach", "-binary", "-cades", "-md", "sha256")
        names = ("-signer", self.at("pem"), "-inkey", self.at("key"), "-in", self.at("info"), "-out", self.at("token"))
        openssl("cms", "-sign", *kind, *names, "-outform", "DER")
        return self.at("token").read_bytes()

    def token(self, data: bytes) -> bytes:
        """A token over some bytes, as openssl alone makes it."""
        self.at("data").write_bytes(data)
        openssl("ts", "-query", "-data", self.at("data"), "-sha256", "-cert", "-out", self.at("query"))
        self.answer(self.at("query").read_bytes())
        openssl("ts", "-reply", "-in", self.at("reply"), "-token_out", "-out", self.at("token"))
        return self.at("token").read_bytes()

    def agrees(self, data: bytes, token: bytes) -> bool:
        """Whether openssl says that the token stamps these bytes."""
        self.at("line").write_bytes(data)
        self.at("token").write_bytes(token)
        what = ("-data", self.at("line"), "-in", self.at("token"), "-token_in", "-CAfile", self.ca)
        return openssl("ts", "-verify", *what, check=False).returncode == 0


Way = Callable[[BaseHTTPRequestHandler, bytes, threading.Event], None]
"""Answers one request with this body; the event: the server ends."""


class AuthorityServer:
    """HTTP, with ``tls`` HTTPS, on a free port of 127.0.0.1. Use as a context manager."""

    def __init__(self, way: Way, tls: ssl.SSLContext | None = None) -> None:
        self._scheme = "https" if tls else "http"
        self.way = way
        self.requests = 0
        self.ending = threading.Event()
        house = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                house.requests += 1
                query = self.rfile.read(int(self.headers["Content-Length"]))
                assert self.headers["Content-Type"] == "application/timestamp-query"
                try:
                    house.way(self, query, house.ending)
                except OSError:
                    self.close_connection = True  # the client had enough

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if tls:
            # Each connection shakes hands in its own thread, at its first byte.
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    @property
    def url(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self._server.server_port}/tsr"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ending.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def replying(answer: Callable[[bytes], bytes], status: int = 200, **headers: str) -> Way:
    """Answers as HTTP does."""

    def way(handler: BaseHTTPRequestHandler, query: bytes, ending: threading.Event) -> None:
        body = answer(query)
        handler.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body)

    return way


def silent(handler: BaseHTTPRequestHandler, query: bytes, ending: threading.Event) -> None:
    """Says nothing."""
    ending.wait(30)


def dripping(handler: BaseHTTPRequestHandler, query: bytes, ending: threading.Event) -> None:
    """Says one byte after another, for ever."""
    handler.send_response(200)
    handler.end_headers()
    while not ending.wait(0.02):
        handler.wfile.write(b"\x30")
        handler.wfile.flush()


def endless_head(handler: BaseHTTPRequestHandler, query: bytes, ending: threading.Event) -> None:
    """Says one interim answer after another."""
    while not ending.is_set():
        handler.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000)
