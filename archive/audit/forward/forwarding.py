"""Every target at once: a sender each, started when the archive listens and closed before the trail is."""

import os
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from archive.audit.forward.feed import FhirLink
from archive.audit.forward.link import Link
from archive.audit.forward.position import StandingFile
from archive.audit.forward.sender import PATIENCE_SECONDS, Sender, Way
from archive.audit.forward.syslog import Header
from archive.audit.forward.tail import TrailTail
from archive.audit.forward.target import FHIR, UDP, AuditTarget
from archive.audit.forward.tls import TlsLink
from archive.audit.forward.udp import UdpLink
from archive.audit.log import AuditLog
from archive.audit.message import AuditSource, render

CLOSING_SECONDS: Final = 5.0
"""What all senders together get to hand over the last events."""


@dataclass(frozen=True, slots=True)
class Origin:
    """What is forwarded, and by whom."""

    trail: Path
    """Folder of the trail."""
    key: bytes = field(repr=False)
    """The audit key, to read it."""
    kept: Path
    """Folder for the files of `StandingFile`."""
    source: AuditSource
    identity: tuple[Path, Path]
    """Our server's certificate and key, PEM."""


class Forwarding:
    """The senders of one archive."""

    def __init__(
        self,
        targets: Sequence[AuditTarget],
        origin: Origin,
        audit: AuditLog,
        *,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        self._senders = [
            Sender(
                target,
                way_to(target, origin),
                StandingFile(origin.kept, target.name),
                audit,
                patience_seconds=patience_seconds,
            )
            for target in targets
        ]

    def start(self) -> None:
        """Begin to forward."""
        for sender in self._senders:
            sender.start()

    def close(self) -> None:
        """Hand over what can be within `CLOSING_SECONDS`, and end; idempotent."""
        ends = time.monotonic() + CLOSING_SECONDS
        for sender in self._senders:
            sender.stop()
        for sender in self._senders:
            sender.close(ends)


def way_to(target: AuditTarget, origin: Origin) -> Way:
    """What the sender of one target needs."""
    return Way(
        connect=_connector(target, origin),
        tail=lambda place: TrailTail(origin.trail, origin.key, place),
        render=lambda record: render(record, origin.source),
    )


def _connector(target: AuditTarget, origin: Origin) -> Callable[[bool], Link]:
    header = Header(origin.source.host, os.getpid(), target.message_id, target.byte_order_mark)
    if target.transport == FHIR:
        return lambda _: FhirLink(target, origin.identity)
    if target.transport == UDP:
        return lambda _: UdpLink(target, header)
    return lambda known: TlsLink(target, origin.identity, header, known=known)


def this_source(ae_title: str) -> AuditSource:
    """The reporting system: this host."""
    return AuditSource(ae_title, socket.gethostname())
