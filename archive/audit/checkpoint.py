"""Signed checkpoints: how far the trail had come at a moment, and what it said until then.

Each is a record of the trail, so that it leaves with all others; kept elsewhere, it is what an older home or a cut
tail cannot agree with. A checkpoint vouches for the records before its own.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from archive.audit.events import Actor, TrailCheckpointed
from archive.audit.statement import StatementSigner, StatementVerifier, unverified
from archive.audit.trail_format import Position, TrailRecord
from archive.errors import TrailDamaged

MAX_FILE_BYTES: Final = 256 * 1024 * 1024
"""Of a file of checkpoints: one every 15 minutes for eight years."""
_KIND: Final = "checkpoint"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What the signer says of the trail."""

    trail_id: bytes
    sequence: int
    """The last record that it vouches for."""
    chain: bytes
    """Behind that record."""
    ledger: int
    """The highest ledger sequence that the trail had spoken of."""
    time: str
    """ISO 8601 with offset."""
    line: str
    """The whole statement, as it is kept and given away."""

    @classmethod
    def verified(cls, line: str, verifier: StatementVerifier) -> "Checkpoint":
        """A checkpoint of this archive. Raises `TrailDamaged`: it is none."""
        return cls._of(verifier.fields(_KIND, line), line)

    @classmethod
    def claimed(cls, line: str) -> "Checkpoint":
        """A checkpoint that somebody signed. Raises `TrailDamaged`: it is none."""
        return cls._of(unverified(_KIND, line), line)

    @classmethod
    def _of(cls, fields: dict[str, Any], line: str) -> "Checkpoint":
        match fields:
            case {
                "trail": str(trail),
                "sequence": int(sequence),
                "chain": str(chain),
                "ledger": int(ledger),
                "time": str(time),
                **rest,
            } if not rest and _is_hex(trail, 16) and _is_hex(chain, 32) and _is_aware(time):
                return cls(bytes.fromhex(trail), sequence, bytes.fromhex(chain), ledger, time, line)
        raise TrailDamaged("a checkpoint has no form that this release reads")

    def holds(self, position: Position) -> bool:
        """Whether it says of this position, which has its sequence, what the trail says."""
        said = (self.trail_id, self.sequence, self.chain, self.ledger)
        return said == (position.trail_id, position.sequence, position.chain, position.ledger)


class CheckpointMaker:
    """Makes checkpoints and the records that carry them."""

    def __init__(self, signer: StatementSigner, clock: Callable[[], datetime]) -> None:
        self._signer = signer
        self._clock = clock

    def make(self, position: Position) -> Checkpoint:
        """A checkpoint of the trail at this position."""
        moment = self._clock().isoformat(timespec="milliseconds")
        fields = {
            "trail": position.trail_id.hex(),
            "sequence": position.sequence,
            "chain": position.chain.hex(),
            "ledger": position.ledger,
            "time": moment,
        }
        line = self._signer.line(_KIND, fields)
        return Checkpoint(position.trail_id, position.sequence, position.chain, position.ledger, moment, line)


def record_of(checkpoint: Checkpoint, actor: Actor) -> dict[str, Any]:
    """The record that carries a checkpoint; ``actor``: who asked for it, if anybody."""
    event = TrailCheckpointed(actor, checkpoint=checkpoint.line)
    return {"time": checkpoint.time, "kind": event.kind, "facts": event.facts()}


def checkpoint_in(record: TrailRecord) -> Checkpoint | None:
    """The checkpoint that a record carries, unverified. Raises `TrailDamaged`: it should, and does not."""
    if record.kind != TrailCheckpointed.kind:
        return None
    return Checkpoint.claimed(str(record.facts.get("checkpoint", "")))


def check_carried(record: TrailRecord, before: Position, verifier: StatementVerifier) -> bool:
    """Whether a record carries a checkpoint; if it does, that is the archive's and speaks of this place.

    Raises:
        TrailDamaged: it does not.
    """
    carried = checkpoint_in(record)
    if carried is None:
        return False
    if not Checkpoint.verified(carried.line, verifier).holds(before):
        raise TrailDamaged(f"record {record.sequence} of the audit trail is a checkpoint of something else")
    return True


def read_checkpoints(path: Path) -> list[str]:
    """The lines of a file of checkpoints, one each.

    Raises:
        TrailDamaged: there is none in it, or it is no such file.
        OSError: it cannot be read.
    """
    with path.open("rb") as stream:
        data = stream.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise TrailDamaged(f"{path} is larger than {MAX_FILE_BYTES} bytes: it is no file of checkpoints")
    lines = [line.strip() for line in data.decode("utf-8", "replace").splitlines() if line.strip()]
    if not lines:
        raise TrailDamaged(f"{path} holds no checkpoint")
    return lines


def _is_hex(text: str, length: int) -> bool:
    return len(text) == 2 * length and not set(text) - set("0123456789abcdef")


def _is_aware(text: str) -> bool:
    try:
        return datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False
