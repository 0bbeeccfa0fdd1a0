"""A document held against the grammar (PS3.15 A.5.1.1): every departure, in words.

Almost every message is as it should be, and each is looked at: words are made only where there is something to tell.
"""

from functools import cache
from itertools import pairwise
from typing import Final
from xml.etree.ElementTree import Element

from archive.repository.document import is_instruction
from archive.repository.findings import MAX_FINDINGS, Finding
from archive.repository.grammar import ANY, FORMER, GRAMMAR, ROOT, Child, Shape

CLAUSE: Final = "PS3.15 A.5.1.1"


def departures(root: Element) -> list[Finding]:
    """The ways in which a document is not what the schema allows, `MAX_FINDINGS` at most."""
    if root.tag != ROOT:
        return [Finding(CLAUSE, f"the root is {_shown(root.tag)}, not {ROOT} (which is in no namespace)")]
    inspector = _Inspector()
    inspector.inspect(root)
    return inspector.found


class _Inspector:
    """One walk through a document; ``path`` leads from the root to where it stands."""

    def __init__(self) -> None:
        self.found: list[Finding] = []
        self._path: list[Element] = []

    def inspect(self, element: Element) -> None:
        shape = GRAMMAR[element.tag]
        self._path.append(element)
        self._attributes(element, shape)
        self._text(element, shape)
        self._children(element, shape)
        self._path.pop()

    def _attributes(self, element: Element, shape: Shape) -> None:
        given = element.attrib
        for name in _required(element.tag):
            if name not in given:
                self._tell(f"{name} is missing")
        for name, value in given.items():
            attribute = shape.attributes.get(name)
            if attribute is None:
                if not is_instruction(name):
                    self._tell(f"{_shown(name)} {FORMER.get(name, 'is unknown here')}")
            elif attribute.kind is not ANY and not attribute.kind.allows(value):
                self._tell(f"{name} is {_shown(value)}, not {attribute.kind.words}")

    def _text(self, element: Element, shape: Shape) -> None:
        text = element.text or ""
        if shape.text is None:
            if (text and not text.isspace()) or any(child.tail and not child.tail.isspace() for child in element):
                self._tell("there is text where none may be")
        elif shape.text is not ANY and not shape.text.allows(text):
            self._tell(f"its text is {_shown(text)}, not {shape.text.words}")

    def _children(self, element: Element, shape: Shape) -> None:
        ranks = _ranks(element.tag)
        counts = [0] * len(shape.children)
        reached = 0
        for child in element:
            rank = ranks.get(child.tag)
            if rank is None:
                self._tell(f"the element {_shown(child.tag)} {FORMER.get(child.tag, 'is unknown here')}")
                continue
            if rank < reached:
                self._tell(f"{child.tag} comes too late: the order is {', '.join(map(_either, shape.children))}")
            reached = max(reached, rank)
            counts[rank] += 1
            self.inspect(child)
        for place, count in zip(shape.children, counts, strict=True):
            if count < place.least:
                self._tell(f"{_either(place)} is missing")
            if place.most is not None and count > place.most:
                self._tell(f"{_either(place)} is there {count} times, and may be {place.most} time")

    def _tell(self, says: str) -> None:
        if len(self.found) < MAX_FINDINGS:
            self.found.append(Finding(CLAUSE, says, "/".join(map(_numbered, pairwise(self._path)))))


def _numbered(step: tuple[Element, Element]) -> str:
    """An element with its number among those of its name, such as ``ActiveParticipant[2]``."""
    parent, element = step
    return f"{element.tag}[{parent.findall(element.tag).index(element) + 1}]"


@cache
def _required(tag: str) -> tuple[str, ...]:
    return tuple(name for name, attribute in GRAMMAR[tag].attributes.items() if attribute.required)


@cache
def _ranks(tag: str) -> dict[str, int]:
    return {name: rank for rank, place in enumerate(GRAMMAR[tag].children) for name in place.names}


def _either(place: Child) -> str:
    return " or ".join(place.names)


def _shown(value: str) -> str:
    return repr(value if len(value) <= 60 else f"{value[:60]}…")
