"""Requestors with Kerberos tickets: by libkrb5 as the lab has it, and by `kinit` and pykerberos as workstations do.

Also workers that misbehave, in place of the one that examines tokens.
"""

import base64
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from archive.lab.kdc import LabKdc
from archive.lab.kerberos_client import Presentation
from archive.lab.system import PACKAGES
from auth.credential import KerberosTicket, Secret
from auth.identity.kerberos import Kerberos, KerberosConfig
from auth.ports import PresentedTokens, UserStore
from tests.simulators.presented import PresentedInMemory
from tests.simulators.records import MemoryUsers, user_record

SERVICE = "dicom@localhost"
PASSCODE = "of a person in the lab"

_SYSTEM_FOLDERS = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin"))

# Reads lines: the answer to its token, in base64; says whether it is the service's.
_GSS_CLIENT = """
import base64, kerberos, sys
service, mutual, spnego = sys.argv[1], sys.argv[2] == "True", sys.argv[3] == "True"
flags = kerberos.GSS_C_REPLAY_FLAG | (kerberos.GSS_C_MUTUAL_FLAG if mutual else 0)
mechanism = kerberos.GSS_MECH_OID_SPNEGO if spnego else kerberos.GSS_MECH_OID_KRB5
_, context = kerberos.authGSSClientInit(service, gssflags=flags, mech_oid=mechanism)
kerberos.authGSSClientStep(context, "")
print(kerberos.authGSSClientResponse(context), flush=True)
for line in sys.stdin:
    try:
        good = kerberos.authGSSClientStep(context, line.strip()) == kerberos.AUTH_GSS_COMPLETE
    except kerberos.GSSError:
        good = False
    print(good, flush=True)
"""


def demand_kerberos() -> None:
    """Skip the tests of a module where Kerberos is not installed, saying what brings it."""
    needed = {name: PACKAGES[name] for name in ("krb5kdc", "kdb5_util", "kadmin.local")}
    for program, package in {**needed, "kinit": "krb5-user"}.items():
        if shutil.which(program, path=_SYSTEM_FOLDERS) is None:
            pytest.skip(f"{program} is not installed: Debian package {package}", allow_module_level=True)
    if importlib.util.find_spec("kerberos") is None:
        pytest.skip("pykerberos is not installed: strongroom[kerberos]", allow_module_level=True)


@contextmanager
def lab_kdc(folder: Path, **more: str) -> Iterator[LabKdc]:
    """A realm with alice and bob in it, that ends with the block. ``more``: principals and passcodes besides."""
    kdc = LabKdc(folder)
    kdc.start()
    try:
        for name, passcode in {"alice": PASSCODE, "bob": PASSCODE, **more}.items():
            kdc.add_principal(name, passcode)
        kdc.keytab(SERVICE)
        yield kdc
    finally:
        kdc.stop()


def keytab_of(kdc: LabKdc) -> Path:
    """The keytab that `lab_kdc` made."""
    return kdc.folder / "dicom-localhost.keytab"


@contextmanager
def kerberos(
    kdc: LabKdc,
    home: Path,
    *,
    users: UserStore | None = None,
    presented: PresentedTokens | None = None,
    worker: Path | None = None,
    elsewhere: object = None,
    **settings: object,
) -> Iterator[Kerberos]:
    """The provider for the realm, over a home; alice has the role ``reader`` unless ``users`` says otherwise."""
    values: dict[str, object] = {
        "service": SERVICE,
        "keytab": keytab_of(kdc),
        "replay_cache": home / "replay" / "krb5.rcache",
        "realms": frozenset({kdc.realm}),
        "roles_from": "" if elsewhere is None else "hospital",
    }
    provider = Kerberos(
        KerberosConfig(**(values | settings)),  # type: ignore[arg-type]
        users or MemoryUsers(user_record(f"alice@{kdc.realm}", ("reader",))),
        presented or PresentedInMemory(),
        **({} if worker is None else {"worker": worker}),
        elsewhere=elsewhere,  # type: ignore[arg-type]
    )
    try:
        yield provider
    finally:
        provider.close()


def credential(token: bytes) -> KerberosTicket:
    """What admission makes of the primary field."""
    return KerberosTicket(Secret(token))


def presentation(kdc: LabKdc, name: str = "alice", service: str = SERVICE, **wishes: object) -> Presentation:
    """A new request of somebody in the realm."""
    offset = wishes.pop("clock_offset_seconds", 0)
    return kdc.ticket(name, PASSCODE, service, **wishes).present(clock_offset_seconds=offset)  # type: ignore[arg-type]


def ticket_file(kdc: LabKdc, path: Path, name: str = "alice", *, raw: bool = False, passcode: str = PASSCODE) -> Path:
    """A file for ``storescu --kerberos``, which sends its bytes as primary field: a GSS-API token, or a KRB_AP_REQ.

    A file is good for one association.
    """
    made = kdc.ticket(name, passcode, SERVICE).present()
    path.write_bytes(made.ap_req if raw else made.gss_token)
    return path


class GssClient:
    """A workstation: `kinit`, then GSS-API by pykerberos, in a process with an environment of its own."""

    def __init__(
        self, kdc: LabKdc, name: str = "alice", service: str = SERVICE, *, mutual: bool = True, spnego: bool = False
    ) -> None:
        environment = {
            "KRB5_CONFIG": str(kdc.config),
            "KRB5CCNAME": f"FILE:{kdc.folder}/credentials-{name}",
            "PATH": _SYSTEM_FOLDERS,
        }
        subprocess.run(["kinit", name], env=environment, input=PASSCODE.encode(), capture_output=True, check=True)
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-c", _GSS_CLIENT, service, str(mutual), str(spnego)],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.token = base64.b64decode(self._line())

    def __enter__(self) -> "GssClient":
        return self

    def __exit__(self, *error: object) -> None:
        self._process.kill()
        self._process.communicate()

    def believes(self, answer: bytes) -> bool:
        """Whether the answer is the service's."""
        assert self._process.stdin is not None
        self._process.stdin.write(base64.b64encode(answer).decode() + "\n")
        self._process.stdin.flush()
        return self._line() == "True"

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


def strange_worker(path: Path, body: str) -> Path:
    """A worker that comes up and then does as ``body`` says, for each question.

    ``body`` has ``nonce`` and ``token`` of the question, ``answer(outcome, principal, reply)`` to give a well-formed
    answer, and ``channel``.
    """
    indented = "\n".join(f"    {line}" for line in body.strip().splitlines())
    path.write_text(
        f"""
import os, signal, socket, struct, sys, time
channel = socket.socket(fileno=0)
def send(message):
    channel.sendall(struct.pack("!L", len(message)) + message)
def receive(count):
    data = b""
    while len(data) < count:
        piece = channel.recv(count - len(data))
        if not piece:
            sys.exit()
        data += piece
    return data
def answer(outcome, principal=b"", reply=b"", number=0, echo=None):
    send(struct.pack("!16sBBH", echo or nonce, outcome, number, len(principal)) + principal + reply)
send(bytes([0]))
while True:
    (length,) = struct.unpack("!L", receive(4))
    question = receive(length)
    nonce, token = question[:16], question[16:]
{indented}
"""
    )
    return path


def changed_worker(path: Path, preparation: str) -> Path:
    """The real worker, after some lines of Python that change what it finds."""
    from auth.identity import kerberos_worker

    path.write_text(
        f"import os, runpy, sys\n{preparation}\nrunpy.run_path({kerberos_worker.__file__!r}, run_name='__main__')\n"
    )
    return path
