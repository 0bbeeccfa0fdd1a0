"""What the issuer says of the person (SAML core 2.7.3), and what that means here: roles and attributes for the policy.

XUA (ITI-40) writes a role or a purpose of use as an HL7 coded element, everything else as text. Only what the settings
map is read at all; only what they map to a role grants one.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from auth.errors import AuthenticationFailed, RecordInvalid
from auth.identity.saml.markup import HL7, SAML, Element, children, collapsed, content
from auth.names import checked_attributes

SUBJECT_ID: Final = "urn:oasis:names:tc:xspa:1.0:subject:subject-id"
"""In XUA the person's name as people read it, not an identifier."""
ORGANIZATION: Final = "urn:oasis:names:tc:xspa:1.0:subject:organization"
PURPOSE_OF_USE: Final = "urn:oasis:names:tc:xspa:1.0:subject:purposeofuse"
ROLE: Final = "urn:oasis:names:tc:xacml:2.0:subject:role"

XUA_ATTRIBUTES: Final[Mapping[str, str]] = {
    SUBJECT_ID: "display_name",
    ORGANIZATION: "organization",
    PURPOSE_OF_USE: "purpose_of_use",
}
"""What is read without being mapped: an outside name and ours."""


@dataclass(frozen=True, slots=True)
class Value:
    """One value: a text, or a code with the system that gives it its meaning."""

    text: str
    code_system: str | None = None

    @property
    def keys(self) -> tuple[str, ...]:
        """Under what a mapping may name it: a code as ``system|code``, or by itself, in whatever system."""
        return (self.text,) if self.code_system is None else (f"{self.code_system}|{self.text}", self.text)


def read(assertion: Element, wanted: frozenset[str]) -> Mapping[str, tuple[Value, ...]]:
    """The values of the wanted attributes, over all statements; an empty value says nothing and is left out.

    Raises:
        AuthenticationFailed: a wanted attribute has a value of a form that is not known.
    """
    found: dict[str, list[Value]] = {}
    for statement in children(assertion, f"{SAML}AttributeStatement"):
        for attribute in children(statement, f"{SAML}Attribute"):
            name = attribute.get("Name") or ""
            if name in wanted:
                found.setdefault(name, []).extend(_values(attribute))
    return {name: tuple(dict.fromkeys(values)) for name, values in found.items()}


def roles(values: tuple[Value, ...], mapping: Mapping[str, str]) -> frozenset[str]:
    """Our roles for the issuer's; what is not mapped grants nothing."""
    return frozenset(mapping[key] for value in values for key in value.keys if key in mapping)


def for_policy(values: Mapping[str, tuple[Value, ...]], mapping: Mapping[str, str]) -> Mapping[str, str]:
    """Our attributes from the issuer's.

    Raises:
        AuthenticationFailed: one has several values, of which policy could see only one, or is not fit for a record.
    """
    found: dict[str, str] = {}
    for outside, ours in mapping.items():
        for value in values.get(outside, ()):
            if found.setdefault(ours, value.text) != value.text:
                raise AuthenticationFailed(f"the attribute `{ours}` has several values")
    try:
        return checked_attributes(found)
    except RecordInvalid as error:
        raise AuthenticationFailed(f"an attribute is refused: {error}") from None


def _values(attribute: Element) -> Iterator[Value]:
    for element in children(attribute, f"{SAML}AttributeValue"):
        text = content(element)
        if text is not None:
            if collapsed(text):
                yield Value(collapsed(text))
        else:
            yield _coded(element)


def _coded(element: Element) -> Value:
    """``<Role xmlns="urn:hl7-org:v3" xsi:type="CE" code="…" codeSystem="…"/>`` (ITI TF-2 3.40.4.1.2.1)."""
    parts = children(element)
    beside = (element.text or "") + (parts[0].tail or "")
    code = parts[0].get("code")
    if len(parts) != 1 or not parts[0].tag.startswith(HL7) or len(parts[0]) or collapsed(beside) or not code:
        raise AuthenticationFailed("an attribute's value is neither text nor an HL7 code")
    return Value(code, parts[0].get("codeSystem") or "")
