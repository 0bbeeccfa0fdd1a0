"""A real archive in a process of its own, driven as an operator would: by its command line."""

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from archive.cli.material import write
from archive.cli.trails import records_of
from archive.control.invoke import invoke
from archive.dimse.threads import IDLE_SECONDS
from archive.home import Home
from auth.credential import Secret
from auth.identity.passcode import hash_passcode
from tests.simulators.scu import Requestor, User, client_tls

PASSCODE = "correct horse battery staple"


_PORTS = range(12_000, 32_000)
"""Below those that the kernel gives to whoever connects, which would take one away before its server listens."""


def free_port() -> int:
    """A loopback port that was free a moment ago."""
    while True:
        port = random.SystemRandom().choice(_PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


class RunningArchive:
    """One home and, while `serving`, its server."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "home"
        self.folder = folder
        self.port = free_port()
        self.process: subprocess.Popen[str] | None = None

    def strongroom(self, *arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run one verb on this home; whatever comes of it."""
        command = [sys.executable, "-m", "archive", *arguments, "--home", str(self.home)]
        return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=170, check=False)

    def must(self, *arguments: str, stdin: str | None = None) -> str:
        """Run one verb that has to succeed; its standard output."""
        done = self.strongroom(*arguments, stdin=stdin)
        assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"
        return done.stdout

    def ask(self, operation: str, **arguments: object) -> Any:
        """Have the running server do one operation of the command line's, without a process for it."""
        return invoke(Home.at(self.home), operation, arguments)

    def let_threads_go(self) -> None:
        """A thread that served a connection stays for a moment, in case another one comes; wait until it has gone."""
        time.sleep(2 * IDLE_SECONDS)

    def counted(self) -> dict[str, float]:
        """The running server's metrics."""
        return dict(self.ask("metrics")["samples"])

    def init(self) -> "RunningArchive":
        """Make the home."""
        command = [sys.executable, "-m", "archive", "init", str(self.home), "--port", str(self.port)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=170, check=False)
        assert done.returncode == 0, done.stderr
        return self

    def node(self, title: str, *roles: str, identity: str | None = None, port: int | None = None) -> Path:
        """Enrol a node, reached on a loopback port if one is named; the folder with its material."""
        material = self.folder / "nodes" / title
        arguments = [word for role in roles for word in ("--role", role)]
        if identity:
            arguments += ["--identity", identity]
        if port:
            arguments += ["--host", "127.0.0.1", "--port", str(port)]
        self.must("node", "add", title, "--issue", str(material), *arguments)
        return material

    def enrol(self, title: str, *roles: str, port: int | None = None, identity: str | None = None, **more: Any) -> Path:
        """As `node`, past the command line, which takes a second for each; ``more`` as the operation has it."""
        folder = self.folder / "nodes" / title
        arguments = {
            "ae_title": title, "trust": "issued", "certificate": None, "ae_titles": [], "roles": list(roles),
            "host": "127.0.0.1" if port else None, "port": port, "identity": identity, "identity_types": None,
            "asserts_roles": [],
        }  # fmt: skip
        added = invoke(Home.at(self.home), "node.add", arguments | more)
        assert isinstance(added, dict)
        if added["material"]:
            assert isinstance(added["material"], dict)
            write(folder, {name: str(text) for name, text in added["material"].items()}, title)
        return folder

    def employ(self, name: str, *roles: str, passcode: str = PASSCODE) -> User:
        """As `person`, past the command line."""
        arguments = {"name": name, "roles": list(roles), "attributes": {}}
        hashed = hash_passcode(Secret(passcode.encode()))
        invoke(Home.at(self.home), "user.add", arguments | {"passcode_hash": hashed})
        return self.user(name, passcode)

    def user(self, name: str, passcode: str = PASSCODE) -> User:
        """What an enrolled person presents."""
        return User(name.encode(), passcode.encode())

    def label(self, study_uid: str, label: str, *, present: bool = True) -> None:
        """Label a study, past the command line."""
        invoke(Home.at(self.home), "study.label", {"study_uid": study_uid, "labels": [label], "remove": not present})

    def told(self, kind: str) -> list[dict[str, Any]]:
        """The facts of every record of one kind in the audit trail, past the command line."""
        return [record.facts for record in records_of(Home.at(self.home)) if record.kind == kind]

    def person(self, name: str, *roles: str, passcode: str = PASSCODE) -> User:
        """Enrol a person; what they present."""
        arguments = [word for role in roles for word in ("--role", role)]
        self.must("user", "add", name, *arguments, "--passcode-file", "-", stdin=passcode + "\n")
        return User(name.encode(), passcode.encode())

    def start(self, wrapper: tuple[str, ...] = ()) -> "RunningArchive":
        """Start the server and wait until it listens."""
        command = [*wrapper, sys.executable, "-m", "archive", "serve", "--home", str(self.home)]
        with (self.folder / "serve.log").open("ab") as log:
            self.process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=log, text=True, start_new_session=True
            )
        assert self.process.stdout is not None
        ready = self.process.stdout.readline()
        assert ready.startswith("ready dicom-tls 127.0.0.1:"), f"{ready!r}\n{self.log()}"
        return self

    def stop(self) -> int:
        """SIGTERM, and the exit code."""
        assert self.process is not None
        # To the group: under a wrapper (strace) the server is not the process we started.
        os.killpg(self.process.pid, signal.SIGTERM)
        code = self.process.wait(60)
        self._forget()
        return code

    def kill(self) -> None:
        """SIGKILL to the server and whatever it started."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(60)
        self._forget()

    def _forget(self) -> None:
        assert self.process is not None and self.process.stdout is not None
        self.process.stdout.close()
        self.process = None

    def log(self) -> str:
        """What the server said on standard error."""
        return (self.folder / "serve.log").read_text()

    @contextlib.contextmanager
    def serving(self) -> Iterator["RunningArchive"]:
        """The server, stopped at the end if it still runs."""
        self.start()
        try:
            yield self
        finally:
            if self.process is not None:
                self.stop()

    def requestor(self, title: str, **options: Any) -> Requestor:
        """An association from an enrolled node."""
        return Requestor(self.port, client_tls(self.folder / "nodes" / title), title, **options)

    def trail(self) -> list[dict[str, Any]]:
        """The audit trail, record by record."""
        return list(json.loads(self.must("audit", "show", "--json")))

    def paths(self) -> dict[str, Path]:
        """Where blobs, index, ledger and trail are."""
        return {name: Path(path) for name, path in json.loads(self.must("doctor", "--paths", "--json")).items()}
