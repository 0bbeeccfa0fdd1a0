"""Study facts to and from their columns; shared by the reader and the writer, so that they cannot disagree."""

import json
from collections.abc import Mapping
from typing import Any

from storage.index.columns import SCALAR_FACTS, SET_FACTS
from storage.index.schema import STUDY
from storage.instance import StudyFacts

FACT_COLUMNS = (*(STUDY.c[name] for name in SCALAR_FACTS), STUDY.c.sets)
"""What a statement must select, in this order, for `facts_of`."""


def sets_text(sets: Mapping[str, frozenset[str]]) -> str:
    """The set-valued facts as the text that a study row carries."""
    return json.dumps({name: sorted(sets[name]) for name in SET_FACTS}, ensure_ascii=False)


def sets_of(text: str) -> dict[str, frozenset[str]]:
    """The inverse of `sets_text`."""
    found = json.loads(text)
    return {name: frozenset(found[name]) for name in SET_FACTS}


def facts_of(values: tuple[Any, ...]) -> StudyFacts:
    """The facts in a row's values of `FACT_COLUMNS`."""
    *scalars, sets = values
    named: dict[str, Any] = {**dict(zip(SCALAR_FACTS, scalars, strict=True)), **sets_of(sets)}
    return StudyFacts(**named)
