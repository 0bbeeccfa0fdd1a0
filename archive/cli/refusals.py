"""The last refusals in the trail, in words, each with the command that would let it in next time.

Names in them were claimed by strangers: a command is quoted for the shell, and it is for a person to read first.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Final

from archive.audit.trail_format import TrailRecord
from archive.cli.admitting import admit_node, admit_person, ask_policy

_NODE: Final = "node-refused"
_USER: Final = "user-authenticated"
_ACCESS: Final = "access-refused"


@dataclass(frozen=True, slots=True)
class Refusal:
    """One refusal, or several alike."""

    time: str
    """Of the last."""
    what: str
    command: str
    """Empty where no command would change it."""
    count: int = 1

    @property
    def words(self) -> str:
        """What was refused, and how often."""
        return self.what if self.count == 1 else f"{self.what} ({self.count} times)"


def last_refusals(records: Iterable[TrailRecord], limit: int) -> list[Refusal]:
    """The newest refusals, newest first, those alike as one."""
    recent: dict[str, Refusal] = {}
    for record in records:
        if not _refused(record):
            continue
        refusal = _in_words(record)
        before = recent.pop(refusal.what, None)
        recent[refusal.what] = replace(refusal, count=refusal.count + (before.count if before else 0))
        if len(recent) > limit:
            del recent[next(iter(recent))]
    return list(reversed(recent.values()))


def _refused(record: TrailRecord) -> bool:
    return record.kind in (_NODE, _ACCESS) or (record.kind == _USER and record.facts.get("outcome", 0) != 0)


def _in_words(record: TrailRecord) -> Refusal:
    facts = record.facts
    actor = facts.get("actor", {})
    who = _who(actor)
    reason = facts.get("reason", "") or "no reason given"
    count = int(facts.get("repeated", {}).get("count", 1))
    match record.kind:
        case "node-refused":
            presented = f", presenting {facts['certificate']}" if facts.get("certificate") else ""
            return Refusal(record.time, f"{who}{presented}: {reason}", admit_node(actor, reason), count)
        case "user-authenticated":
            claimed = facts.get("claimed", "")
            person = f"{claimed} at {who}" if claimed else who
            return Refusal(record.time, f"{person}: {reason}", admit_person(claimed, actor, reason), count)
        case _:
            person = f"{actor['person']} at {who}" if actor.get("person") else who
            study = f" on study {facts['study_uid']}" if facts.get("study_uid") else ""
            what = f"{person}: {facts.get('action', '')}{study} denied: {reason}"
            return Refusal(record.time, what, ask_policy(facts), count)


def _who(actor: dict[str, Any]) -> str:
    title = actor.get("node") or actor.get("ae_title")
    address = actor.get("address")
    return f"{title or 'a stranger'} from {address}" if address else str(title or "a stranger")
