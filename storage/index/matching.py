"""Identifiers of queries and retrievals become predicates (PS3.4 C.2.2.2, C.4.1.3.1, C.4.2.2.1, C.4.3.2.1). Pure.

The rules, in order:

1. Query/Retrieve Level (0008,0052) is one of the model's levels (PS3.4 C.6.1.1, C.6.2.1).
2. Every level above it is named by one value of its unique key, and by nothing else of that level (C.4.1.3.1.1). In the
   Study Root model a Patient ID beside the Study Instance UID is tolerated and narrows the answer.
3. Each key is matched by the kind of its VR: universal, list of UID, range, wildcard, single value (C.2.2.2). A value
   that is only ``*`` is universal for every VR.
4. An unknown value matches: a key other than a unique one is satisfied where the stored value has zero length
   (C.2.2.1.2).
5. A key that is not matched is told apart, so that the answer can be FF01 (C.2.2.1.3).
6. Where relational queries were negotiated, rule 2 falls: keys of the level and of those above it in any combination
   (C.4.1.2.2.1).

How one key matches is in `storage.index.keys`, and a sequence in `storage.index.sequences`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from storage.errors import IdentifierInvalid, InvalidIdentifier
from storage.identifiers import uid
from storage.index.columns import ATTRIBUTES, BY_TAG, Attribute, Comparison, Level
from storage.index.keys import combined_matching, listed, matching, stripped, universal
from storage.index.levels import level_of
from storage.index.predicate import Compare, OneOf, Predicate, all_of
from storage.index.ranges import date_range
from storage.index.sequences import ItemKeys, QueryKey, element_term

QUERY_RETRIEVE_LEVEL: Final = 0x00080052
ANSWERED_ELSEWHERE: Final = frozenset({QUERY_RETRIEVE_LEVEL, 0x00080005, 0x00080054, 0x00080056, 0x00080201})
"""Level, character set, Retrieve AE Title, Instance Availability, time zone: never matched, the SCP answers them."""

NEVER_KEYS: Final = frozenset({0x4FFE, 0x7FE0, 0xFFFA, 0xFFFC})
"""Groups of pixels, signatures and padding: never answered."""
MOMENTS: Final[Mapping[int, int]] = {
    0x00080020: 0x00080030,
    0x00080021: 0x00080031,
    0x00080022: 0x00080032,
    0x00080023: 0x00080033,
    0x00400244: 0x00400245,
}
"""Dates and the times that belong to them: of study, series, acquisition, content and performed procedure step."""

_UNIQUE: Final = {attribute.level: attribute for attribute in ATTRIBUTES if attribute.unique}


class QueryModel(Enum):
    """The information models of PS3.4 C.6."""

    PATIENT_ROOT = "Patient Root"
    STUDY_ROOT = "Study Root"


@dataclass(frozen=True, slots=True)
class QueryOptions:
    """What was agreed on in extended negotiation (PS3.4 C.5.1.1), and what enforcement asks for."""

    relational: bool = False
    combined_moments: bool = False
    """A date and a time of one thing are matched as one moment."""
    fuzzy_names: bool = False
    columns_only: bool = False
    """Neither match nor return elements without a column: they may repeat what is hidden in one that has."""


NO_OPTIONS: Final = QueryOptions()


@dataclass(frozen=True, slots=True)
class FindQuery:
    """What a C-FIND asks, ready for `storage.index.reader.IndexReader.find`."""

    level: Level
    predicate: Predicate
    returned: tuple[int, ...]
    """Tags to answer with, ascending."""
    unsupported: tuple[int, ...]
    """Keys that are not matched as asked: absent from the answer, or in it but matched universally (FF01)."""
    dates: tuple[int, int] | None = None
    """First and last study date that the predicate lets through beside absent ones: a hint for the order of reading."""
    sequences: Mapping[int, ItemKeys] = field(default_factory=dict)
    """Of which sequences only some items, or some of their elements, are asked for."""


@dataclass(frozen=True, slots=True)
class RetrieveQuery:
    """What a C-GET or C-MOVE selects."""

    level: Level
    predicate: Predicate


def plan_find(model: QueryModel, keys: Iterable[QueryKey], options: QueryOptions = NO_OPTIONS) -> FindQuery:
    """Turn the keys of a C-FIND identifier into a query.

    Raises:
        IdentifierInvalid: the identifier breaks rule 1 or 2, or a key its VR (status A900).
    """
    by_tag = keys_by_tag(keys)
    level = _level(model, by_tag)
    plan = _FindPlan(model, level, options)
    if not options.relational:
        plan.terms += _names_of_levels_above(model, level, by_tag)
        plan.returned += [tag for tag in (_UNIQUE[above].tag for above in _levels_above(model, level)) if tag in by_tag]
    if options.combined_moments:
        plan.take_moments(by_tag)
    for key in by_tag.values():
        if key.tag not in ANSWERED_ELSEWHERE and key.tag not in plan.returned and key.tag & 0xFFFF:
            plan.take(key)
    return FindQuery(
        level,
        all_of(*plan.terms),
        tuple(sorted(plan.returned)),
        tuple(sorted(plan.unsupported)),
        plan.dates,
        plan.sequences,
    )


class _FindPlan:
    """The keys of one identifier, one after another."""

    def __init__(self, model: QueryModel, level: Level, options: QueryOptions) -> None:
        self._model = model
        self._level = level
        self._options = options
        self._moments: set[int] = set()
        self.terms: list[Predicate] = []
        self.returned: list[int] = []
        self.unsupported: list[int] = []
        self.dates: tuple[int, int] | None = None
        self.sequences: dict[int, ItemKeys] = {}

    def take(self, key: QueryKey) -> None:
        """One key."""
        attribute = BY_TAG.get(key.tag)
        if attribute is None:
            self._take_element(key)
            return
        value = stripped(key.value)
        at = _depth(self._model, attribute)
        if at is None or at > self._level.depth or (at < self._level.depth and attribute.comparison is Comparison.NONE):
            self.unsupported.append(key.tag)
            return
        if at < self._level.depth and not self._options.relational:
            if not _tolerated(self._model, attribute):
                raise IdentifierInvalid(f"{attribute.keyword} belongs to a level above {self._level.value}")
            self.terms += [] if universal(value) else [_exactly(attribute, value)]
            self.returned.append(key.tag)
            return
        self.returned.append(key.tag)
        if universal(value) and key.items is None:
            return
        if attribute.comparison is Comparison.NONE or key.items is not None:
            self.unsupported.append(key.tag)
            return
        if attribute.column == "study_date":
            self.dates = date_range(value)
        if key.tag not in self._moments:
            fuzzy = self._options.fuzzy_names
            unique = attribute is _UNIQUE[self._level]
            self.terms.append(matching(attribute, value, unique=unique, fuzzy=fuzzy))

    def take_moments(self, by_tag: Mapping[int, QueryKey]) -> None:
        """Dates that come with their time are matched together with it."""
        for date_tag, time_tag in MOMENTS.items():
            date, time = by_tag.get(date_tag), by_tag.get(time_tag)
            at = _depth(self._model, BY_TAG[date_tag])
            dates, times = (stripped(key.value) if key is not None else "" for key in (date, time))
            if at == self._level.depth and not universal(dates) and not universal(times):
                self.terms.append(combined_matching(BY_TAG[date_tag], dates, BY_TAG[time_tag], times))
                self._moments |= {date_tag, time_tag}

    def _take_element(self, key: QueryKey) -> None:
        """A key on what has no column."""
        depth = level_of(key.tag).depth
        if self._model is QueryModel.STUDY_ROOT:
            depth = max(depth, Level.STUDY.depth)
        if self._options.columns_only or depth > self._level.depth or key.tag >> 16 in NEVER_KEYS:
            self.unsupported.append(key.tag)
            return
        if depth < self._level.depth and not self._options.relational:
            raise IdentifierInvalid(f"({key.tag >> 16:04X},{key.tag & 0xFFFF:04X}) belongs to a level above")
        self.returned.append(key.tag)
        term, items, supported = element_term(key, fuzzy=self._options.fuzzy_names)
        self.terms.append(term)
        if items is not None:
            self.sequences[key.tag] = items
        if not supported:
            self.unsupported.append(key.tag)


def plan_retrieve(model: QueryModel, keys: Iterable[QueryKey], *, relational: bool = False) -> RetrieveQuery:
    """Turn the keys of a C-GET or C-MOVE identifier into a selection of instances.

    Only unique keys select (PS3.4 C.4.2.1.4, C.4.3.1.3): one value for each level above, one or a list of UIDs at the
    level itself, never a wildcard. Other keys with a value are refused, since leaving them out would send more.
    ``relational``: levels above may be left unnamed (PS3.4 C.5.2.1, C.5.3.1).

    Raises:
        IdentifierInvalid: anything else (status A900).
    """
    by_tag = keys_by_tag(keys)
    level = _level(model, by_tag)
    terms = _names_of_levels_above(model, level, by_tag, every=not relational)
    named = {_UNIQUE[above].tag for above in _levels_above(model, level)}
    unique = _UNIQUE[level]
    for key in by_tag.values():
        value = stripped(key.value)
        if key.items is not None:
            raise IdentifierInvalid("a sequence does not select what is retrieved")
        if key.tag in named or key.tag in ANSWERED_ELSEWHERE or not value or key.tag == unique.tag:
            continue
        attribute = BY_TAG.get(key.tag)
        if attribute is None or not _tolerated(model, attribute):
            raise IdentifierInvalid(f"({key.tag >> 16:04X},{key.tag & 0xFFFF:04X}) does not select what is retrieved")
        terms.append(_exactly(attribute, value))
    value = stripped(by_tag[unique.tag].value) if unique.tag in by_tag else ""
    if not value:
        raise IdentifierInvalid(f"{unique.keyword} is missing")
    if unique.comparison is Comparison.UID:
        terms.append(OneOf(unique.column, tuple(_checked(one) for one in listed(value))))
    else:
        terms.append(_exactly(unique, value))
    return RetrieveQuery(level, all_of(*terms))


def keys_by_tag(keys: Iterable[QueryKey]) -> Mapping[int, QueryKey]:
    """The keys of an identifier by tag. Raises `IdentifierInvalid` where one occurs twice."""
    by_tag: dict[int, QueryKey] = {}
    for key in keys:
        if key.tag in by_tag:
            raise IdentifierInvalid("a key occurs twice")
        by_tag[key.tag] = key
    return by_tag


def _level(model: QueryModel, by_tag: Mapping[int, QueryKey]) -> Level:
    asked = by_tag.get(QUERY_RETRIEVE_LEVEL)
    try:
        level = Level(stripped(asked.value) if asked is not None else "")
    except ValueError:
        raise IdentifierInvalid("Query/Retrieve Level is missing, or no level of the model") from None
    if model is QueryModel.STUDY_ROOT and level is Level.PATIENT:
        raise IdentifierInvalid("the Study Root model has no PATIENT level")
    return level


def _levels_above(model: QueryModel, level: Level) -> list[Level]:
    top = Level.PATIENT if model is QueryModel.PATIENT_ROOT else Level.STUDY
    return [above for above in Level if top.depth <= above.depth < level.depth]


def _depth(model: QueryModel, attribute: Attribute) -> int | None:
    """The depth of the level at which an attribute is a key; None if it is none in this model."""
    if model is QueryModel.STUDY_ROOT and attribute.level is Level.PATIENT:
        # Patient attributes are keys of the study (PS3.4 C.6.2.1.2); counts over a patient's studies are not.
        return None if attribute.comparison is Comparison.NONE else Level.STUDY.depth
    return attribute.level.depth


def _tolerated(model: QueryModel, attribute: Attribute) -> bool:
    return model is QueryModel.STUDY_ROOT and attribute is _UNIQUE[Level.PATIENT]


def _names_of_levels_above(
    model: QueryModel, level: Level, by_tag: Mapping[int, QueryKey], *, every: bool = True
) -> list[Predicate]:
    """One value of the unique key of each level above (PS3.4 C.4.1.3.1.1), or of those that are given."""
    terms: list[Predicate] = []
    for above in _levels_above(model, level):
        unique = _UNIQUE[above]
        value = stripped(by_tag[unique.tag].value) if unique.tag in by_tag else ""
        if not value and not every:
            continue
        if not value:
            raise IdentifierInvalid(f"{unique.keyword} is missing: a query at {level.value} names its {above.value}")
        terms.append(
            Compare(unique.column, "==", _checked(value)) if above is not Level.PATIENT else _one(unique, value)
        )
    return terms


def _one(attribute: Attribute, value: str) -> Predicate:
    if "*" in value or "?" in value:
        raise IdentifierInvalid(f"{attribute.keyword} must be a single value above the level of the query")
    return _exactly(attribute, value)


def _exactly(attribute: Attribute, value: str) -> Predicate:
    return Compare(attribute.column, "==", value)


def _checked(value: str) -> str:
    try:
        return uid(value)
    except InvalidIdentifier:
        raise IdentifierInvalid("a unique key is not a UID, or not a single one where only one is allowed") from None
