"""Systems that report to an Audit Record Repository: honest ones, and whatever else may be at the door."""

import contextlib
import select
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from archive.audit.events import AuditEvent
from archive.audit.message import AuditSource, render
from archive.audit.trail_format import TrailRecord
from archive.repository.folder import RepositoryFolder
from archive.repository.store import Kept, messages_of
from tests.simulators.certificates import Made, make

SOURCE = AuditSource("STRONGROOM", "archive.example")
HEADER = b"<85>1 2026-01-01T10:00:00.123456+01:00 host app 17 IHE+RFC-3881 - "


def xml_of(event: AuditEvent) -> str:
    """The audit message of an event of ours."""
    return render(TrailRecord(1, "2026-01-01T10:00:00.000+00:00", event.kind, event.facts()), SOURCE)


def syslog(xml: str | bytes) -> bytes:
    """A syslog message with this XML."""
    return HEADER + (xml.encode() if isinstance(xml, str) else xml)


def framed(*messages: bytes) -> bytes:
    """Messages under octet counting."""
    return b"".join(b"%d %s" % (len(message), message) for message in messages)


@dataclass
class Material:
    """An authority, a repository's certificate, and a sender's; and a sender of an authority nobody trusts."""

    folder: Path
    ca: Path
    server: tuple[Path, Path]
    sender: tuple[Path, Path]
    stranger: tuple[Path, Path]

    def client(self, who: tuple[Path, Path] | None) -> ssl.SSLContext:
        """The context of a sender with this certificate, or with none."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.load_verify_locations(self.ca)
        if who is not None:
            context.load_cert_chain(*who)
        return context


def material_in(folder: Path) -> Material:
    """Make all of it."""
    authority, other = make("audit CA", ca=True, usages=[]), make("other CA", ca=True, usages=[])
    ca = folder / "ca.pem"
    folder.mkdir(parents=True, exist_ok=True)
    ca.write_bytes(authority.certificate.public_bytes(Encoding.PEM))

    def leaf(name: str, issuer: Made, usage: object) -> tuple[Path, Path]:
        return make(name, issuer=issuer, usages=[usage]).write(folder, name)

    return Material(
        folder,
        ca,
        leaf("server", authority, ExtendedKeyUsageOID.SERVER_AUTH),
        leaf("sender", authority, ExtendedKeyUsageOID.CLIENT_AUTH),
        leaf("stranger", other, ExtendedKeyUsageOID.CLIENT_AUTH),
    )


class RunningRepository:
    """`strongroom repository serve` in a process of its own."""

    def __init__(self, folder: Path, material: Material) -> None:
        self.folder = folder
        self.material = material
        self.process: subprocess.Popen[str] | None = None
        self.port = self.udp_port = 0

    def command(self, *more: str) -> list[str]:
        return [sys.executable, "-m", "archive", "repository", *more, "--folder", str(self.folder)]

    def strongroom(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run another of the verbs on this folder."""
        return subprocess.run(self.command(*arguments), capture_output=True, text=True, timeout=60, check=False)

    def start(self, *certificates: str) -> "RunningRepository":
        """Wait until it listens. ``certificates``: the options that name them, if not the material's."""
        cert, key = self.material.server
        options = list(certificates) or ["--cert", str(cert), "--key", str(key), "--ca", str(self.material.ca)]
        options += ["--port", "0", "--udp", "insecure", "--udp-port", "0"]
        with (self.folder.parent / "repository.log").open("ab") as log:
            self.process = subprocess.Popen(
                self.command("serve", *options), stdout=subprocess.PIPE, stderr=log, text=True
            )
        assert self.process.stdout is not None
        ready = self.process.stdout.readline().split()
        assert ready[:2] == ["ready", "syslog-tls"] and ready[3] == "syslog-udp", (ready, self.log())
        self.port, self.udp_port = (int(ready[index].rpartition(":")[2]) for index in (2, 4))
        return self

    def messages(self) -> list[Kept]:
        """What it has kept so far, read from its folder."""
        folder = RepositoryFolder(self.folder)
        return list(messages_of(folder.messages, folder.key()))

    def log(self) -> str:
        return (self.folder.parent / "repository.log").read_text()

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal; the exit code."""
        assert self.process is not None and self.process.stdout is not None
        self.process.send_signal(number)
        code = self.process.wait(30)
        self.process.stdout.close()
        self.process = None
        return code

    @contextlib.contextmanager
    def serving(self, *certificates: str) -> Iterator["RunningRepository"]:
        """Started, and stopped at the end if it still runs."""
        self.start(*certificates)
        try:
            yield self
        finally:
            if self.process is not None:
                self.end()

    def connect(self, who: tuple[Path, Path] | None = None, *, source: str = "127.0.0.1") -> ssl.SSLSocket:
        """An authenticated connection."""
        raw = socket.create_connection(("127.0.0.1", self.port), 10, (source, 0))
        return self.material.client(who or self.material.sender).wrap_socket(raw)

    def tell(self, *messages: bytes) -> None:
        """Send messages as a sender does that hangs up politely."""
        with self.connect() as connection:
            connection.sendall(framed(*messages))
            connection.shutdown(socket.SHUT_WR)
            self.wait_for_close(connection)

    @staticmethod
    def wait_for_close(connection: socket.socket) -> None:
        """Until the repository has closed, and so has kept everything that came before."""
        with connection:
            connection.settimeout(60)
            with contextlib.suppress(OSError):
                while connection.recv(4096):
                    select.select([connection], [], [], 0.01)
