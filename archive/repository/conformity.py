"""A document held against the grammar (PS3.15 A.5.1.1): every departure, in words."""

from collections.abc import Iterator
from typing import Final
from xml.etree.ElementTree import Element

from archive.repository.findings import Finding
from archive.repository.grammar import FORMER, GRAMMAR, ROOT, Child, Shape

CLAUSE: Final = "PS3.15 A.5.1.1"


def departures(root: Element) -> Iterator[Finding]:
    """Every way in which a document is not what the schema allows."""
    if root.tag != ROOT:
        yield _finding(f"the root is {_shown(root.tag)}, not {ROOT} (which is in no namespace)")
        return
    yield from _departures(root, ROOT)


def _departures(element: Element, where: str) -> Iterator[Finding]:
    shape = GRAMMAR[element.tag]
    yield from _attributes(element, shape, where)
    yield from _text(element, shape, where)
    yield from _order(element, shape, where)
    inside = "" if where == ROOT else f"{where}/"
    seen: dict[str, int] = {}
    for child in element:
        seen[child.tag] = seen.get(child.tag, 0) + 1
        if any(child.tag in place.names for place in shape.children):
            yield from _departures(child, f"{inside}{child.tag}[{seen[child.tag]}]")


def _attributes(element: Element, shape: Shape, where: str) -> Iterator[Finding]:
    for name, attribute in shape.attributes.items():
        value = element.get(name)
        if value is None:
            if attribute.required:
                yield _finding(f"{name} is missing", where)
        elif not attribute.kind.allows(value):
            yield _finding(f"{name} is {_shown(value)}, not {attribute.kind.words}", where)
    for name in element.attrib:
        if name not in shape.attributes:
            yield _finding(f"{_shown(name)} {FORMER.get(name, 'is unknown here')}", where)


def _text(element: Element, shape: Shape, where: str) -> Iterator[Finding]:
    text = element.text or ""
    if shape.text is None:
        if text.strip() or any((child.tail or "").strip() for child in element):
            yield _finding("there is text where none may be", where)
    elif not shape.text.allows(text):
        yield _finding(f"its text is {_shown(text)}, not {shape.text.words}", where)


def _order(element: Element, shape: Shape, where: str) -> Iterator[Finding]:
    places = shape.children
    counts = [0] * len(places)
    reached = 0
    for child in element:
        at = next((index for index, place in enumerate(places) if child.tag in place.names), None)
        if at is None:
            yield _finding(f"the element {_shown(child.tag)} {FORMER.get(child.tag, 'is unknown here')}", where)
            continue
        if at < reached:
            yield _finding(f"{child.tag} comes too late: the order is {_sequence(places)}", where)
        reached = max(reached, at)
        counts[at] += 1
    for place, count in zip(places, counts, strict=True):
        if count < place.least:
            yield _finding(f"{_either(place)} is missing", where)
        if place.most is not None and count > place.most:
            yield _finding(f"{_either(place)} is there {count} times, and may be {place.most} time", where)


def _either(place: Child) -> str:
    return " or ".join(place.names)


def _sequence(places: tuple[Child, ...]) -> str:
    return ", ".join(_either(place) for place in places)


def _shown(value: str) -> str:
    return repr(value if len(value) <= 60 else f"{value[:60]}…")


def _finding(says: str, where: str = "") -> Finding:
    return Finding(CLAUSE, says, where)
