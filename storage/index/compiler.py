"""Predicates become SQL here and nowhere else.

Values are always bound, never part of the text. The meaning is that of `storage.index.predicate`: three-valued, with
SQL's NULL for unknown; a text and a number are never equal, and their order is unknown. SQLite compares text by code
point and matches patterns with GLOB, since its LIKE ignores case; elsewhere LIKE with ESCAPE is used, on columns that
collate by code point.
"""

import operator
from collections.abc import Callable, Sequence
from typing import Any, Final, assert_never

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Column,
    ColumnElement,
    Text,
    and_,
    any_,
    bindparam,
    false,
    func,
    not_,
    null,
    or_,
    select,
    true,
)
from sqlalchemy.sql.elements import Grouping

from storage.errors import IndexFault
from storage.index.columns import ATTRIBUTES, ELEMENTS, SCALAR_FACTS, Level, columns_of
from storage.index.documents import Values, documents_in
from storage.index.facts import label_text
from storage.index.levels import level_of
from storage.index.parameters import (
    bound_names,
    glob_text,
    like_text,
    merged_parts,
    pattern_name,
    scalar_name,
    successor,
)
from storage.index.predicate import (
    AllOf,
    Among,
    AnyOf,
    Compare,
    Constant,
    Holds,
    HoldsMatching,
    NotTrue,
    OneOf,
    OnlyHolds,
    Operator,
    Parameter,
    Pattern,
    PatternParameter,
    Predicate,
    Present,
    Scalar,
    SomeItem,
    SomeValue,
    Valueless,
    Wild,
)
from storage.index.schema import (
    INSTANCE,
    SERIES,
    STUDY,
    STUDY_BODY_PART,
    STUDY_MODALITY,
    STUDY_PHYSICIAN,
    STUDY_SOP_CLASS,
)

Condition = ColumnElement[bool]

_TABLES: Final = {Level.PATIENT: STUDY, Level.STUDY: STUDY, Level.SERIES: SERIES, Level.IMAGE: INSTANCE}


def _scalars() -> dict[str, tuple[int, Column[Any]]]:
    found: dict[str, tuple[int, Column[Any]]] = {fact: (Level.STUDY.depth, STUDY.c[fact]) for fact in SCALAR_FACTS}
    for attribute in ATTRIBUTES:
        table = _TABLES[attribute.level]
        depth = max(attribute.level.depth, Level.STUDY.depth)
        found |= {name: (depth, table.c[name]) for name in columns_of(attribute) if name in table.c}
    return found


SCALARS: Final = _scalars()
"""Every single-valued attribute a predicate may name: how deep it lives, and its column."""

SETS: Final = {
    "modalities": (STUDY_MODALITY, STUDY_MODALITY.c.fixed.is_(True)),
    "modalities_in_study": (STUDY_MODALITY, STUDY_MODALITY.c.current.is_(True)),
    "performing_physicians": (STUDY_PHYSICIAN, true()),
    "body_parts": (STUDY_BODY_PART, true()),
    "sop_classes_in_study": (STUDY_SOP_CLASS, true()),
}
"""Set-valued attributes that have a table: it, and which of its rows count. Labels are a text (`_labels`)."""

_RARE: Final = frozenset({"performing_physicians"})
"""Sets of which one value picks few studies: worth reading those studies first, instead of asking every study."""

_COMPARE: Final[dict[Operator, Callable[[Any, Any], Any]]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_CHUNK: Final = 16
_OR, _AND = 2, 3  # how SQLAlchemy ranks its own, so that parentheses come out right


def compile_predicate(predicate: Predicate, level: Level, dialect: str = "sqlite") -> Condition:
    """The condition on rows of ``level``, joined with the levels above it.

    Raises:
        IndexFault: the predicate names an attribute that rows of this level do not have.
    """
    return _Compiler(level, dialect).condition(predicate)


class _Compiler:
    """Compiles terms about a row; `_ItemCompiler` and `_ValueCompiler` those about what is inside a document."""

    def __init__(self, level: Level, dialect: str) -> None:
        self._depth = max(level.depth, Level.STUDY.depth)
        self._dialect = dialect
        self._sqlite = dialect == "sqlite"
        self._documents = documents_in(dialect)

    def condition(self, predicate: Predicate) -> Condition:
        match predicate:
            case Constant(value):
                return true() if value else false()
            case AllOf(terms):
                return _joined(and_, [self.condition(term) for term in terms]) if terms else true()
            case AnyOf(terms):
                return _joined(or_, [self.condition(term) for term in terms]) if terms else false()
            case NotTrue(term):
                return Grouping(self.condition(term)).is_not(true())
            case Compare(attribute, comparison, value):
                return self._compare(self._scalar(attribute), comparison, value)
            case OneOf(attribute, values, negated):
                return self._one_of(self._scalar(attribute), values, negated)
            case Pattern(attribute, parts, negated):
                return self._pattern_of(self._scalar(attribute), parts, negated)
            case Present(attribute, present):
                column = self._scalar(attribute)
                return column.is_not(null()) if present else column.is_(null())
            case Holds() | HoldsMatching() | OnlyHolds():
                return self._set(predicate)
            case SomeValue(tag, kind, term):
                found = self._documents.values(self._document(tag), tag, kind)
                return found.some(_ValueCompiler(self._dialect, found).condition(term))
            case SomeItem(tag, term):
                items = self._documents.items(self._document(tag), tag)
                return items.some(_ItemCompiler(self._dialect, items.value).condition(term))
            case Among(keys, term):
                return and_(self._among(keys), self.condition(term))
            case Valueless(tag):
                return self._documents.valueless(self._document(tag), tag)
            case _ as unreachable:
                assert_never(unreachable)

    def _scalar(self, attribute: str) -> ColumnElement[Any]:
        depth, column = SCALARS.get(attribute, (None, None))
        if depth is None or column is None or depth > self._depth:
            raise IndexFault("a predicate names an attribute that these rows do not have")
        return column

    def _among(self, keys: tuple[int, ...] | Parameter) -> Condition:
        """Which studies to look at. A list of any length is one value, so that the statement stays the same."""
        if not isinstance(keys, Parameter):
            return STUDY.c.id.in_(keys)
        name = scalar_name(keys.number)
        if self._sqlite:
            listed = func.json_each(bindparam(name, "[]", type_=Text())).table_valued("value")
            return STUDY.c.id.in_(select(listed.c.value))
        return _condition(STUDY.c.id == any_(bindparam(name, [], type_=ARRAY(BigInteger))))

    def _document(self, tag: int) -> ColumnElement[Any]:
        """The document that would hold an element."""
        level = level_of(tag)
        if level.depth > self._depth:
            raise IndexFault("a predicate names an element that these rows do not have")
        return self._documents.parsed(_TABLES[level].c[ELEMENTS])

    def _compare(self, column: ColumnElement[Any], comparison: Operator, value: Scalar) -> Condition:
        if _comparable(column, value):
            return _condition(_COMPARE[comparison](column, _bound(column, value)))
        if comparison in ("==", "!="):
            return _never(column) if comparison == "==" else _always(column)
        return _condition(null())

    def _one_of(self, column: ColumnElement[Any], values: Sequence[Scalar], negated: bool) -> Condition:
        usable = [_bound(column, value) for value in values if _comparable(column, value)]
        if not usable:
            return _always(column) if negated else _never(column)
        return column.not_in(usable) if negated else column.in_(usable)

    def _pattern_of(
        self, column: ColumnElement[Any], parts: Sequence[str | Wild] | PatternParameter, negated: bool
    ) -> Condition:
        if not isinstance(column.type, Text):
            return _always(column) if negated else _never(column)
        if isinstance(parts, PatternParameter):
            matches = self._matches_later(column, parts)
        else:
            matches = self._matches(column, parts)
        return not_(matches) if negated else matches

    def _matches_later(self, column: ColumnElement[Any], parts: PatternParameter) -> Condition:
        """As `_matches`, for a pattern that is given when the statement runs."""
        pattern = bindparam(pattern_name(parts.number), "", type_=Text())
        if not self._sqlite:
            return _condition(column.like(pattern, escape="\\"))
        matches = _condition(column.bool_op("GLOB")(pattern))
        if not parts.anchored:
            return matches
        low, high = (bindparam(name, "", type_=Text()) for name in bound_names(parts.number))
        return and_(_condition(column >= low), _condition(column < high), matches)

    def _matches(self, column: ColumnElement[Any], parts: Sequence[str | Wild]) -> Condition:
        """Whether the text matches as a whole; on SQLite a literal beginning becomes a range that an index can use."""
        if any(isinstance(part, str) and "\0" in part for part in parts):
            return _never(column)  # no stored text holds a NUL, and a pattern would end there
        merged = merged_parts(parts)
        if not any(isinstance(part, Wild) for part in merged):
            return _condition(column == "".join(part for part in merged if isinstance(part, str)))
        if not self._sqlite:
            return _condition(column.like(like_text(merged), escape="\\"))
        matches = _condition(column.bool_op("GLOB")(glob_text(merged)))
        if not isinstance(merged[0], str):
            return matches
        bounds = [_condition(column >= merged[0])]
        if (beyond := successor(merged[0])) is not None:
            bounds.append(_condition(column < beyond))
        return and_(*bounds, matches)

    def _set(self, predicate: Holds | HoldsMatching | OnlyHolds) -> Condition:
        if predicate.attribute == "labels":
            return self._labels(predicate)
        if predicate.attribute not in SETS:
            raise IndexFault("a predicate names a set that studies do not have")
        table, counts = SETS[predicate.attribute]

        def some(*conditions: Condition) -> Condition:
            # The outer statement may join more than the study, so all but the set's own table is taken from it.
            rows = select(table.c.value).where(table.c.study_fk == STUDY.c.id, counts, *conditions)
            return rows.correlate_except(table).exists()

        value = table.c.value
        match predicate:
            case HoldsMatching(_, parts):
                return some(self._matches(value, parts))
            case OnlyHolds(_, values, negated):
                texts = [known for known in values if isinstance(known, str)]
                others = some(value.not_in(texts)) if texts else some()
                return others if negated else not_(others)
            case Holds(attribute, values, every, negated):
                texts = [known for known in values if isinstance(known, str)]
                if every:
                    each = [some(value == text) for text in texts]
                    held = false() if len(texts) < len(values) else _joined(and_, each) if each else true()
                elif attribute in _RARE and texts:
                    held = STUDY.c.id.in_(select(table.c.study_fk).where(counts, value.in_(texts)))
                else:
                    held = some(value.in_(texts)) if texts else false()
                return not_(held) if negated else held
            case _ as unreachable:
                assert_never(unreachable)

    def _labels(self, predicate: Holds | HoldsMatching | OnlyHolds) -> Condition:
        """As of other sets, on the text in the study's own row: policies ask it of every row that a query reads."""
        if isinstance(predicate, HoldsMatching):
            raise IndexFault("a predicate matches labels with a pattern")
        column: ColumnElement[Any] = STUDY.c.labels
        texts = [label_text(known) for known in predicate.values if isinstance(known, str)]
        if isinstance(predicate, OnlyHolds):
            for text in texts:
                column = func.replace(column, text, "")
            return _condition(column != "") if predicate.negated else _condition(column == "")
        position = func.instr if self._sqlite else func.strpos
        each = [_condition(position(column, text) > 0) for text in texts]
        if predicate.every:
            held = false() if len(texts) < len(predicate.values) else _joined(and_, each) if each else true()
        else:
            held = _joined(or_, each) if each else false()
        return not_(held) if predicate.negated else held


class _ItemCompiler(_Compiler):
    """Terms about one item of a sequence."""

    def __init__(self, dialect: str, item: ColumnElement[Any]) -> None:
        super().__init__(Level.IMAGE, dialect)
        self._inside = item

    def _scalar(self, attribute: str) -> ColumnElement[Any]:
        raise IndexFault("a predicate on items names an attribute of rows")

    def _set(self, predicate: Holds | HoldsMatching | OnlyHolds) -> Condition:
        raise IndexFault("a predicate on items names a set of studies")

    def _document(self, tag: int) -> ColumnElement[Any]:
        return self._inside


class _ValueCompiler(_Compiler):
    """Terms about one value of an element."""

    def __init__(self, dialect: str, values: Values) -> None:
        super().__init__(Level.IMAGE, dialect)
        self._values = values

    def _scalar(self, attribute: str) -> ColumnElement[Any]:
        found = self._values.scalars.get(attribute)
        if found is None:
            raise IndexFault("a predicate on values names something else")
        return found

    def _set(self, predicate: Holds | HoldsMatching | OnlyHolds) -> Condition:
        raise IndexFault("a predicate on values names a set of studies")

    def _document(self, tag: int) -> ColumnElement[Any]:
        raise IndexFault("a predicate on values names an element")


def _comparable(column: ColumnElement[Any], value: Scalar) -> bool:
    kind = value.kind if isinstance(value, Parameter) else type(value)
    return issubclass(kind, str) == isinstance(column.type, Text)


def _bound(column: ColumnElement[Any], value: Scalar) -> Any:
    """A value as the statement has it: itself, or a parameter of the same type as the column."""
    if isinstance(value, Parameter):
        return bindparam(scalar_name(value.number), value.kind(), type_=column.type)
    return value


def _never(column: ColumnElement[Any]) -> Condition:
    """False where the column has a value, unknown where it has none."""
    return _condition(column != column)


def _always(column: ColumnElement[Any]) -> Condition:
    """True where the column has a value, unknown where it has none."""
    return _condition(column == column)


def _condition(expression: Any) -> Condition:
    """An operator's result, whose type SQLAlchemy does not tell."""
    condition: Condition = expression
    return condition


def _joined(combine: Callable[..., Condition], terms: Sequence[Condition]) -> Condition:
    """All terms; many of them as a tree of pairs, since a flat chain is as deep as long, and SQLite takes 1000.

    SQLAlchemy would flatten its own conjunctions again, so the pairs are joined by operators that it does not know.
    """
    if len(terms) <= _CHUNK:
        return combine(*terms)
    name, precedence = ("AND", _AND) if combine is and_ else ("OR", _OR)
    half = len(terms) // 2
    left, right = _joined(combine, terms[:half]), _joined(combine, terms[half:])
    return _condition(left.bool_op(name, precedence=precedence)(right))
