"""A kept message on one line, and in full, for people."""

from collections.abc import Iterator
from typing import Final

from archive.repository.store import Kept
from archive.repository.syslog import parse_syslog

_OUTCOMES: Final = {"0": "good", "4": "failed (minor)", "8": "failed (serious)", "12": "failed (major)"}


def line_of(kept: Kept) -> str:
    """When, who, what, which patient and study, how it ended, from where."""
    summary = kept.summary
    who = summary.requestor or next(iter(summary.people), "-")
    parts = [
        kept.time,
        f"{kept.number:>6}",
        "" if kept.valid else "INVALID",
        f"{who}: {summary.event_name}",
        _some("patient", summary.patients),
        _some("study", summary.studies),
        _OUTCOMES.get(summary.outcome, "outcome not told"),
        f"from {summary.source or kept.sender.address} ({kept.sender.transport})",
    ]
    return "  ".join(part for part in parts if part)


def page_of(kept: Kept) -> Iterator[str]:
    """Everything that is known of one message, its XML last."""
    sender = kept.sender
    yield line_of(kept)
    yield f"sender: {sender.address} over {sender.transport} {sender.certificate}".rstrip()
    yield from (finding.in_words() for finding in kept.findings)
    yield from body_of(kept).splitlines()


def body_of(kept: Kept) -> str:
    """The XML of a message; what is no text is shown as such."""
    return parse_syslog(kept.data).body.decode("utf-8", "replace")


def _some(name: str, values: tuple[str, ...]) -> str:
    if len(values) > 2:
        return f"{name} {values[0]} {values[1]} and {len(values) - 2} more"
    return f"{name} {' '.join(values)}" if values else ""
