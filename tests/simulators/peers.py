"""Other people's DICOM servers on loopback, over mutual TLS with the material of an enrolled node."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.simulators.running_archive import free_port

PATH = "/usr/bin:/usr/sbin:/usr/local/bin"


def program(name: str, package: str) -> str:
    """Where a program is; skips where the machine has none."""
    found = shutil.which(name, path=PATH)
    if found is None:
        pytest.skip(f"needs {name} as peer: Debian package {package}, which scripts/test installs")
    return found


@contextlib.contextmanager
def running(command: list[str], port: int, log: Path, environment: dict[str, str] | None = None) -> Iterator[None]:
    """A server that accepts on a port, ended by its own pid."""
    with log.open("ab") as said:
        process = subprocess.Popen(
            command, stdout=said, stderr=said, env={"PATH": PATH, "TCP_NODELAY": "1", **(environment or {})}
        )
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert process.poll() is None and time.monotonic() < deadline, log.read_text()
                time.sleep(0.05)
        yield
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextlib.contextmanager
def storescp(node: Path, port: int, folder: Path, *options: str) -> Iterator[Path]:
    """DCMTK's storescp; the folder that it writes to."""
    folder.mkdir()
    tls = ["+tls", str(node / "key.pem"), str(node / "cert.pem"), "+cf", str(node / "ca.pem")]
    command = [program("storescp", "dcmtk"), "-v", *tls, "-od", str(folder), *options, str(port)]
    with running(command, port, folder.with_suffix(".log")):
        yield folder


class Orthanc:
    """One Orthanc: its HTTP interface, on loopback and without a password."""

    def __init__(self, http_port: int) -> None:
        self._http_port = http_port

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """One request, and the JSON that comes back."""
        import http.client

        connection = http.client.HTTPConnection("127.0.0.1", self._http_port, timeout=120)
        try:
            sent = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
            connection.request(method, path, sent)
            response = connection.getresponse()
            data = response.read()
            assert response.status == 200, f"{method} {path}: {response.status} {data!r}"
            return json.loads(data) if response.getheader("Content-Type", "").startswith("application/json") else data
        finally:
            connection.close()


@contextlib.contextmanager
def orthanc(node: Path, title: str, port: int, folder: Path, archive: tuple[str, int]) -> Iterator[Orthanc]:
    """Orthanc as this node, that knows the archive (AE title and port) as ``archive``."""
    folder.mkdir()
    # Orthanc reads one file for both roles, and keys in the form of SEC 1 or PKCS 8.
    http_port = free_port()
    known = {"AET": archive[0], "Host": "127.0.0.1", "Port": archive[1], "UseDicomTls": True}
    settings = {
        "Name": title, "StorageDirectory": str(folder / "db"), "IndexDirectory": str(folder / "db"),
        "HttpServerEnabled": True, "HttpPort": http_port, "RemoteAccessAllowed": False, "DicomAet": title,
        "DicomPort": port, "DicomCheckCalledAet": True, "DicomTlsEnabled": True,
        "DicomTlsCertificate": str(node / "cert.pem"), "DicomTlsPrivateKey": str(node / "key.pem"),
        "DicomTlsTrustedCertificates": str(node / "ca.pem"), "DicomTlsRemoteCertificateRequired": True,
        "DicomAlwaysAllowEcho": True, "DicomAlwaysAllowStore": True, "UnknownSopClassAccepted": True,
        "OverwriteInstances": False, "StableAge": 1, "SaveJobs": False,
        "DicomModalities": {"archive": known},
    }  # fmt: skip
    configuration = folder / "orthanc.json"
    configuration.write_text(json.dumps(settings))
    command = [program("Orthanc", "orthanc"), str(configuration)]
    with running(command, port, folder / "orthanc.log", {"HOME": os.environ.get("HOME", "/")}):
        yield Orthanc(http_port)
