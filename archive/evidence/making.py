"""The evidence of a study: what somebody without this archive needs to check that its objects are what came in.

Docs/evidence.md has the form of the report; `archive.evidence.check` is the other side, which shares no code with this.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from archive.audit.statement import StatementSigner, StatementVerifier
from archive.errors import EvidenceMismatch
from archive.signatures.wording import described
from storage.integrity.ledger import LineCodec
from storage.integrity.merkle import MerkleTree, leaf, ledger_lines
from storage.integrity.trust import Trust
from storage.integrity.verifier import verify_signatures
from storage.outgoing import OutgoingBytes
from storage.ports import LedgerEntry
from storage.transfer_syntax import transfer_syntax

FORMAT: Final = "strongroom evidence 1"
_KIND: Final = "ledger-checkpoint"


@dataclass(frozen=True, slots=True)
class Record:
    """One record of the ledger, as it stands."""

    entry: LedgerEntry
    line: bytes


class LedgerReading:
    """A ledger read once and verified: the tree over all of it, and the records of one study."""

    def __init__(self, folder: Path, key: bytes, study_uid: str = "") -> None:
        """Read it; memory grows by 32 bytes for each record.

        Raises:
            LedgerDamaged: a record is not what was written, or not at its place.
        """
        self.records: list[Record] = []
        codec = LineCodec(key)
        self.tree = MerkleTree(self._leaves(codec, folder, study_uid))

    def _leaves(self, codec: LineCodec, folder: Path, study_uid: str) -> Iterator[bytes]:
        previous = "0" * 64
        for sequence, line in enumerate(ledger_lines(folder), 1):
            entry = codec.open(line, sequence, previous)
            previous = hashlib.sha256(line).hexdigest()
            if study_uid and entry.facts.get("study_uid") == study_uid:
                self.records.append(Record(entry, line))
            yield leaf(line)

    def proved(self, record: Record) -> dict[str, Any]:
        """A record with the proof that it is in the tree."""
        index = record.entry.sequence - 1
        proof = self.tree.inclusion(index, self.tree.size)
        return {"record": record.line.decode("ascii"), "index": index, "proof": [step.hex() for step in proof]}

    def checkpoint(self, signer: StatementSigner, moment: datetime) -> str:
        """A signed statement of how many records there are, and of the root over them."""
        fields = {
            "size": self.tree.size,
            "root": self.tree.root(self.tree.size).hex(),
            "time": moment.isoformat(timespec="milliseconds"),
        }
        return signer.line(_KIND, fields)

    def follows(self, earlier: str, verifier: StatementVerifier) -> dict[str, Any]:
        """The proof that an earlier checkpoint is the beginning of this ledger.

        Raises:
            TrailDamaged: it is no checkpoint of this archive.
            EvidenceMismatch: it is not the beginning: records are missing, or others are there.
        """
        fields = verifier.fields(_KIND, earlier)
        size, root = int(fields["size"]), str(fields["root"])
        if not 0 < size <= self.tree.size or self.tree.root(size).hex() != root:
            raise EvidenceMismatch(f"the ledger does not begin with the {size} records of the earlier checkpoint")
        proof = self.tree.consistency(size, self.tree.size)
        return {"checkpoint": earlier, "proof": [step.hex() for step in proof]}


def object_evidence(record: Record, reading: LedgerReading, leaving: OutgoingBytes, trust: Trust) -> dict[str, Any]:
    """What proves one object: its record, digests and salt, and every signature in it."""
    facts, trailer = record.entry.facts, leaving.trailer
    names = ("sop_instance_uid", "series_uid", "study_uid", "sop_class_uid", "transfer_syntax", "object_id")
    digest = hashlib.sha256()
    for chunk in leaving.chunks():
        digest.update(chunk)
    syntax = transfer_syntax(str(facts["transfer_syntax"]))
    signatures = [described(report) for report in verify_signatures(leaving.chunks, syntax, trust)]
    return {
        **{name: facts[name] for name in names},
        "stored": record.entry.time,
        **reading.proved(record),
        "canonical_digest": trailer.canonical_digest.hex(),
        "received_digest": trailer.received_digest.hex(),
        "salt": trailer.salt.hex(),
        "sha256": digest.hexdigest(),
        "signature_uid": trailer.signature_uid,
        "signatures": signatures,
    }


def other_events(reading: LedgerReading) -> Sequence[dict[str, Any]]:
    """Whatever else the ledger says of the study, each with its proof."""
    return [
        {"event": record.entry.event, "time": record.entry.time, **reading.proved(record)}
        for record in reading.records
        if record.entry.event != "stored"
    ]
