"""From what came in the primary field to one assertion: size, shape and bounds. Nothing of it has been believed.

Accepted are a bare ``saml:Assertion`` and a ``samlp:Response`` that holds one as its child. A signature stands directly
in the element that it signs, the assertion or the response, and nowhere else.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from auth.errors import AuthenticationFailed
from auth.identity.saml.markup import DS, PROTOCOL, SAML, XENC, Element, children, content, parsed

ASSERTION: Final = f"{SAML}Assertion"
RESPONSE: Final = f"{PROTOCOL}Response"
SIGNATURE: Final = f"{DS}Signature"
SUCCESS: Final = "urn:oasis:names:tc:SAML:2.0:status:Success"

MAX_BYTES: Final = 65_529
"""What fits into a User Identity sub-item beside its fixed fields (PS3.7 Table D.3-14: a length of 16 bits)."""
MAX_DEPTH: Final = 32
MAX_ELEMENTS: Final = 1_024
MAX_ATTRIBUTES: Final = 32
"""Of one element."""
MAX_NAME: Final = 256
"""Characters of a name with its namespace. Canonical form repeats namespaces: this keeps it near the received size."""
MAX_TEXT: Final = 16_384
"""Characters of one attribute or one run of text: room for a certificate chain."""


@dataclass(frozen=True, slots=True)
class Document:
    """A document of the right shape, and where its assertion is."""

    assertion: Element
    response: Element | None
    """What the assertion came in; None for a bare one."""


def received(data: bytes) -> Document:
    """The document in the primary field.

    Raises:
        AuthenticationFailed: not one that is taken.
    """
    # 1 Size, before anything else.
    if not 0 < len(data) <= MAX_BYTES:
        raise AuthenticationFailed("larger than a User Identity item can be")
    # 2 Bytes to elements.
    root = parsed(data)
    # 3 Bounds and shape.
    check_bounds(root)
    check_shape(root)
    return located(root)


def check_bounds(root: Element) -> None:
    """Refuse depth, number and sizes that no assertion needs."""
    for count, (element, depth) in enumerate(_walk(root), start=1):
        if depth > MAX_DEPTH:
            raise AuthenticationFailed(f"elements are nested more than {MAX_DEPTH} deep")
        if count > MAX_ELEMENTS:
            raise AuthenticationFailed(f"more than {MAX_ELEMENTS} elements")
        if len(element.attrib) > MAX_ATTRIBUTES:
            raise AuthenticationFailed(f"an element has more than {MAX_ATTRIBUTES} attributes")
        if any(len(name) > MAX_NAME for name in (element.tag, *element.attrib)):
            raise AuthenticationFailed(f"a name is longer than {MAX_NAME} characters")
        texts = (element.text, element.tail, *element.attrib.values())
        if any(len(text) > MAX_TEXT for text in texts if text):
            raise AuthenticationFailed(f"a text is longer than {MAX_TEXT} characters")


def check_shape(root: Element) -> None:
    """Refuse whatever leaves a choice of what is signed, what is read, or what an ID names."""
    # 1 The root is one of two.
    if root.tag not in (ASSERTION, RESPONSE):
        raise AuthenticationFailed("neither a SAML 2.0 assertion nor a SAML 2.0 response")
    elements = [element for element, _ in _walk(root)]
    # 2 Nothing is encrypted: there is no key here to read it with.
    if any(element.tag.startswith((XENC, f"{SAML}Encrypted")) for element in elements):
        raise AuthenticationFailed("a part is encrypted")
    # 3 A response says Success, and holds the assertion as its child.
    if root.tag == RESPONSE:
        check_status(root)
    # 4 One assertion, at its place.
    assertions = [element for element in elements if element.tag == ASSERTION]
    if not assertions:
        raise AuthenticationFailed("no assertion is inside")
    if len(assertions) > 1:
        raise AuthenticationFailed("more than one assertion is inside")
    if assertions[0] is not root and assertions[0].getparent() is not root:
        raise AuthenticationFailed("the assertion is not where it belongs")
    # 5 Signatures: at most one each of the response and of the assertion, directly inside.
    for element in elements:
        if element.tag == SIGNATURE and element.getparent() not in (root, assertions[0]):
            raise AuthenticationFailed("a signature is not where it belongs")
    if any(len(children(parent, SIGNATURE)) > 1 for parent in (root, assertions[0])):
        raise AuthenticationFailed("more than one signature of one element")
    # 6 An identifier names one element, and an element has one: under whatever name a reader looks for them.
    identifiers = [tuple(_identifiers(element)) for element in elements]
    if any(len(of_one) > 1 for of_one in identifiers):
        raise AuthenticationFailed("an element has more than one identifier")
    all_of_them = [identifier for of_one in identifiers for identifier in of_one]
    if len(all_of_them) != len(set(all_of_them)):
        raise AuthenticationFailed("an identifier is used twice")


def check_status(response: Element) -> None:
    """Refuse a response that is not one of SAML 2.0 saying Success (SAML core 3.2.2)."""
    if response.get("Version") != "2.0":
        raise AuthenticationFailed("the response is not of version 2.0")
    statuses = children(response, f"{PROTOCOL}Status")
    codes = [code for status in statuses for code in children(status, f"{PROTOCOL}StatusCode")]
    if len(statuses) != 1 or len(codes) != 1 or codes[0].get("Value") != SUCCESS:
        raise AuthenticationFailed("the response does not say Success")


def located(root: Element) -> Document:
    """The assertion of a document and what it came in. Where the shape was not checked, the first of several."""
    if root.tag == ASSERTION:
        return Document(root, None)
    inside = children(root, ASSERTION)
    if not inside:
        raise AuthenticationFailed("no assertion is inside")
    return Document(inside[0], root)


def issuer_of(element: Element) -> str | None:
    """Who is said to have issued an assertion or a response, for routing; None where that is not said once, as text."""
    issuers = children(element, f"{SAML}Issuer")
    return content(issuers[0]) or None if len(issuers) == 1 else None


def _walk(root: Element) -> Iterator[tuple[Element, int]]:
    """Every element with its depth, the root's being 1; without recursion."""
    waiting = [(root, 1)]
    while waiting:
        element, depth = waiting.pop()
        yield element, depth
        waiting.extend((child, depth + 1) for child in reversed(element))


def _identifiers(element: Element) -> Iterator[str]:
    """Values of ID, Id, id, xml:id and their like in any namespace."""
    for name, value in element.attrib.items():
        if name.rpartition("}")[2].lower() == "id":
            yield value
