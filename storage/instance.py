"""An object's stages on its way in, each a type of its own, so that a step cannot be skipped.

`DeclaredInstance` (what the command announces) -> `ReceivedInstance` (every byte staged, parsed and digested)
-> `SealedInstance` (signed, its trailer written, synced) -> `StoreReceipt` (committed)
-> `StoredInstance` (as the index knows it).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import TypeAlias

from storage.identifiers import ObjectId, Uid

ElementValue: TypeAlias = "bytes | tuple[Item, ...] | None"
"""A value as received but little endian, or a sequence's items; None where it is there and larger than what is kept."""
Item: TypeAlias = "tuple[tuple[int, bytes, ElementValue], ...]"
"""Tag, VR and value of each element of one item of a sequence."""
Element: TypeAlias = tuple[bytes, ElementValue]
"""VR and value."""


@dataclass(frozen=True, slots=True)
class DeclaredInstance:
    """What a C-STORE command says is coming; believed only once the data set says the same."""

    sop_class_uid: Uid
    sop_instance_uid: Uid
    transfer_syntax: str


@dataclass(frozen=True, slots=True)
class InstanceKey:
    """Where an object stands in the DICOM information model."""

    study_uid: Uid
    series_uid: Uid
    sop_instance_uid: Uid
    sop_class_uid: Uid


@dataclass(frozen=True, slots=True)
class Splice:
    """One change to the received bytes on their way out: at ``offset``, ``removed`` bytes give way to ``inserted``.

    Offsets count in the received data set, inflated if it came deflated.
    """

    offset: int
    removed: int
    inserted: bytes


@dataclass(frozen=True, slots=True)
class Uncovered:
    """A top-level element that our signature does not cover, and why."""

    tag: int
    reason: str


@dataclass(frozen=True, slots=True)
class StudyFacts:
    """What policy reads of a study; fixed by the study's first instance, labels excepted.

    Names are as sent, without padding; dates are whole numbers YYYYMMDD; None where the data set has no value.
    """

    study_uid: str
    patient_id: str | None = None
    study_date: int | None = None
    institution: str | None = None
    department: str | None = None
    station: str | None = None
    referring_physician: str | None = None
    performing_physicians: frozenset[str] = frozenset()
    modalities: frozenset[str] = frozenset()
    body_parts: frozenset[str] = frozenset()
    labels: frozenset[str] = frozenset()
    vouched: bool = True
    """False: the index says so, and it is not what this archive wrote there. Nothing may be permitted by it."""


@dataclass(frozen=True, slots=True)
class InstanceRows:
    """What the index keeps of one instance, level by level, keyed by column name (`storage.index.columns`)."""

    study: Mapping[str, str | int | None]
    series: Mapping[str, str | int | None]
    instance: Mapping[str, str | int | None]
    facts: StudyFacts


@dataclass(frozen=True, slots=True)
class Inspection:
    """What one pass over the bytes of a data set learned (`storage.integrity.inspection`).

    ``mac`` is the running hash over the signable elements, to be finished with the signature item's own elements.
    """

    values: Mapping[int, tuple[bytes, bytes]]
    """Wanted top-level elements: tag -> (VR, value as received, padding included, little-endian)."""
    canonical_digest: bytes
    signed_tags: tuple[int, ...]
    uncovered: tuple[Uncovered, ...]
    signature_values: tuple[bytes, ...]
    """SHA-256 of each signature value that the object already carries at its top level."""
    length: int
    """Bytes of the (inflated) data set."""
    seal: object = field(repr=False)
    """Opaque to everything but `storage.integrity.signature`: MAC state and splice points."""
    others: Mapping[int, Element] = field(default_factory=dict)
    """Every other top-level element, in order, that is kept for queries (`storage.integrity.header`)."""
    signed: bool = False
    """It carries a signature at some level."""


@dataclass(frozen=True, slots=True)
class ReceivedInstance:
    """Every byte staged, encrypted, parsed and digested; nothing visible yet."""

    key: InstanceKey
    declared: DeclaredInstance
    rows: InstanceRows
    object_id: ObjectId
    address: bytes
    """HMAC-SHA-256 of the received bytes under the store key."""
    size: int
    """Received bytes, as they came (deflated if so)."""
    staged: "StagedBytes" = field(repr=False)
    signed: bool = False
    """It came with a signature at some level."""


class StagedBytes:
    """A handle on staged, encrypted bytes; the blob store that made it knows what it is."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Trailer:
    """What is sealed behind an object's bytes (authenticated and encrypted with its data key)."""

    canonical_digest: bytes
    received_digest: bytes
    """The address: HMAC-SHA-256 of the received bytes under the store key."""
    size: int
    splices: tuple[Splice, ...]
    signature_uid: str
    signature_value_digest: bytes
    signed_tags: tuple[int, ...]
    uncovered: tuple[Uncovered, ...]
    foreign_signatures: tuple[bytes, ...]
    salt: bytes
    provenance: bytes


@dataclass(frozen=True, slots=True)
class SealedContent:
    """What a commit has to know of a sealed object's content."""

    canonical_digest: bytes
    foreign_signatures: frozenset[bytes]
    """SHA-256 of each signature value that the object brought at its top level."""
    own_signature: bytes
    """SHA-256 of the signature value that the archive added."""
    commitment: str
    """What the ledger says of the content: salted, in hexadecimal digits (`storage.ingest.intake.commitment`)."""

    @property
    def signatures(self) -> frozenset[bytes]:
        """SHA-256 of every top-level signature value of the object as it goes out."""
        return self.foreign_signatures | {self.own_signature}


@dataclass(frozen=True, slots=True)
class GivenLabels:
    """Labels that an object brings its study, in the ledger record that stores it."""

    first: frozenset[str] = frozenset()
    """If it begins the study."""
    always: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class SealedInstance:
    """Signed, its trailer written and its bytes on stable storage; ready to be committed."""

    received: ReceivedInstance
    content: SealedContent
    staged: StagedBytes = field(repr=False)


class StoreOutcome(Enum):
    """What a commit did with an object."""

    STORED = "stored"
    ALREADY_KEPT = "already kept"


@dataclass(frozen=True, slots=True)
class StoreReceipt:
    """The proof that a commit happened: which ledger record says so."""

    outcome: StoreOutcome
    key: InstanceKey
    object_id: ObjectId
    ledger_sequence: int
    differs: tuple[str, ...] = ()
    """Study attributes on which this instance disagrees with its study's first instance."""


@dataclass(frozen=True, slots=True)
class StoredInstance:
    """One kept object as the index knows it."""

    key: InstanceKey
    object_id: ObjectId
    address: bytes
    transfer_syntax: str
    size: int
    facts: StudyFacts
