"""The main job, played against a running archive with real files and two people.

Uses nothing but what everybody has: the command line and DICOM over mutual TLS. Prints a table of what each step did
and exits non-zero if any of them failed.
"""

import argparse
import contextlib
import json
import secrets
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pydicom
from pydicom.data import get_testdata_file
from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid
from pynetdicom import AE, Association, build_role, evt
from pynetdicom.pdu_primitives import UserIdentityNegotiation
from pynetdicom.sop_class import (
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
)
from rich.console import Console
from rich.table import Table

BIN = Path(sys.executable).parent
FILES = {
    "CT": "CT_small.dcm",
    "MR": "MR_small.dcm",
    "SR": "reportsi.dcm",
    "JPEG 2000": "JPEG2000.dcm",
    "RLE": "MR_small_RLE.dcm",
    "big endian": "ExplVR_BigEnd.dcm",
}


class Failed(Exception):
    """A step did not do what it should."""


class Demo:
    """One archive, its nodes and people, and the steps of the main job."""

    def __init__(self, home: Path, work: Path) -> None:
        self.home, self.work = home, work
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.passcodes = {name: secrets.token_urlsafe(12) for name in ("alice", "bob")}
        self.studies: dict[str, str] = {}
        self.fetched: list[Path] = []

    # -- the command line -------------------------------------------------------------------------------------------

    def strongroom(self, *arguments: str, stdin: str | None = None) -> str:
        """Run one verb; its standard output, or `Failed` with what it said."""
        command = [str(BIN / "strongroom"), *arguments]
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=300, check=False)
        if done.returncode:
            raise Failed(f"strongroom {' '.join(arguments[:2])}: {(done.stderr or done.stdout).strip()[-400:]}")
        return done.stdout

    @contextlib.contextmanager
    def serving(self) -> Iterator[None]:
        """The archive, listening; stopped by SIGTERM and waited for."""
        command = [str(BIN / "strongroom"), "serve", "--home", str(self.home)]
        with (self.work / "serve.log").open("wb") as log:
            server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        try:
            assert server.stdout is not None
            ready = server.stdout.readline()
            if not ready.startswith("ready dicom-tls"):
                raise Failed(f"the archive did not start: {(self.work / 'serve.log').read_text()[-600:]}")
            yield
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(60)

    # -- the wire ---------------------------------------------------------------------------------------------------

    def context(self, node: Path) -> ssl.SSLContext:
        """Mutual TLS with the material that `node add --issue` wrote."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.load_verify_locations(self.work / "WS1" / "ca.pem")
        context.load_cert_chain(node / "cert.pem", node / "key.pem")
        return context

    @contextlib.contextmanager
    def association(
        self,
        title: str,
        contexts: list[tuple[str, list[str]]],
        user: str | None = None,
        passcode: str | None = None,
        node: Path | None = None,
        **options: object,
    ) -> Iterator[Association]:
        """An association from a node, with a person where one is named; established or not."""
        ae = AE(title)
        ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = 30
        for abstract, syntaxes in contexts:
            ae.add_requested_context(abstract, syntaxes)
        extended = list(options.pop("ext_neg", []))  # type: ignore[call-overload]
        if user is not None:
            identity = UserIdentityNegotiation()
            identity.user_identity_type = 2
            identity.primary_field, identity.secondary_field = user.encode(), (passcode or "").encode()
            identity.positive_response_requested = True
            extended.append(identity)
        association = ae.associate(
            "127.0.0.1",
            self.port,
            ae_title="STRONGROOM",
            ext_neg=extended,
            tls_args=(self.context(node or self.work / title), None),
            **options,
        )
        try:
            yield association
        finally:
            if association.is_established:
                association.release()

    # -- the steps --------------------------------------------------------------------------------------------------

    def prepare(self) -> str:
        """A home, two nodes, two people."""
        self.strongroom("init", str(self.home), "--port", str(self.port))
        return "own CA, server certificate, signer, keys, policy"

    def enrol(self) -> str:
        """Two nodes and two people, while the archive runs."""
        home = ["--home", str(self.home)]
        self.strongroom("node", "add", "CT1", "--issue", str(self.work / "CT1"), "--role", "modality", *home)
        self.strongroom("node", "add", "WS1", "--issue", str(self.work / "WS1"), "--role", "radiologist", *home)
        for name, role in (("alice", "radiologist"), ("bob", "researcher")):
            arguments = ("user", "add", name, "--role", role, "--passcode-file", "-", *home)
            self.strongroom(*arguments, stdin=self.passcodes[name] + "\n")
        return "CT1 (modality), WS1 (radiologist); alice the radiologist, bob the researcher"

    def store(self) -> str:
        """A modality stores one object of each kind."""
        stored = []
        for kind, name in FILES.items():
            data_set = pydicom.dcmread(str(get_testdata_file(name, download=False)))
            for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
                setattr(data_set, keyword, generate_uid())
            data_set.file_meta.MediaStorageSOPInstanceUID = data_set.SOPInstanceUID
            syntax = str(data_set.file_meta.TransferSyntaxUID)
            with self.association("CT1", [(str(data_set.SOPClassUID), [syntax])]) as modality:
                if not modality.is_established:
                    raise Failed(f"{kind}: the modality was refused")
                status = modality.send_c_store(data_set)
            if getattr(status, "Status", None) != 0:
                raise Failed(f"{kind}: status {getattr(status, 'Status', None)}")
            self.studies[kind] = str(data_set.StudyInstanceUID)
            stored.append(f"{kind} ({UID(syntax).name})")
        return ", ".join(stored)

    def label(self) -> str:
        """One study is released for research."""
        self.strongroom("study", "label", self.studies["MR"], "research", "--home", str(self.home))
        return "the MR study is labelled research"

    def query(self, person: str) -> dict[str, str]:
        """What a person finds: study UID to patient name."""
        identifier = pydicom.Dataset()
        identifier.QueryRetrieveLevel = "STUDY"
        identifier.StudyInstanceUID = identifier.PatientName = identifier.PatientID = ""
        model = StudyRootQueryRetrieveInformationModelFind
        contexts = [(str(model), [str(ExplicitVRLittleEndian)])]
        found = {}
        with self.association("WS1", contexts, person, self.passcodes[person]) as workstation:
            if not workstation.is_established:
                raise Failed(f"{person} was refused")
            for status, answer in workstation.send_c_find(identifier, model):
                if answer is not None:
                    found[str(answer.StudyInstanceUID)] = str(answer.PatientName)
                elif status.Status != 0:
                    raise Failed(f"{person}: query status {status.Status:04X}")
        return found

    def radiologist_finds(self) -> str:
        """The radiologist sees every study."""
        found = self.query("alice")
        if set(self.studies.values()) - set(found):
            raise Failed(f"alice misses studies: {len(found)} of {len(self.studies)}")
        return f"{len(found)} studies: {', '.join(sorted(set(found.values())))}"

    def researcher_finds(self) -> str:
        """The researcher sees the released study, without a name."""
        found = self.query("bob")
        if found != {self.studies["MR"]: ""}:
            raise Failed(f"bob sees {found}")
        return "1 study, its patient name blank"

    def radiologist_fetches(self) -> str:
        """The radiologist fetches two studies by C-GET."""
        for kind in ("CT", "MR"):
            self.fetched.append(self.fetch(kind, "alice"))
        return f"{len(self.fetched)} objects, exact counters"

    def fetch(self, kind: str, person: str) -> Path:
        """One study by C-GET into a file."""
        target = self.work / f"{kind}-{person}.dcm"

        def keep(event: evt.Event) -> int:
            target.write_bytes(event.encoded_dataset())
            return 0

        model = StudyRootQueryRetrieveInformationModelGet
        storage = str(pydicom.dcmread(str(get_testdata_file(FILES[kind], download=False))).SOPClassUID)
        contexts = [(str(model), [str(ExplicitVRLittleEndian)]), (storage, [str(ExplicitVRLittleEndian)])]
        identifier = pydicom.Dataset()
        identifier.QueryRetrieveLevel, identifier.StudyInstanceUID = "STUDY", self.studies[kind]
        options = {"ext_neg": [build_role(storage, scp_role=True)], "evt_handlers": [(evt.EVT_C_STORE, keep)]}
        with self.association("WS1", contexts, person, self.passcodes[person], **options) as workstation:
            if not workstation.is_established:
                raise Failed(f"{person} was refused")
            *_, (status, _) = workstation.send_c_get(identifier, model)
        if status.Status != 0 or status.NumberOfCompletedSuboperations != 1:
            raise Failed(f"C-GET of {kind}: {status}")
        return target

    def researcher_fetches(self) -> str:
        """The researcher fetches the released study: masked, under another UID, signed anew."""
        path = self.fetch("MR", "bob")
        original, masked = (pydicom.dcmread(str(self.work / f"MR-{who}.dcm"), force=True) for who in ("alice", "bob"))
        if masked.PatientName or masked.PatientBirthDate or masked.PatientIdentityRemoved != "YES":
            raise Failed(f"bob's copy names {masked.PatientName}")
        if masked.SOPInstanceUID == original.SOPInstanceUID or masked.PixelData != original.PixelData:
            raise Failed("bob's copy is not a masked one")
        self.fetched.append(path)
        return "1 object: no name, no birth date, a SOP Instance UID of its own, the same pixels"

    def refused(self, user: str | None, passcode: str | None, node: Path | None = None) -> str:
        """An association that must not come about; how it was refused."""
        contexts = [(str(StudyRootQueryRetrieveInformationModelFind), [str(ExplicitVRLittleEndian)])]
        with self.association("WS1", contexts, user, passcode, node) as intruder:
            if intruder.is_established:
                raise Failed("was let in")
            if intruder.is_rejected:
                answer = intruder.acceptor.primitive
                return f"A-ASSOCIATE-RJ ({answer.result}, {answer.result_source}, {answer.diagnostic})"
            return "no TLS session"

    def foreign_certificate(self) -> str:
        """A certificate of somebody else's authority."""
        foreign = self.work / "foreign"
        foreign.mkdir()
        subprocess.run(
            [
                *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
                *("-days", "2", "-subj", "/CN=WS1"),
                *("-keyout", str(foreign / "key.pem"), "-out", str(foreign / "cert.pem")),
            ],
            check=True,
            capture_output=True,
        )
        return self.refused("alice", self.passcodes["alice"], foreign)

    def signature(self) -> str:
        """The fetched objects carry our signature, and it holds."""
        trust = self.work / "WS1" / "ca.pem"
        said = []
        for path in self.fetched:
            self.strongroom("signature", "verify", str(path), "--trust", str(trust), "--home", str(self.home))
        said.append(f"our verifier: {len(self.fetched)} valid")
        dcmsign = shutil.which("dcmsign", path="/usr/bin:/usr/local/bin")
        if dcmsign:
            for path in self.fetched:
                command = [dcmsign, "--verify", "+cf", str(trust), str(path)]
                done = subprocess.run(command, capture_output=True, text=True, check=False)
                if done.returncode:
                    raise Failed(f"dcmsign: {done.stdout[-300:]}{done.stderr[-300:]}")
            said.append("dcmsign agrees")
        return ", ".join(said)

    def verified(self) -> str:
        """Every byte of the store, the ledger, the index and the trail."""
        self.strongroom("verify", "--full", "--home", str(self.home))
        return "internally consistent"

    def audited(self) -> str:
        """The trail tells all of it, person by person."""
        self.strongroom("audit", "verify", "--home", str(self.home))
        records = json.loads(self.strongroom("audit", "show", "--json", "--home", str(self.home)))
        people = {record["facts"]["actor"].get("person") for record in records} - {None}
        if not {"alice", "bob"} <= people:
            raise Failed(f"the trail names {people}")
        return f"{len(records)} records; people: {', '.join(sorted(people))}"


def play(demo: Demo, console: Console) -> bool:
    """Every step in order, then the table."""
    steps: list[tuple[str, Callable[[], str]]] = [
        ("nodes and people are enrolled", demo.enrol),
        ("a modality stores", demo.store),
        ("a study is labelled", demo.label),
        ("the radiologist queries", demo.radiologist_finds),
        ("the researcher queries", demo.researcher_finds),
        ("the radiologist fetches", demo.radiologist_fetches),
        ("the researcher fetches", demo.researcher_fetches),
        ("a stranger is refused", lambda: demo.refused("mallory", "guess")),
        ("a wrong passcode is refused", lambda: demo.refused("alice", "guess")),
        ("a missing identity is refused", lambda: demo.refused(None, None)),
        ("a foreign certificate is refused", demo.foreign_certificate),
        ("the signatures are verified", demo.signature),
        ("the archive verifies itself", demo.verified),
        ("the audit trail is shown", demo.audited),
    ]
    table = Table("step", "result", "what happened", title="Strongroom: the main job")
    good = True
    for name, step in steps:
        try:
            table.add_row(name, "[green]ok", step())
        except (Failed, OSError, subprocess.SubprocessError) as error:
            good = False
            table.add_row(name, "[red]FAILED", str(error))
    console.print(table)
    return good


def main() -> int:
    """Play the main job in a fresh home; 0 if every step did what it should."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, help="an empty or absent folder; kept. Default: a temporary one")
    arguments = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 140)
    with tempfile.TemporaryDirectory(prefix="strongroom-demo-") as temporary:
        work = Path(temporary)
        demo = Demo(arguments.home or work / "home", work)
        try:
            demo.prepare()
            with demo.serving():
                good = play(demo, console)
        except Failed as error:
            console.print(f"[red]FAILED[/red] {error}")
            good = False
        if not good and (work / "serve.log").exists():
            console.print((work / "serve.log").read_text()[-2000:], markup=False)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
