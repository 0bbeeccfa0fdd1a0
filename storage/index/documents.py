"""How a database looks into a document of elements (`storage.index.elements`): two dialects, one meaning.

A document is text in its column. SQLite reads it with its JSON functions; PostgreSQL as ``jsonb``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    TableValuedAlias,
    Text,
    cast,
    column,
    func,
    literal,
    literal_column,
    select,
)
from sqlalchemy.dialects.postgresql import JSONB

from storage.index import elements
from storage.index.elements import key_of_tag
from storage.index.predicate import VALUE, Kind
from storage.index.text import NAME_GROUPS


@dataclass(frozen=True, slots=True)
class Members:
    """The members of one array in a document, as rows."""

    rows: TableValuedAlias
    value: ColumnElement[Any]

    def some(self, condition: ColumnElement[bool]) -> ColumnElement[bool]:
        """Whether a member satisfies a condition on it."""
        return select(literal(1)).select_from(self.rows).where(condition).correlate_except(self.rows).exists()


@dataclass(frozen=True, slots=True)
class Values(Members):
    """The values of one element, and what of each may be compared, by the name that predicates give it."""

    scalars: Mapping[str, ColumnElement[Any]]


class Documents(Protocol):
    """What the compiler asks of a dialect."""

    def parsed(self, text: ColumnElement[Any]) -> ColumnElement[Any]:
        """A document from the text in its column."""

    def values(self, document: ColumnElement[Any], tag: int, kind: Kind) -> Values:
        """The values of an element."""

    def items(self, document: ColumnElement[Any], tag: int) -> Members:
        """The items of a sequence, each a document."""

    def valueless(self, document: ColumnElement[Any], tag: int) -> ColumnElement[bool]:
        """Whether an element has no value that could be compared."""


class _Sqlite:
    """Documents are text; `json_each` gives members, and objects among them as text again."""

    def parsed(self, text: ColumnElement[Any]) -> ColumnElement[Any]:
        return text

    def values(self, document: ColumnElement[Any], tag: int, kind: Kind) -> Values:
        rows = self._rows(document, tag, elements.VALUE if kind is Kind.TEXT else elements.NORM)
        value = rows.c.value
        if kind is Kind.NAME:
            groups = {f"{VALUE}_{group}": func.json_extract(value, f"$.{group}", type_=Text()) for group in NAME_GROUPS}
            return Values(rows, value, groups)
        return Values(rows, value, {VALUE: cast(value, Text if kind is Kind.TEXT else BigInteger)})

    def items(self, document: ColumnElement[Any], tag: int) -> Members:
        rows = self._rows(document, tag, elements.VALUE)
        return Members(rows, rows.c.value)

    def valueless(self, document: ColumnElement[Any], tag: int) -> ColumnElement[bool]:
        length = func.json_array_length(document, f'$."{key_of_tag(tag)}".{elements.VALUE}')
        return func.coalesce(length, 0) == 0

    @staticmethod
    def _rows(document: ColumnElement[Any], tag: int, member: str) -> TableValuedAlias:
        return func.json_each(document, f'$."{key_of_tag(tag)}".{member}').table_valued("value")


class _PostgreSql:
    """Documents are ``jsonb`` as soon as they are looked into."""

    def parsed(self, text: ColumnElement[Any]) -> ColumnElement[Any]:
        return cast(text, JSONB)

    def values(self, document: ColumnElement[Any], tag: int, kind: Kind) -> Values:
        rows = self._rows(document, tag, elements.VALUE if kind is Kind.TEXT else elements.NORM)
        value = rows.c.value
        if kind is Kind.NAME:
            path = func.jsonb_extract_path_text
            return Values(rows, value, {f"{VALUE}_{group}": path(value, group, type_=Text()) for group in NAME_GROUPS})
        text = value.op("#>>", return_type=Text())(literal_column("'{}'"))
        return Values(rows, value, {VALUE: text if kind is Kind.TEXT else cast(text, BigInteger)})

    def items(self, document: ColumnElement[Any], tag: int) -> Members:
        rows = self._rows(document, tag, elements.VALUE)
        return Members(rows, rows.c.value)

    def valueless(self, document: ColumnElement[Any], tag: int) -> ColumnElement[bool]:
        length = func.jsonb_array_length(self._array(document, tag, elements.VALUE))
        return func.coalesce(length, 0) == 0

    def _rows(self, document: ColumnElement[Any], tag: int, member: str) -> TableValuedAlias:
        return func.jsonb_array_elements(self._array(document, tag, member)).table_valued(column("value", JSONB))

    @staticmethod
    def _array(document: ColumnElement[Any], tag: int, member: str) -> ColumnElement[Any]:
        # By a function and not by the operator, whose paths want a type of their own from the driver.
        return func.jsonb_extract_path(document, key_of_tag(tag), member, type_=JSONB())


_DIALECTS: Final[Mapping[str, Documents]] = {"sqlite": _Sqlite(), "postgresql": _PostgreSql()}


def documents_in(dialect: str) -> Documents:
    """How this dialect looks into documents."""
    return _DIALECTS[dialect]
