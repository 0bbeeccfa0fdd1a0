"""Audit record repositories: a real rsyslog over mutual TLS, and a small FHIR server. All on loopback."""

import json
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from auth.node.authority import Authority

END = b"\n--END--\n"

_CONFIGURATION = """
global(workDirectory="{folder}" maxMessageSize="128k"
  parser.escapeControlCharactersOnReceive="off" parser.dropTrailingLFOnReception="off"
  defaultNetstreamDriver="gtls" defaultNetstreamDriverCAFile="{ca}"
  defaultNetstreamDriverCertFile="{certificate}" defaultNetstreamDriverKeyFile="{key}")
main_queue(queue.type="LinkedList" queue.size="20000" queue.timeoutShutdown="60000" queue.timeoutEnqueue="60000")
template(name="payload" type="string" string="%msg%\\n--END--\\n")
template(name="header" type="string"
  string="%pri% %timereported:::date-rfc3339% %hostname% %app-name% %procid% %msgid% %structured-data%\\n")
module(load="imtcp" streamDriver.name="gtls" streamDriver.mode="1" streamDriver.authMode="x509/name"
  permittedPeer=["{peer}"])
ruleset(name="audit") {{
  action(type="omfile" file="{folder}/audit.log" template="payload")
  action(type="omfile" file="{folder}/header.log" template="header")
}}
input(type="imtcp" port="{port}" address="127.0.0.1" ruleset="audit" supportOctetCountedFraming="on"
  maxFrameSize="200000")
"""


class Rsyslog:
    """rsyslogd in a folder of its own, taking audit messages from one peer."""

    def __init__(self, folder: Path, authority: Authority, port: int, peer: str) -> None:
        if shutil.which("rsyslogd", path="/usr/sbin:/usr/bin:/sbin:/bin") is None:
            pytest.skip("rsyslogd is absent: install the packages rsyslog and rsyslog-gnutls")
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        certificate, key = authority.files.server_identities[1]
        ca = folder / "ca.pem"
        ca.write_bytes(b"".join(each.public_bytes(Encoding.PEM) for each in (authority.root, authority.node_ca)))
        self.port = port
        self._process: subprocess.Popen[bytes] | None = None
        self._configuration = folder / "rsyslog.conf"
        self._configuration.write_text(
            _CONFIGURATION.format(folder=folder, ca=ca, certificate=certificate, key=key, peer=peer, port=port)
        )

    def start(self) -> "Rsyslog":
        """Start it, and wait until it listens."""
        command = ["/usr/sbin/rsyslogd", "-n", "-f", str(self._configuration), "-i", str(self.folder / "pid")]
        with (self.folder / "rsyslogd.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        until(lambda: _listens(self.port), 20)
        return self

    def stop(self) -> None:
        """SIGTERM: it ends its connections and writes what it has taken."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(60)
            self._process = None

    def messages(self) -> list[bytes]:
        """MSG of everything written so far, in order."""
        path = self.folder / "audit.log"
        return path.read_bytes().split(END)[:-1] if path.exists() else []

    def headers(self) -> list[str]:
        """PRI, TIMESTAMP, HOSTNAME, APP-NAME, PROCID, MSGID and STRUCTURED-DATA of each message."""
        return (self.folder / "header.log").read_text().splitlines()


class FhirRepository:
    """Takes AuditEvents over HTTPS and answers as it is told."""

    def __init__(self, authority: Authority) -> None:
        self.taken: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.answer: Callable[[dict[str, Any]], int] = lambda _: 201
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.paths.append(self.path)
                status = outer.answer(body)
                if 200 <= status < 300:
                    outer.taken.append(body)
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate, key = authority.files.server_identities[1]
        context.load_cert_chain(certificate, key)
        context.load_verify_locations(authority.files.trust)
        context.verify_mode = ssl.CERT_REQUIRED
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)


def until(holds: Callable[[], object], seconds: float = 30.0) -> None:
    """Wait for it."""
    ends = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < ends, "it did not come about in time"
        time.sleep(0.02)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
