"""References that prove what they refer to (PS3.3 Table C.17-3a): by a digital signature or a MAC of the other object.

Items of Referenced SOP Sequence (0008,1199), at whatever place, may carry

    Referenced Digital Signature Sequence (0400,0402)   a signature in the object, by its UID and value
    Referenced SOP Instance MAC Sequence (0400,0403)    a digest over some of the object's elements

The MAC is over the listed elements as in a signature (PS3.3 C.12.1.1.3.1.2), and over nothing else, as there is no
signature item.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from storage.errors import DataSetLimitExceeded, StorageError
from storage.integrity.element_events import StreamLimits
from storage.integrity.explicit_little import ExplicitLittle
from storage.integrity.mac import signable
from storage.integrity.mac_walk import MacWalk, Path, Target
from storage.integrity.reading import DEFAULT_LIMITS, Chunks, read
from storage.integrity.signature_report import SignatureReport
from storage.integrity.signed_item import ELEMENTS_SIGNED, MAC_ALGORITHM, MAC_SYNTAX, SIGNATURE, SIGNATURE_UID, WEAK
from storage.integrity.survey import Survey
from storage.integrity.trust import Trust
from storage.integrity.verifier import verify_signatures
from storage.transfer_syntax import TransferSyntax

REFERENCED_SOP: Final = 0x00081199
REFERENCED_INSTANCE: Final = 0x00081155
REFERENCED_SIGNATURES: Final = 0x04000402
REFERENCED_MACS: Final = 0x04000403
MAC: Final = 0x04000404
_MAX_REFERENCES: Final = 100_000
_ALGORITHMS: Final = frozenset({"RIPEMD160", "MD5", "SHA1", "SHA256", "SHA384", "SHA512"})

Found = tuple[Chunks, TransferSyntax]
"""A referenced object, to be read."""


class Proof(Enum):
    """What came of checking one reference."""

    VALID = "valid"
    WEAK = "valid but weak"
    INVALID = "invalid"
    MISSING = "object missing"


@dataclass(slots=True)
class SecureReference:
    """One reference with what it says of the other object."""

    path: Path
    """Which item of Referenced SOP Sequence it is."""
    sop_instance_uid: str = ""
    signatures: list[dict[int, bytes]] = field(default_factory=list)
    macs: list[dict[int, bytes]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class ReferenceReport:
    """What came of checking one statement of a reference."""

    sop_instance_uid: str
    kind: str
    """``signature`` or ``mac``."""
    proof: Proof
    reason: str
    """Why it is not simply valid; empty if it is."""


def secure_references(
    chunks: Chunks, syntax: TransferSyntax, limits: StreamLimits = DEFAULT_LIMITS
) -> tuple[SecureReference, ...]:
    """Every reference of a data set that says something to be checked, in order.

    Raises:
        MalformedDataSet, DataSetLimitExceeded: it is no data set, or has too many.
    """
    finder = _Finder()
    read(chunks, syntax, ExplicitLittle(finder, not syntax.little_endian), limits)
    return tuple(one for one in finder.found.values() if one.signatures or one.macs)


def check_reference(
    reference: SecureReference, find: Callable[[str], Found | None], trust: Trust
) -> tuple[ReferenceReport, ...]:
    """Check everything that a reference says; ``find`` gives an object by its SOP Instance UID, else None."""
    uid = reference.sop_instance_uid
    found = find(uid)
    told: list[ReferenceReport] = []
    statements = [*(("signature", one) for one in reference.signatures), *(("mac", one) for one in reference.macs)]
    reports: Sequence[SignatureReport] | None = None
    for kind, said in statements:
        if found is None:
            told.append(ReferenceReport(uid, kind, Proof.MISSING, "the object is not here"))
            continue
        try:
            if kind == "mac":
                proof, reason = _check_mac(said, *found)
            else:
                reports = verify_signatures(*found, trust) if reports is None else reports
                proof, reason = _check_signature(said, reports)
        except StorageError as error:
            proof, reason = Proof.INVALID, str(error)
        told.append(ReferenceReport(uid, kind, proof, reason))
    return tuple(told)


def object_mac(chunks: Chunks, syntax: TransferSyntax, algorithm: str = "SHA256") -> tuple[tuple[int, ...], bytes]:
    """A MAC over every element of an object that may be signed, signatures apart: the list, and the MAC."""
    survey = Survey(())
    read(chunks, syntax, ExplicitLittle(survey, not syntax.little_endian))
    tags = tuple(survey.signable)
    return tags, _mac(chunks, syntax, frozenset(tags), algorithm)[0]


def _check_signature(said: dict[int, bytes], reports: Sequence[SignatureReport]) -> tuple[Proof, str]:
    uid = said.get(SIGNATURE_UID, b"").decode("latin-1").strip(" \0")
    named = [report for report in reports if report.uid == uid]
    if not named:
        return Proof.INVALID, "the object has no such signature"
    if any(hashlib.sha256(said.get(SIGNATURE, b"")).digest() == report.value_digest for report in named):
        (report, *_) = named
        if not report.valid:
            return Proof.INVALID, f"the object's signature is {report.verdict.value}"
        return (Proof.WEAK, "") if report.weak else (Proof.VALID, "")
    return Proof.INVALID, "the object's signature of that UID has another value"


def _check_mac(said: dict[int, bytes], chunks: Chunks, syntax: TransferSyntax) -> tuple[Proof, str]:
    algorithm = said.get(MAC_ALGORITHM, b"").decode("latin-1").strip(" \0")
    value = said.get(ELEMENTS_SIGNED, b"")
    words = [int.from_bytes(value[at : at + 2], "little") for at in range(0, len(value) - len(value) % 4, 2)]
    tags = [group << 16 | element for group, element in zip(words[::2], words[1::2], strict=True)]
    if algorithm not in _ALGORITHMS or not tags or tags != sorted(set(tags)) or not all(map(signable, tags)):
        return Proof.INVALID, "its MAC parameters break PS3.3 C.12.1.1.3.1.1"
    if not said.get(MAC_SYNTAX):
        return Proof.INVALID, "it names no MAC calculation transfer syntax"
    sent, due = _mac(chunks, syntax, frozenset(tags), algorithm)
    size = len(sent)
    if said.get(MAC, b"")[:size] not in (sent, due):
        return Proof.INVALID, "the object is not what was referred to"
    return (Proof.WEAK, f"{algorithm} no longer resists forgery") if algorithm in WEAK else (Proof.VALID, "")


def _mac(chunks: Chunks, syntax: TransferSyntax, tags: frozenset[int], algorithm: str) -> tuple[bytes, bytes]:
    """The digest over values as sent, and over values with the padding that is due."""
    walk = _MacOf(tags, algorithm)
    read(chunks, syntax, ExplicitLittle(walk, not syntax.little_endian))
    return walk.sent.digest(), walk.due.digest()


class _MacOf(MacWalk):
    """The MAC over some elements of the data set itself."""

    def __init__(self, tags: frozenset[int], algorithm: str) -> None:
        self.sent, self.due = hashlib.new(algorithm.lower()), hashlib.new(algorithm.lower())
        self._target = Target(tags.__contains__, self._update, self._restate)
        super().__init__()

    def arrive(self, path: Path) -> list[Target]:
        """The whole data set's."""
        return [] if path else [self._target]

    def _update(self, data: bytes | memoryview) -> None:
        self.sent.update(data)
        self.due.update(data)

    def _restate(self, sent: bytes, due: bytes) -> None:
        self.sent.update(sent)
        self.due.update(due)


class _Finder(MacWalk):
    """Every item of a Referenced SOP Sequence, and of the two sequences within."""

    def __init__(self) -> None:
        self.found: dict[Path, SecureReference] = {}
        self._within: dict[Path, dict[int, bytes]] = {}
        super().__init__()

    def arrive(self, path: Path) -> list[Target]:
        """Nothing is hashed; places are noted."""
        if path and path[-1][0] == REFERENCED_SOP:
            if len(self.found) >= _MAX_REFERENCES:
                raise DataSetLimitExceeded(f"more than {_MAX_REFERENCES} references")
            self.found[path] = SecureReference(path)
        elif len(path) > 1 and path[:-1] in self.found and path[-1][0] in (REFERENCED_SIGNATURES, REFERENCED_MACS):
            said: dict[int, bytes] = {}
            reference = self.found[path[:-1]]
            (reference.signatures if path[-1][0] == REFERENCED_SIGNATURES else reference.macs).append(said)
            self._within[path] = said
        return []

    def value(self, path: Path, tag: int, value: bytes) -> None:
        """What a reference says."""
        if path in self._within:
            self._within[path][tag] = value
        elif path in self.found and tag == REFERENCED_INSTANCE:
            self.found[path].sop_instance_uid = value.decode("latin-1").strip(" \0")
