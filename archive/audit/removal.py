"""What says that the oldest records were removed lawfully: signed statements beside the segments.

``removals.jsonl`` has one line for each removal, in order. Each says which records went and where the chain stood
behind the last of them, so that the segment that is first now still has something to follow.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from archive.audit.statement import StatementSigner, StatementVerifier, unverified
from archive.audit.trail_format import Position
from archive.errors import TrailDamaged

REMOVALS_NAME: Final = "removals.jsonl"
_KIND: Final = "removal"


@dataclass(frozen=True, slots=True)
class Removal:
    """One lawful removal."""

    trail_id: bytes
    first: int
    """The first record that was removed."""
    sequence: int
    """The last one."""
    chain: bytes
    """Behind that."""
    ledger: int
    """The highest ledger sequence that records until then speak of."""
    time: str
    """When it was done: ISO 8601 with offset."""
    before: str
    """Every removed record was older than this: ISO 8601 with offset."""
    who: str
    why: str
    line: str
    """The whole statement."""

    @classmethod
    def of(cls, fields: dict[str, Any], line: str) -> "Removal":
        """A removal from its fields. Raises `TrailDamaged`: they are not those of one."""
        match fields:
            case {
                "trail": str(trail),
                "first": int(first),
                "sequence": int(sequence),
                "chain": str(chain),
                "ledger": int(ledger),
                "time": str(time),
                "before": str(before),
                "who": str(who),
                "why": str(why),
                **rest,
            } if not rest and 1 <= first <= sequence:
                try:
                    identity, digest = bytes.fromhex(trail), bytes.fromhex(chain)
                except ValueError:
                    raise TrailDamaged("a removal has no form that this release reads") from None
                return cls(identity, first, sequence, digest, ledger, time, before, who, why, line)
        raise TrailDamaged("a removal has no form that this release reads")

    @classmethod
    def signed(
        cls, signer: StatementSigner, first: int, last: Position, *, time: str, before: str, who: str, why: str
    ) -> "Removal":
        """The statement that the records from ``first`` up to a position were removed."""
        fields = {
            "trail": last.trail_id.hex(),
            "first": first,
            "sequence": last.sequence,
            "chain": last.chain.hex(),
            "ledger": last.ledger,
            "time": time,
            "before": before,
            "who": who,
            "why": why,
        }
        return cls.of(fields, signer.line(_KIND, fields))

    def holds(self, position: Position) -> bool:
        """Whether the trail is, behind the last removed record, where this says."""
        said = (self.trail_id, self.sequence, self.chain, self.ledger)
        return said == (position.trail_id, position.sequence, position.chain, position.ledger)

    def in_words(self) -> str:
        """For a person."""
        return (
            f"records {self.first} to {self.sequence}, older than {self.before}, "
            f"were removed by {self.who} at {self.time}: {self.why}"
        )


def read_removals(folder: Path, verifier: StatementVerifier | None = None) -> list[Removal]:
    """Every removal from this trail, in order; each follows the one before.

    Args:
        folder: the trail's.
        verifier: whose signature counts; None: it is looked at elsewhere.

    Raises:
        TrailDamaged: a line is not what was written, or one is missing before another.
    """
    try:
        text = (folder / REMOVALS_NAME).read_text("ascii")
    except FileNotFoundError:
        return []
    except UnicodeDecodeError:
        raise TrailDamaged(f"{REMOVALS_NAME}: it is not what was written") from None
    try:
        return _checked(text, verifier)
    except TrailDamaged as error:
        raise TrailDamaged(f"{REMOVALS_NAME}: {error}") from None


def removals_text(removals: Iterable[Removal]) -> str:
    """The file that says all this."""
    return "".join(f"{removal.line}\n" for removal in removals)


def _checked(text: str, verifier: StatementVerifier | None) -> list[Removal]:
    removals: list[Removal] = []
    for line in text.split("\n")[:-1]:
        fields = verifier.fields(_KIND, line) if verifier else unverified(_KIND, line)
        removal = Removal.of(fields, line)
        expected = removals[-1].sequence + 1 if removals else 1
        if removal.first != expected or (removals and removal.trail_id != removals[-1].trail_id):
            raise TrailDamaged(f"it does not say what became of records {expected} to {removal.first - 1}")
        removals.append(removal)
    if text != removals_text(removals) or not removals:
        raise TrailDamaged("it is not what was written")
    return removals
