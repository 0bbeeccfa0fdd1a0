"""Text on its way out: in the requestor's Specific Character Set where that holds it, else in UTF-8.

An answer may be in any set that holds its values (PS3.4 C.4.1.1.3.2). What was encoded is decoded again before it
counts, so a set that would lose a character is never used.
"""

import re
from collections.abc import Callable
from typing import Final

from pydicom.charset import encode_string

from storage.index.text import DEFAULT_REPERTOIRE, Repertoire, decode, repertoire

UTF_8: Final = b"ISO_IR 192"
_ASCII: Final = DEFAULT_REPERTOIRE[0]
"""What pydicom calls the default repertoire, and decodes more liberally than it is (PS3.5 6.1.1)."""
_DELIMITERS: Final = re.compile(r"([\\^=\t\n\f\r])")
"""Where code extensions end (PS3.5 6.1.2.5.3), so that each part is encoded for itself."""


class Unencodable(Exception):
    """A character set does not hold a text."""


Encoder = Callable[[str, bool], bytes]
"""Text to bytes without padding; the flag tells that it is a person name. Raises `Unencodable`."""


def encoders(requested: bytes) -> tuple[tuple[bytes, Encoder], ...]:
    """Character sets to answer in, the best first: (Specific Character Set value, how). The last holds everything.

    ``requested``: Specific Character Set (0008,0005) of the request, empty where it had none.
    """
    named = requested.strip(b" \0")
    encodings = repertoire(named)
    everything = (UTF_8, _utf_8)
    if not named or named == UTF_8 or set(encodings) == set(DEFAULT_REPERTOIRE):
        return (everything,)
    return (named, _in(encodings)), everything


def _utf_8(text: str, _name: bool) -> bytes:
    return text.encode("utf-8", "replace")


def _in(encodings: Repertoire) -> Encoder:
    def encode(text: str, name: bool) -> bytes:
        if text.isascii():
            return text.encode("ascii")
        if not all(_holds(encodings, character) for character in set(text)):
            raise Unencodable
        if encodings[0] == _ASCII and any(_latin_only(part) for part in _DELIMITERS.split(text)):
            raise Unencodable
        try:
            encoded = b"".join(
                part.encode("ascii") if part.isascii() else encode_string(part, encodings)
                for part in _DELIMITERS.split(text)
            )
        except (UnicodeError, ValueError, UserWarning):
            raise Unencodable from None
        if decode(encoded, encodings, name=name) != text:
            raise Unencodable
        return encoded

    return encode


def _latin_only(part: str) -> bool:
    """Whether the codec that pydicom has for ASCII would take a part that is no ASCII."""
    return not part.isascii() and all(character < "\u0100" for character in part)


def _holds(encodings: Repertoire, character: str) -> bool:
    for encoding in encodings:
        try:
            character.encode("ascii" if encoding == _ASCII else encoding)
        except (UnicodeError, LookupError):
            continue
        return True
    return False
