"""Whether the trail is what was written, and whether it is all of it.

1. every file in the folder is the trail's;
2. every lawful removal is signed, and the first segment follows the last of them;
3. every record is authentic and in its place;
4. every checkpoint among the records is signed and speaks of its place, and one ends every finished segment;
5. checkpoints kept elsewhere agree with the trail.

Without step 5 a trail that was cut at its end, or put back as a whole, looks like one that never went on: what holds
then is "internally consistent". With it, and up to the newest checkpoint, the trail is complete.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from archive.audit.checkpoint import Checkpoint, check_carried
from archive.audit.removal import REMOVALS_NAME, Removal, read_removals
from archive.audit.statement import StatementVerifier
from archive.audit.timestamp import StampReport
from archive.audit.trail_format import SEGMENT_SUFFIX, IncompleteFrame, Position
from archive.audit.trail_walk import Step, TrailWalk
from archive.errors import ArchiveError, TrailDamaged


@dataclass(frozen=True, slots=True)
class TrailReport:
    """What a check of the trail found. ``faults`` empty: every record is authentic and in its place."""

    records: int
    """The sequence of the last good record."""
    ledger_position: int
    """The highest ledger sequence that the records up to it speak of."""
    faults: tuple[str, ...] = ()
    """Each with its code, the file, the record, and what is wrong; the first is the first broken link."""
    removed: tuple[str, ...] = ()
    """Lawful removals, in words."""
    checkpoint: int = 0
    """The last record that a checkpoint in the trail vouches for; 0 if there is none."""
    confirmed: int = 0
    """The last record that a checkpoint from elsewhere vouches for; 0 if none was compared."""
    confirmed_time: str = ""
    """When that one was made."""
    stamped: str = ""
    """What time stamps on checkpoints from elsewhere say, in words; empty: there are none."""

    def with_stamps(self, stamps: StampReport) -> "TrailReport":
        """The report with what was found about the time stamps of the checkpoints it was compared with."""
        words = f"{stamps.unchecked} time stamps were not checked: nobody's count" if stamps.unchecked else ""
        if stamps.newest is not None and not self.faults and not stamps.faults:
            sequence = Checkpoint.claimed(stamps.line).sequence
            moment = stamps.newest.time.isoformat(timespec="seconds")
            words = f"records up to {sequence} stamped at {moment} by {stamps.newest.name}"
        return replace(self, faults=(*self.faults, *stamps.faults), stamped=words)

    @property
    def verdict(self) -> str:
        """What may be said of the trail."""
        if self.faults:
            return "NOT as they were written"
        if not self.confirmed:
            return "internally consistent"
        return f"complete up to record {self.confirmed} ({self.confirmed_time}), internally consistent behind it"


def verify_trail(
    folder: Path,
    key: bytes,
    *,
    verifier: StatementVerifier | None = None,
    against: Sequence[str] = (),
    being_written: bool = False,
) -> TrailReport:
    """Read every byte of the trail and check it.

    Args:
        folder: where the trail is kept.
        key: the audit key.
        verifier: whose signatures count; None: steps 2 and 4 look at no signature, and step 5 believes none.
        against: lines of checkpoints that were kept elsewhere.
        being_written: a server is appending, so the last frame may be incomplete at this moment.
    """
    return _Check(folder, key, verifier, being_written).run(against)


@dataclass(slots=True)
class _Outside:
    """Checkpoints from elsewhere, by the record that they vouch for.

    Before one leaves, it is a record of the trail itself: the one behind what it vouches for.
    """

    waiting: dict[int, list[Checkpoint]] = field(default_factory=dict)
    agreed: Checkpoint | None = None

    def add(self, checkpoint: Checkpoint) -> None:
        self.waiting.setdefault(checkpoint.sequence, []).append(checkpoint)

    def compare(self, position: Position) -> list[str]:
        """What those that speak of this position hold against it."""
        faults = []
        for checkpoint in self.waiting.pop(position.sequence, ()):
            if checkpoint.trail_id != position.trail_id:
                faults.append(f"the checkpoint of {checkpoint.time} is of another trail")
            elif not checkpoint.holds(position):
                faults.append(f"the checkpoint of {checkpoint.time} saw other records up to {checkpoint.sequence}")
            else:
                self.agreed = checkpoint
        return faults

    def replaced(self, step: Step) -> list[str]:
        """Those that agreed with what is before a record, and are not that record."""
        if self.agreed is None or self.agreed.sequence != step.before.sequence:
            return []
        if step.record.facts.get("checkpoint") == self.agreed.line:
            return []
        return [f"record {step.record.sequence} of the audit trail is not the checkpoint of {self.agreed.time}"]

    def missing(self, last: int) -> list[str]:
        """What those say that saw more than the last record."""
        every = [one for ones in self.waiting.values() for one in ones]
        every += [self.agreed] if self.agreed else []
        ahead = [one for one in every if one.sequence + 1 > last]
        if not ahead:
            return []
        newest = max(ahead, key=lambda one: one.sequence)
        return [
            f"the audit trail ends at record {last}, and the checkpoint of {newest.time} was record "
            f"{newest.sequence + 1}: its end was cut off, or an older home was put back"
        ]


class _Check:
    def __init__(self, folder: Path, key: bytes, verifier: StatementVerifier | None, being_written: bool) -> None:
        self._folder = folder
        self._verifier = verifier
        self._being_written = being_written
        self._walk = TrailWalk(folder, key)
        self._faults: list[str] = []
        self._removals: list[Removal] = []
        self._outside = _Outside()
        self._checkpoint = 0

    def run(self, against: Sequence[str]) -> TrailReport:
        try:
            self._removals = read_removals(self._folder, self._verifier)
        except (TrailDamaged, OSError) as error:
            self._fault(error)
        self._take(against)
        try:
            self._read()
        except IncompleteFrame as error:
            if not self._being_written:
                self._fault(error)
            self._look_back()
        except (TrailDamaged, OSError) as error:
            self._fault(error)
        else:
            self._look_back()
        end = self._walk.position
        if (end is None or end.sequence == 0) and not self._faults and not self._being_written:
            self._fault(TrailDamaged("the audit trail is empty"))
        for name in _strangers(self._folder):
            self._fault(TrailDamaged(f"{name}: not part of the audit trail"))
        agreed = self._outside.agreed
        return TrailReport(
            records=end.sequence if end else 0,
            ledger_position=end.ledger if end else 0,
            faults=tuple(self._faults),
            removed=tuple(removal.in_words() for removal in self._removals),
            checkpoint=self._checkpoint,
            confirmed=agreed.sequence if agreed else 0,
            confirmed_time=agreed.time if agreed else "",
        )

    def _take(self, against: Sequence[str]) -> None:
        """Step 5, before the trail is read: whether what came from elsewhere is the archive's at all."""
        verifier = self._verifier or StatementVerifier(())
        for number, line in enumerate(against, 1):
            try:
                self._outside.add(Checkpoint.verified(line, verifier))
            except TrailDamaged as error:
                self._fault(TrailDamaged(f"checkpoint {number} from elsewhere: {error}"))

    def _read(self) -> None:
        """Steps 2 to 5, record by record."""
        segment, ended, begun = "", True, False
        removals = {removal.sequence: removal for removal in self._removals}
        for step in self._walk:
            if not begun:
                begun = True
                self._compare(step.before, removals)
            for fault in self._outside.replaced(step):
                self._fault(TrailDamaged(fault))
            if step.segment != segment and not ended:
                raise TrailDamaged(f"{segment}: no checkpoint ends the segment, at record {step.before.sequence}")
            segment, ended = step.segment, self._verifier is None
            if self._verifier is not None:
                try:
                    ended = check_carried(step.record, step.before, self._verifier)
                except TrailDamaged as error:
                    raise TrailDamaged(f"{segment}: {error}") from None
                self._checkpoint = step.before.sequence if ended else self._checkpoint
            self._compare(step.after, removals)

    def _compare(self, position: Position, removals: dict[int, Removal]) -> None:
        """Hold a position against what was signed about it."""
        for fault in self._outside.compare(position):
            self._fault(TrailDamaged(fault))
        removal = removals.get(position.sequence)
        if removal is not None and not removal.holds(position):
            raise TrailDamaged(f"{REMOVALS_NAME}: record {position.sequence} is not followed by what was kept")

    def _look_back(self) -> None:
        """Step 5, once the trail was read to its end."""
        reached = self._walk.position.sequence if self._walk.position else 0
        for fault in self._outside.missing(reached):
            self._fault(TrailDamaged(fault))
        removed = self._removals[-1].sequence if self._removals else 0
        if removed > reached:
            self._fault(
                TrailDamaged(f"the audit trail ends at record {reached}, and record {removed} was once removed")
            )

    def _fault(self, error: Exception) -> None:
        number = error.number if isinstance(error, ArchiveError) else TrailDamaged.number
        self._faults.append(f"E{number} {error}")


def _strangers(folder: Path) -> list[str]:
    """Names that are no segment's and not that of the removals."""
    if not folder.is_dir():
        return []
    return sorted(
        path.name
        for path in folder.iterdir()
        if path.name != REMOVALS_NAME and (path.suffix != SEGMENT_SUFFIX or not path.stem.isdecimal())
    )
