"""Syslog over UDP (RFC 5426): neither secret nor certain, and long messages are cut. Only where the settings say
``udp-insecure``."""

import socket

from archive.audit.forward.link import RepositoryUnavailable
from archive.audit.forward.syslog import Header, datagram
from archive.audit.forward.target import AuditTarget
from archive.audit.trail_format import TrailRecord


class UdpLink:
    """A socket that sends datagrams to one receiver."""

    lasting = True

    def __init__(self, target: AuditTarget, header: Header) -> None:
        """Find the receiver's address; nothing is sent. Raises `RepositoryUnavailable`."""
        self._header = header
        self._limit = target.datagram_bytes
        try:
            found = socket.getaddrinfo(*target.address, type=socket.SOCK_DGRAM)
            family, kind, protocol, _, address = found[0]
            self._socket = socket.socket(family, kind, protocol)
            self._socket.connect(address)
        except OSError as error:
            raise RepositoryUnavailable(error.strerror or str(error)) from None

    def send(self, record: TrailRecord, xml: str) -> int:
        """As `Link.send`; what is longer than the target's datagram is cut."""
        try:
            return self._socket.send(datagram(self._header.message(record.time, xml), self._limit))
        except OSError as error:
            # Of an earlier datagram: nobody listens there (ICMP, RFC 5426 section 3.4).
            raise RepositoryUnavailable(error.strerror or str(error)) from None

    def flush(self) -> None:
        """Nothing waits here."""

    def confirm(self) -> None:
        """What was sent counts as delivered: UDP never says more."""

    def close(self) -> None:
        """As `Link.close`."""
        self._socket.close()

    def abort(self) -> None:
        """Nothing here waits for anybody."""
