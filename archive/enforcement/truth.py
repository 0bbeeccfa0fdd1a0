"""Conditions that may be true, false, or fail to be evaluated, as pairs of predicates on rows.

Cedar's booleans have three outcomes: true, false, and an error (an absent attribute was read), and an error is not
false: ``!(error)`` and ``error || true`` are errors too. Rows know only what is selected. So a condition is carried as
two predicates: one selects the rows where it is true, the other those where it is false; where it fails, neither does.
Both are built with AND and OR alone, so the database's own *unknown* never turns into a yes.
"""

from dataclasses import dataclass
from typing import Final

from storage.index.predicate import EVERYTHING, NOTHING, Predicate, all_of, any_of

MAX_SIZE: Final = 4096
"""Comparisons in one scope; SQLite takes expressions of depth 1000 and PostgreSQL slows down far earlier."""


class NotCompilable(Exception):
    """A residual has no counterpart as a condition on rows. It denies, and somebody should look."""


@dataclass(frozen=True, slots=True)
class Truth:
    """One condition. What it says about absent attributes only makes the predicates smaller, never different."""

    true: Predicate
    false: Predicate
    needs: frozenset[str] = frozenset()
    """Attributes whose absence may make it fail; none: it never does, and exactly one predicate selects each row."""
    present_if_true: frozenset[str] = frozenset()
    present_if_false: frozenset[str] = frozenset()
    size: int = 1

    def __post_init__(self) -> None:
        """Refuse what has grown beyond `MAX_SIZE`, before it is walked by anybody."""
        if self.size > MAX_SIZE:
            raise NotCompilable(f"more than {MAX_SIZE} comparisons")


YES: Final = Truth(EVERYTHING, NOTHING)
NO: Final = Truth(NOTHING, EVERYTHING)
FAILS: Final = Truth(NOTHING, NOTHING, needs=frozenset({"*"}))
"""Fails on every row."""


def always(value: bool) -> Truth:
    """A condition that is known."""
    return YES if value else NO


def negation(term: Truth) -> Truth:
    """``!term``"""
    return Truth(term.false, term.true, term.needs, term.present_if_false, term.present_if_true, term.size)


def conjunction(left: Truth, right: Truth) -> Truth:
    """``left && right``: the right side is read only where the left one is true."""
    needs = left.needs | (right.needs - left.present_if_true)
    if left.needs:
        false = any_of(left.false, all_of(left.true, right.false))
        size = 2 * left.size + right.size
    else:
        false = any_of(left.false, right.false)
        size = left.size + right.size
    return Truth(
        all_of(left.true, right.true),
        false,
        needs,
        left.present_if_true | right.present_if_true,
        left.present_if_false & (left.present_if_true | right.present_if_false),
        size,
    )


def disjunction(left: Truth, right: Truth) -> Truth:
    """``left || right``: the right side is read only where the left one is false."""
    return negation(conjunction(negation(left), negation(right)))


def choice(test: Truth, then: Truth, other: Truth) -> Truth:
    """``if test then then else other``"""
    return disjunction(conjunction(test, then), conjunction(negation(test), other))


def equality(left: Truth, right: Truth) -> Truth:
    """``left == right``: both sides are read always."""
    return Truth(
        any_of(all_of(left.true, right.true), all_of(left.false, right.false)),
        any_of(all_of(left.true, right.false), all_of(left.false, right.true)),
        left.needs | right.needs,
        size=2 * (left.size + right.size),
    )


def decided(term: Truth) -> Predicate:
    """Where a condition does not fail."""
    return any_of(term.true, term.false) if term.needs else EVERYTHING
