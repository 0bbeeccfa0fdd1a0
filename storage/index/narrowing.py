"""Where to look for the matches of a query, where its terms alone would have every study read.

Studies are read newest first, which finds five hundred at once if many match. Where few do, the whole index would be
read: so terms on sets and on the inside of names are counted first, and where they pick few studies only these are
read. Counting reads nothing but an index, and stops at `FEW`.
"""

from collections.abc import Sequence
from typing import Final

from sqlalchemy import ColumnElement, Table, select

from storage.index.columns import Level
from storage.index.engine import IndexEngine
from storage.index.matching import FindQuery
from storage.index.moments import FIRST_DATE
from storage.index.parameters import merged_parts
from storage.index.predicate import (
    AllOf,
    Among,
    AnyOf,
    Compare,
    Holds,
    OneOf,
    Pattern,
    PatternParameter,
    Predicate,
    Scalar,
    Wild,
    any_of,
)
from storage.index.schema import NAME_COLUMNS, STUDY_MODALITY, STUDY_NAME_PART, STUDY_SOP_CLASS
from storage.index.text import LONG_NAME, PART

FEW: Final = 10_000
"""Studies that are rather read one by one than all of them by date."""
_MOST_PARTS: Final = 6
_SETS: Final = {
    "modalities_in_study": (STUDY_MODALITY, STUDY_MODALITY.c.current.is_(True)),
    "sop_classes_in_study": (STUDY_SOP_CLASS, None),
}
_NAMED: Final = frozenset({"study_uid", "patient_id", "accession_number"})
"""Attributes of which one value picks few studies by itself."""


def narrowed(engine: IndexEngine, query: FindQuery) -> Predicate:
    """The predicate of a query, with what few studies satisfy told apart. Raises `IndexFault`."""
    # A range of dates is read as such.
    dated = query.dates is not None and query.dates[0] > FIRST_DATE
    few = query.level in (Level.PATIENT, Level.STUDY) and not dated and not _is_named(query.predicate)
    return _narrowed(engine if few else None, query.predicate)


def _is_named(predicate: Predicate) -> bool:
    match predicate:
        case AllOf(terms) | AnyOf(terms):
            return any(map(_is_named, terms))
        case Compare(attribute, "==", _):
            return attribute in _NAMED
    return False


def _narrowed(engine: IndexEngine | None, predicate: Predicate) -> Predicate:
    """``engine``: where to count; None: nothing is counted."""
    match predicate:
        case AllOf(terms):
            return AllOf(tuple(_narrowed(engine, term) for term in terms))
        case AnyOf(terms):
            return AnyOf(tuple(_narrowed(engine, term) for term in terms))
        case Holds(attribute, values, False, False) if attribute in _SETS and values:
            table, counts = _SETS[attribute]
            conditions = [table.c.value.in_(values)] + ([] if counts is None else [counts])
            within = _within(f"{attribute}_text", values)
            return within if engine is None else _among(engine, within, table, conditions)
        case Pattern(attribute, parts, False) if attribute in NAME_COLUMNS and not isinstance(parts, PatternParameter):
            wanted = _parts(parts)
            if wanted and engine is not None:
                first, *others = (STUDY_NAME_PART.c.value.in_((part, LONG_NAME)) for part in wanted)
                also = [STUDY_NAME_PART.c.study_fk.in_(select(STUDY_NAME_PART.c.study_fk).where(it)) for it in others]
                return _among(engine, predicate, STUDY_NAME_PART, [first, *also])
    return predicate


def _within(attribute: str, values: Sequence[Scalar]) -> Predicate:
    """A set asked for one of some values, by its text in the study's own row: no table of its own has to be read."""
    terms: list[Predicate] = [OneOf(attribute, tuple(values))]
    for value in values:
        terms.append(Pattern(attribute, (f"{value}\\", Wild.ANY)))
        terms.append(Pattern(attribute, (Wild.ANY, f"\\{value}")))
        terms.append(Pattern(attribute, (Wild.ANY, f"\\{value}\\", Wild.ANY)))
    return any_of(*terms)


def _parts(parts: tuple[str | Wild, ...]) -> list[str]:
    """Parts that a name has to hold for a pattern; none where the name begins with a literal, which an index finds."""
    merged = merged_parts(parts)
    if not merged or isinstance(merged[0], str):
        return []
    texts = [part for part in merged if isinstance(part, str)]
    found = [text[at : at + PART] for text in texts for at in range(len(text) - PART + 1)]
    return list(dict.fromkeys(found))[:_MOST_PARTS]


def _among(engine: IndexEngine, term: Predicate, table: Table, conditions: Sequence[ColumnElement[bool]]) -> Predicate:
    statement = select(table.c.study_fk).distinct().where(*conditions).limit(FEW + 1)
    with engine.reading() as connection:
        keys = connection.execute(statement).scalars().all()
    return Among(tuple(keys), term) if len(keys) <= FEW else term
