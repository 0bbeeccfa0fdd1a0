"""Removing what is older than it has to be kept, without breaking what proves the rest.

Whole segments go, the oldest first, and only what was found intact: a signed removal (`archive.audit.removal`) says
what went, who wanted it and why. The statement is on stable storage before the first segment goes; a removal that a
crash interrupts is finished by the next one.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path

from archive.audit.checkpoint import check_carried
from archive.audit.removal import REMOVALS_NAME, Removal, read_removals, removals_text
from archive.audit.statement import StatementSigner, StatementVerifier
from archive.audit.trail_files import segments_of, sync_folder, write_all
from archive.audit.trail_format import Position, TrailRecord
from archive.audit.trail_walk import TrailWalk
from archive.errors import AuditUnavailable


@dataclass(frozen=True, slots=True)
class Old:
    """Records that may go: whole segments from the first kept record on."""

    first: int
    last: Position
    """Behind the last of them."""


class Retention:
    """Removes old segments of one trail. The caller makes sure that nobody else does at the same time."""

    def __init__(
        self,
        folder: Path,
        key: bytes,
        signer: StatementSigner,
        verifier: StatementVerifier,
        clock: Callable[[], datetime],
    ) -> None:
        self._folder = folder
        self._key = key
        self._signer = signer
        self._verifier = verifier
        self._clock = clock

    def older_than(self, moment: datetime, delivered: int | None = None) -> Old | None:
        """The records of all leading segments in which every record is older than a moment; None if there are none.

        Args:
            moment: aware.
            delivered: the last record that everybody has who is to get the trail; None if nobody is.

        Raises:
            TrailDamaged: a record or checkpoint before that is not what was written. Evidence is not removed.
            OSError: the trail cannot be read.
        """
        present = segments_of(self._folder)
        removals = read_removals(self._folder, self._verifier)
        done = removals[-1].sequence if removals else 0
        found: Old | None = None
        segment, whole = "", False
        for step in TrailWalk(self._folder, self._key):
            if step.segment != segment:
                if segment and whole and step.before.sequence > done:
                    found = Old(done + 1, step.before)
                segment = step.segment
                if segment == present[-1].name:
                    break
            if not _is_older(step.record, moment) or (delivered is not None and step.record.sequence > delivered):
                break
            whole = check_carried(step.record, step.before, self._verifier)
        return found

    def remove(self, old: Old, *, before: datetime, who: str, why: str) -> Removal:
        """Say so, then remove the records.

        Raises:
            AuditUnavailable: the folder cannot be written; what was said already is finished by the next removal.
            TrailDamaged: the removals of before are not what was written.
        """
        removal = Removal.signed(
            self._signer,
            old.first,
            old.last,
            time=self._clock().isoformat(timespec="milliseconds"),
            before=before.isoformat(),
            who=who,
            why=why,
        )
        said = [*read_removals(self._folder, self._verifier), removal]
        try:
            self._say(removals_text(said))
            self._unlink(removal.sequence)
        except OSError as error:
            raise AuditUnavailable(f"the audit trail cannot be shortened: {error.strerror}") from error
        return removal

    def _say(self, text: str) -> None:
        """Replace the file of removals, as a whole or not at all."""
        temporary = self._folder.parent / f".{REMOVALS_NAME}"
        temporary.unlink(missing_ok=True)
        file = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            write_all(file, text.encode("ascii"))
            os.fsync(file)
        finally:
            os.close(file)
        temporary.replace(self._folder / REMOVALS_NAME)
        sync_folder(self._folder)

    def _unlink(self, sequence: int) -> None:
        for segment, following in pairwise(segments_of(self._folder)):
            if int(following.stem) - 1 > sequence:
                break
            segment.unlink()
        sync_folder(self._folder)


def _is_older(record: TrailRecord, moment: datetime) -> bool:
    """Whether a record was made before a moment; one that does not say when is kept."""
    try:
        return datetime.fromisoformat(record.time) < moment
    except (ValueError, TypeError):
        return False
