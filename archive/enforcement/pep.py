"""The policy enforcement point: the one place that asks whether, and the only one that makes a grant.

Every operation of every association comes through here, with the session that admission froze. The order is fixed:

1. standing: node and person as they are registered now (`archive.enforcement.standing`);
2. the decision of `auth.policy.engine`, person and node each, or the residual where the study is not known yet;
3. obligations: what this release cannot do denies; a rule that permits and flags has a security officer told first;
4. for a denial, or for anything that went wrong on the way: one `AccessRefused`, then `AccessDenied`.

An action on an object of no patient is another action than one on a study (`auth.policy.model.NON_PATIENT`), and
neither reaches what the other is about.

What must never live here: knowledge of policies, of SQL, or of the wire.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final, NoReturn, Protocol

from archive.audit.events import AccessRefused, Actor, Alert, AuditEvent, Outcome, SecurityAlert
from archive.enforcement.attributes import UnknownKeyword, hidden_tags, object_of, resource_of
from archive.enforcement.grant import _SEAL, Grant, ScopedGrant
from archive.enforcement.scope import scope_of
from archive.enforcement.standing import NotInGoodStanding, Standing
from archive.enforcement.truth import NotCompilable
from archive.session import AssociationSession
from auth.errors import AccessDenied
from auth.policy.engine import MAX_REMEMBERED, PolicyEngine
from auth.policy.labelling import NO_LABELS, Labels, failed
from auth.policy.model import NON_PATIENT, AccessRequest, Action, Decision, Obligations, Residual
from auth.principal import NodeIdentity
from storage import non_patient
from storage.index.predicate import OneOf, Predicate, all_of
from storage.instance import InstanceRows, StudyFacts

_MASKED: Final = frozenset({Action.QUERY, Action.RETRIEVE, Action.MOVE, Action.RECEIVE})
"""Actions that know how to leave attributes out."""
_FLAGGED_AT_ONCE: Final = frozenset({Action.QUERY, Action.READ_NON_PATIENT})
_NO_PATIENT: Final = OneOf("study_uid", tuple(sorted(non_patient.CLASSES)))
_STUDIES: Final = replace(_NO_PATIENT, negated=True)
"""What actions on studies reach: not what is filed in the place of one and is none."""
_NO_STUDY: Final = Decision(False, "it is permitted on objects of no patient alone")


_UNVOUCHED: Final = Decision(False, "what the index says of the study is not what this archive wrote there")


class AuditRecorder(Protocol):
    """Where denials are told (`archive.audit.log.AuditLog`)."""

    def record(self, *events: AuditEvent) -> None:
        """Put the events on stable storage. Raises `AuditUnavailable`."""


class BrokenGlass(Protocol):
    """Where overrides are kept (`archive.records.overrides.OverrideRecords`)."""

    def active(self, person: str, node: str) -> object | None:
        """What counts for a person at a node now; None: nothing."""


class UnbrokenGlass:
    """Nobody ever breaks it."""

    def active(self, person: str, node: str) -> None:
        """See `BrokenGlass.active`."""


class PolicyEnforcementPoint:
    """Asks the decision point on behalf of the services. Safe to share among threads."""

    def __init__(
        self,
        engine: PolicyEngine,
        audit: AuditRecorder,
        standing: Standing,
        *,
        glass: BrokenGlass | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """``clock`` gives aware times."""
        self._engine = engine
        self._audit = audit
        self._standing = standing
        self._glass = glass or UnbrokenGlass()
        self._clock = clock
        self._scopes: dict[int, tuple[tuple[Residual, ...], Predicate]] = {}

    def associate(self, session: AssociationSession) -> Grant:
        """May this association exist at all?

        Raises:
            AccessDenied: no; it is already in the audit trail, as are the denials of every method here.
            AuditUnavailable: no, and not even that could be written down.
        """
        return self._grant(Action.ASSOCIATE, session)

    def echo(self, session: AssociationSession) -> Grant:
        """May it be answered a C-ECHO? Raises as `associate`."""
        return self._grant(Action.ECHO, session)

    def administer(self, session: AssociationSession) -> Grant:
        """May the person change users, nodes, labels and settings? Raises as `associate`."""
        return self._grant(Action.ADMINISTER, session)

    def break_glass(self, session: AssociationSession) -> Grant:
        """May the person break the glass at this node? Raises as `associate`."""
        return self._grant(Action.BREAK_GLASS, session)

    def store(self, session: AssociationSession, facts: StudyFacts, sop_class: str) -> Grant:
        """May it add an object of this SOP class to this study?

        Where no policy about stores reads the study (the rule as shipped), this costs one look into a cache.
        Raises as `associate`.
        """
        return self._grant(Action.STORE, session, facts, sop_class)

    def labels(self, session: AssociationSession, rows: InstanceRows) -> Labels:
        """Which labels an object gives the study that it may be stored into. Never raises; what fails shuts the study.

        Where there are no label rules, this costs nothing.
        """
        if not self._engine.labels_objects:
            return NO_LABELS
        try:
            request = self._request(Action.STORE, session, str(rows.instance["sop_class_uid"]))
        except NotInGoodStanding as error:
            return failed(f"the label rules could not be asked: {error}")
        return self._engine.labels(request, object_of(rows))

    def delete(self, session: AssociationSession, facts: StudyFacts) -> Grant:
        """May it take objects of this study away? Raises as `associate`."""
        return self._grant(Action.DELETE, session, facts)

    def commit(self, session: AssociationSession, sop_class: str) -> ScopedGrant:
        """About the objects of which studies may it ask whether they are committed? Raises as `associate`."""
        return self._scoped(Action.COMMIT, session, sop_class)

    def query(self, session: AssociationSession, sop_class: str) -> ScopedGrant:
        """Which studies may it match, and which attributes stay hidden? ``sop_class`` is that of the request.

        Denied where no study whatever is within reach; a scope that reaches none of those kept is no denial.
        Raises as `associate`.
        """
        return self._scoped(Action.QUERY, session, sop_class)

    def retrieve(self, session: AssociationSession, sop_class: str) -> ScopedGrant:
        """Of which studies may it have the objects, and without which attributes? Raises as `associate`."""
        return self._scoped(Action.RETRIEVE, session, sop_class)

    def move(self, session: AssociationSession, sop_class: str, destination: NodeIdentity | None = None) -> ScopedGrant:
        """Of which studies may it have the objects sent to another node? What that one may have, `receive` says.

        ``destination`` is None where there is no such node, which a policy may deny as well. Raises as `associate`.
        """
        return self._scoped(Action.MOVE, session, sop_class, destination=destination)

    def receive(self, session: AssociationSession, destination: AssociationSession, sop_class: str) -> ScopedGrant:
        """Of which studies may ``destination`` have the objects that ``session`` wants sent there?

        The destination is decided as the node alone. Raises as `associate`; the audit names who asked.
        """
        return self._scoped(Action.RECEIVE, destination, sop_class, asking=session)

    def reach(self, session: AssociationSession) -> Callable[[Action, str], bool]:
        """What the session may do at all with a SOP class, on whatever study, at whatever moment of this association.

        No is certain; yes is no grant. Nothing is audited.
        """
        try:
            request = self._request(Action.ASSOCIATE, session, None)
        except NotInGoodStanding:
            # Whoever is lost is told so by the operation itself, or loses the association.
            return lambda action, sop_class: True

        def ever(action: Action, sop_class: str) -> bool:
            if sop_class in non_patient.SERVICES or sop_class in non_patient.CLASSES:
                action = NON_PATIENT[action]
            return self._engine.ever(replace(request, action=action, context={"sop_class": sop_class}))

        return ever

    def redecide(self, grant: ScopedGrant, facts: StudyFacts) -> bool:
        """Does the policy itself permit this study, now, and hide nothing that the grant does not hide?

        The scope has selected the study already; where this disagrees, something is wrong. A denial is not audited
        here; that a flagged rule permits the study is, once for each grant, and so is a study of which the index does
        not say what this archive wrote. Raises `AuditUnavailable`.
        """
        (decision,) = self._again(grant, (facts,))
        if decision is _UNVOUCHED and facts.study_uid not in grant.told:
            alert = Alert.OBJECT_SECURITY_ATTRIBUTES_CHANGED.value
            actor = Actor.of(grant.session)
            self._audit.record(
                SecurityAlert(actor, Outcome.SERIOUS_FAILURE, "", alert, decision.reason, facts.study_uid)
            )
            grant.told.add(facts.study_uid)
        if not _still(grant, decision):
            return False
        if decision.obligations.flag and facts.study_uid not in grant.told:
            self._flag(grant.action, grant.session, decision.obligations.flag, facts.study_uid)
            grant.told.add(facts.study_uid)
        return True

    def redecide_all(self, grant: ScopedGrant, studies: Sequence[StudyFacts]) -> list[bool]:
        """Whether each of many studies is permitted, in their order; in one call, far cheaper than one by one.

        Nothing is audited: that a flagged rule may permit a query was told when it was granted.
        """
        return [_still(grant, decision) for decision in self._again(grant, studies)]

    def _again(self, grant: ScopedGrant, studies: Sequence[StudyFacts]) -> list[Decision]:
        try:
            request = self._request(grant.action, grant.session, grant.sop_class, destination=grant.destination)
        except NotInGoodStanding as error:
            return [Decision(False, str(error))] * len(studies)
        decisions = self._engine.decide_all(request, [(facts.study_uid, resource_of(facts)) for facts in studies])
        about_studies = grant.action in NON_PATIENT
        strange = [(facts.study_uid in non_patient.CLASSES) is about_studies for facts in studies]
        other = _NO_STUDY
        if about_studies and any(strange):
            other = self._engine.decide(replace(request, action=NON_PATIENT[grant.action]))
        return [
            _UNVOUCHED if not facts.vouched else other if odd else decision
            for facts, odd, decision in zip(studies, strange, decisions, strict=True)
        ]

    def _grant(
        self,
        action: Action,
        session: AssociationSession,
        facts: StudyFacts | None = None,
        sop_class: str | None = None,
    ) -> Grant:
        study_uid = facts.study_uid if facts else ""
        if study_uid in non_patient.CLASSES:
            action = NON_PATIENT.get(action, action)
        try:
            request = self._request(action, session, sop_class, facts)
        except NotInGoodStanding as error:
            self._deny(action, session, str(error), study_uid)
        decision = self._engine.decide(request) if facts is None or facts.vouched else _UNVOUCHED
        if not decision.permitted:
            self._deny(action, session, decision.reason, study_uid)
        if decision.obligations.hide:
            self._deny(action, session, f"it would have to hide attributes; {decision.reason}", study_uid)
        self._flag(action, session, decision.obligations.flag, study_uid)
        return Grant(action=action, session=session, sop_class=sop_class, reason=decision.reason, seal=_SEAL)

    def _scoped(
        self,
        action: Action,
        session: AssociationSession,
        sop_class: str,
        *,
        asking: AssociationSession | None = None,
        destination: NodeIdentity | None = None,
    ) -> ScopedGrant:
        """The studies that ``session`` may act on; ``asking``: whom the audit names, if that is somebody else."""
        teller = asking or session
        if sop_class in non_patient.SERVICES:
            action = NON_PATIENT[action]
        try:
            request = self._request(action, session, sop_class, destination=destination)
        except NotInGoodStanding as error:
            self._deny(action, teller, str(error))
        residuals = self._engine.residuals(request)
        if any(residual.constant is False for residual in residuals):
            self._deny(action, teller, self._engine.decide(request).reason)
        obligations = Obligations()
        for residual in residuals:
            obligations = obligations.union(residual.obligations)
        if obligations.unknown:
            names = ", ".join(sorted(obligations.unknown))
            self._deny(action, teller, f"nobody here carries out the obligation {names}")
        if obligations.hide and action not in _MASKED:
            self._deny(action, teller, f"objects would have to be masked: {', '.join(sorted(obligations.hide))}")
        try:
            hidden = hidden_tags(obligations.hide)
            keys = frozenset(hidden_tags(group) for group in obligations.keys)
            scope = all_of(self._scope_of(residuals), _STUDIES if action in NON_PATIENT else _NO_PATIENT)
        except (UnknownKeyword, NotCompilable) as error:
            self._deny(action, teller, f"the policy cannot be applied to queries: {error}", alert=True)
        if action in _FLAGGED_AT_ONCE:
            # Which rows a flagged rule lets through is known only once they are read, and the alert comes before that.
            self._flag(action, teller, obligations.flag)
        permits = sorted({policy.policy_id for residual in residuals for policy in residual.permits})
        return ScopedGrant(
            action=action,
            session=session,
            sop_class=sop_class,
            reason=f"by {', '.join(permits)}",
            scope=scope,
            hidden=hidden,
            destination=destination,
            results=obligations.results,
            keys=keys,
            volume=obligations.volume,
            seal=_SEAL,
        )

    def _scope_of(self, residuals: tuple[Residual, ...]) -> Predicate:
        """The scope of residuals; the engine remembers those by generation, so the same ones come again and again."""
        known = self._scopes.get(id(residuals))
        if known is not None and known[0] is residuals:
            return known[1]
        scope = scope_of(residuals)
        if len(self._scopes) >= MAX_REMEMBERED:
            self._scopes.clear()
        self._scopes[id(residuals)] = (residuals, scope)
        return scope

    def _request(
        self,
        action: Action,
        session: AssociationSession,
        sop_class: str | None,
        facts: StudyFacts | None = None,
        *,
        destination: NodeIdentity | None = None,
    ) -> AccessRequest:
        subjects = self._standing.subjects(session)
        request = AccessRequest(
            action=action,
            node=subjects.node,
            principal=subjects.principal,
            assurance=session.assurance,
            resource_id=facts.study_uid if facts else None,
            resource=resource_of(facts) if facts else None,
            context={} if sop_class is None else {"sop_class": sop_class},
            source=session.peer_address,
            destination=destination,
            moment=self._clock(),
        )
        if action is Action.BREAK_GLASS or subjects.principal is None:
            return request
        if self._glass.active(subjects.principal.name, subjects.node.name) is None:
            return request
        # The override is worth what the policy makes of it now: a person who may break no glass any more has none.
        broken = replace(request, action=Action.BREAK_GLASS, resource_id=None, resource=None)
        return replace(request, break_glass=self._engine.decide(broken).permitted)

    def _flag(self, action: Action, session: AssociationSession, words: frozenset[str], study_uid: str = "") -> None:
        """Tell a security officer that rules which are flagged permit an action. Raises `AuditUnavailable`."""
        actor = Actor.of(session)
        alerts = [
            SecurityAlert(actor, description=f"{action.value} permitted and flagged by {flagged}", study_uid=study_uid)
            for flagged in sorted(words)
        ]
        if alerts:
            self._audit.record(*alerts)

    def _deny(
        self, action: Action, session: AssociationSession, reason: str, study_uid: str = "", *, alert: bool = False
    ) -> NoReturn:
        """Tell the trail, then raise. ``alert``: it is the policy that is at fault, and an officer should look."""
        actor = Actor.of(session)
        events: list[AuditEvent] = [
            AccessRefused(actor, Outcome.MINOR_FAILURE, reason, action=action.value, study_uid=study_uid)
        ]
        if alert:
            events.append(
                SecurityAlert(
                    actor,
                    Outcome.SERIOUS_FAILURE,
                    alert=Alert.SECURITY_CONFIGURATION.value,
                    description=f"{action.value}: {reason}",
                )
            )
        self._audit.record(*events)
        raise AccessDenied(action.value, reason)


def _still(grant: ScopedGrant, decision: Decision) -> bool:
    return decision.permitted and _covered(decision.obligations, grant.hidden)


def _covered(obligations: Obligations, hidden: frozenset[int]) -> bool:
    """Whether a grant that hides these tags does all that a decision obliges to."""
    try:
        return hidden_tags(obligations.hide) <= hidden
    except UnknownKeyword:
        return False
