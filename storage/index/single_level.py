"""Identifiers of information models with a single level: objects without a patient (PS3.4 U.6, X.6, BB.6, HH.6). Pure.

The rules, in order:

1. There is no Query/Retrieve Level; one that is there means nothing.
2. SOP Instance UID is the unique key, of one UID or a list of them (C.2.2.1.1).
3. Every other key is matched as at the IMAGE level of the models of studies (`storage.index.keys`), wherever its
   element would stand in those, except what would be a patient's or a study's: these objects have neither, and such a
   key is told apart, so that the answer can be FF01 (C.2.2.1.3).
4. A retrieval selects by SOP Instance UID alone (U.4.2.1.3, U.4.3.1.3).
"""

from collections.abc import Iterable, Mapping

from storage.errors import IdentifierInvalid, InvalidIdentifier
from storage.identifiers import uid
from storage.index.columns import BY_KEYWORD, BY_TAG, Attribute, Comparison, Level
from storage.index.keys import listed, matching, stripped, universal
from storage.index.levels import level_of
from storage.index.matching import (
    ANSWERED_ELSEWHERE,
    NEVER_KEYS,
    NO_OPTIONS,
    FindQuery,
    QueryOptions,
    RetrieveQuery,
    keys_by_tag,
)
from storage.index.predicate import OneOf, Predicate, all_of
from storage.index.sequences import ItemKeys, QueryKey, element_term
from storage.non_patient import NonPatientModel

_UNIQUE = BY_KEYWORD["SOPInstanceUID"]
_FILED_BY = frozenset({BY_KEYWORD["StudyInstanceUID"].tag, BY_KEYWORD["SeriesInstanceUID"].tag})


def plan_find(model: NonPatientModel, keys: Iterable[QueryKey], options: QueryOptions = NO_OPTIONS) -> FindQuery:
    """Turn the keys of a C-FIND identifier into a query.

    Raises:
        IdentifierInvalid: a key breaks its VR, or is there twice (status A900).
    """
    terms: list[Predicate] = [_of_model(model)]
    returned: list[int] = []
    unsupported: list[int] = []
    sequences: dict[int, ItemKeys] = {}
    for key in keys_by_tag(keys).values():
        if key.tag in ANSWERED_ELSEWHERE or not key.tag & 0xFFFF:
            continue
        attribute = BY_TAG.get(key.tag)
        if not _answered(key.tag) or (attribute is None and options.columns_only):
            unsupported.append(key.tag)
            continue
        returned.append(key.tag)
        if attribute is None:
            term, items, supported = element_term(key, fuzzy=options.fuzzy_names)
            terms.append(term)
            if items is not None:
                sequences[key.tag] = items
        else:
            supported = _take(attribute, key, options, terms)
        if not supported:
            unsupported.append(key.tag)
    return FindQuery(Level.IMAGE, all_of(*terms), tuple(sorted(returned)), tuple(sorted(unsupported)), None, sequences)


def plan_retrieve(model: NonPatientModel, keys: Iterable[QueryKey]) -> RetrieveQuery:
    """Turn the keys of a C-GET or C-MOVE identifier into a selection of instances.

    Raises:
        IdentifierInvalid: there is no SOP Instance UID, or something else to select by (status A900).
    """
    by_tag: Mapping[int, QueryKey] = keys_by_tag(keys)
    for key in by_tag.values():
        if key.items is not None or (stripped(key.value) and key.tag not in {_UNIQUE.tag, *ANSWERED_ELSEWHERE}):
            raise IdentifierInvalid(f"({key.tag >> 16:04X},{key.tag & 0xFFFF:04X}) does not select what is retrieved")
    wanted = listed(stripped(by_tag[_UNIQUE.tag].value)) if _UNIQUE.tag in by_tag else []
    if not wanted:
        raise IdentifierInvalid("SOPInstanceUID is missing")
    try:
        named = OneOf(_UNIQUE.column, tuple(uid(one) for one in wanted))
    except InvalidIdentifier:
        raise IdentifierInvalid("SOPInstanceUID is not a UID or a list of them") from None
    return RetrieveQuery(Level.IMAGE, all_of(_of_model(model), named))


def _of_model(model: NonPatientModel) -> Predicate:
    """The objects that a model knows: their SOP classes are what they are filed under."""
    return OneOf("study_uid", model.classes)


def _answered(tag: int) -> bool:
    depth = level_of(tag).depth
    return depth >= Level.SERIES.depth and tag not in _FILED_BY and tag >> 16 not in NEVER_KEYS


def _take(attribute: Attribute, key: QueryKey, options: QueryOptions, terms: list[Predicate]) -> bool:
    """Add the condition of a key whose attribute has a column; whether it is matched as it was asked."""
    value = stripped(key.value)
    if universal(value) and key.items is None:
        return True
    if attribute.comparison is Comparison.NONE or key.items is not None:
        return False
    terms.append(matching(attribute, value, unique=attribute is _UNIQUE, fuzzy=options.fuzzy_names))
    return True
