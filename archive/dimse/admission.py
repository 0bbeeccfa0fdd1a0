"""The one door: from a peer and its A-ASSOCIATE-RQ to a session, or to a rejection, in numbered steps.

Each refusal is in the audit exactly once, with its reason; the peer learns three numbers (PS3.8 9.3.4):

* (1, 2, 2) protocol version, (1, 1, 2) application context;
* (1, 1, 3) calling AE title not recognized: an unknown or refused certificate, a title that is not its node's, and a
  node that may not associate, none of which a peer can tell apart;
* (1, 1, 7) called AE title not recognized;
* (1, 2, 1) no reason given: an identity that is missing or not good (PS3.7 D.3.3.7.3), or a person who may not
  associate;
* (2, 3, 1) temporary congestion: the audit cannot be written, or a check itself failed. Nobody is let in unchecked.
"""

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final, NoReturn, Protocol
from uuid import uuid4

from archive.audit.events import (
    AccessRefused,
    Actor,
    AuditEvent,
    NodeAuthenticated,
    NodeRefused,
    Outcome,
    SecurityAlert,
    UserAuthenticated,
)
from archive.dimse.channel import Admitted, Peer, Rejected
from archive.dimse.contexts import ContextNegotiation, Ever
from archive.enforcement.grant import Grant
from archive.errors import AuditUnavailable
from archive.session import AssociationSession
from archive.upper_layer.negotiation import (
    APPLICATION_CONTEXT,
    AssociationAnswer,
    AssociationRequest,
)
from auth.credential import Secret
from auth.errors import AccessDenied, AuthenticationFailed, CertificateRefused, TokenReplayed, UnknownNode
from auth.identity.authenticator import Authenticated, OfferedIdentity
from auth.node.peer import describe
from auth.policy.model import Action
from auth.principal import NodeIdentity

# Result, source and reason of A-ASSOCIATE-RJ (PS3.8 Table 9-21).
_VERSION: Final = (1, 2, 2)
_APPLICATION_CONTEXT: Final = (1, 1, 2)
_CALLING: Final = (1, 1, 3)
_CALLED: Final = (1, 1, 7)
_IDENTITY: Final = (1, 2, 1)
_NOT_NOW: Final = (2, 3, 1)


class NodeChecks(Protocol):
    """What is asked of `auth.node.peer.NodeVerifier`."""

    def identify(self, certificate: bytes | None) -> NodeIdentity:
        """The node of a certificate. Raises `UnknownNode`, `CertificateRefused`."""

    def plain(self, ae_title: str) -> NodeIdentity:
        """The node of an AE title without TLS. Raises `UnknownNode`."""

    def may_call(self, node: NodeIdentity, ae_title: str) -> bool:
        """Whether a node may call from this AE title."""


class PersonChecks(Protocol):
    """What is asked of `auth.identity.authenticator.Authenticator`."""

    def authenticate(
        self, offered: OfferedIdentity | None, node: NodeIdentity, *, tls: bool, source: str
    ) -> Authenticated:
        """Who is at the node. Raises `AuthenticationFailed`."""


class AssociateEnforcement(Protocol):
    """What is asked of `archive.enforcement.pep.PolicyEnforcementPoint`."""

    def associate(self, session: AssociationSession) -> Grant:
        """May this association exist? Raises `AccessDenied`, audited."""

    def reach(self, session: AssociationSession) -> Ever:
        """What it may do at all before the association ends."""


class GlassBreaking(Protocol):
    """What is asked of `archive.services.glass.GlassService`."""

    def break_at(self, session: AssociationSession, reason: str) -> None:
        """Break the glass for the person of a session. Raises `AccessDenied`, audited."""


class AuditRecorder(Protocol):
    """Where every admission and refusal is told (`archive.audit.log.AuditLog`)."""

    def record(self, *events: AuditEvent) -> None:
        """Put the events on stable storage. Raises `AuditUnavailable`."""


class AssociationAdmission:
    """Implements `archive.dimse.channel.Admission`. Shared by all connections; thread-safe."""

    def __init__(
        self,
        *,
        ae_title: str,
        nodes: NodeChecks,
        people: PersonChecks,
        pep: AssociateEnforcement,
        glass: GlassBreaking,
        audit: AuditRecorder,
        contexts: ContextNegotiation,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._ae_title = ae_title
        self._nodes = nodes
        self._people = people
        self._pep = pep
        self._glass = glass
        self._audit = audit
        self._contexts = contexts
        self._clock = clock

    def admit(self, peer: Peer, request: AssociationRequest) -> Admitted:
        """Check a request from a peer whose TLS handshake succeeded (or that came without TLS).

        Raises:
            Rejected: with the numbers of the A-ASSOCIATE-RJ; already in the audit, unless the audit is what failed.
        """
        actor = Actor(ae_title=_visible(request.calling_ae) or None, address=peer.address, association=uuid4().hex)
        try:
            return self._admit(peer, request, actor)
        except Rejected:
            raise
        except AuditUnavailable as error:
            raise Rejected(*_NOT_NOW) from error
        except Exception as error:
            # A check that fails is a check not passed. Its text may quote what the peer sent, so only its kind is told.
            with suppress(AuditUnavailable):
                self._audit.record(_refused(actor, peer, f"a check failed ({type(error).__name__})"))
            raise Rejected(*_NOT_NOW) from error

    def _admit(self, peer: Peer, request: AssociationRequest, actor: Actor) -> Admitted:
        # 1 Protocol version: bit 0 stands for version 1 (PS3.8 9.3.1).
        if not request.protocol_version & 1:
            self._refuse_node(_VERSION, actor, peer, "protocol version 1 is not among those offered")
        # 2 Application context: there is one (PS3.7 A.2.1).
        if request.application_context != APPLICATION_CONTEXT:
            self._refuse_node(_APPLICATION_CONTEXT, actor, peer, "not the DICOM application context")
        # 3 The node: by its certificate, and by its title only where there is no TLS.
        try:
            node = self._nodes.identify(peer.certificate) if peer.tls else self._nodes.plain(request.calling_ae)
        except (UnknownNode, CertificateRefused) as error:
            self._refuse_node(_CALLING, actor, peer, str(error))
        actor = Actor(node=node.name, ae_title=actor.ae_title, address=actor.address, association=actor.association)
        # 4 It means us.
        if request.called_ae != self._ae_title:
            self._refuse_node(_CALLED, actor, peer, "the called AE title is not ours")
        # 5 The calling AE title is one of the node's; a facility's node takes none of a registered one.
        if not self._nodes.may_call(node, request.calling_ae):
            self._refuse_node(_CALLING, actor, peer, "the calling AE title does not belong to the node")
        # 6 The person: demanded, offered, verified (PS3.7 D.3.3.7).
        try:
            authenticated = self._people.authenticate(_offered(request), node, tls=peer.tls, source=peer.address)
        except AuthenticationFailed as error:
            self._refuse_person(actor, request, error)
        # 7 The session, frozen; nobody reads a certificate or credential again.
        session = AssociationSession(
            node=node,
            principal=authenticated.principal,
            assurance=authenticated.assurance,
            calling_ae=request.calling_ae,
            called_ae=request.called_ae,
            peer_address=peer.address,
            correlation_id=actor.association or "",
            established=self._clock(),
        )
        # 8 The policy, also on breaking the glass; the enforcement point has told the audit of a denial.
        try:
            self._pep.associate(session)
            if authenticated.breaks_glass is not None:
                self._glass.break_at(session, authenticated.breaks_glass)
        except AccessDenied as error:
            raise Rejected(*(_IDENTITY if session.principal else _CALLING)) from error
        # 9 Presentation contexts, roles, extended negotiation: for what policy may ever permit here.
        agreed = self._contexts.agreed(request, self._pep.reach(session))
        # 10 Sub-item 59H: where a response was asked for and an identity was verified, and nowhere else (PS3.7
        # D.3.3.7.2).
        offered = request.user_identity
        wanted = offered is not None and offered.positive_response_requested
        answer = AssociationAnswer(
            contexts=agreed.contexts,
            roles=agreed.roles,
            user_identity_response=authenticated.server_response if wanted else None,
            extended=agreed.extended,
        )
        # The admission is on record before the peer hears of it.
        identity_type = authenticated.assurance.identity_type
        self._audit.record(
            UserAuthenticated(Actor.of(session), identity_type=identity_type or 0)
            if session.principal
            else NodeAuthenticated(Actor.of(session)),
            *(_never(session, action) for action in agreed.refused),
        )
        return Admitted(session, answer)

    def _refuse_node(self, numbers: tuple[int, int, int], actor: Actor, peer: Peer, reason: str) -> NoReturn:
        self._audit.record(_refused(actor, peer, reason))
        raise Rejected(*numbers)

    def _refuse_person(self, actor: Actor, request: AssociationRequest, error: AuthenticationFailed) -> NoReturn:
        offered = request.user_identity
        claimed = _visible(error.claimed or "")
        events: list[AuditEvent] = [
            UserAuthenticated(
                actor,
                Outcome.MINOR_FAILURE,
                error.reason,
                identity_type=offered.identity_type if offered else 0,
                claimed=claimed,
            )
        ]
        if isinstance(error, TokenReplayed):
            # Whoever presents what another node presented first may have stolen it.
            events.append(SecurityAlert(actor, Outcome.SERIOUS_FAILURE, error.reason, description=f"of {claimed}"))
        self._audit.record(*events)
        raise Rejected(*_IDENTITY) from error


def _refused(actor: Actor, peer: Peer, reason: str) -> NodeRefused:
    certificate = describe(peer.certificate) if peer.certificate else ""
    return NodeRefused(actor, Outcome.MINOR_FAILURE, reason, certificate)


def _never(session: AssociationSession, action: Action) -> AccessRefused:
    reason = "no presentation context was accepted: it may be done to no study at no time of this association"
    return AccessRefused(Actor.of(session), Outcome.MINOR_FAILURE, reason, action=action.value)


def _offered(request: AssociationRequest) -> OfferedIdentity | None:
    item = request.user_identity
    if item is None:
        return None
    return OfferedIdentity(item.identity_type, Secret(item.primary), Secret(item.secondary))


def _visible(text: str) -> str:
    """What a peer claims, fit for a record: no control characters."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)
