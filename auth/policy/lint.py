"""What a policy may ask of a study, so that it can become a condition on rows; the rest is refused when it is loaded.

Anything that does not touch ``resource`` is unrestricted: Cedar folds it before rows are looked at. Of the resource:
``has``, its attributes flat, ``==`` and ``!=`` and ``like``, ``<`` to ``>=`` on numbers, ``contains``, ``containsAny``,
``containsAll`` and ``isEmpty`` against values known when the request is made, ``resource ==``, ``in`` and ``is``, and
``&&``, ``||``, ``!``. Cedar's strict validation has seen the policy before; it does not refuse arithmetic on
attributes, comparing two of them, or date and address types, so this does.

``if-then-else`` over the resource is rewritten where it stands for a condition, since Cedar leaves its branches
unevaluated in residuals: ``if c then a else b`` is ``(c && a) || (!c && b)``, errors included.
"""

import dataclasses
from collections.abc import Iterator
from typing import Any, Final

from cedarpy import pst

from auth.policy.attributes import STUDY_ATTRIBUTES

_COMPARISONS: Final = frozenset({"eq", "not_eq", "less", "less_eq", "greater", "greater_eq"})
_MEMBERSHIP: Final = frozenset({"contains", "contains_all", "contains_any"})
_CONDITIONS: Final = _COMPARISONS | _MEMBERSHIP | {"and", "or", "in"}


class NotExpressible(Exception):
    """This use of ``resource`` has no counterpart as a condition on rows; the text names it."""


def reads_resource(node: object) -> bool:
    """Whether ``resource`` occurs in an expression."""
    return any(isinstance(part, pst.Var) and part.name == "resource" for part in parts(node))


def parts(node: object) -> Iterator[Any]:
    """Every node of a policy's syntax tree, depth first."""
    stack: list[Any] = [node]
    while stack:
        value = stack.pop()
        if isinstance(value, tuple):
            stack.extend(value)
        elif isinstance(value, dict):
            stack.extend(value.values())
        elif dataclasses.is_dataclass(value):
            yield value
            stack.extend(getattr(value, field.name) for field in dataclasses.fields(value))


def rewritten(condition: Any) -> Any:
    """A condition without ``if-then-else`` over the resource, as far as it stands for a condition itself."""
    if isinstance(condition, pst.IfThenElse) and reads_resource(condition):
        test, then, other = map(rewritten, (condition.cond, condition.then_expr, condition.else_expr))
        return pst.BinaryOp("or", pst.BinaryOp("and", test, then), pst.BinaryOp("and", pst.UnaryOp("not", test), other))
    if isinstance(condition, pst.UnaryOp) and condition.op == "not":
        return pst.UnaryOp("not", rewritten(condition.arg))
    if isinstance(condition, pst.BinaryOp) and condition.op in {"and", "or"}:
        return pst.BinaryOp(condition.op, rewritten(condition.left), rewritten(condition.right))
    return condition


def check(condition: Any) -> None:
    """Refuse a condition that `archive.enforcement.scope` could not turn into a condition on rows.

    Raises:
        NotExpressible: names the construct.
    """
    if not reads_resource(condition):
        return
    if isinstance(condition, pst.UnaryOp) and condition.op == "not":
        check(condition.arg)
    elif isinstance(condition, pst.UnaryOp) and condition.op == "is_empty":
        _check_attribute(condition.arg)
    elif isinstance(condition, pst.BinaryOp):
        _check_binary(condition)
    elif isinstance(condition, pst.HasAttr):
        if not _is_resource(condition.base) or len(condition.attrs) != 1:
            raise NotExpressible("`has` with a path into an attribute of `resource`")
    elif isinstance(condition, pst.Like):
        _check_attribute(condition.base)
    elif isinstance(condition, pst.Is):
        if not _is_resource(condition.base) or reads_resource(condition.in_expr):
            raise NotExpressible("`is` on an attribute of `resource`")
    else:
        raise NotExpressible(_words(condition))


def _check_binary(node: Any) -> None:
    if node.op in {"and", "or"}:
        check(node.left)
        check(node.right)
        return
    left, right = reads_resource(node.left), reads_resource(node.right)
    if node.op == "in":
        if not _is_resource(node.left) or right:
            raise NotExpressible("`in` other than `resource in` something known when the request is made")
    elif node.op in _COMPARISONS | _MEMBERSHIP:
        if left and right:
            if node.op in {"eq", "not_eq"} and _is_condition(node.left) and _is_condition(node.right):
                check(node.left)
                check(node.right)
                return
            raise NotExpressible("a comparison of two attributes of `resource`")
        _check_operand(node.left if left else node.right)
    else:
        raise NotExpressible(f"the operator `{node.op}` on an attribute of `resource`")


def _check_operand(node: Any) -> None:
    if _is_resource(node):
        return
    if _is_condition(node):
        check(node)
    else:
        _check_attribute(node)


def _check_attribute(node: Any) -> None:
    if not (isinstance(node, pst.GetAttr) and _is_resource(node.base)):
        raise NotExpressible(_words(node))
    if node.attr not in STUDY_ATTRIBUTES:
        raise NotExpressible(f"`resource.{node.attr}`, which the index does not have")


def _is_resource(node: Any) -> bool:
    return isinstance(node, pst.Var) and node.name == "resource"


def _is_condition(node: Any) -> bool:
    """Whether a node yields true or false by its form alone."""
    if isinstance(node, pst.BinaryOp):
        return node.op in _CONDITIONS
    if isinstance(node, pst.UnaryOp):
        return node.op in {"not", "is_empty"}
    return isinstance(node, pst.HasAttr | pst.Like | pst.Is | pst.BoolLit)


def _words(node: Any) -> str:
    if _is_resource(node):
        return "`resource` by itself, other than with ==, in, is, has or an attribute"
    if isinstance(node, pst.IfThenElse):
        return "`if-then-else` over `resource` as a value"
    if isinstance(node, pst.Set | pst.Record):
        return f"a {type(node).__name__.lower()} literal that holds an attribute of `resource`"
    if isinstance(node, pst.GetAttr):
        return "an attribute of an attribute of `resource`"
    if isinstance(node, pst.UnaryOp | pst.BinaryOp):
        return f"the operator `{node.op}` on an attribute of `resource`"
    return f"{type(node).__name__} over `resource`"
