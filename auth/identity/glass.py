"""Breaking the glass in association negotiation: ``!`` and a reason behind the credential (PS3.7 D.3.3.7 knows none).

- type 2: ``name!reason`` as the user name; ``!`` stands in no name;
- type 3: behind the ticket, whose DER says how long it is;
- type 4: behind the last ``>`` of the assertion;
- type 5: behind the token, which is base64url and dots.

A reason is words that a person can read. Type 1 proves nothing, so it breaks nothing: there ``!`` stays illegal.
"""

import unicodedata
from typing import Final

from auth.errors import RecordInvalid

MAX_REASON: Final = 256
"""Characters."""
_MARK: Final = b"!"


def checked_reason(text: str) -> str:
    """A reason in normal form C: 1 to 256 characters that can be seen, not only spaces.

    Raises:
        RecordInvalid: it is none.
    """
    reason = unicodedata.normalize("NFC", text).strip()
    if not 0 < len(reason) <= MAX_REASON:
        raise RecordInvalid(f"a reason has 1 to {MAX_REASON} characters")
    if any(unicodedata.category(character)[0] == "C" for character in reason):
        raise RecordInvalid("a reason holds no characters that cannot be seen")
    return reason


def split(identity_type: int, primary: bytes) -> tuple[bytes, str | None]:
    """The credential by itself, and the reason behind it; None: nobody breaks the glass.

    Raises:
        RecordInvalid: there is a mark, and no reason that can be read behind it.
    """
    at = _end(identity_type, primary)
    if at is None or primary[at : at + 1] != _MARK:
        return primary, None
    try:
        return primary[:at], checked_reason(primary[at + 1 :].decode("utf-8"))
    except UnicodeDecodeError:
        raise RecordInvalid("a reason is UTF-8") from None


def _end(identity_type: int, primary: bytes) -> int | None:
    """Where a credential ends, if anything can follow it."""
    match identity_type:
        case 2 | 5:
            at = primary.find(_MARK)
        case 3:
            at = _der_length(primary)
        case 4:
            at = primary.rfind(b">") + 1
        case _:
            return None
    return at if at > 0 else None


def _der_length(data: bytes) -> int:
    """How long a DER value is with its header (X.690 8.1.3), 0 if that cannot be said."""
    if len(data) < 2:
        return 0
    first = data[1]
    if first < 0x80:
        return 2 + first
    octets = first & 0x7F
    if not 1 <= octets <= 4 or len(data) < 2 + octets:
        return 0
    return 2 + octets + int.from_bytes(data[2 : 2 + octets], "big")
