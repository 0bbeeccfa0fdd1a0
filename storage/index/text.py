"""Stored text values as Unicode, and names as they are compared.

Here: decoding by Specific Character Set (PS3.5 6.1.2, PS3.3 C.12.1.1.2), padding, and the normal form of person names.
Whatever bytes a sender chose, a text comes out: what does not decode becomes U+FFFD. What must never live here: SQL.
"""

import codecs
import unicodedata
from functools import lru_cache
from typing import Final

from pydicom.charset import CODES_TO_ENCODINGS, default_encoding, handled_encodings, python_encoding

_ESC: Final = b"\x1b"
_STRIPPING: Final = frozenset(encoding for encoding in handled_encodings if encoding.startswith("iso2022"))
"""Codecs that read escape sequences themselves; pydicom counts that of ISO 2022 IR 58 among them, which does not."""
_REPLACEMENT: Final = "\ufffd"
_NAME_DELIMITERS: Final = b"\\^="
_TEXT_DELIMITERS: Final = b"\\\t\n\f\r"

Repertoire = tuple[str, ...]
"""Python codecs of a Specific Character Set value, the initial one first."""

DEFAULT_REPERTOIRE: Final[Repertoire] = (default_encoding,)

NAME_GROUPS: Final = ("norm", "ideographic", "phonetic")
"""The groups of a person name (PS3.5 6.2.1.2), as columns and documents call their normal forms."""


@lru_cache(maxsize=256)
def repertoire(specific_character_set: bytes) -> Repertoire:
    """The codecs that a Specific Character Set (0008,0005) names; unknown terms read as the default repertoire."""
    terms = specific_character_set.decode("ascii", "replace").replace("\0", "").split("\\")
    known = []
    for term in terms[:16]:
        encoding = python_encoding.get(term.strip(" "), default_encoding)
        try:
            codecs.lookup(encoding)
        except LookupError:
            encoding = default_encoding
        known.append(encoding)
    return tuple(known)


def decode(value: bytes, encodings: Repertoire, *, name: bool = False) -> str:
    """A value as text, without its padding (PS3.5 6.2), never raising.

    ``name`` chooses the delimiters at which code extensions fall back to the initial set (PS3.5 6.1.2.5.3). Embedded
    NULs, which no VR allows and which would end a text early in C, become U+FFFD.
    """
    if value.isascii() and _ESC not in value:
        text = value.decode("ascii")
    elif _ESC not in value:
        text = value.decode(encodings[0], "replace")
    else:
        delimiters = _NAME_DELIMITERS if name else _TEXT_DELIMITERS
        first, *escaped = value.split(_ESC)
        text = first.decode(encodings[0], "replace")
        text += "".join(_decode_escaped(_ESC + fragment, encodings, delimiters) for fragment in escaped)
    return text.rstrip("\0 ").lstrip(" ").replace("\0", _REPLACEMENT)


def _decode_escaped(fragment: bytes, encodings: Repertoire, delimiters: bytes) -> str:
    """One run that begins with an escape sequence (PS3.5 6.1.2.5.2)."""
    length = 4 if fragment.startswith((b"\x1b$(", b"\x1b$)")) else 3
    encoding = CODES_TO_ENCODINGS.get(fragment[:length], "")
    if encoding not in encodings and encoding != default_encoding:
        return fragment.decode(encodings[0], "replace")
    if encoding in _STRIPPING:
        return fragment.decode(encoding, "replace")
    rest = fragment[length:]
    end = next((at for at, byte in enumerate(rest) if byte in delimiters), len(rest))
    return rest[:end].decode(encoding, "replace") + rest[end:].decode(encodings[0], "replace")


def folded(text: str) -> str:
    """Text without case and accents: NFKD, combining marks stripped, case-folded, composed again.

    Composing at the end keeps a Hangul syllable one character, so that ``?`` stands for it.
    """
    if text.isascii():
        return text.lower()
    stripped = _without_marks(_without_marks(text).casefold())
    return unicodedata.normalize("NFC", stripped)


def _without_marks(text: str) -> str:
    return "".join(mark for mark in unicodedata.normalize("NFKD", text) if not unicodedata.combining(mark))


PART: Final = 3
"""Characters of a part of a name by which names that hold it are found."""
LONG_NAME: Final = "*"
"""Stands for every part of a name that is too long to have its own."""
_MOST_PARTED: Final = 256


def name_parts(*groups: object) -> frozenset[str]:
    """Every run of `PART` characters in the normal forms of a name."""
    texts = [group for group in groups if isinstance(group, str)]
    if any(len(text) > _MOST_PARTED for text in texts):
        return frozenset({LONG_NAME})
    return frozenset(text[at : at + PART] for text in texts for at in range(len(text) - PART + 1))


def name_groups(name: str) -> tuple[str, str, str]:
    """The normal forms of a name's alphabetic, ideographic and phonetic groups (PS3.5 6.2.1.2), "" where absent.

    Trailing empty components are dropped: ``DOE`` and ``DOE^^`` are one name (PS3.5 6.2.1.1).
    """
    groups = [folded(group).rstrip("^ ").lstrip(" ") for group in name.split("=", 2)]
    groups += [""] * (3 - len(groups))
    return groups[0], groups[1], groups[2]
