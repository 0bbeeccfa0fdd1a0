"""Several values of an element as one text, as PS3.5 6.4 has them."""

from collections.abc import Iterable


def split_values(text: str | None) -> set[str]:
    """The values of a text; none of an absent one."""
    return set(text.split("\\")) if text else set()


def join_values(values: Iterable[str]) -> str | None:
    """Values in their order as one text; absent if there are none."""
    return "\\".join(sorted(values)) or None
