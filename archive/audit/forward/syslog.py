"""One audit message as syslog carries it: RFC 5424 header, RFC 5425 frame, RFC 5426 datagram. Pure.

    <85>1 2026-01-01T10:00:00.123+00:00 archive.example strongroom 4711 IHE+RFC-3881 - <AuditMessage>…

PRI 85 is facility 10 (security/authorization) and severity 5 (notice), PS3.15 A.6 and IHE ITI-20; STRUCTURED-DATA is
nil (ITI-20).
"""

import re
from dataclasses import dataclass
from typing import Final

_PRI: Final = 85
_APP_NAME: Final = "strongroom"
_BOM: Final = b"\xef\xbb\xbf"
_TIMESTAMP: Final = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{1,6})?(Z|[+-]\d{2}:\d{2})")
_UNPRINTABLE: Final = re.compile(r"[^\x21-\x7e]")
_NIL: Final = "-"


@dataclass(frozen=True, slots=True)
class Header:
    """The parts of the header that every message of this process shares."""

    host: str
    process: int
    message_id: str
    byte_order_mark: bool = False

    def message(self, time: str, xml: str) -> bytes:
        """SYSLOG-MSG of an audit message recorded at ``time`` (ISO 8601 with offset)."""
        timestamp = time if _TIMESTAMP.fullmatch(time) else _NIL
        fields = (f"<{_PRI}>1", timestamp, _field(self.host, 255), _APP_NAME, str(self.process), self.message_id, _NIL)
        mark = _BOM if self.byte_order_mark else b""
        return " ".join(fields).encode("ascii") + b" " + mark + xml.encode()


def frame(message: bytes) -> bytes:
    """SYSLOG-FRAME: the message behind its length in octets (RFC 5425 section 4.3)."""
    return b"%d " % len(message) + message


def datagram(message: bytes, limit: int) -> bytes:
    """The message, or as much of it as ``limit`` octets take, cut between two characters (RFC 5424 section 6.1)."""
    if len(message) <= limit:
        return message
    while limit and message[limit] & 0xC0 == 0x80:
        limit -= 1
    return message[:limit]


def _field(text: str, length: int) -> str:
    """PRINTUSASCII of at most ``length`` characters (RFC 5424 section 6), or nil."""
    return _UNPRINTABLE.sub("", text)[:length] or _NIL
