"""Rejection notes (IHE RAD TF, Imaging Object Change Management): key object documents that take objects away.

A Key Object Selection Document (PS3.3 A.35.4) whose title is one of `archive.services.removal.REASONS` is a rejection
note. The order, every step of which can refuse the note:

1. the note names objects, each of which is kept here, or was taken away already;
2. the enforcement point gives a grant to delete for each of their studies;
3. none of the studies is on hold;
4. the note is stored like any object;
5. the objects get tombstones, and so does the note, which has no place where they have none.

Success follows step 5. A note that comes again after a failure in between finishes what it began.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from io import BytesIO
from typing import Final, Protocol

from pydicom import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_dataset

from archive.audit.events import Actor
from archive.enforcement.grant import Grant
from archive.errors import RejectionImpossible
from archive.services.removal import QUALITY, REASONS, Reason, RemovalService, Repository
from archive.session import AssociationSession
from storage.errors import DataSetLimitExceeded, MalformedDataSet
from storage.index.predicate import OneOf
from storage.index.removal import Tombstone
from storage.instance import StoredInstance, StudyFacts
from storage.integrity.element_events import StreamLimits
from storage.integrity.inflate import Inflater
from storage.transfer_syntax import transfer_syntax

KEY_OBJECT_SELECTION: Final = "1.2.840.10008.5.1.4.1.1.88.59"
MAX_NOTE_BYTES: Final = 4_194_304
"""Of a key object document, as received; enough for some twenty thousand references."""
_SCHEME: Final = "DCM"
_CHUNK: Final = 500


@dataclass(frozen=True, slots=True)
class Reference:
    """An object that a note names (PS3.3 C.17.2.1)."""

    study_uid: str
    series_uid: str
    sop_class_uid: str
    sop_instance_uid: str


@dataclass(frozen=True, slots=True)
class Note:
    """A rejection note."""

    reason: Reason
    references: tuple[Reference, ...]


@dataclass(frozen=True, slots=True)
class Rejection:
    """A note that may be carried out, and what there is to do."""

    reason: Reason
    kept: tuple[StoredInstance, ...]
    gone: tuple[Tombstone, ...]
    """Objects that were taken away before, for a reason that this one adds to."""
    done: bool
    """Whether every object was taken away by this very note."""


class DeleteEnforcement(Protocol):
    """What is asked of `archive.enforcement.pep.PolicyEnforcementPoint`."""

    def delete(self, session: AssociationSession, facts: StudyFacts) -> Grant:
        """May it take objects of this study away? Raises `AccessDenied`, audited."""


class NoteBuffer:
    """The bytes of a key object document beside its way into the store, as far as a note may be long."""

    def __init__(self) -> None:
        self._data = bytearray()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Take the next bytes. Raises `DataSetLimitExceeded`."""
        self._data += data
        if len(self._data) > MAX_NOTE_BYTES:
            raise DataSetLimitExceeded(f"a key object document is longer than {MAX_NOTE_BYTES} bytes")

    def note(self, syntax_uid: str) -> Note | None:
        """What the document says, once its structure was found good; None if it is no rejection note.

        Raises:
            MalformedDataSet: it is one, and names its objects in no way that can be read.
        """
        return read_note(bytes(self._data), syntax_uid)


def read_note(data: bytes, syntax_uid: str) -> Note | None:
    """A rejection note from the bytes of its data set; None where they are another document. Raises as `NoteBuffer`."""
    syntax = transfer_syntax(syntax_uid)
    if syntax.deflated:
        data = b"".join(Inflater(StreamLimits()).feed(data))
    try:
        document = read_dataset(BytesIO(data), not syntax.explicit, syntax.little_endian)
        reason = _title(document)
        return Note(reason, tuple(_references(document))) if reason is not None else None
    # What pydicom, or an attribute that is not what its VR says, makes of a stranger's document. It is refused with a
    # status, as any data set that cannot be read; a fault of ours in there is one as well, and nothing is deleted.
    except (AttributeError, IndexError, TypeError, ValueError, KeyError, InvalidDicomError, NotImplementedError):
        raise MalformedDataSet("a key object document does not say what it is about") from None


class RejectionService:
    """Carries rejection notes out. Thread-safe."""

    def __init__(self, repository: Repository, pep: DeleteEnforcement, *, show_quality: bool) -> None:
        """``show_quality``: notes for quality reasons are kept beside the objects, and take nothing away."""
        self._repository = repository
        self._pep = pep
        self._removal = RemovalService(repository)
        self._show_quality = show_quality

    def check(self, session: AssociationSession, note: Note, note_uid: str) -> Rejection:
        """Steps 1 to 3.

        Raises:
            RejectionImpossible: it names nothing, or what is not kept here under these UIDs.
            AccessDenied: the policy does not permit it, for one of the studies at least.
            StudyHeld: one of them is on hold.
        """
        if not note.references:
            raise RejectionImpossible("a rejection note names no object")
        kept, gone = self._named(note.references)
        studies: dict[str, StudyFacts] = {it.key.study_uid: it.facts for it in kept}
        for stone in gone:
            studies.setdefault(stone.study_uid, self._facts_of(stone.study_uid))
        for facts in studies.values():
            self._pep.delete(session, facts)
        done = not kept and all(stone.note == note_uid for stone in gone)
        adding = tuple(stone for stone in gone if _adds(note.reason, stone))
        if not done:
            self._removal.check_holds(studies)
        return Rejection(note.reason, kept, adding, done)

    def carry_out(self, session: AssociationSession, rejection: Rejection, note_uid: str) -> None:
        """Step 5, once the note itself is kept. Raises as `RemovalService.take_away`."""
        if rejection.reason is QUALITY and self._show_quality:
            return
        actor = Actor.of(session)
        note = self._removal.kept(OneOf("sop_instance_uid", (note_uid,)))
        self._removal.give_reason(actor, rejection.gone, rejection.reason, note_uid)
        still = self._still_kept(rejection.kept)
        self._removal.take_away(actor, [*still, *note], rejection.reason, note_uid)

    def _named(self, references: Iterable[Reference]) -> tuple[tuple[StoredInstance, ...], tuple[Tombstone, ...]]:
        """Step 1: what is kept of the references, and what was taken away before."""
        kept: list[StoredInstance] = []
        gone: list[Tombstone] = []
        wanted = {reference.sop_instance_uid: reference for reference in references}
        found: dict[str, StoredInstance] = {it.key.sop_instance_uid: it for it in self._still_kept_uids(list(wanted))}
        for uid, reference in wanted.items():
            it, stone = found.get(uid), None if uid in found else self._repository.removed.tombstone(uid)
            if it is not None and (it.key.study_uid, it.key.series_uid, it.key.sop_class_uid) == (
                reference.study_uid,
                reference.series_uid,
                reference.sop_class_uid,
            ):
                kept.append(it)
            elif stone is not None and stone.study_uid == reference.study_uid:
                gone.append(stone)
            else:
                raise RejectionImpossible("a rejection note names an object that is not kept here as it says")
        return tuple(kept), tuple(gone)

    def _still_kept(self, instances: Iterable[StoredInstance]) -> list[StoredInstance]:
        """Those of the instances that nobody took away meanwhile."""
        return self._still_kept_uids([it.key.sop_instance_uid for it in instances])

    def _still_kept_uids(self, uids: list[str]) -> list[StoredInstance]:
        chunks = (tuple(uids[at : at + _CHUNK]) for at in range(0, len(uids), _CHUNK))
        return [it for chunk in chunks for it in self._removal.kept(OneOf("sop_instance_uid", chunk))]

    def _facts_of(self, study_uid: str) -> StudyFacts:
        """What policy reads of a study of which perhaps nothing is kept: then its labels, and no more."""
        facts = self._repository.reader.study_facts(study_uid)
        return facts or StudyFacts(study_uid, labels=self._repository.removed.absent_labels(study_uid))


def _adds(reason: Reason, stone: Tombstone) -> bool:
    """Whether a reason says more than the one before, and lets nothing come back that might not."""
    return stone.erased is None and reason.code != stone.reason and (stone.comes_back or not reason.comes_back)


def _title(document: Dataset) -> Reason | None:
    """The reason that a document's title is (PS3.3 C.18.8, Concept Name Code Sequence)."""
    sequence = document.get("ConceptNameCodeSequence")
    if not sequence:
        return None
    title = sequence[0]
    if str(title.get("CodingSchemeDesignator", "")).strip() != _SCHEME:
        return None
    return REASONS.get(str(title.get("CodeValue", "")).strip())


def _references(document: Dataset) -> Iterable[Reference]:
    """Current Requested Procedure Evidence Sequence (PS3.3 C.17.2.1): everything that a document references."""
    for study in document.CurrentRequestedProcedureEvidenceSequence:
        for series in study.ReferencedSeriesSequence:
            for item in series.ReferencedSOPSequence:
                yield Reference(
                    str(study.StudyInstanceUID),
                    str(series.SeriesInstanceUID),
                    str(item.ReferencedSOPClassUID),
                    str(item.ReferencedSOPInstanceUID),
                )
