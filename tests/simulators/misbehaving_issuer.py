"""An issuer of tokens that does not answer as it should: what each connection gets is the test's script."""

import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Self

from archive.lab.tls import make_tls

Script = Callable[[ssl.SSLSocket, "MisbehavingIssuer"], None]


class MisbehavingIssuer:
    """TLS on a free port of 127.0.0.1. Use as a context manager: every connection ends with it."""

    def __init__(self, folder: Path, script: Script, *, tls: bool = True) -> None:
        """``script`` gets a connection after its handshake; without ``tls``, as it was accepted."""
        make_tls(folder, "127.0.0.1")
        self.ca = folder / "ca.pem"
        self.connections = 0
        self.ending = threading.Event()
        self._script = script
        self._context: ssl.SSLContext | None = None
        if tls:
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._context.load_cert_chain(folder / "server.pem", folder / "server.key")
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(0.05)
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    @property
    def port(self) -> int:
        return self._listener.getsockname()[1]

    def url(self, path: str = "/.well-known/openid-configuration", host: str = "127.0.0.1") -> str:
        return f"https://{host}:{self.port}{path}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.ending.set()
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def _accept(self) -> None:
        while not self.ending.is_set():
            with suppress(TimeoutError):
                connection, _ = self._listener.accept()
                self.connections += 1
                thread = threading.Thread(target=self._serve, args=(connection,))
                self._threads.append(thread)
                thread.start()

    def _serve(self, connection: socket.socket) -> None:
        connection.settimeout(5)
        with suppress(OSError), connection:
            if self._context is None:
                self._script(connection, self)  # type: ignore[arg-type]
            else:
                with self._context.wrap_socket(connection, server_side=True) as shaken:
                    self._script(shaken, self)


def silent(connection: socket.socket, issuer: MisbehavingIssuer) -> None:
    """Says nothing, for as long as it is let."""
    issuer.ending.wait(30)


def says(answer: bytes, repeated: bytes = b"", every: float = 0.0) -> Script:
    """Answers a request with these bytes, then with ``repeated`` for ever, every so many seconds."""

    def script(connection: socket.socket, issuer: MisbehavingIssuer) -> None:
        connection.recv(4096)
        connection.sendall(answer)
        while repeated and not issuer.ending.wait(every):
            connection.sendall(repeated)

    return script


def answer(body: bytes, status: str = "200 OK", *headers: str) -> Script:
    """Answers a request as HTTP does."""
    lines = (f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", "")
    return says("\r\n".join(lines).encode() + body)
