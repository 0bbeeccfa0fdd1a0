"""A condition on one study, series or instance row, in no SQL dialect.

Both the identifier of a query (PS3.4 C.2.2.2) and the residual of a policy become predicates, are AND-ed, and are
compiled to SQL in one place (`storage.index.compiler`). Three-valued: a comparison with an absent value is *unknown*,
and a row is selected only where the whole predicate is true. Attributes are named as in `storage.index.columns`;
elements that have no column there, and those of items in sequences, by their tags.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Final, Literal, TypeAlias


@dataclass(frozen=True, slots=True)
class Parameter:
    """Stands in a comparison for a value that is given when the statement runs (`storage.index.parameters`)."""

    number: int
    kind: type


@dataclass(frozen=True, slots=True)
class PatternParameter:
    """Likewise for the literals and wildcards of a pattern, of which one at least is a wildcard."""

    number: int
    anchored: bool
    """The pattern begins with a literal."""


Scalar: TypeAlias = str | int | Parameter
Operator: TypeAlias = Literal["==", "!=", "<", "<=", ">", ">="]


class Wild(Enum):
    """A wildcard inside a `Pattern`."""

    ANY = "*"
    ONE = "?"


@dataclass(frozen=True, slots=True)
class Constant:
    """True or false for every row."""

    value: bool


EVERYTHING: Final = Constant(True)
NOTHING: Final = Constant(False)


@dataclass(frozen=True, slots=True)
class AllOf:
    """True where every term is true; of no terms: true."""

    terms: tuple["Predicate", ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """True where some term is true; of no terms: false."""

    terms: tuple["Predicate", ...]


@dataclass(frozen=True, slots=True)
class NotTrue:
    """True where the term is false or unknown; never unknown itself."""

    term: "Predicate"


@dataclass(frozen=True, slots=True)
class Compare:
    """A scalar attribute against a value; unknown where the attribute is absent."""

    attribute: str
    operator: Operator
    value: Scalar


@dataclass(frozen=True, slots=True)
class OneOf:
    """A scalar attribute equal to one of the values; unknown where it is absent."""

    attribute: str
    values: tuple[Scalar, ...]
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Pattern:
    """A text attribute matching literals and wildcards, case-sensitively; unknown where it is absent."""

    attribute: str
    parts: tuple[str | Wild, ...] | PatternParameter
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Present:
    """Whether a scalar attribute has a value at all; never unknown."""

    attribute: str
    present: bool = True


@dataclass(frozen=True, slots=True)
class Holds:
    """Whether a set-valued attribute holds any (or all) of the values; never unknown."""

    attribute: str
    values: tuple[Scalar, ...]
    every: bool = False
    negated: bool = False


@dataclass(frozen=True, slots=True)
class HoldsMatching:
    """Whether a set-valued attribute holds an element that matches the pattern; never unknown."""

    attribute: str
    parts: tuple[str | Wild, ...]


@dataclass(frozen=True, slots=True)
class OnlyHolds:
    """Whether every element of a set-valued attribute is among the values (so true of an empty set)."""

    attribute: str
    values: tuple[Scalar, ...]
    negated: bool = False


class Kind(Enum):
    """What the values of an element without a column are compared as."""

    TEXT = "text"
    NUMBER = "number"
    """Dates, times and moments, by what they mean."""
    NAME = "name"


@dataclass(frozen=True, slots=True)
class SomeValue:
    """Whether some value of an element without a column satisfies a term; never unknown.

    The term compares `VALUE`, or of a name `VALUE` followed by ``_`` and its group.
    """

    tag: int
    kind: Kind
    term: "Predicate"


@dataclass(frozen=True, slots=True)
class SomeItem:
    """Whether some item of a sequence satisfies a term about elements in it; never unknown."""

    tag: int
    term: "Predicate"


@dataclass(frozen=True, slots=True)
class Valueless:
    """Whether an element without a column is absent, of zero length, or too large to be compared; never unknown."""

    tag: int


VALUE: Final = "value"
"""How a term inside `SomeValue` names the value."""


@dataclass(frozen=True, slots=True)
class Among:
    """As the term, of which it is known that only these rows of studies satisfy it: where to look."""

    keys: tuple[int, ...] | Parameter
    term: "Predicate"


Predicate: TypeAlias = (
    Among
    | Constant
    | AllOf
    | AnyOf
    | NotTrue
    | Compare
    | OneOf
    | Pattern
    | Present
    | Holds
    | HoldsMatching
    | OnlyHolds
    | SomeValue
    | SomeItem
    | Valueless
)


def all_of(*terms: Predicate) -> Predicate:
    """AND, with constants folded."""
    kept = tuple(term for term in terms if term != EVERYTHING)
    if NOTHING in kept:
        return NOTHING
    return kept[0] if len(kept) == 1 else AllOf(kept) if kept else EVERYTHING


def any_of(*terms: Predicate) -> Predicate:
    """OR, with constants folded."""
    kept = tuple(term for term in terms if term != NOTHING)
    if EVERYTHING in kept:
        return EVERYTHING
    return kept[0] if len(kept) == 1 else AnyOf(kept) if kept else NOTHING
