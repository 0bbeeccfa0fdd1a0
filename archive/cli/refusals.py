"""The last refusals in the trail, in words, each with the command that would let it in next time.

Names in them were claimed by strangers: a command is quoted for the shell, and it is for a person to read first.
"""

import shlex
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from archive.audit.trail_format import TrailRecord

_NODE: Final = "node-refused"
_USER: Final = "user-authenticated"
_ACCESS: Final = "access-refused"


@dataclass(frozen=True, slots=True)
class Refusal:
    """One refusal."""

    time: str
    what: str
    command: str
    """Empty where no command would change it."""


def last_refusals(records: Iterable[TrailRecord], limit: int) -> list[Refusal]:
    """The newest refusals, newest first."""
    recent = deque((record for record in records if _refused(record)), maxlen=limit)
    return [_in_words(record) for record in reversed(recent)]


def _refused(record: TrailRecord) -> bool:
    return record.kind in (_NODE, _ACCESS) or (record.kind == _USER and record.facts.get("outcome", 0) != 0)


def _in_words(record: TrailRecord) -> Refusal:
    facts = record.facts
    actor = facts.get("actor", {})
    who = _who(actor)
    reason = facts.get("reason", "") or "no reason given"
    match record.kind:
        case "node-refused":
            presented = f", presenting {facts['certificate']}" if facts.get("certificate") else ""
            return Refusal(record.time, f"{who}{presented}: {reason}", _admit_node(actor))
        case "user-authenticated":
            claimed = facts.get("claimed", "")
            person = f"{claimed} at {who}" if claimed else who
            return Refusal(record.time, f"{person}: {reason}", _admit_user(claimed, actor))
        case _:
            person = f"{actor['person']} at {who}" if actor.get("person") else who
            study = f" on study {facts['study_uid']}" if facts.get("study_uid") else ""
            return Refusal(record.time, f"{person}: {facts.get('action', '')}{study} denied: {reason}", _ask_why(facts))


def _who(actor: dict[str, Any]) -> str:
    title = actor.get("node") or actor.get("ae_title")
    address = actor.get("address")
    return f"{title or 'a stranger'} from {address}" if address else str(title or "a stranger")


def _admit_node(actor: dict[str, Any]) -> str:
    if actor.get("node") and actor.get("ae_title") not in (None, actor["node"]):
        # A known node that called under another title: the title is what is missing.
        return (
            f"strongroom node remove {_quoted(actor['node'])}; strongroom node add {_quoted(actor['node'])} "
            f"--certificate PEM --ae {_quoted(actor['ae_title'])} --role ROLE"
        )
    return f"strongroom node add {_quoted(actor.get('ae_title') or 'AE_TITLE')} --certificate PEM --role ROLE"


def _admit_user(claimed: str, actor: dict[str, Any]) -> str:
    if claimed:
        name = _quoted(claimed)
        return f"strongroom user add {name} --role ROLE --passcode-file -, or strongroom user passcode {name}"
    node = _quoted(actor.get("node") or actor.get("ae_title") or "AE_TITLE")
    return (
        f"strongroom node remove {node}; strongroom node add {node} --certificate PEM --identity optional --role ROLE"
    )


def _ask_why(facts: dict[str, Any]) -> str:
    actor = facts.get("actor", {})
    if not actor.get("node") or not facts.get("action"):
        return ""
    words = ["strongroom", "policy", "explain", facts["action"], "--node", actor["node"]]
    words += ["--user", actor["person"]] if actor.get("person") else []
    words += ["--study", facts["study_uid"]] if facts.get("study_uid") else []
    return shlex.join(words)


def _quoted(word: str) -> str:
    return shlex.quote(word)
