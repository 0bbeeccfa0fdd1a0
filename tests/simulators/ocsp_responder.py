"""An OCSP responder that says of each certificate what it is told to, and can misbehave (RFC 6960)."""

import http.server
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

from tests.simulators.certificates import Made


class OcspResponder:
    """Answers over HTTP on a free loopback port. ``signer`` is the issuer unless a test gives it another."""

    def __init__(self, issuer: Made) -> None:
        self.issuer = self.signer = issuer
        self.good: list[Made] = []
        self.revoked: list[Made] = []
        self.ends = timedelta(hours=1)
        self.status = 200
        self.speaks_of: Made | None = None
        self.asked = 0
        self.tampered: Callable[[bytes], bytes] = lambda answer: answer
        owner = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                owner.asked += 1
                body = owner.answer(self.rfile.read(int(self.headers["Content-Length"])))
                self.send_response(owner.status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/"

    def __enter__(self) -> "OcspResponder":
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(self, request: bytes) -> bytes:
        """The response to one request, DER."""
        asked = ocsp.load_der_ocsp_request(request).serial_number
        known = {each.certificate.serial_number: each for each in (*self.good, *self.revoked)}
        subject = self.speaks_of or known.get(asked)
        if subject is None:
            refusal = ocsp.OCSPResponseBuilder.build_unsuccessful(ocsp.OCSPResponseStatus.UNAUTHORIZED)
            return refusal.public_bytes(Encoding.DER)
        now = datetime.now(UTC)
        gone = any(each is subject for each in self.revoked)
        builder = ocsp.OCSPResponseBuilder().add_response(
            cert=subject.certificate,
            issuer=self.issuer.certificate,
            algorithm=hashes.SHA1(),
            cert_status=ocsp.OCSPCertStatus.REVOKED if gone else ocsp.OCSPCertStatus.GOOD,
            this_update=now + min(self.ends, timedelta()) - timedelta(minutes=1),
            next_update=now + self.ends,
            revocation_time=now - timedelta(days=1) if gone else None,
            revocation_reason=None,
        )
        builder = builder.responder_id(ocsp.OCSPResponderEncoding.HASH, self.signer.certificate)
        if self.signer is not self.issuer:
            builder = builder.certificates([self.signer.certificate])
        return self.tampered(builder.sign(self.signer.key, hashes.SHA256()).public_bytes(Encoding.DER))
