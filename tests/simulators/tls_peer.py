"""One TLS handshake on loopback, both ends in this process, with nothing mocked."""

import socket
import ssl
import threading
from dataclasses import dataclass


@dataclass
class Handshake:
    """What each side saw. An error of the server is what a listener would audit."""

    server_error: ssl.SSLError | OSError | None
    client_error: ssl.SSLError | OSError | None
    peer_certificate: bytes | None
    """DER of the client's leaf as the server has it."""
    server_chain_leaf: bytes | None
    version: str | None
    cipher: str | None
    resumed: bool
    session: ssl.SSLSession | None = None

    @property
    def taken(self) -> bool:
        return self.server_error is None and self.client_error is None


def handshake(
    server: ssl.SSLContext,
    client: ssl.SSLContext,
    server_name: str = "127.0.0.1",
    session: ssl.SSLSession | None = None,
) -> Handshake:
    """Connect, shake hands, exchange one byte each way (TLS 1.3 tells a client of its refusal only then), close."""
    result = Handshake(None, None, None, None, None, None, False)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            connection.settimeout(10)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            try:
                with server.wrap_socket(connection, server_side=True) as wrapped:
                    result.peer_certificate = wrapped.getpeercert(binary_form=True)
                    result.version, result.cipher = wrapped.version(), (wrapped.cipher() or ("",))[0]
                    result.resumed = bool(wrapped.session_reused)
                    wrapped.recv(1)
                    wrapped.sendall(b"!")
            except OSError as error:
                result.server_error = error
            finally:
                connection.close()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            raw = socket.create_connection(listener.getsockname(), timeout=10)
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with raw, client.wrap_socket(raw, server_hostname=server_name, session=session) as wrapped:
                result.server_chain_leaf = wrapped.getpeercert(binary_form=True)
                wrapped.sendall(b"?")
                if wrapped.recv(1) != b"!":
                    raise ConnectionResetError("closed by the server")
                result.session = wrapped.session
        except OSError as error:
            result.client_error = error
        finally:
            thread.join()
    return result
