"""An archive whose objects lie in memory and whose index, policies and enforcement point are the real ones.

`MemoryRepository` does what services ask of a repository, and fails where a test orders it to. Data sets are read with
pydicom, so that services are judged without the product's own tokenizer.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

from pydicom import Dataset, dcmread
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

from archive.audit.events import AuditEvent
from archive.enforcement.attributes import is_keyword
from archive.enforcement.pep import PolicyEnforcementPoint
from archive.errors import AuditUnavailable
from archive.records.masked import MaskedRecords
from archive.records.overrides import OverrideRecords
from archive.records.volume import VolumeRecords
from archive.services.retrieve import RetrievalRecords
from archive.session import AssociationSession
from auth.policy.engine import PolicyEngine
from auth.ports import NodeRecord, UserRecord
from auth.principal import NodeIdentity, Principal
from storage.confidentiality.mask import Mask
from storage.confidentiality.masked_object import MaskedObject
from storage.errors import IntegrityFault, MalformedDataSet
from storage.identifiers import new_object_id
from storage.index.columns import WANTED
from storage.index.engine import IndexEngine
from storage.index.reader import IndexReader
from storage.index.rows import key_of, rows_of
from storage.index.writer import IndexEntry, apply, label
from storage.instance import (
    DeclaredInstance,
    GivenLabels,
    Inspection,
    ReceivedInstance,
    SealedContent,
    SealedInstance,
    StagedBytes,
    StoredInstance,
    StoreOutcome,
    StoreReceipt,
)
from storage.integrity.inspection import DataSetInspector
from storage.transfer_syntax import EXPLICIT_LITTLE, transfer_syntax
from tests.simulators.encoding import MOMENT, signing_key
from tests.simulators.records import MemoryNodes, MemoryUsers
from tests.simulators.subjects import session, standing

POLICIES = Path(__file__).parents[2] / "config" / "policies"
CT = "1.2.840.10008.5.1.4.1.1.2"
NO_LABELS = GivenLabels()


def encoded(dataset: Dataset, syntax_uid: str = EXPLICIT_LITTLE) -> bytes:
    """A data set's bytes in a native transfer syntax."""
    syntax = transfer_syntax(syntax_uid)
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = syntax.little_endian, not syntax.explicit
    write_dataset(buffer, dataset)
    return buffer.getvalue()


def decoded(data: bytes, syntax_uid: str = EXPLICIT_LITTLE) -> Dataset:
    """The data set of such bytes."""
    meta = Dataset()
    meta.TransferSyntaxUID = syntax_uid
    return dcmread(BytesIO(b"\0" * 128 + b"DICM" + encoded(meta) + data), force=True)


def image(study: int = 1, series: int = 1, number: int = 1, **attributes: object) -> Dataset:
    """A small CT object."""
    dataset = Dataset()
    dataset.SOPClassUID = CT
    dataset.SOPInstanceUID = f"1.2.{study}.{series}.{number}"
    dataset.StudyInstanceUID = f"1.2.{study}"
    dataset.SeriesInstanceUID = f"1.2.{study}.{series}"
    dataset.PatientID = f"P{study}"
    dataset.PatientName = f"NAME^{study}"
    dataset.AccessionNumber = f"A{study}"
    dataset.StudyDate = f"{2000 + study:04d}0102"
    dataset.Modality = "CT"
    dataset.InstanceNumber = number
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    return dataset


def declared(dataset: Dataset, syntax_uid: str = EXPLICIT_LITTLE) -> DeclaredInstance:
    """What a command says of an object."""
    return DeclaredInstance(dataset.SOPClassUID, dataset.SOPInstanceUID, syntax_uid)


class Trail:
    """Remembers what was recorded; or cannot."""

    def __init__(self) -> None:
        self.events: list[AuditEvent] = []
        self.broken = False

    def record(self, *events: AuditEvent) -> None:
        if self.broken:
            raise AuditUnavailable("disk full")
        self.events += events

    def kinds(self) -> list[str]:
        return [event.kind for event in self.events]


@dataclass
class MemoryIntake:
    """One object on its way in."""

    repository: "MemoryRepository"
    declared: DeclaredInstance
    data: bytearray = field(default_factory=bytearray)
    discarded: bool = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.repository.stumble("write")
        self.data += data

    def finish(self) -> ReceivedInstance:
        self.repository.stumble("finish")
        values = _values(bytes(self.data), self.declared.transfer_syntax)
        digest = hashlib.sha256(self.data).digest()
        # What lies beside the columns comes from the product: nothing here judges how that is read.
        inspector = DataSetInspector(transfer_syntax(self.declared.transfer_syntax), WANTED)
        inspector.feed(self.data)
        others = inspector.finish().others
        inspection = Inspection(values, digest, (), (), (), len(self.data), None, others)
        rows = rows_of(inspection, self.declared)
        key = key_of(inspection, self.declared)
        received = ReceivedInstance(key, self.declared, rows, new_object_id(), digest, len(self.data), StagedBytes())
        self.repository.staged[received.object_id] = bytes(self.data)
        return received

    def discard(self) -> None:
        if not self.discarded:
            self.discarded = True
            self.repository.open_intakes -= 1


class MemoryRepository:
    """Objects in memory; rows in a real index."""

    def __init__(self, index: IndexEngine) -> None:
        self._index = index
        self.objects: dict[bytes, bytes] = {}
        self.staged: dict[str, bytes] = {}
        self.provenance: list[Mapping[str, object]] = []
        self.recorded: list[tuple[str, Mapping[str, object]]] = []
        """Events that are no object, with their facts."""
        self.given: list[GivenLabels] = []
        """What each commit was asked to label its study with."""
        self.fails: dict[str, Exception] = {}
        """What to raise, by step: begin, write, finish, seal, commit, open."""
        self.open_intakes = 0
        self.open_objects = 0
        self._known: set[str] = set()

    def stumble(self, step: str) -> None:
        """Raise what was ordered for a step."""
        if step in self.fails:
            raise self.fails[step]

    def begin(self, declared: DeclaredInstance) -> MemoryIntake:
        self.stumble("begin")
        self.open_intakes += 1
        return MemoryIntake(self, declared)

    def seal(self, received: ReceivedInstance, provenance: Mapping[str, object]) -> SealedInstance:
        self.stumble("seal")
        content = SealedContent(received.address, frozenset(), b"s" * 32, "")
        return SealedInstance(received, content, received.staged)

    def commit(
        self, sealed: SealedInstance, provenance: Mapping[str, object], labels: GivenLabels = NO_LABELS
    ) -> StoreReceipt:
        self.stumble("commit")
        self.given.append(labels)
        key = sealed.received.key
        if key.sop_instance_uid in self._known:
            del self.staged[sealed.received.object_id]
            return StoreReceipt(StoreOutcome.ALREADY_KEPT, key, sealed.received.object_id, 1)
        self.provenance.append(provenance)
        (differs,) = self.commit_all([sealed])
        return StoreReceipt(StoreOutcome.STORED, key, sealed.received.object_id, len(self.objects), differs)

    def record(self, event: str, facts: Mapping[str, object], provenance: Mapping[str, object]) -> None:
        self.recorded.append((event, facts))

    def commit_all(self, batch: list[SealedInstance]) -> list[tuple[str, ...]]:
        """Keep new objects in one transaction."""
        entries = []
        for sealed in batch:
            received = sealed.received
            self._known.add(received.key.sop_instance_uid)
            self.objects[received.address] = self.staged.pop(received.object_id)
            entries.append(IndexEntry.of(sealed, len(self.objects)))
        with self._index.writing() as connection:
            return apply(connection, entries)

    def open(self, instance: StoredInstance, syntax: str) -> "MemoryOutgoing":
        self.stumble("open")
        if instance.key.sop_instance_uid in self.damaged:
            raise IntegrityFault("not what was written")
        self.open_objects += 1
        data = self.objects[instance.address]
        if syntax != instance.transfer_syntax:
            data = encoded(decoded(data, instance.transfer_syntax), syntax)
        return MemoryOutgoing(self, data, instance.key.sop_instance_uid)

    def open_masked(self, instance: StoredInstance, hidden: frozenset[int], syntax: str) -> MaskedObject:
        assert syntax == instance.transfer_syntax
        original = self.open(instance, instance.transfer_syntax)
        return MaskedObject(original, instance, self.mask(hidden), signing_key().signer, MOMENT)

    def mask(self, hidden: frozenset[int]) -> Mask:
        return Mask(hidden, b"k" * 32)

    damaged: frozenset[str] = frozenset()
    """SOP Instance UIDs whose bytes are not what was written."""


class MemoryOutgoing:
    """One object on its way out."""

    def __init__(self, repository: MemoryRepository, data: bytes, sop_instance_uid: str) -> None:
        self.sop_instance_uid = sop_instance_uid
        self._repository = repository
        self._data = data
        self._closed = False
        self.length = len(data)

    def chunks(self) -> Iterator[bytes]:
        for offset in range(0, len(self._data), 100):
            yield self._data[offset : offset + 100]

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._repository.open_objects -= 1

    def __enter__(self) -> "MemoryOutgoing":
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()


def _values(data: bytes, syntax_uid: str) -> dict[int, tuple[bytes, bytes]]:
    try:
        dataset = decoded(data, syntax_uid)
        raw = {int(tag): dataset.get_item(tag) for tag in dataset.keys()}  # noqa: SIM118
        found = {tag: ((item.VR or "UN").encode(), _raw(item.value)) for tag, item in raw.items() if tag in WANTED}
    except Exception as error:
        raise MalformedDataSet("pydicom does not read it") from error
    return found


def _raw(value: object) -> bytes:
    # pydicom has already decoded the character set, whose value it needs itself.
    if isinstance(value, bytes):
        return value
    return (value or "" if isinstance(value, str | None) else "\\".join(map(str, value))).encode("ascii")  # type: ignore[call-overload]


class World:
    """Registers that can change, a real enforcement point and index, and a repository in memory."""

    def __init__(
        self, directory: Path, policies: Path | PolicyEngine = POLICIES, *, index: IndexEngine | None = None
    ) -> None:
        self.trail = Trail()
        self.users = MemoryUsers()
        self.nodes = MemoryNodes()
        self.index = index or IndexEngine.open(directory / "index.sqlite")
        self.reader = IndexReader(self.index)
        self.repository = MemoryRepository(self.index)
        self.records = IndexEngine.open(directory / "records.sqlite", prepare=None)
        self.masked = MaskedRecords(self.records)
        self.overrides = OverrideRecords(self.records, clock=self.now)
        self.kept = RetrievalRecords(self.masked, VolumeRecords(self.records, clock=self.now))
        self.moment = datetime(2026, 1, 1, 12, tzinfo=UTC)
        engine = PolicyEngine.load(policies, is_keyword) if isinstance(policies, Path) else policies
        self.pep = PolicyEnforcementPoint(
            engine, self.trail, standing(self.nodes, self.users), glass=self.overrides, clock=self.now
        )

    def now(self) -> datetime:
        """What the clock of this world says."""
        return self.moment

    def admit(self, at: NodeIdentity, who: Principal | None = None) -> AssociationSession:
        """Register both as they are, and open a session."""
        self.nodes.nodes[at.name] = NodeRecord(at)
        if who is not None:
            self.users.users[who.name] = UserRecord(who.name, who.roles, who.attributes)
        return session(at, who)

    def keep(self, *datasets: Dataset, syntax_uid: str = EXPLICIT_LITTLE) -> None:
        """Put objects into the archive, past every check."""
        batch = []
        for dataset in datasets:
            intake = self.repository.begin(declared(dataset, syntax_uid))
            intake.write(encoded(dataset, syntax_uid))
            batch.append(self.repository.seal(intake.finish(), {}))
            intake.discard()
        self.repository.commit_all(batch)

    def label(self, study_uid: str, text: str, *, present: bool = True) -> None:
        """Label a study."""
        with self.index.writing() as connection:
            label(connection, study_uid, text, present=present)

    def close(self, *, index: bool = True) -> None:
        """``index``: that, too, and not only what lies beside it."""
        if index:
            self.index.close()
        self.records.close()


class NoNotes:
    """Rejection notes where nothing is to be rejected."""

    def check(self, session, note, note_uid):
        raise AssertionError("no rejection note was sent")

    def carry_out(self, session, rejection, note_uid):
        raise AssertionError("no rejection note was sent")
