"""Where audit messages go: the sections ``[[audit]]`` of the settings, one for each repository."""

import re
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

from archive.errors import SettingsInvalid
from archive.home import Home
from archive.sections import configured
from archive.settings import Settings

TLS: Final = "tls"
UDP: Final = "udp-insecure"
FHIR: Final = "fhir"
PORTS: Final = {TLS: 6514, UDP: 514, FHIR: 443}
"""By transport: RFC 5425 section 4.1, PS3.15 A.7, and that of HTTPS."""
MESSAGE_IDS: Final = ("IHE+RFC-3881", "DICOM+RFC3881")
"""MSGID as IHE ITI-20 demands it, and as PS3.15 A.6 proposes it; the first is the default."""
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
_HOST: Final = re.compile(r"[A-Za-z0-9:._-]{1,253}")
_FINGERPRINT: Final = re.compile(r"[0-9a-f]{64}")
_PATH: Final = re.compile(r"/[\x21-\x22\x24-\x7e]*")
_MIN_DATAGRAM, _MAX_DATAGRAM = 2048, 65_507
"""Octets that every receiver should take (RFC 5426 section 3.2), and those that fit into one UDP datagram."""


@dataclass(frozen=True, slots=True)
class AuditTarget:
    """Section ``[[audit]]``: one audit record repository."""

    name: str
    """Names the target in ``status``, in events and in the file that keeps its position."""
    host: str
    ca: Path | None = None
    """PEM of the authorities that may vouch for the repository; needed unless the transport is ``udp-insecure``."""
    transport: str = TLS
    """``tls``: syslog over TLS (RFC 5425); ``fhir``: AuditEvent over HTTPS (IHE BALP); ``udp-insecure``: syslog over
    UDP (RFC 5426), neither secret nor certain: identifiers of queries are health data."""
    port: int = 0
    """0: that of the transport."""
    certificate: Path | None = None
    """What we show to the repository, with its chain; our server's where none is named."""
    key: Path | None = None
    server_name: str = ""
    """The name that the repository's certificate must have; ``host`` where it is empty."""
    fingerprint: str = ""
    """SHA-256 of the repository's certificate, hexadecimal: no other one is accepted then."""
    path: str = "/fhir"
    """Of a FHIR repository: its base, to which ``/AuditEvent`` is added."""
    message_id: str = MESSAGE_IDS[0]
    byte_order_mark: bool = False
    """Begin MSG with a byte order mark, as RFC 5424 section 6.4 has it and IHE ITI-20 discourages."""
    datagram_bytes: int = 32_768
    """A longer message is cut to so many octets over UDP (PS3.15 A.7 wants 32768 to be possible); the trail has it
    whole."""
    deadline: timedelta = timedelta(seconds=10)
    """For reaching the repository, and for each answer of it."""
    confirm: timedelta = timedelta(seconds=10)
    """How long messages stay unconfirmed (`archive.audit.forward.tls`)."""
    longest_pause: timedelta = timedelta(seconds=60)
    """What the pause between attempts grows to."""

    def __post_init__(self) -> None:
        """Refuse what cannot work. Raises `SettingsInvalid`."""
        self._require(_NAME.fullmatch(self.name), "name must be 1 to 40 small letters, digits and hyphens")
        self._require(self.transport in PORTS, f"transport must be one of {', '.join(PORTS)}")
        self._require(_HOST.fullmatch(self.host), "host must be a host name or an IP address")
        self._require(0 <= self.port <= 65_535, "port must be from 0 to 65535")
        self._require(self.transport == UDP or self.ca is not None, "ca must name the authorities of the repository")
        self._require((self.certificate is None) == (self.key is None), "certificate and key go together")
        self._require(
            not self.fingerprint or _FINGERPRINT.fullmatch(self.fingerprint),
            "fingerprint must be 64 hexadecimal digits, in small letters",
        )
        self._require(_PATH.fullmatch(self.path), "path must begin with a slash")
        self._require(self.message_id in MESSAGE_IDS, f"message_id must be one of {', '.join(MESSAGE_IDS)}")
        self._require(
            _MIN_DATAGRAM <= self.datagram_bytes <= _MAX_DATAGRAM,
            f"datagram_bytes must be from {_MIN_DATAGRAM} to {_MAX_DATAGRAM}",
        )
        for name in ("deadline", "confirm", "longest_pause"):
            seconds = getattr(self, name).total_seconds()
            self._require(0.1 <= seconds <= 3600, f"{name}_seconds must be from 0.1 to 3600")

    @property
    def address(self) -> tuple[str, int]:
        """Host and port to connect to."""
        return self.host, self.port or PORTS[self.transport]

    def _require(self, holds: object, otherwise: str) -> None:
        if not holds:
            raise SettingsInvalid(f"[[audit]] {self.name[:40]!r}: {otherwise}")


def targets_of(settings: Settings, home: Home) -> tuple[AuditTarget, ...]:
    """Every target of the settings.

    Raises:
        SettingsInvalid: a section is not in order, or two have one name.
    """
    targets = tuple(configured(AuditTarget, "audit", table, home) for table in settings.audit)
    names = [target.name for target in targets]
    for name in names:
        if names.count(name) > 1:
            raise SettingsInvalid(f"two sections [[audit]] are named {name!r}: give each its own name")
    return targets
