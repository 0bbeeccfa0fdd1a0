"""XML from anybody as a small tree: no document type, so no entity; bounded in size, depth and number of elements."""

from typing import Final, NoReturn
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from archive.errors import ArchiveError
from archive.repository.limits import Limits

_SEPARATOR: Final = "}"
_INSTANCE: Final = "http://www.w3.org/2001/XMLSchema-instance}"


class DocumentRefused(ArchiveError):
    """The octets are not well-formed XML in UTF-8, or XML that nobody has to send."""

    number = 421


def parse_document(data: bytes, limits: Limits) -> Element:
    """The root of a document. Names in a namespace come as ``uri}name``.

    Raises:
        DocumentRefused: it is not well-formed, not UTF-8, has a document type declaration, or crosses a limit.
    """
    if len(data) > limits.message_bytes:
        raise DocumentRefused(f"the document is longer than {limits.message_bytes} octets")
    if not data:
        raise DocumentRefused("there is no XML")
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DocumentRefused(f"octet {error.start + 1} of the XML is not UTF-8") from None
    return _Reader(limits).read(data)


def is_instruction(name: str) -> bool:
    """Whether an attribute speaks to schema processors, such as xsi:noNamespaceSchemaLocation, and not to us."""
    return name.startswith(_INSTANCE)


class _Reader:
    """The handlers of one parse, each refusing what it should not see."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._depth = self._elements = 0
        self._builder = TreeBuilder()
        self._parser = parser = expat.ParserCreate("utf-8", _SEPARATOR)
        parser.buffer_text = True
        parser.XmlDeclHandler = self._declaration
        parser.StartDoctypeDeclHandler = self._document_type
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._builder.data

    def read(self, data: bytes) -> Element:
        try:
            self._parser.Parse(data, True)
        except expat.ExpatError as error:
            place = f"line {error.lineno}, column {error.offset + 1}"
            raise DocumentRefused(f"not well-formed at {place}: {expat.ErrorString(error.code)}") from None
        return self._builder.close()

    def _declaration(self, version: str, encoding: str | None, standalone: int) -> None:
        if encoding is not None and encoding.casefold() not in ("utf-8", "utf8"):
            raise DocumentRefused(f"the XML says that its encoding is {encoding!r:.40}: it must be UTF-8")

    def _document_type(self, *_: object) -> NoReturn:
        raise DocumentRefused("a document type declaration is not taken, whatever it says")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        self._elements += 1
        if self._depth > self._limits.depth:
            raise DocumentRefused(f"elements are nested deeper than {self._limits.depth}")
        if self._elements > self._limits.elements:
            raise DocumentRefused(f"there are more than {self._limits.elements} elements")
        self._builder.start(name, attributes)

    def _end(self, name: str) -> None:
        self._depth -= 1
        self._builder.end(name)
