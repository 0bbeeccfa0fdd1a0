"""Where received messages are kept: a trail of their own, append-only, chained and encrypted (`archive.audit.trail`).

There is no index beside it. A message is kept once, with its summary, under one key; a search reads the trail from its
beginning and checks every record as it goes, so that nothing can be found that was not received, or lost from sight.
"""

import base64
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from archive.audit.trail import AuditTrail, read_trail
from archive.audit.trail_format import IncompleteFrame, TrailRecord
from archive.repository.findings import Finding, Weight
from archive.repository.summary import Summary
from archive.repository.validation import Verdict

KIND: Final = "audit-message"
_LONG_IN_JSON: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f]")
"""Six characters each in JSON: with them a message of the largest size would not fit into a record."""


@dataclass(frozen=True, slots=True)
class Sender:
    """Whom a message came from, as far as that is known."""

    address: str
    transport: str
    """``tls``, or ``udp`` where nobody has proved anything."""
    certificate: str = ""
    """SHA-256 fingerprint of the sender's certificate."""


@dataclass(frozen=True, slots=True)
class Received:
    """One message to be kept."""

    data: bytes
    sender: Sender
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Kept:
    """One message that was kept."""

    number: int
    time: str
    """When it was received: ISO 8601 with offset."""
    sender: Sender
    data: bytes
    """The syslog message, octet by octet as it came."""
    valid: bool
    summary: Summary
    findings: tuple[Finding, ...]


class MessageStore:
    """The one writer of a folder of messages; the caller makes sure that it is alone. Thread-safe."""

    def __init__(self, folder: Path, key: bytes) -> None:
        """Open the folder, making it if there is none.

        Raises:
            TrailDamaged: it is not what was written.
            AuditUnavailable: it cannot be opened or written.
        """
        self._trail = AuditTrail(folder, key)

    def keep(self, messages: Sequence[Received]) -> None:
        """Put messages on stable storage before returning, together with what other senders sent meanwhile.

        Raises:
            AuditUnavailable: they are not, and nothing will be.
        """
        moment = datetime.now(UTC).isoformat(timespec="milliseconds")
        self._trail.append([{"time": moment, "kind": KIND, "facts": _facts(message)} for message in messages])

    def close(self) -> None:
        """Stop writing; idempotent."""
        self._trail.close()


def messages_of(folder: Path, key: bytes) -> Iterator[Kept]:
    """Every message that was kept, oldest first; one that is being written right now is left out.

    Raises:
        TrailDamaged: a record is not what was written.
    """
    try:
        for record in read_trail(folder, key):
            if record.kind == KIND:
                yield _kept(record)
    except IncompleteFrame:
        return


def _facts(message: Received) -> dict[str, Any]:
    return {
        "sender": _plain(message.sender),
        "valid": message.verdict.valid,
        "findings": [_plain(finding) | {"weight": finding.weight.value} for finding in message.verdict.findings],
        "summary": _plain(message.verdict.summary),
        **_data(message.data),
    }


def _plain(value: Sender | Finding | Summary) -> dict[str, Any]:
    # dataclasses.asdict copies deeply, which takes as long as everything else that is done to keep a message.
    return {field.name: getattr(value, field.name) for field in fields(value)}


def _data(data: bytes) -> dict[str, str]:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        text = None
    if text is None or _LONG_IN_JSON.search(text):
        return {"base64": base64.b64encode(data).decode("ascii")}
    return {"text": text}


def _kept(record: TrailRecord) -> Kept:
    facts = record.facts
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in facts["summary"].items()
    }
    return Kept(
        number=record.sequence,
        time=record.time,
        sender=Sender(**facts["sender"]),
        data=facts["text"].encode("utf-8") if "text" in facts else base64.b64decode(facts["base64"]),
        valid=facts["valid"],
        summary=Summary(**values),
        findings=tuple(Finding(**{**finding, "weight": Weight(finding["weight"])}) for finding in facts["findings"]),
    )
