"""XML as this package takes it: 1.0, UTF-8, elements, attributes and text. The only module that parses.

Whatever could make two readers see two documents is refused before parsing, in the bytes. `<!` begins a document type,
an entity, a CDATA section or a comment and nothing else; `<?`, once the XML declaration is past, begins a processing
instruction; neither can stand inside text or an attribute. The parser is told the encoding, so that a declaration
cannot change what the check saw.
"""

import re
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias

from lxml import etree  # type: ignore[import-untyped]

from auth.errors import AuthenticationFailed, ProviderMisconfigured

Element: TypeAlias = Any
"""An `lxml.etree._Element`; lxml says nothing about its types."""

SAML: Final = "{urn:oasis:names:tc:SAML:2.0:assertion}"
PROTOCOL: Final = "{urn:oasis:names:tc:SAML:2.0:protocol}"
METADATA: Final = "{urn:oasis:names:tc:SAML:2.0:metadata}"
DS: Final = "{http://www.w3.org/2000/09/xmldsig#}"
XENC: Final = "{http://www.w3.org/2001/04/xmlenc#}"
EXCLUSIVE: Final = "http://www.w3.org/2001/10/xml-exc-c14n#"
"""Exclusive canonicalization without comments; as a namespace, that of InclusiveNamespaces."""
HL7: Final = "{urn:hl7-org:v3}"

WHITESPACE: Final = " \t\r\n"
"""What XML calls white space; a no-break space is none."""

_DECLARATION: Final = re.compile(
    rb"""<\?xml\s+version\s*=\s*(["'])1\.0\1
         (?:\s+encoding\s*=\s*(["'])(?P<encoding>[\w.-]+)\2)?
         (?:\s+standalone\s*=\s*(["'])(?:yes|no)\4)?
         \s*\?>""",
    re.VERBOSE,
)
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"

_INSTANT: Final = re.compile(
    r"(?P<seconds>[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.(?P<fraction>[0-9]{1,12}))?(?:Z|\+00:00)"
)


def parsed(data: bytes) -> Element:
    """The root element of a document.

    Raises:
        AuthenticationFailed: not XML 1.0 in UTF-8, not well-formed, or with parts that are refused.
    """
    body = data.removeprefix(_BYTE_ORDER_MARK)
    # 1 UTF-8, without a NUL: what follows searches the characters that the parser will see.
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        raise AuthenticationFailed("not XML in UTF-8") from None
    if "\0" in text:
        raise AuthenticationFailed("not XML in UTF-8")
    if declaration := _DECLARATION.match(body):
        if (declaration["encoding"] or b"utf-8").lower() != b"utf-8":
            raise AuthenticationFailed("not XML in UTF-8")
        body = body[declaration.end() :]
    # 2 Nothing but elements, attributes and text.
    if b"<!DOCTYPE" in body or b"<!ENTITY" in body:
        raise AuthenticationFailed("a document type is declared")
    if b"<!--" in body:
        raise AuthenticationFailed("a comment is inside")
    if b"<!" in body:
        raise AuthenticationFailed("a CDATA section or declaration is inside")
    if b"<?" in body:
        raise AuthenticationFailed("a processing instruction is inside")
    # 3 Well-formed. The parser resolves, loads and fetches nothing, and keeps libxml2's limits.
    parser = etree.XMLParser(
        encoding="utf-8",
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        dtd_validation=False,
        attribute_defaults=False,
        huge_tree=False,
        recover=False,
    )
    try:
        return etree.fromstring(body, parser)
    except etree.XMLSyntaxError:
        # Its text quotes the document.
        raise AuthenticationFailed("not well-formed XML") from None


def configured(data: bytes) -> Element:
    """The root element of a file that belongs to the settings: comments may be in it, a document type not.

    Raises:
        ProviderMisconfigured: it is not such a file.
    """
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, remove_comments=True, remove_pis=True
    )
    try:
        root = etree.fromstring(data, parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        raise ProviderMisconfigured("the metadata is not XML") from error
    if root.getroottree().docinfo.internalDTD is not None:
        raise ProviderMisconfigured("the metadata declares a document type")
    return root


def alone(element: Element) -> bytes:
    """An element as a document of its own: with the namespaces in scope, without what follows it."""
    return bytes(etree.tostring(element, encoding="utf-8", with_tail=False))


def children(element: Element, *tags: str) -> list[Element]:
    """The child elements of these names, in order; without a name, all."""
    return [child for child in element if not tags or child.tag in tags]


def content(element: Element) -> str | None:
    """The characters of an element that holds nothing else; None where it holds elements."""
    return None if len(element) else element.text or ""


def collapsed(text: str) -> str:
    """Text with the white space that a pretty-printer adds taken out (XML Schema, whiteSpace="collapse")."""
    return re.sub(f"[{WHITESPACE}]+", " ", text).strip(WHITESPACE)


def instant(text: str | None) -> datetime | None:
    """A time as SAML writes it: in UTC, and saying so (SAML core 1.3.3). None: it is no such time."""
    found = _INSTANT.fullmatch(text or "")
    if found is None:
        return None
    try:
        whole = datetime.strptime(found["seconds"], "%Y-%m-%dT%H:%M:%S").replace(tzinfo=UTC)
    except ValueError:
        return None
    return whole.replace(microsecond=int((found["fraction"] or "0").ljust(6, "0")[:6]))
