"""What the statement says of queries: which attributes are matched, how, and which are answered."""

from collections.abc import Iterator

from pydicom.charset import python_encoding

from archive.conformance.tables import table, tag
from storage.index.columns import ATTRIBUTES, Attribute, Comparison, Level

_KINDS = {
    Comparison.TEXT: "single value, wildcard where the VR allows, universal",
    Comparison.NAME: "single value, wildcard, universal; case and accents do not matter; each component group",
    Comparison.DATE: "single value, range, universal",
    Comparison.TIME: "single value, range, universal",
    Comparison.UID: "single value, list of UID, universal",
    Comparison.SET: "any value of the study, wildcard where the VR allows, universal",
    Comparison.NONE: "universal only: answered, not matched (FF01)",
}


def attribute_tables() -> Iterator[str]:
    """Attributes of each level, with their kind of matching."""
    for level in Level:
        yield f"**{level.value} level**"
        yield ""
        rows = [
            (one.keyword, tag(one.tag), one.vr, _type_of(one), _KINDS[one.comparison])
            for one in ATTRIBUTES
            if one.level is level
        ]
        yield from table(("Attribute", "Tag", "VR", "Key", "Matching"), rows)


def character_sets() -> list[str]:
    """Specific Character Sets (0008,0005) that are read and answered in."""
    terms = sorted(term for term in python_encoding if term and not term.startswith("ISO 2022 IR 6"))
    return table(("Defined term",), ((term,) for term in terms))


def _type_of(attribute: Attribute) -> str:
    return "unique" if attribute.unique else "required or optional"
