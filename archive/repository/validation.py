"""One received message looked at from the outside in: syslog header, XML, schema, rules of its event."""

import threading
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from archive.repository.conformity import departures
from archive.repository.document import DocumentRefused, parse_document
from archive.repository.findings import MAX_FINDINGS, Finding, Weight
from archive.repository.judging import judge
from archive.repository.limits import Limits
from archive.repository.summary import Summary, summarise
from archive.repository.syslog import parse_syslog

_ONE_AT_A_TIME: Final = threading.Lock()
"""A tree is many times its text: senders together hold one."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is wrong with a message, and what it says as far as that can be told."""

    summary: Summary
    findings: tuple[Finding, ...] = ()

    @property
    def valid(self) -> bool:
        """Whether no rule is broken; remarks do not count."""
        return all(finding.weight is not Weight.BREACH for finding in self.findings)


def examine(data: bytes, limits: Limits) -> Verdict:
    """Look at a syslog message as it came. Nothing is raised: whatever it is, it is told of."""
    message = parse_syslog(data)
    verdict = examine_document(message.body, limits)
    return Verdict(verdict.summary, _bounded((*message.findings, *verdict.findings)))


def examine_document(body: bytes, limits: Limits) -> Verdict:
    """Look at an audit message without its syslog header."""
    with _ONE_AT_A_TIME:
        try:
            root = parse_document(body, limits)
        except DocumentRefused as error:
            return Verdict(Summary(), (Finding("PS3.15 A.5.1", str(error)),))
        found = _bounded(departures(root))
        if root.tag != "AuditMessage":
            return Verdict(Summary(), found)
        return Verdict(summarise(root), _bounded((*found, *judge(root))))


def _bounded(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    # Breaches first, so that no number of remarks makes a message valid.
    return tuple(sorted(findings, key=lambda finding: finding.weight is not Weight.BREACH)[:MAX_FINDINGS])
