"""AuditEvents to a FHIR repository, one POST each (the FHIR feed of IHE ITI-20): an answer says what came of each."""

import http.client
import json
from pathlib import Path
from typing import Final
from xml.etree import ElementTree

from archive.audit.forward.fhir import audit_event
from archive.audit.forward.link import MessageRefused, RepositoryUnavailable
from archive.audit.forward.target import AuditTarget
from archive.audit.forward.tls import connected, cut
from archive.audit.trail_format import TrailRecord

_REFUSES: Final = frozenset({400, 409, 410, 412, 413, 414, 415, 422})
"""Answers about this one message. All other failures are about us, the place or the moment (401 and 403, 404, 408, 429,
5xx): there every message would fare alike, so all wait."""
_ANSWER_BYTES: Final = 65_536


class FhirLink:
    """One HTTPS connection at a time, kept open between messages."""

    lasting = True

    def __init__(self, target: AuditTarget, identity: tuple[Path, Path]) -> None:
        """Connect. Raises `RepositoryUnavailable`."""
        self._target = target
        self._identity = identity
        self._path = target.path.rstrip("/") + "/AuditEvent"
        self._connection = self._connected()
        self._used = False

    def send(self, record: TrailRecord, xml: str) -> int:
        """As `Link.send`."""
        del record  # the message says it all
        try:
            body = json.dumps(audit_event(xml)).encode()
        except (ElementTree.ParseError, LookupError) as error:
            raise MessageRefused(f"it is no audit message ({type(error).__name__})") from None
        try:
            status = self._post(body)
        except (OSError, http.client.HTTPException) as error:
            if not self._used:
                raise RepositoryUnavailable(f"it broke off: {type(error).__name__}") from None
            # A kept connection that the server ended meanwhile says nothing; a new one will.
            status = self._post_anew(body)
        self._used = True
        if status in _REFUSES:
            raise MessageRefused(f"status {status}")
        if not 200 <= status < 300:
            raise RepositoryUnavailable(f"it answers with status {status}")
        return len(body)

    def flush(self) -> None:
        """Nothing waits here."""

    def confirm(self) -> None:
        """Every answer has been heard already."""

    def close(self) -> None:
        """As `Link.close`."""
        self._connection.close()

    def abort(self) -> None:
        """As `Link.abort`."""
        if (plain := self._connection.sock) is not None:
            cut(plain)

    def _connected(self) -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection(*self._target.address)
        # It may never open a connection of its own, which would be without TLS.
        connection.auto_open = 0
        connection.sock = connected(self._target, self._identity)
        connection.sock.settimeout(self._target.deadline.total_seconds())
        return connection

    def _post_anew(self, body: bytes) -> int:
        self._connection.close()
        self._connection = self._connected()
        try:
            return self._post(body)
        except (OSError, http.client.HTTPException) as error:
            raise RepositoryUnavailable(f"it broke off: {type(error).__name__}") from None

    def _post(self, body: bytes) -> int:
        headers = {
            "Content-Type": "application/fhir+json",
            "Accept": "application/fhir+json",
            "Prefer": "return=minimal",
        }
        self._connection.request("POST", self._path, body, headers)
        answer = self._connection.getresponse()
        if len(answer.read(_ANSWER_BYTES)) == _ANSWER_BYTES:
            self._connection.close()
        return answer.status
