"""Storing one object: staged as it arrives, decided by policy, sealed, committed; refusals told to the audit once.

The order of one store, none of which can be skipped because each step takes what the one before made:

1. bytes into staging, encrypted and inspected on the way (`storage.ingest`);
2. the data set is the object that the command announced;
3. the enforcement point gives a grant for the study that the data set itself names; a rejection note needs more
   (`archive.services.rejection`), and is carried out before it is answered;
4. our signature (the intake may have it ready) and the trailer, on stable storage; what becomes of it by the signatures
   that it came with, and which labels it brings its study;
5. the commit: visible, in the ledger, in the audit, in the index, the labels with it.

Whatever fails before the commit leaves nothing behind. Knows nothing of the wire.
"""

from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from archive.audit.events import (
    Actor,
    Alert,
    AuditEvent,
    InstanceStored,
    Outcome,
    SecurityAlert,
    StudyTouched,
)
from archive.enforcement.grant import Grant
from archive.errors import RejectionImpossible
from archive.services.rejection import KEY_OBJECT_SELECTION, Note, NoteBuffer, Rejection
from archive.session import AssociationSession
from archive.signatures.receipt import Action, Judgement, ReceiptPolicy
from auth.errors import AccessDenied
from auth.policy.labelling import Labels
from auth.policy.model import QUARANTINE
from storage.errors import (
    DataSetLimitExceeded,
    DataSetMismatch,
    InstanceConflict,
    InstanceRemoved,
    InvalidIdentifier,
    MalformedDataSet,
    MaskedCopyRefused,
    SignatureRefused,
    StorageError,
    StudyHeld,
    UnsupportedTransferSyntax,
)
from storage.instance import (
    DeclaredInstance,
    GivenLabels,
    InstanceRows,
    ReceivedInstance,
    SealedInstance,
    StoreOutcome,
    StoreReceipt,
    StudyFacts,
)
from storage.integrity.signature_report import SignatureReport
from storage.integrity.trust import Trust

_INCOMPLETE: Final = "the data set ended before its end"
_PEER_AT_FAULT: Final = (
    DataSetLimitExceeded,
    DataSetMismatch,
    InstanceConflict,
    InvalidIdentifier,
    MalformedDataSet,
    RejectionImpossible,
    SignatureRefused,
    StudyHeld,
    UnsupportedTransferSyntax,
)


class AuditRecorder(Protocol):
    """Where refusals are told (`archive.audit.log.AuditLog`)."""

    def record(self, *events: AuditEvent) -> None:
        """Put the events on stable storage. Raises `AuditUnavailable`."""


class StoreEnforcement(Protocol):
    """What is asked of `archive.enforcement.pep.PolicyEnforcementPoint`."""

    def store(self, session: AssociationSession, facts: StudyFacts, sop_class: str) -> Grant:
        """May it add this object to this study? Raises `AccessDenied`, audited."""

    def labels(self, session: AssociationSession, rows: InstanceRows) -> Labels:
        """Which labels the object gives its study; never raises."""


class Rejections(Protocol):
    """What is asked of `archive.services.rejection.RejectionService`."""

    def check(self, session: AssociationSession, note: Note, note_uid: str) -> Rejection:
        """May the note be carried out? Raises."""

    def carry_out(self, session: AssociationSession, rejection: Rejection, note_uid: str) -> None:
        """Take its objects away."""


class MaskedNames(Protocol):
    """Where masked instances are remembered (`archive.records.masked.MaskedRecords`)."""

    def original(self, masked: str) -> str | None:
        """The original of a masked instance that has left here."""


class Intake(Protocol):
    """One object on its way into the repository."""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Take the next bytes; the view is not kept."""

    def finish(self) -> ReceivedInstance:
        """The data set is complete. Raises for what is wrong with it."""

    def discard(self) -> None:
        """Leave nothing behind; idempotent, and nothing at all once the object is committed."""


class ObjectStore(Protocol):
    """What is asked of `storage.repository.Repository`."""

    def begin(self, declared: DeclaredInstance) -> Intake:
        """Open an intake. Raises where nothing is stored at present."""

    def seal(self, received: ReceivedInstance, provenance: Mapping[str, object]) -> SealedInstance:
        """Sign and write the trailer."""

    def signatures_of(self, sealed: SealedInstance, trust: Trust) -> Sequence[SignatureReport]:
        """Check the signatures that it came with."""

    def record(self, event: str, facts: Mapping[str, object], provenance: Mapping[str, object]) -> object:
        """Commit an event that is no object."""

    def commit(self, sealed: SealedInstance, provenance: Mapping[str, object], labels: GivenLabels) -> StoreReceipt:
        """Make it visible and durable, its study labelled from the same moment on; or raise."""


class StoreService:
    """Takes objects in. Shared by all associations; thread-safe."""

    def __init__(
        self,
        repository: ObjectStore,
        pep: StoreEnforcement,
        audit: AuditRecorder,
        masked: MaskedNames,
        rejections: Rejections,
        signatures: ReceiptPolicy | None = None,
    ) -> None:
        """``signatures``: what becomes of objects by those they come with; None: they are not looked at."""
        self._rejections = rejections
        self._repository = repository
        self._pep = pep
        self._audit = audit
        self._masked = masked
        self._signatures = signatures

    def begin(self, session: AssociationSession, declared: DeclaredInstance) -> "Incoming":
        """Open an object that a command announced.

        Raises:
            StorageError: nothing of the kind is stored at present; told to the audit.
            AuditUnavailable: and that could not be told.
        """
        try:
            intake = self._repository.begin(declared)
        except StorageError as error:
            self.refused(session, declared, str(error), serious=not isinstance(error, _PEER_AT_FAULT))
            raise
        return Incoming(self, session, declared, intake)

    def refused(
        self,
        session: AssociationSession,
        declared: DeclaredInstance | None,
        reason: str,
        *,
        study: StudyTouched | None = None,
        serious: bool = False,
    ) -> None:
        """Tell the audit of an object that was not taken. ``reason`` holds nothing that the peer sent.

        Before the data set has named its study, only the object that the command announced is known.
        """
        if study is None and declared is not None:
            study = StudyTouched("", "", sop_classes={declared.sop_class_uid: 1})
        self._audit.record(
            InstanceStored(
                Actor.of(session),
                Outcome.SERIOUS_FAILURE if serious else Outcome.MINOR_FAILURE,
                reason,
                study=study,
                sop_instance_uid=declared.sop_instance_uid if declared else "",
            )
        )

    def keep(self, session: AssociationSession, received: ReceivedInstance, note: Note | None = None) -> StoreReceipt:
        """Steps 3 to 5 for an object of which every byte is staged; ``note``: it is a rejection note that says so."""
        grant = self._pep.store(session, received.rows.facts, received.key.sop_class_uid)
        if note is None:
            return self._keep(grant, received)
        uid = received.key.sop_instance_uid
        rejection = self._rejections.check(session, note, uid)
        try:
            receipt = self._keep(grant, received)
        except InstanceRemoved:
            if not rejection.done:
                raise
            # It comes again, and everything that it says was done.
            return StoreReceipt(StoreOutcome.ALREADY_KEPT, received.key, received.object_id, 0)
        self._rejections.carry_out(session, rejection, uid)
        return receipt

    def _keep(self, grant: Grant, received: ReceivedInstance) -> StoreReceipt:
        if self._masked.original(received.key.sop_instance_uid) is not None:
            raise MaskedCopyRefused("a masked copy of an object that is kept came back")
        actor = Actor.of(grant.session)
        provenance = provenance_of(actor, received)
        sealed = self._repository.seal(received, provenance)
        judgement = self._judged(sealed)
        labels = self._pep.labels(grant.session, received.rows)
        shuts = [*labels.failures, *([judgement.words] if judgement.action is Action.QUARANTINE else [])]
        always = labels.always | ({QUARANTINE} if shuts else frozenset())
        receipt = self._repository.commit(sealed, provenance, GivenLabels(labels.first, always))
        # What was stored, and labelled by it, is in the audit by the commit itself; what else there is is told here.
        events: list[AuditEvent] = []
        if receipt.outcome is StoreOutcome.ALREADY_KEPT:
            touched, uid = study_of(received), received.key.sop_instance_uid
            events.append(InstanceStored(actor, study=touched, sop_instance_uid=uid, already_kept=True))
            if shuts:
                self._quarantine(actor, received, "; ".join(shuts))
        alarming = [f"{words}, so its study is labelled {QUARANTINE}" for words in labels.failures]
        if judgement.action is not Action.ACCEPT:
            alarming.append(judgement.words)
        if receipt.differs:
            alarming.append(f"an instance disagrees with its study's first one on {', '.join(receipt.differs)}")
        events += [_changed(actor, received, words) for words in alarming]
        if events:
            self._audit.record(*events)
        return receipt

    def _judged(self, sealed: SealedInstance) -> Judgement:
        """What becomes of it by the signatures that it came with. Raises `SignatureRefused`."""
        policy, signed = self._signatures, sealed.received.signed
        if policy is None or not (signed or policy.asks_all):
            return Judgement()
        judgement = policy.judge(self._repository.signatures_of(sealed, policy.trust()) if signed else ())
        if judgement.action is Action.REFUSE:
            raise SignatureRefused(judgement.words)
        return judgement

    def _quarantine(self, actor: Actor, received: ReceivedInstance, why: str) -> None:
        """Shut the study of an object that is kept already, and so has no record of its own to say it in."""
        facts = {"study_uid": received.key.study_uid, "label": QUARANTINE}
        words = f"study {received.key.study_uid} labelled {QUARANTINE}: {why}"
        alert = Alert.OBJECT_SECURITY_ATTRIBUTES_CHANGED.value
        self._repository.record("labelled", facts, {"actor": actor.facts(), "description": words, "alert": alert})


class Incoming:
    """One object on its way in. It ends with `finish` or `abandon`; an error from `write` has ended it already."""

    def __init__(
        self, service: StoreService, session: AssociationSession, declared: DeclaredInstance, intake: Intake
    ) -> None:
        self._service = service
        self._session = session
        self._declared = declared
        self._intake = intake
        self._received: ReceivedInstance | None = None
        self._document = NoteBuffer() if declared.sop_class_uid == KEY_OBJECT_SELECTION else None
        self._ended = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Take the next bytes; the view is not kept.

        Raises:
            StorageError: what is wrong with them, or with the store. Nothing is left behind, the audit is told.
        """
        try:
            self._intake.write(data)
            if self._document is not None:
                self._document.write(data)
        except Exception as error:
            self._end(error)
            raise

    def finish(self) -> StoreReceipt:
        """Decide, seal and commit; the object is durable on return.

        Raises:
            AccessDenied: the policy does not permit it.
            StorageError: what is wrong with the data set, or with the store.
            RejectionImpossible: it is a rejection note of what is not here.
            AuditUnavailable: it could not be told.
        """
        try:
            self._received = self._intake.finish()
            note = self._document.note(self._declared.transfer_syntax) if self._document else None
            receipt = self._service.keep(self._session, self._received, note)
        except Exception as error:
            self._end(error)
            raise
        self._ended = True
        self._intake.discard()
        return receipt

    def abandon(self, reason: str = _INCOMPLETE) -> None:
        """The rest will never come: leave nothing behind and tell the audit. Does nothing where it has ended."""
        if not self._ended:
            self._ended = True
            self._intake.discard()
            self._service.refused(self._session, self._declared, reason)

    def _end(self, error: Exception) -> None:
        """Nothing is left behind, whatever it was; told once, denials by the enforcement point."""
        self._ended = True
        self._intake.discard()
        if isinstance(error, AccessDenied):
            return
        known = isinstance(error, StorageError | RejectionImpossible)
        reason = str(error) if known else f"internal failure ({type(error).__name__})"
        study = study_of(self._received) if self._received else None
        serious = not isinstance(error, _PEER_AT_FAULT)
        self._service.refused(self._session, self._declared, reason, study=study, serious=serious)


def _changed(actor: Actor, received: ReceivedInstance, words: str) -> SecurityAlert:
    """A security officer is to look at an object that was kept all the same."""
    return SecurityAlert(
        actor,
        Outcome.MINOR_FAILURE,
        alert=Alert.OBJECT_SECURITY_ATTRIBUTES_CHANGED.value,
        description=f"{words}: {received.key.sop_instance_uid}",
        study_uid=received.key.study_uid,
    )


def study_of(received: ReceivedInstance) -> StudyTouched:
    """What the audit says of the study of an object that arrived."""
    study = received.rows.study
    return StudyTouched(
        study_uid=received.key.study_uid,
        patient_id=received.rows.facts.patient_id or "",
        patient_name=str(study.get("patient_name") or ""),
        accession_number=str(study.get("accession_number") or ""),
        sop_classes={received.key.sop_class_uid: 1},
    )


def provenance_of(actor: Actor, received: ReceivedInstance) -> dict[str, object]:
    """Who sent it, and what the audit says of it (read by `archive.audit.journal`); kept in ledger and trailer."""
    touched = study_of(received)
    return {
        "actor": actor.facts(),
        "study": {
            "study_uid": touched.study_uid,
            "patient_id": touched.patient_id,
            "patient_name": touched.patient_name,
            "accession_number": touched.accession_number,
        },
        "sop_class_uid": received.key.sop_class_uid,
        "sop_instance_uid": received.key.sop_instance_uid,
    }
