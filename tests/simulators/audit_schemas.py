"""The schemas that audit messages are held against: our own, and those that others have published."""

import subprocess
import sys
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.simulators.shared_material import shared

OWN = Path(__file__).parents[2] / "config" / "schemas" / "audit-message.rnc"


class Schema:
    """A compiled schema; `faults` says what a message breaks."""

    def __init__(self, compiled: object) -> None:
        self._compiled = compiled

    def faults(self, message: str) -> list[str]:
        """What is wrong with a message, one line each; none where it is valid."""
        etree = pytest.importorskip("lxml.etree")
        # An identifier may be long, and lxml takes no long text unless told so.
        document = etree.fromstring(message, etree.XMLParser(huge_tree=True))
        if self._compiled.validate(document):  # type: ignore[attr-defined]
            return []
        return [str(entry.message) for entry in self._compiled.error_log]  # type: ignore[attr-defined]


@cache
def own() -> Schema:
    """config/schemas/audit-message.rnc."""
    return relax_ng(OWN.read_text("utf-8"))


@cache
def published_xsd(*place: str) -> Schema:
    """An XML schema of the shared material."""
    etree = pytest.importorskip("lxml.etree")
    return Schema(etree.XMLSchema(etree.parse(str(shared("schemas", *place)))))


@cache
def published_grammar(*place: str, optional: tuple[str, ...] = ()) -> Schema:
    """A RELAX NG grammar of the shared material, with the elements ``optional`` made so."""
    lines = shared("schemas", *place).read_text("utf-8").splitlines()
    text = "\n".join(line.split("#")[0] for line in lines)
    for name in optional:
        text = _made_optional(text, name)
    return relax_ng(text)


def relax_ng(compact: str) -> Schema:
    """Compile a grammar in the compact syntax."""
    etree = pytest.importorskip("lxml.etree")
    with TemporaryDirectory() as folder:
        source = Path(folder) / "grammar.rnc"
        source.write_text(compact, encoding="utf-8")
        # In a process of its own: the converter warns of its own age, and warnings are errors here.
        converted = subprocess.run([sys.executable, "-m", "rnc2rng", str(source)], capture_output=True, check=True)
    return Schema(etree.RelaxNG(etree.fromstring(converted.stdout)))


def _made_optional(grammar: str, element: str) -> str:
    start = grammar.index("{", grammar.index(f"element {element} "))
    depth, end = 0, start
    while True:
        depth += {"{": 1, "}": -1}.get(grammar[end], 0)
        end += 1
        if depth == 0:
            return f"{grammar[:end]}*{grammar[end:].removeprefix('*')}"
