"""The association session: what admission verified, frozen, and carried with every request from then on."""

from dataclasses import dataclass
from datetime import datetime

from auth.principal import Assurance, NodeIdentity, Principal


@dataclass(frozen=True, slots=True)
class AssociationSession:
    """One admitted association. Nobody re-reads a certificate or a credential after this exists."""

    node: NodeIdentity
    principal: Principal | None
    """The person; None where the association runs as the node alone."""
    assurance: Assurance
    calling_ae: str
    called_ae: str
    peer_address: str
    """The numeric address the connection came from."""
    correlation_id: str
    """Ties together log lines and audit records of one association."""
    established: datetime

    @property
    def person(self) -> str | None:
        """The person's name for audit and ledger."""
        return self.principal.name if self.principal else None
