"""The servers that are compared, each started fresh on loopback and stopped by its own pid."""

import json
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from tests.simulators.scu import User, client_tls

BIN = Path(sys.executable).parent
SERVE = [str(BIN / "strongroom"), "serve"]
UNSAFE = [sys.executable, "-m", "benchmarks.unsafe_serve", "serve", "--unsafe-trail-in-memory"]
"""Ours without an audit trail, to measure what that costs."""
PASSCODE = "a benchmark's passcode"


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def strongroom(*arguments: str, stdin: str | None = None) -> str:
    """Run one verb; its standard output."""
    done = subprocess.run(
        [str(BIN / "strongroom"), *arguments], input=stdin, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"strongroom {' '.join(arguments)}: {done.stderr or done.stdout}")
    return done.stdout


@dataclass
class Server:
    """One running server and how to reach it."""

    name: str
    port: int
    title: str
    process: subprocess.Popen[str]
    folder: Path
    nodes: Path
    user: User | None = None

    def stop(self) -> None:
        """Ask it to end, and wait."""
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def tls(self, node: str) -> ssl.SSLContext:
        """A node's side of mutual TLS."""
        return client_tls(self.nodes / node)


class Stable:
    """Starts any server of the comparison. Folders are kept until the end: deleting many files slows later creates."""

    def __init__(self, work: Path) -> None:
        self.work = work
        self._count = 0
        self._environment: dict[str, str] = {}
        self._template = work / "template"
        self._nodes = work / "nodes"
        self._nodes.mkdir()
        self._init()
        # Every server has the same certificate, and its clients theirs: a handshake is the same work with each.
        pki = self._template / "pki"
        self._certificate, self._key = pki / "server.pem", pki / "server.key"
        self._authority = self._nodes / "SENDER" / "ca.pem"

    def _init(self) -> None:
        home = ["--home", str(self._template)]
        strongroom("init", str(self._template), "--port", "2762")
        strongroom("node", "add", "SENDER", "--issue", str(self._nodes / "SENDER"), "--role", "modality", *home)
        strongroom("node", "add", "READER", "--issue", str(self._nodes / "READER"), "--role", "radiologist", *home)
        strongroom("user", "add", "alice", "--role", "radiologist", "--passcode-file", "-", *home, stdin=PASSCODE)

    def start(self, name: str, settings: str = "", *, nodelay: bool = True) -> Server:
        """A fresh server of this name, ready to accept; ours with more ``settings``, if any.

        ``nodelay``: peers get TCP_NODELAY, without which they stall on delayed acknowledgements.
        """
        self._count += 1
        folder = self.work / f"{self._count:03d}-{name}"
        if name in ("strongroom", "unsafe"):
            return self._strongroom(folder, settings, UNSAFE if name == "unsafe" else SERVE)
        self._environment = {"PATH": "/usr/sbin:/usr/bin:/bin"} | ({"TCP_NODELAY": "1"} if nodelay else {})
        return {"orthanc": self._orthanc, "storescp": self._storescp}[name](folder)

    def _strongroom(self, folder: Path, more: str, serve: list[str]) -> Server:
        shutil.copytree(self._template, folder, ignore=shutil.ignore_patterns("control.sock"))
        port = free_port()
        settings = folder / "strongroom.toml"
        settings.write_text(settings.read_text().replace("2762", str(port)) + more)
        with (self.work / "strongroom.log").open("a") as log:
            process = subprocess.Popen([*serve, "--home", str(folder)], stdout=subprocess.PIPE, stderr=log, text=True)
        assert process.stdout is not None
        if not process.stdout.readline().startswith("ready"):
            raise SystemExit(f"strongroom did not start: {(self.work / 'strongroom.log').read_text()[-800:]}")
        return Server("strongroom", port, "STRONGROOM", process, folder, self._nodes, User(b"alice", PASSCODE.encode()))

    def _orthanc(self, folder: Path) -> Server:
        folder.mkdir()
        port = free_port()
        settings = {
            "Name": "peer", "StorageDirectory": str(folder), "IndexDirectory": str(folder), "HttpServerEnabled": False,
            "DicomAet": "ORTHANC", "DicomPort": port, "DicomCheckCalledAet": False, "DicomAlwaysAllowGet": True,
            "DicomAlwaysAllowFind": True, "DicomTlsEnabled": True, "DicomTlsCertificate": str(self._certificate),
            "DicomTlsPrivateKey": str(self._key), "DicomTlsTrustedCertificates": str(self._authority),
            "DicomTlsRemoteCertificateRequired": True, "ConcurrentJobs": 2,
        }  # fmt: skip
        (folder / "orthanc.json").write_text(json.dumps(settings))
        return self._peer("orthanc", "ORTHANC", ["Orthanc", str(folder / "orthanc.json")], port, folder)

    def _storescp(self, folder: Path) -> Server:
        folder.mkdir()
        port = free_port()
        command = [
            "/usr/bin/storescp",
            "--fork",
            "-od",
            str(folder),
            "+tls",
            str(self._key),
            str(self._certificate),
            "+cf",
            str(self._authority),
            str(port),
        ]
        return self._peer("storescp", "STORESCP", command, port, folder)

    def _peer(self, name: str, title: str, command: list[str], port: int, folder: Path) -> Server:
        with (self.work / f"{name}.log").open("a") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, text=True, env=self._environment)
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
            except OSError:
                time.sleep(0.05)
                continue
            return Server(name, port, title, process, folder, self._nodes)
        process.kill()
        raise SystemExit(f"{name} did not start: {(self.work / f'{name}.log').read_text()[-800:]}")
