"""What becomes of an object by the signatures that it came with: accepted, flagged, quarantined or refused.

PS3.15 A.2 wants signatures validated on receipt where that is possible. The worst of them decides; each is named.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum

from archive.settings import SignatureSettings
from archive.signatures.local import LocalProfile
from archive.signatures.wording import place_of
from storage.integrity.signature_report import SignatureReport
from storage.integrity.signed_item import Verdict
from storage.integrity.trust import Trust


class Action(IntEnum):
    """From mildest to gravest."""

    ACCEPT = 0
    FLAG = 1
    QUARANTINE = 2
    REFUSE = 3


@dataclass(frozen=True, slots=True)
class Judgement:
    """What becomes of one object, and why."""

    action: Action = Action.ACCEPT
    words: str = ""
    """Every finding that is not simply accepted; nothing in it was sent by the peer but UIDs of signatures' places."""


class ReceiptPolicy:
    """Judges by the settings. Threads may share it."""

    def __init__(self, settings: SignatureSettings, required: LocalProfile | None, trust: Callable[[], Trust]) -> None:
        """``required``: how objects are to be signed; ``trust`` is asked each time, since own signers change."""
        self._required = required
        self.trust = trust
        self._missing = _action(settings.missing)
        invalid = _action(settings.invalid)
        self._by_verdict = {
            Verdict.VALID: Action.ACCEPT,
            Verdict.WEAK: _action(settings.weak),
            Verdict.UNKNOWN_SIGNER: _action(settings.unknown),
            Verdict.INDETERMINATE: _action(settings.indeterminate),
            Verdict.INVALID: invalid,
            Verdict.OUTSIDE_VALIDITY: invalid,
            Verdict.REVOKED: invalid,
        }

    @property
    def asks_all(self) -> bool:
        """Whether even an unsigned object is judged."""
        return self._required is not None

    def judge(self, reports: Sequence[SignatureReport]) -> Judgement:
        """What becomes of an object with these signatures."""
        action, found = Action.ACCEPT, []
        for report in reports:
            wanted = self._by_verdict[report.verdict]
            if wanted is not Action.ACCEPT:
                found.append(f"the signature of {place_of(report.path)} is {report.verdict.value}")
                action = max(action, wanted)
        if self._required is not None and not any(map(self._required.kept_by, reports)):
            if self._missing is not Action.ACCEPT:
                found.append(f"it is not signed as {self._required.name!r} wants")
            action = max(action, self._missing)
        return Judgement(action, "; ".join(found))


def _action(word: str) -> Action:
    return Action[word.upper()]
