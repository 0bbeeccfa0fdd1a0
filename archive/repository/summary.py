"""Who, what, which patient: what a message is found by, and told by on one line."""

from dataclasses import dataclass
from typing import Final
from xml.etree.ElementTree import Element

from archive.repository.judging import code_of
from archive.repository.rules import PATIENT, RULES, STUDY

MAX_VALUES: Final = 1_024
"""Kept of one message; a message with more is looked at again when somebody searches."""
MAX_CHARACTERS: Final = 256
_TRUE: Final = ("true", "1")


@dataclass(frozen=True, slots=True)
class Summary:
    """The facts of one message; what the message does not say is empty."""

    event: str = ""
    types: tuple[str, ...] = ()
    action: str = ""
    outcome: str = ""
    time: str = ""
    """EventDateTime, as the sender wrote it."""
    source: str = ""
    """AuditSourceID."""
    requestor: str = ""
    """Whoever the message says asked for it."""
    people: tuple[str, ...] = ()
    """UserID, AlternativeUserID and UserName of each participant."""
    addresses: tuple[str, ...] = ()
    """NetworkAccessPointID of each participant."""
    patients: tuple[str, ...] = ()
    """IDs and names."""
    studies: tuple[str, ...] = ()
    more: bool = False
    """There were more values than are kept here."""

    @property
    def event_name(self) -> str:
        """The event in words, or its code."""
        return RULES[self.event].name if self.event in RULES else self.event or "unknown event"


def summarise(message: Element) -> Summary:
    """The facts of a document, whether it is valid or not."""
    return _Summariser(MAX_VALUES).of(message)


def summarise_wholly(message: Element) -> Summary:
    """As `summarise`, with every value that the message has."""
    return _Summariser(None).of(message)


class _Summariser:
    def __init__(self, room: int | None) -> None:
        self._room = room
        self._more = False

    def of(self, message: Element) -> Summary:
        event = message.find("EventIdentification")
        found = Element("none") if event is None else event
        participants = message.findall("ActiveParticipant")
        objects = message.findall("ParticipantObjectIdentification")
        source = message.find("AuditSourceIdentification")
        requestor = next((one for one in participants if one.get("UserIsRequestor") in _TRUE), None)
        patients = [one for one in objects if _kind(one) == PATIENT or one.get("ParticipantObjectTypeCodeRole") == "1"]
        names = [name for one in patients for name in (one.get("ParticipantObjectID"), _name(one))]
        return Summary(
            event=_short(code_of(found.find("EventID"))),
            types=self._kept([code_of(code) for code in found.findall("EventTypeCode")]),
            action=_short(found.get("EventActionCode", "")),
            outcome=_short(found.get("EventOutcomeIndicator", "")),
            time=_short(found.get("EventDateTime", "")),
            source=_short(source.get("AuditSourceID", "") if source is not None else ""),
            requestor=_short(requestor.get("UserID", "") if requestor is not None else ""),
            patients=self._kept(names),
            people=self._kept([name for one in participants for name in _people(one)]),
            addresses=self._kept([one.get("NetworkAccessPointID") for one in participants]),
            studies=self._kept([one.get("ParticipantObjectID") for one in objects if _kind(one) == STUDY]),
            more=self._more,
        )

    def _kept(self, values: list[str | None]) -> tuple[str, ...]:
        different = tuple(dict.fromkeys(value for value in values if value))
        if self._room is None:
            return different
        kept = tuple(value for value in different[: self._room] if len(value) <= MAX_CHARACTERS)
        self._room -= len(kept)
        self._more = self._more or len(kept) < len(different)
        return kept


def _people(participant: Element) -> list[str | None]:
    return [participant.get(name) for name in ("UserID", "AlternativeUserID", "UserName")]


def _kind(one: Element) -> str:
    return code_of(one.find("ParticipantObjectIDTypeCode"))


def _name(one: Element) -> str | None:
    return one.findtext("ParticipantObjectName")


def _short(text: str) -> str:
    return text[:MAX_CHARACTERS]
