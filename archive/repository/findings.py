"""What is wrong with a message, in words and with the clause that says so."""

from dataclasses import dataclass
from enum import Enum
from typing import Final

MAX_FINDINGS: Final = 50
"""Told of one message: after so many nobody reads on, and a sender shall not make us write a book."""


class Weight(Enum):
    """How much a finding means."""

    BREACH = "breach"
    """The message is not what the standard demands; it counts as invalid."""
    REMARK = "remark"
    """Discouraged, or read differently by different editions; the message stays valid."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One rule that a message breaks."""

    clause: str
    """Where it is written, such as ``PS3.15 A.5.3.10``."""
    says: str
    """What should be, and what is."""
    where: str = ""
    """The element, such as ``ActiveParticipant[2]``."""
    weight: Weight = Weight.BREACH

    def in_words(self) -> str:
        """The finding on one line."""
        place = f"{self.where}: " if self.where else ""
        return f"{self.weight.value}: {place}{self.says} ({self.clause})"
