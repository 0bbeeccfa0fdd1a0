"""The two shapes of a Kerberos credential, and what can be said of one without a key. Pure: no library, no clock.

PS3.7 D.3.3.7.1 asks for a "Kerberos service ticket" by RFC 1510 and no more. What proves possession of a ticket is a
KRB_AP_REQ (RFC 4120 5.5.1), and requestors send one either as it is or in the frame of a GSS-API initial token
(RFC 2743 3.1, RFC 4121 4.1). Both are taken, and answered in the shape they came in. The frame of any other mechanism,
SPNEGO (RFC 4178) included, is refused here: the library would negotiate, and then something else than Kerberos decides.
"""

from dataclasses import dataclass
from enum import Enum
from hashlib import sha256

from auth.errors import AuthenticationFailed

MAX_TOKEN_BYTES = 65_529
"""The most that a User Identity item carries (PS3.7 Table D.3-14: a 16-bit length, less its own fields)."""

_KRB5_MECHANISM = bytes.fromhex("06092a864886f712010202")
"""The object identifier 1.2.840.113554.1.2.2 with its tag and length."""
_OBJECT_IDENTIFIER = 0x06
_AP_REQ = b"\x01\x00"
"""Token ids of RFC 4121 4.1."""
_AP_REP = b"\x02\x00"

_GSS_FRAME = 0x60
_AP_REQ_TAG = 0x6E
_AP_REP_TAG = 0x6F
_TICKET_TAG = 0x61
_SEQUENCE = 0x30
_INTEGER = 0x02
_OCTET_STRING = 0x04
_FIELD = 0xA0
"""Of a field in a Kerberos SEQUENCE: the low bits hold its number."""


class Framing(Enum):
    """The shape in which a requestor speaks, and expects the answer."""

    RAW = "KRB_AP_REQ"
    GSS = "GSS-API token"


class _Malformed(Exception):
    """The bytes are not the DER that they should be."""


@dataclass(frozen=True, slots=True, repr=False)
class ApRequest:
    """A well-formed KRB_AP_REQ. Nothing of it has been believed."""

    encoded: bytes
    framing: Framing
    authenticator: bytes
    """The ciphertext of its authenticator."""

    @property
    def gss_token(self) -> bytes:
        """It in the frame that the library takes."""
        return gss_framed(self.encoded)

    @property
    def token_id(self) -> str:
        """What makes it this one presentation: SHA-256 of the authenticator's ciphertext, lower-case hexadecimal.

        Only ciphertext is protected by a key. Options and key versions around it can be changed without anybody's
        noticing, and a digest of the whole would then take a stolen request for a new one.
        """
        return sha256(self.authenticator).hexdigest()


def ap_request(primary: bytes) -> ApRequest:
    """The KRB_AP_REQ in the primary field of a User Identity item (PS3.7 D.3.3.7.1).

    Raises:
        AuthenticationFailed: it holds none, or one that is not well-formed DER.
    """
    if len(primary) > MAX_TOKEN_BYTES:
        raise AuthenticationFailed("the Kerberos token is longer than an identity item can be")
    match primary[:1]:
        case b"\x6e":
            encoded, framing = primary, Framing.RAW
        case b"\x60":
            encoded, framing = _unframed(primary), Framing.GSS
        case b"\x61":
            raise AuthenticationFailed("a bare Kerberos ticket, which does not prove that it is the sender's")
        case _:
            raise AuthenticationFailed("neither a KRB_AP_REQ nor a GSS-API token")
    try:
        return ApRequest(encoded, framing, _authenticator(encoded))
    except _Malformed:
        raise AuthenticationFailed("the KRB_AP_REQ is malformed") from None


def server_response(gss_token: bytes, framing: Framing) -> bytes:
    """The library's answer in the requestor's shape: the GSS-API token, or the KRB_AP_REP alone (RFC 4120 5.5.2).

    Raises:
        ValueError: it is no framed KRB_AP_REP.
    """
    try:
        body, rest = _take(gss_token, _GSS_FRAME)
    except _Malformed:
        raise ValueError("not a GSS-API token") from None
    head = _KRB5_MECHANISM + _AP_REP
    if rest or not body.startswith(head + bytes([_AP_REP_TAG])):
        raise ValueError("not a framed KRB_AP_REP")
    return gss_token if framing is Framing.GSS else body[len(head) :]


def gss_framed(ap_req: bytes) -> bytes:
    """A KRB_AP_REQ as the GSS-API initial token of the Kerberos mechanism (RFC 4121 4.1)."""
    body = _KRB5_MECHANISM + _AP_REQ + ap_req
    return bytes([_GSS_FRAME]) + _length(len(body)) + body


def _unframed(token: bytes) -> bytes:
    try:
        body, rest = _take(token, _GSS_FRAME)
        if rest:
            raise AuthenticationFailed("bytes follow the GSS-API token")
        _take(body, _OBJECT_IDENTIFIER)
    except _Malformed:
        raise AuthenticationFailed("the frame of the GSS-API token is malformed") from None
    if not body.startswith(_KRB5_MECHANISM):
        raise AuthenticationFailed("the GSS-API mechanism is not Kerberos 5")
    inner = body[len(_KRB5_MECHANISM) :]
    if not inner.startswith(_AP_REQ):
        raise AuthenticationFailed("the GSS-API token is not an initial one")
    return inner[len(_AP_REQ) :]


def _authenticator(ap_req: bytes) -> bytes:
    """RFC 4120 5.5.1: pvno [0], msg-type [1], ap-options [2], ticket [3], authenticator [4], and nothing else."""
    fields = _fields(_whole(ap_req, _AP_REQ_TAG), (0, 1, 2, 3, 4))
    if _whole(fields[0], _INTEGER) != b"\x05" or _whole(fields[1], _INTEGER) != b"\x0e":
        raise _Malformed
    _whole(fields[3], _TICKET_TAG)
    # EncryptedData (RFC 4120 5.2.9): etype [0], kvno [1] optional, cipher [2].
    encrypted = _fields(fields[4], (0, 2), optional=(1,))
    cipher = _whole(encrypted[2], _OCTET_STRING)
    if not cipher:
        raise _Malformed
    return cipher


def _fields(encoded: bytes, required: tuple[int, ...], optional: tuple[int, ...] = ()) -> dict[int, bytes]:
    """The numbered fields of one SEQUENCE, in ascending order as DER has them, each once."""
    rest = _whole(encoded, _SEQUENCE)
    fields: dict[int, bytes] = {}
    while rest:
        number = rest[0] - _FIELD
        if number not in (*required, *optional) or any(number <= earlier for earlier in fields):
            raise _Malformed
        fields[number], rest = _take(rest, rest[0])
    if any(number not in fields for number in required):
        raise _Malformed
    return fields


def _whole(encoded: bytes, tag: int) -> bytes:
    content, rest = _take(encoded, tag)
    if rest:
        raise _Malformed
    return content


def _take(encoded: bytes, tag: int) -> tuple[bytes, bytes]:
    """The content of the first DER element, which has this tag, and what follows it (X.690 8.1, 10.1)."""
    if len(encoded) < 2 or encoded[0] != tag:
        raise _Malformed
    length, start = encoded[1], 2
    if length >= 0x80:
        start = 2 + (length & 0x7F)
        length = int.from_bytes(encoded[2:start])
        # DER has one way to write a length: the shortest.
        if encoded[1:start] != _length(length):
            raise _Malformed
    if start + length > len(encoded):
        raise _Malformed
    return encoded[start : start + length], encoded[start + length :]


def _length(length: int) -> bytes:
    if length < 0x80:
        return bytes([length])
    digits = length.to_bytes((length.bit_length() + 7) // 8)
    return bytes([0x80 | len(digits)]) + digits
