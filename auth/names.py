"""Which names, titles, roles and attributes are well-formed. Pure; the one place where that is written.

A name that passes here is still only a claim: these rules keep it from being two names at once, or more than a name,
in a log line, a policy or an audit message.
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping
from types import MappingProxyType

from auth.errors import RecordInvalid

MAX_USERNAME_LENGTH = 64
"""Characters."""
MAX_EXTERNAL_LENGTH = 256
"""Characters of a name that comes from outside: a distinguished name, a principal, a subject with its realm."""
MAX_USERNAME_BYTES = 256
"""Bytes of UTF-8, checked before decoding: four for each character."""
MAX_ROLES = 64
MAX_ATTRIBUTES = 32
MAX_ATTRIBUTE_LENGTH = 256
"""Characters of one attribute's value."""

_TITLE = re.compile(r"[\x21-\x5B\x5D-\x7E](?:[\x20-\x5B\x5D-\x7E]{0,14}[\x21-\x5B\x5D-\x7E])?", re.ASCII)
_ROLE = re.compile(r"[a-z][a-z0-9_-]{0,31}", re.ASCII)
_ATTRIBUTE = re.compile(r"[a-z][a-z0-9_]{0,31}", re.ASCII)


def checked_title(ae_title: str) -> str:
    """An AE title (PS3.5 6.2): 1 to 16 printable ASCII characters, no backslash; surrounding spaces mean nothing.

    Raises:
        RecordInvalid: it is not one. Padding is for the wire, so it is refused here too.
    """
    if _TITLE.fullmatch(ae_title) is None:
        raise RecordInvalid("an AE title has 1 to 16 printable ASCII characters, no backslash and no space at its ends")
    return ae_title


def checked_username(name: str) -> str:
    """A person's name in normal form C: 1 to 64 characters, none of them a control or format character or ``!``.

    ``!`` separates names in audit records of other systems and is history expansion in shells; no person needs it.

    Raises:
        RecordInvalid: it is not one.
    """
    normal = unicodedata.normalize("NFC", name)
    if not 0 < len(normal) <= MAX_USERNAME_LENGTH:
        raise RecordInvalid(f"a user name has 1 to {MAX_USERNAME_LENGTH} characters")
    if normal != normal.strip():
        raise RecordInvalid("a user name neither begins nor ends with a space")
    if "!" in normal or any(_invisible(character) for character in normal):
        raise RecordInvalid("a user name holds neither `!` nor characters that cannot be seen")
    return normal


def username_from_wire(value: bytes) -> str:
    """A user name as it stands in the primary field of a User Identity item: UTF-8 (PS3.7 D.3.3.7.1).

    Raises:
        RecordInvalid: not UTF-8, or not a user name.
    """
    if len(value) > MAX_USERNAME_BYTES:
        raise RecordInvalid(f"a user name has 1 to {MAX_USERNAME_LENGTH} characters")
    try:
        return checked_username(value.decode("utf-8"))
    except UnicodeDecodeError:
        raise RecordInvalid("a user name is UTF-8") from None


def external_name(text: str) -> str:
    """The name of a person whom somebody else vouches for, in normal form C: 1 to 256 visible characters, no ``!``.

    Raises:
        RecordInvalid: it is not one.
    """
    normal = unicodedata.normalize("NFC", text)
    if not 0 < len(normal) <= MAX_EXTERNAL_LENGTH or normal != normal.strip():
        raise RecordInvalid(f"a name has 1 to {MAX_EXTERNAL_LENGTH} characters and no space at its ends")
    if "!" in normal or any(_invisible(character) for character in normal):
        raise RecordInvalid("a name holds neither `!` nor characters that cannot be seen")
    return normal


def checked_roles(roles: Iterable[str], known: frozenset[str] | None = None) -> frozenset[str]:
    """Role names: lower-case words of at most 32 characters; and one of ``known``, where the caller says which exist.

    Raises:
        RecordInvalid: one is not well-formed or not known, or there are more than 64.
    """
    checked = frozenset(roles)
    if len(checked) > MAX_ROLES:
        raise RecordInvalid(f"more than {MAX_ROLES} roles")
    for role in sorted(checked):
        if _ROLE.fullmatch(role) is None:
            raise RecordInvalid("a role is a lower-case word of at most 32 letters, digits, `-` and `_`")
        if known is not None and role not in known:
            raise RecordInvalid(f"no role `{role}`; there are {', '.join(sorted(known))}")
    return checked


def checked_attributes(attributes: Mapping[str, str]) -> Mapping[str, str]:
    """A person's attributes for the policy: lower-case keys, values of visible characters; a read-only copy.

    Raises:
        RecordInvalid: a key or value is not well-formed, or there are more than 32.
    """
    if len(attributes) > MAX_ATTRIBUTES:
        raise RecordInvalid(f"more than {MAX_ATTRIBUTES} attributes")
    for key, value in attributes.items():
        if _ATTRIBUTE.fullmatch(key) is None:
            raise RecordInvalid("an attribute's name is a lower-case word of at most 32 letters, digits and `_`")
        if not 0 < len(value) <= MAX_ATTRIBUTE_LENGTH or any(_invisible(character) for character in value):
            raise RecordInvalid(f"attribute `{key}` has 1 to {MAX_ATTRIBUTE_LENGTH} characters that can be seen")
    return MappingProxyType(dict(attributes))


def _invisible(character: str) -> bool:
    """Controls, format characters (zero width, bidirectional), surrogates, unassigned; line and other odd spaces."""
    category = unicodedata.category(character)
    return category[0] == "C" or (category[0] == "Z" and character != " ")
