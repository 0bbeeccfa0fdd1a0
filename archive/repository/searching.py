"""Which of the kept messages somebody wants to see."""

from dataclasses import dataclass
from datetime import datetime

from archive.repository.document import DocumentRefused, parse_document
from archive.repository.limits import Limits
from archive.repository.store import Kept
from archive.repository.summary import Summary, summarise_wholly
from archive.repository.syslog import parse_syslog


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a message must say; what is None is not asked. Texts are compared without regard to case."""

    event: str | None = None
    """EventID or EventTypeCode: its code or, for an EventID, words of its name."""
    person: str | None = None
    """UserID, AlternativeUserID or UserName of a participant."""
    patient: str | None = None
    """ID or name."""
    study: str | None = None
    """Study Instance UID."""
    source: str | None = None
    """AuditSourceID, a participant's network address, or the address that sent it."""
    outcome: str | None = None
    """``good``, ``failed``, or an EventOutcomeIndicator."""
    since: datetime | None = None
    """Received at this moment or later."""
    until: datetime | None = None
    """Received before this moment."""
    valid: bool | None = None

    def holds(self, kept: Kept) -> bool:
        """Whether a message is wanted."""
        if self.valid is not None and kept.valid != self.valid:
            return False
        if self.since is not None or self.until is not None:
            moment = datetime.fromisoformat(kept.time)
            if (self.since and moment < self.since) or (self.until and moment >= self.until):
                return False
        if self._says(kept.summary, kept):
            return True
        return kept.summary.more and self._says(_whole(kept), kept)

    def _says(self, summary: Summary, kept: Kept) -> bool:
        return (
            (self.event is None or self._names_event(self.event.casefold(), summary))
            and _among(self.person, *summary.people)
            and _among(self.patient, *summary.patients)
            and _among(self.study, *summary.studies)
            and _among(self.source, summary.source, kept.sender.address, *summary.addresses)
            and (self.outcome is None or _ended(self.outcome, summary.outcome))
        )

    @staticmethod
    def _names_event(wanted: str, summary: Summary) -> bool:
        return wanted in (summary.event, *(code.casefold() for code in summary.types)) or (
            not wanted.isdigit() and wanted in summary.event_name.casefold()
        )


def _among(wanted: str | None, *values: str) -> bool:
    return wanted is None or wanted.casefold() in (value.casefold() for value in values)


def _ended(wanted: str, outcome: str) -> bool:
    if wanted == "failed":
        return outcome not in ("", "0")
    return outcome == ("0" if wanted == "good" else wanted)


def _whole(kept: Kept) -> Summary:
    try:
        return summarise_wholly(parse_document(parse_syslog(kept.data).body, Limits()))
    except DocumentRefused:
        return kept.summary
