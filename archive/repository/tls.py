"""With which certificate the repository shows itself, and whose it takes."""

import ssl
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from archive.home import Home
from archive.settings import load_settings
from auth.node.authority import load
from auth.node.pem import read_certificates
from auth.node.tls import Identity, server_context


@dataclass(frozen=True, slots=True)
class Material:
    """Certificates and keys of the repository."""

    identities: tuple[Identity, ...]
    trusted: tuple[x509.Certificate, ...]
    """At least one: who vouches for senders."""

    @classmethod
    def from_files(cls, certificate: Path, key: Path, authorities: Path) -> "Material":
        """From PEM files of the operator's. Raises `AuthorityError`."""
        return cls(((certificate, key),), tuple(read_certificates(authorities)))

    @classmethod
    def of_home(cls, home: Home) -> "Material":
        """The archive's own: its nodes may send. Raises `SettingsInvalid`, `AuthorityError`."""
        authority = load(home.inside(load_settings(home.settings).keys.authority))
        return cls(authority.files.server_identities, (authority.node_ca,))

    def context(self) -> ssl.SSLContext:
        """The context of the listener: PS3.15 B.12, a certificate from both sides.

        Raises:
            AuthorityError: a file is missing, exposed or does not fit its key.
        """
        others = [certificate.public_bytes(Encoding.DER) for certificate in self.trusted[1:]]
        return server_context(self.identities, self.trusted[0], others)
