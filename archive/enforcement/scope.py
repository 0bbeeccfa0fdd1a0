"""From the residual of a policy to a condition on rows: the one meeting place of auth and storage.

A study is in scope of one subject where some permit is true and every forbid is *false*: one that cannot be evaluated
on a study applies to it, as in `auth.policy.evaluation`. The scopes of person and node are AND-ed. Whatever has no
counterpart on rows raises `NotCompilable`, and the enforcement point then permits nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from archive.enforcement import operators
from archive.enforcement.operators import FAILURE, THE_STUDY, Failure, Known, KnownSet, Record, Study, Value
from archive.enforcement.truth import (
    FAILS,
    YES,
    NotCompilable,
    Truth,
    always,
    choice,
    conjunction,
    disjunction,
    negation,
)
from auth.policy.model import Residual, ResidualPolicy
from storage.index.predicate import EVERYTHING, NOTHING, Operator, Predicate, Wild, all_of, any_of

_COMPARISONS: Final[Mapping[str, Callable[[Value, Value], Truth]]] = {
    "==": operators.equal,
    "!=": lambda left, right: negation(operators.equal(left, right)),
    "contains": operators.contains,
    "containsAll": operators.contains_all,
    "containsAny": operators.contains_any,
}
_ORDERINGS: Final[Mapping[str, Operator]] = {"<": "<", "<=": "<=", ">": ">", ">=": ">="}


def scope_of(residuals: Sequence[Residual]) -> Predicate:
    """The studies that every one of the residuals permits; none where there is no residual at all.

    Raises:
        NotCompilable: some part cannot become a condition on rows.
    """
    if not residuals:
        return NOTHING
    terms = [term for residual in residuals for term in _terms(residual)]
    return all_of(*dict.fromkeys(terms))


def _terms(residual: Residual) -> tuple[Predicate, ...]:
    """What must all be true on a row; person and node often ask for the same."""
    if residual.constant is not None:
        return (EVERYTHING if residual.constant else NOTHING,)
    compiler = _Compiler(residual.environment)
    try:
        permits = [compiler.policy(policy).true for policy in residual.permits]
        forbids = [compiler.policy(policy).false for policy in residual.forbids]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise NotCompilable(f"not an expression that is known here: {error}") from error
    return (any_of(*permits), *forbids)


class _Compiler:
    """Evaluates Cedar's JSON expressions (EST) with the study unknown."""

    def __init__(self, environment: Mapping[str, Any]) -> None:
        self._environment = environment

    def policy(self, policy: ResidualPolicy) -> Truth:
        """Where a policy applies: every ``when`` true, every ``unless`` false."""
        applies = YES
        for condition in policy.conditions:
            clause = self.truth(condition["body"])
            applies = conjunction(applies, clause if condition["kind"] == "when" else negation(clause))
        return applies

    def truth(self, expression: Mapping[str, Any]) -> Truth:
        """An expression in the place of a condition."""
        value = self.value(expression)
        if isinstance(value, Truth):
            return value
        return always(value.value) if isinstance(value, Known) and value.kind == "bool" else FAILS

    def value(self, expression: Mapping[str, Any]) -> Value:
        """Any expression."""
        ((operator, operands),) = expression.items()
        match operator:
            case "Value":
                return operators.literal(operands)
            case "Var":
                return THE_STUDY if operands == "resource" else operators.literal(self._environment[operands])
            case "unknown" if operands[0] == {"Value": "resource"}:
                return THE_STUDY
            case "Set":
                return operators.known_set([self.value(element) for element in operands])
            case "." | "has":
                return self._attribute(self.value(operands["left"]), operands["attr"], operator)
            case "!":
                return negation(self.truth(operands["arg"]))
            case "&&":
                return conjunction(self.truth(operands["left"]), self.truth(operands["right"]))
            case "||":
                return disjunction(self.truth(operands["left"]), self.truth(operands["right"]))
            case "if-then-else":
                return choice(self.truth(operands["if"]), *(self._branch(operands[part]) for part in ("then", "else")))
            case "isEmpty":
                return operators.is_empty(self.value(operands["arg"]))
            case "like":
                return operators.like(self.value(operands["left"]), _pattern(operands["pattern"]))
            case "is":
                inside = operands.get("in")
                named = operators.is_a(self.value(operands["left"]), operands["entity_type"])
                return conjunction(named, self._in(operands["left"], inside)) if inside is not None else named
            case "in":
                return self._in(operands["left"], operands["right"])
        return self._binary(operator, operands)

    def _branch(self, expression: Mapping[str, Any]) -> Truth:
        """A branch of ``if-then-else``, which can stand for a condition and for no other value."""
        value = self.value(expression)
        if not isinstance(value, Truth | Failure) and not (isinstance(value, Known) and value.kind == "bool"):
            raise NotCompilable("`if-then-else` as a value")
        return value if isinstance(value, Truth) else always(value.value) if isinstance(value, Known) else FAILS

    def _binary(self, operator: str, operands: Mapping[str, Any]) -> Truth:
        if operator not in _COMPARISONS and operator not in _ORDERINGS:
            raise NotCompilable(f"the operator {operator!r}")
        left, right = self.value(operands["left"]), self.value(operands["right"])
        if operator in _ORDERINGS:
            return operators.ordered(_ORDERINGS[operator], left, right)
        return _COMPARISONS[operator](left, right)

    def _attribute(self, base: Value, name: str, operator: str) -> Value:
        if isinstance(base, Study):
            return operators.has(name) if operator == "has" else operators.attribute(name)
        if isinstance(base, Known) and base.kind == "entity":
            fields = self._environment["entities"].get(base.value, {"attrs": {}})["attrs"]
        elif isinstance(base, Record):
            fields = base.fields
        else:
            return FAILS if operator == "has" else FAILURE
        if operator == "has":
            return always(name in fields)
        return operators.literal(fields[name]) if name in fields else FAILURE

    def _in(self, left: Mapping[str, Any], right: Mapping[str, Any]) -> Truth:
        inner, outer = self.value(left), self.value(right)
        members = outer.values if isinstance(outer, KnownSet) else {outer}
        if not all(isinstance(member, Known) and member.kind == "entity" for member in members):
            return FAILS
        uids = {member.value for member in members if isinstance(member, Known)}
        if isinstance(inner, Study):
            return operators.study_among(uids)
        if isinstance(inner, Known) and inner.kind == "entity":
            parents = self._environment["entities"].get(inner.value, {"parents": ()})["parents"]
            return always(bool(uids & {inner.value, *((parent["type"], parent["id"]) for parent in parents)}))
        return FAILS


def _pattern(elements: Sequence[Any]) -> tuple[str | Wild, ...]:
    """Cedar's pattern, one character or wildcard at a time, as runs of characters between wildcards."""
    parts: list[str | Wild] = []
    for element in elements:
        if element == "Wildcard":
            parts.append(Wild.ANY)
        elif parts and isinstance(parts[-1], str):
            parts[-1] += element["Literal"]
        else:
            parts.append(element["Literal"])
    return tuple(parts)
