"""Who a session's node and person are *now*: an association outlives neither a removal nor a lost role.

A session is frozen at admission; registrations go on changing. Before each decision the subjects are read anew:
gone, disabled or re-keyed denies, and roles are those that both admission and the present registration give, so
that a change can narrow a running association at once and widen it only at the next one.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

from archive.session import AssociationSession
from auth.ports import NodeStore
from auth.principal import NodeIdentity, NodeTrust, Principal


@dataclass(frozen=True, slots=True)
class Subjects:
    """Node and person as policy sees them at this moment."""

    node: NodeIdentity
    principal: Principal | None


class NotInGoodStanding(Exception):
    """The node or the person may no longer act at all; the text says why, for the audit."""


class Standing(Protocol):
    """Where the enforcement point asks who is asking now."""

    def subjects(self, session: AssociationSession) -> Subjects:
        """Node and person of a session, as they are registered now.

        Raises:
            NotInGoodStanding: one of them is gone, disabled or another than was admitted.
        """


class VouchedPeople(Protocol):
    """What is asked of `auth.identity.chain.Chain`."""

    def still(self, principal: Principal, verified_by: str | None) -> Principal | None:
        """The person now; None where whoever vouched does not any more."""


class BelievedNodes(Protocol):
    """What is asked of `auth.node.peer.NodeVerifier`."""

    def still(self, node: NodeIdentity) -> str | None:
        """Why a node's certificate is not believed any more; None where it is."""


class RegisteredStanding:
    """Standing by the register of nodes and their certificates, and by whoever vouched for the person."""

    def __init__(
        self,
        nodes: NodeStore,
        people: VouchedPeople,
        clock: Callable[[], datetime],
        believed: BelievedNodes | None = None,
    ) -> None:
        """``clock`` gives aware times; without ``believed`` only the register counts."""
        self._nodes = nodes
        self._people = people
        self._clock = clock
        self._believed = believed

    def subjects(self, session: AssociationSession) -> Subjects:
        """See `Standing.subjects`."""
        return Subjects(self._node(session), self._person(session))

    def node_lost(self, session: AssociationSession) -> str | None:
        """Why the node of a session may not be connected any more; None where it may."""
        try:
            self._node(session)
        except NotInGoodStanding as lost:
            return str(lost)
        return None

    def _node(self, session: AssociationSession) -> NodeIdentity:
        admitted = session.node
        reason = None if self._believed is None else self._believed.still(admitted)
        if reason is not None:
            raise NotInGoodStanding(f"node {admitted.name}: {reason}")
        if admitted.trust is NodeTrust.FACILITY:
            return admitted
        if admitted.trust is NodeTrust.PLAIN or admitted.fingerprint is None:
            now = self._nodes.by_title(session.calling_ae)
        else:
            now = self._nodes.by_fingerprint(admitted.fingerprint)
        if now is None or now.name != admitted.name:
            raise NotInGoodStanding(f"node {admitted.name} is no longer registered as it was admitted")
        if now.roles == admitted.roles:
            return now
        return replace(now, roles=now.roles & admitted.roles)

    def _person(self, session: AssociationSession) -> Principal | None:
        admitted = session.principal
        if admitted is None:
            return None
        assurance = session.assurance
        if assurance.valid_until is not None and self._clock() >= assurance.valid_until:
            raise NotInGoodStanding(f"the identity of {admitted.name} is past its time")
        now = self._people.still(admitted, assurance.verified_by)
        if now is None:
            raise NotInGoodStanding(f"user {admitted.name} is removed or disabled, or nobody can say")
        return now
