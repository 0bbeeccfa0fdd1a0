"""Study facts to and from the text that a study row carries; shared by reader and writer, so that they cannot disagree.

The same facts stand in columns and set tables of their own, for predicates. The text is what a match is decided on once
more after the SQL selected it: one column of a page's rows, where the set tables would need statements of their own.
"""

import json

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
