"""Directories for tests: ours against a real slapd, and a server that speaks just enough LDAP to misbehave at will."""

import socket
import ssl
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from archive.lab.directory import LabDirectory
from archive.lab.tls import make_tls
from auth.credential import Secret, UsernamePasscode
from auth.identity.directory import Directory, DirectoryConfig
from tests.simulators.records import MemoryUsers

ROLES = {"radiologists": "radiologist", "administrators": "administrator"}
ALICE = "uid=alice,ou=people,dc=strongroom,dc=lab"

BIND, BIND_ANSWER = 0x60, 0x61
SEARCH, ENTRY, DONE, REFERENCE = 0x63, 0x64, 0x65, 0x73
EXTENDED_ANSWER = 0x78


@contextmanager
def lab_directory(folder):
    """A real slapd, or a skip that says which package it comes from."""
    lab = LabDirectory(folder)
    try:
        lab.start()
    except FileNotFoundError as error:
        pytest.skip(str(error))
    try:
        yield lab
    finally:
        lab.stop()


@contextmanager
def directory(lab, users=None, *, transport="ldaps", **wishes):
    """The provider for a lab directory or a scripted one, as an operator would configure it, but for ``wishes``."""
    config = {
        "name": "hospital",
        "host": "127.0.0.1",
        "port": lab.ldaps_port if transport == "ldaps" else lab.starttls_port,
        "transport": transport,
        "ca": lab.ca,
        "base": lab.base,
        "bind_dn": lab.bind_dn,
        "bind_passcode": Secret(lab.bind_passcode.encode()),
        "group_base": lab.group_base,
        "roles": ROLES,
        "attributes": {"displayName": "display_name"},
    } | wishes
    provider = Directory(DirectoryConfig(**config), users or MemoryUsers())
    try:
        yield provider
    finally:
        provider.close()


def signing_in(provider, name="alice", passcode=b"alice's own"):
    """What the provider says of a name and passcode."""
    return provider.verify(UsernamePasscode(name, Secret(passcode)), None)


def element(tag, *contents):
    """A BER element (X.690 8.1) of definite length."""
    content = b"".join(contents)
    length = bytes([len(content)]) if len(content) < 0x80 else b"\x83" + len(content).to_bytes(3, "big")
    return bytes([tag]) + length + content


def message(number, operation, *contents):
    """An LDAPMessage (RFC 4511 4.1.1)."""
    return element(0x30, element(0x02, bytes([number])), element(operation, *contents))


def result(number, operation, code=0, *more):
    """A message with an LDAPResult (RFC 4511 4.1.9)."""
    return message(number, operation, element(0x0A, bytes([code])), element(0x04), element(0x04), *more)


def entry(number, dn, **attributes):
    """A SearchResultEntry (RFC 4511 4.5.2)."""
    described = [
        element(0x30, element(0x04, name.encode()), element(0x31, *(element(0x04, value) for value in values)))
        for name, values in attributes.items()
    ]
    return message(number, ENTRY, element(0x04, dn.encode()), element(0x30, *described))


class Line:
    """One connection as the scripted directory sees it."""

    def __init__(self, connection, tls, closing):
        self.connection = connection
        self.number = 0
        self._tls = tls
        self._closing = closing

    def secure(self):
        self.connection = self._tls.wrap_socket(self.connection, server_side=True)

    def send(self, data):
        self.connection.sendall(data)

    def receive(self):
        """The next request: (operation, all of it)."""
        head = self._exactly(2)
        length = head[1]
        if length >= 0x80:
            length = int.from_bytes(self._exactly(length & 0x7F), "big")
        body = self._exactly(length)
        self.number = body[2]
        return body[3], body

    def stay_silent(self):
        """Until the other side hangs up or the test is over; what comes meanwhile is not answered."""
        self.connection.settimeout(0.05)
        while not self._closing.is_set():
            try:
                if not self.connection.recv(65536):
                    return
            except TimeoutError:
                continue

    def drip(self, data):
        """A byte now and then, each long before any timeout for a byte."""
        for byte in data:
            if self._closing.wait(0.02):
                return
            self.send(bytes([byte]))

    def _exactly(self, count):
        received = b""
        while len(received) < count:
            chunk = self.connection.recv(count - len(received))
            if not chunk:
                raise EOFError
            received += chunk
        return received


class ScriptedDirectory:
    """Well-behaved, and knows alice with any passcode; a subclass overrides the step at which it is not.

    One port for both transports: the first byte tells which. ``seen`` are the requests, as (operation, bytes).
    """

    base = "ou=people,dc=strongroom,dc=lab"
    group_base = ""
    bind_dn = "cn=archive,dc=strongroom,dc=lab"
    bind_passcode = "of the service"

    def __init__(self, tls_folder: Path) -> None:
        self.ca = tls_folder / "ca.pem"
        self.seen = []
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.load_cert_chain(tls_folder / "server.pem", tls_folder / "server.key")
        self._closing = threading.Event()
        self._threads = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.ldaps_port = self.starttls_port = self._listener.getsockname()[1]

    def __enter__(self):
        self._listener.settimeout(0.05)
        self._begin(self._accept)
        return self

    def __exit__(self, *_):
        self._closing.set()
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def accepted(self, line):
        """A connection is there."""
        if line.connection.recv(1, socket.MSG_PEEK) == b"\x30":
            line.receive()
            self.asked_for_tls(line)
        line.secure()
        self.secured(line)

    def asked_for_tls(self, line):
        line.send(result(line.number, EXTENDED_ANSWER))

    def secured(self, line):
        """TLS is there: answer requests."""
        while True:
            operation, body = line.receive()
            self.seen.append((operation, body))
            if operation == BIND and ALICE.encode() in body:
                self.bound_as_alice(line)
            elif operation == BIND:
                self.bound_as_service(line)
            elif operation == SEARCH:
                self.searched(line)
            else:
                return

    def bound_as_service(self, line):
        line.send(result(line.number, BIND_ANSWER))

    def bound_as_alice(self, line):
        line.send(result(line.number, BIND_ANSWER))

    def searched(self, line):
        line.send(entry(line.number, ALICE, memberOf=[b"radiologists"]))
        line.send(result(line.number, DONE))

    def _accept(self):
        while not self._closing.is_set():
            with suppress(TimeoutError):
                connection, _ = self._listener.accept()
                connection.settimeout(5)
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._begin(self._serve, connection)

    def _serve(self, connection):
        line = Line(connection, self._tls, self._closing)
        try:
            self.accepted(line)
        except (OSError, EOFError):
            pass
        finally:
            line.connection.close()

    def _begin(self, work, *arguments):
        thread = threading.Thread(target=work, args=arguments)
        self._threads.append(thread)
        thread.start()


def tls_folder(folder):
    """Certificate, key and authority for scripted directories."""
    folder.mkdir()
    make_tls(folder, "127.0.0.1")
    return folder


@contextmanager
def taking_at_most(seconds):
    """What is inside ends in time, plus what a busy machine may add."""
    begun = time.monotonic()
    yield
    assert time.monotonic() - begun < seconds + 1.0
