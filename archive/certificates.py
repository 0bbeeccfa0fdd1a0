"""Every certificate that an archive stands on, and how long it lasts: ours, from their files, and those of nodes."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from archive.records.nodes import NodeRecords
from auth.node.authority import AuthorityFiles
from auth.node.pem import read_certificates

OURS: Final = ("root", "node-ca", "signing-ca", "server", "server-rsa", "signer")
SOON: Final = timedelta(days=30)
"""So long before its end a certificate is warned of, unless settings say otherwise."""


class Lasting(Enum):
    """How a certificate stands to the present."""

    GOOD = "good"
    NOT_YET = "not yet valid"
    SOON = "expires soon"
    OVER = "expired"


@dataclass(frozen=True, slots=True)
class Held:
    """One certificate in use."""

    name: str
    """Of the file for ours, else of the node."""
    certificate: x509.Certificate
    of_node: bool
    until: datetime | None = None
    """Where a former certificate of a node is accepted for less long than it says itself."""

    @property
    def ends(self) -> datetime:
        """When it is not accepted any more."""
        own = self.certificate.not_valid_after_utc
        return own if self.until is None else min(own, self.until)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the DER, lower-case hexadecimal."""
        return self.certificate.fingerprint(hashes.SHA256()).hex()

    def state(self, now: datetime, soon: timedelta = SOON) -> Lasting:
        """How it stands to a moment. A former certificate ends as it was meant to: it is never warned of."""
        if now >= self.ends:
            return Lasting.OVER
        if now < self.certificate.not_valid_before_utc:
            return Lasting.NOT_YET
        return Lasting.SOON if self.until is None and self.ends - now < soon else Lasting.GOOD


def ours(files: AuthorityFiles) -> Iterator[Held]:
    """The archive's own. Raises `AuthorityError` where one cannot be read."""
    for name in OURS:
        yield Held(name, read_certificates(files.certificate(name))[0], False)


def held_by(files: AuthorityFiles, nodes: NodeRecords) -> Iterator[Held]:
    """Every certificate that is in use now.

    Raises:
        AuthorityError: one of our own cannot be read.
    """
    yield from ours(files)
    for node in nodes.all():
        if node.certificate is not None:
            yield Held(node.identity.name, x509.load_der_x509_certificate(node.certificate), True)
        for one in nodes.further(node.identity.name):
            yield Held(one.node, x509.load_der_x509_certificate(one.certificate), True, one.until)
