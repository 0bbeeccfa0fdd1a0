"""Whom a serving archive believes at its door, from what lies in files and records. Part of the composition root."""

from pathlib import Path

from archive.bootstrap import Archive
from auth.node.ocsp import Responder
from auth.node.peer import NodeVerifier
from auth.node.tls import ServerTls
from auth.node.trust import Trust, load_trust
from storage.clock import now


class BelievedNodes:
    """The listeners' TLS and the checks behind it, read together and read again together."""

    def __init__(self, archive: Archive) -> None:
        """Read everything for the first time.

        Raises:
            AuthError: certificates, keys, the facility's authorities or a revocation list cannot be used.
        """
        settings, home, authority = archive.settings.tls, archive.home, archive.authority
        self._facility = home.inside(Path(settings.facility_ca)) if settings.facility_ca else None
        self._revoked = home.inside(settings.revoked)
        self._authorities = (authority.root, authority.node_ca)
        self._identities = authority.files.server_identities
        trust = self._read()
        self.tls = ServerTls(self._identities, authority.node_ca, archive.nodes, trust.anchors)
        responder = Responder(settings.ocsp_url, settings.ocsp_seconds, now) if settings.ocsp_url else None
        self.verifier = NodeVerifier(
            archive.nodes,
            authority.node_ca,
            trust=trust,
            facility_role=settings.facility_role,
            responder=responder,
        )

    @property
    def files(self) -> tuple[Path, ...]:
        """What is read: files, and the folder of lists."""
        facility = () if self._facility is None else (self._facility,)
        return (*(path for pair in self._identities for path in pair), *facility, self._revoked)

    def reload(self) -> None:
        """Read everything again; all of it counts from now on, or nothing.

        Raises:
            AuthError: something cannot be used, and what was read before still counts.
        """
        trust = self._read()
        self.tls.reload(trust.anchors)
        self.verifier.believe(trust)

    def _read(self) -> Trust:
        return load_trust(self._facility, self._revoked, self._authorities)
