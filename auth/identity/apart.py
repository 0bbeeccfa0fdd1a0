"""One provider behind different guards: whoever is inside is not held up by a crowd that wants in."""

from typing import Protocol

from auth.credential import Credential
from auth.identity.chain import NOT_MINE, Provider, Verdict, Vouched
from auth.principal import NodeIdentity, Principal


class Router(Protocol):
    """Says whose a credential is, without believing it."""

    def is_mine(self, credential: Credential) -> bool:
        """Whether the credential claims to be this provider's to judge. Asks nobody."""


class Apart:
    """A `Provider` whose logins go to ``door``, and whose people inside are asked about at ``desk``."""

    def __init__(self, door: Provider, desk: Provider, router: Router | None = None) -> None:
        """``router``: tells what is somebody else's, so that a dead issuer stands in nobody else's way."""
        self._door = door
        self._desk = desk
        self._router = router
        self.name = door.name
        self.identity_types = door.identity_types

    def verify(self, credential: Credential, node: NodeIdentity) -> Vouched | Verdict:
        """What is said at the door."""
        if self._router is not None and not self._router.is_mine(credential):
            return NOT_MINE
        return self._door.verify(credential, node)

    def still(self, principal: Principal) -> Principal | None:
        """What is said at the desk."""
        return self._desk.still(principal)
