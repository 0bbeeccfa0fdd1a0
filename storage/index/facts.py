"""What a study's row says for policy, as text, and the archive's own seal over it; shared by reader and writer.

`facts` holds everything that policy reads of the study: what a match is decided on once more after the SQL selected it,
in one column of a page's rows. The same stands in columns and set tables of its own, for predicates, and the labels in
`labels`: each between backslashes, so that SQL finds one by looking for a text, without a pattern or another table.
"""

import hmac
import json
from collections.abc import Iterable
from dataclasses import replace
from functools import lru_cache
from typing import Final

from storage.index.columns import SCALAR_FACTS, SET_FACTS
from storage.instance import StudyFacts


def facts_text(facts: StudyFacts) -> str:
    """The facts as canonical JSON."""
    scalars = [getattr(facts, name) for name in SCALAR_FACTS]
    sets = [sorted(getattr(facts, name)) for name in SET_FACTS]
    return json.dumps([*scalars, *sets], ensure_ascii=False, separators=(",", ":"))


def facts_of(text: str) -> StudyFacts:
    """The inverse of `facts_text`."""
    values = json.loads(text)
    named = dict(zip(SCALAR_FACTS, values, strict=False))
    named |= {name: frozenset(held) for name, held in zip(SET_FACTS, values[len(SCALAR_FACTS) :], strict=True)}
    return StudyFacts(**named)


facts_again: Final = lru_cache(maxsize=256)(facts_of)
"""`facts_of`, for whoever asks about the same few studies with each object that comes."""


_ESCAPES: Final = str.maketrans({"%": "%25", "\\": "%5C", "\0": "%00"})


def label_text(label: str) -> str:
    """One label, as it stands among the labels of a study; no other one holds this text."""
    return f"\\{label.translate(_ESCAPES) or '%'}\\"


def labels_text(labels: Iterable[str]) -> str:
    """All labels of a study."""
    return "".join(map(label_text, sorted(labels)))


class FactsSeal:
    """Vouches for what one study's row says for policy: a keyed MAC, so that rows written past the archive are found.

    It cannot show that a row was set back to what it said before, or is missing; the ledger can.
    """

    def __init__(self, key: bytes) -> None:
        self._key = hmac.digest(key, b"study facts", "sha256")

    def of(self, facts: str, labels: str) -> bytes:
        """The seal of these two columns."""
        return hmac.digest(self._key, f"{facts}\0{labels}".encode(), "sha256")

    def holds(self, facts: str, labels: str, seal: bytes | None) -> bool:
        """Whether they are what this archive wrote."""
        return seal is not None and hmac.compare_digest(self.of(facts, labels), bytes(seal))


def sealed_facts(seal: FactsSeal | None, facts: str, labels: str, mac: bytes | None) -> StudyFacts:
    """The facts of a row, for a decision; ``seal``: what vouches for them, None where nothing does."""
    found = facts_of(facts)
    return found if seal is None or seal.holds(facts, labels, mac) else replace(found, vouched=False)
