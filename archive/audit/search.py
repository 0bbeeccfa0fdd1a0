"""Which records of the trail somebody wants to see: by person, patient, study, node, kind, time and outcome.

Facts are found by their names wherever they stand in a record, so that a kind of event need not be known here.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final

from archive.audit.asked import bytes_asked, keys_asked
from archive.audit.trail_format import TrailRecord

_NAMES: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {
        "person": frozenset({"person", "display_name", "os_user", "claimed"}),
        "patient": frozenset({"patient_id", "patient_name"}),
        "study": frozenset({"study_uid"}),
        "node": frozenset({"node", "ae_title", "address", "destination"}),
    }
)
"""By which facts a record is about somebody or something."""
OUTCOMES: Final = ("good", "failed", "0", "4", "8", "12")
"""What an outcome may be asked by: in words, or an EventOutcomeIndicator (PS3.15 A.5.2)."""


@dataclass(frozen=True, slots=True)
class Criteria:
    """What a record must say; what is None or empty is not asked. Texts are compared without regard to case."""

    person: str | None = None
    """Who acted, or whose name was claimed; also the operating system's user."""
    patient: str | None = None
    """ID or name; also as a key of a query, so that whoever looked for a patient is found, too."""
    study: str | None = None
    """Study Instance UID; also as a key of a query."""
    node: str | None = None
    """Name, AE title, address or destination."""
    kinds: tuple[str, ...] = ()
    outcome: str | None = None
    """One of `OUTCOMES`."""
    since: datetime | None = None
    """Recorded at this moment or later; aware."""
    until: datetime | None = None
    """Recorded before this moment; aware."""

    def holds(self, record: TrailRecord) -> bool:
        """Whether a record is wanted."""
        return (
            (not self.kinds or record.kind in self.kinds)
            and self._in_time(record)
            and (self.outcome is None or ended(self.outcome, record.facts.get("outcome", 0)))
            and all(self._about(name, record.facts) for name in _NAMES)
        )

    def in_words(self) -> str:
        """What is asked for, as the trail tells of it; empty where everything is."""
        asked = {name: value for name, value in asdict(self).items() if value not in (None, ())}
        return ", ".join(f"{name}={_text(value)}" for name, value in asked.items())

    def _in_time(self, record: TrailRecord) -> bool:
        if self.since is None and self.until is None:
            return True
        moment = datetime.fromisoformat(record.time)
        return (self.since is None or moment >= self.since) and (self.until is None or moment < self.until)

    def _about(self, name: str, facts: Mapping[str, Any]) -> bool:
        wanted = getattr(self, name)
        if wanted is None:
            return True
        folded = wanted.casefold()
        if any(value.casefold() == folded for value in values_of(facts, _NAMES[name])):
            return True
        return name in ("patient", "study") and _asked_for(folded, facts)


def values_of(facts: object, names: frozenset[str]) -> Iterator[str]:
    """Every text that stands under one of the names, at any depth of a record's facts."""
    if isinstance(facts, Mapping):
        for name, value in facts.items():
            if name in names and isinstance(value, str):
                yield value
            else:
                yield from values_of(value, names)
    elif isinstance(facts, list | tuple):
        for value in facts:
            yield from values_of(value, names)


def ended(wanted: str, outcome: object) -> bool:
    """Whether an EventOutcomeIndicator is what is asked for, one of `OUTCOMES`."""
    if wanted in ("good", "failed"):
        return (outcome == 0) == (wanted == "good")
    return str(outcome) == wanted


def _asked_for(folded: str, facts: Mapping[str, Any]) -> bool:
    """Whether a query had this value for a key; if its identifier cannot be read, whether the characters are in it."""
    if not facts.get("identifier"):
        return False
    if folded.isascii() and folded not in bytes_asked(facts).decode("latin-1").casefold():
        return False
    keys = keys_asked(facts)
    return keys is None or any(value.casefold() == folded for values in keys.values() for value in values)


def _text(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
