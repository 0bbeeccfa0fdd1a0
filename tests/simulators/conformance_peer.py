"""An archive that the conformance suite is about, reached through pynetdicom: nothing of ours judges ourselves."""

import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydicom import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, generate_uid
from pynetdicom import AE, build_role
from pynetdicom.association import Association
from pynetdicom.pdu_primitives import UserIdentityNegotiation
from pynetdicom.sop_class import (
    CTImageStorage,
    StorageCommitmentPushModel,
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
)

from tests.simulators.scu import client_tls

FIND, GET, MOVE = (
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
)
CT, COMMITMENT = CTImageStorage, StorageCommitmentPushModel


@dataclass(frozen=True)
class Peer:
    """One archive, and how to reach it."""

    host: str
    port: int
    called: str
    calling: str
    tls: Path | None = None
    user: str = ""
    passcode: str = ""
    listens: int = 0
    """The port at which the archive knows the calling AE title; 0: it knows none."""

    @contextmanager
    def associated(
        self, *contexts, called: str | None = None, roles=(), items=(), handlers=(), user: bool = True
    ) -> Iterator[Association]:
        """An association with these (abstract syntax, transfer syntaxes) proposed; established or not.

        ``user``: say who is asking, where there is somebody.
        """
        ae = AE(ae_title=self.calling)
        ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = 30
        for abstract, syntaxes in contexts:
            ae.add_requested_context(abstract, syntaxes)
        offered = [*items, *(build_role(uid, scp_role=True) for uid in roles)]
        if self.user and user:
            offered.append(who(self.user, self.passcode))
        association = ae.associate(
            self.host,
            self.port,
            ae_title=called or self.called,
            ext_neg=offered,
            evt_handlers=list(handlers),
            tls_args=(client_tls(self.tls), None) if self.tls else None,
        )
        try:
            yield association
        finally:
            if association.is_established:
                association.release()

    @contextmanager
    def listening(self, handlers) -> Iterator[None]:
        """The calling AE title, where the archive knows it: a Storage SCP, and one to be told of commitment."""
        ae = AE(ae_title=self.calling)
        ae.add_supported_context(CT, [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
        ae.add_supported_context(COMMITMENT, scu_role=True, scp_role=True)
        tls = None if self.tls is None else _server_tls(self.tls)
        server = ae.start_server(("", self.listens), block=False, ssl_context=tls, evt_handlers=list(handlers))
        try:
            yield
        finally:
            server.shutdown()


def who(name: str, passcode: str, *, wants_response: bool = True) -> UserIdentityNegotiation:
    """A user name and passcode (PS3.7 D.3.3.7.1)."""
    identity = UserIdentityNegotiation()
    identity.user_identity_type, identity.positive_response_requested = 2, wants_response
    identity.primary_field, identity.secondary_field = name.encode(), passcode.encode()
    return identity


def _server_tls(folder: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    context.load_verify_locations(folder / "ca.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    return context


ROOT = generate_uid(entropy_srcs=[str(os.getpid()), os.urandom(8).hex()])[:40].rstrip(".")
"""UIDs of this run begin so."""


def image(study: int, number: int = 1, **values: object) -> Dataset:
    """A small CT image of this run."""
    made = Dataset()
    made.SOPClassUID, made.SOPInstanceUID = CT, f"{ROOT}.{study}.1.{number}"
    made.StudyInstanceUID, made.SeriesInstanceUID = f"{ROOT}.{study}", f"{ROOT}.{study}.1"
    made.PatientID, made.PatientName, made.PatientBirthDate, made.PatientSex = (
        f"CT{study}_x%",
        f"Doe^Jane{study}",
        "",
        "F",
    )
    made.StudyDate, made.StudyTime = f"2020010{study}", f"1{study}0000"
    made.AccessionNumber, made.StudyID, made.Modality, made.ReferringPhysicianName = "", str(study), "CT", ""
    made.SeriesNumber, made.InstanceNumber = 1, number
    made.Rows = made.Columns = 2
    made.BitsAllocated = made.BitsStored = 8
    made.HighBit, made.PixelRepresentation, made.SamplesPerPixel = 7, 0, 1
    made.PhotometricInterpretation = "MONOCHROME2"
    made.add_new(0x00091001, "LO", "kept as it came")
    made.add_new(0x00090010, "LO", "SOMEBODY")
    made.PixelData = bytes(4)
    made["PixelData"].VR = "OB"
    for keyword, value in values.items():
        setattr(made, keyword, value)
    return made


def store(association: Association, one: Dataset) -> int | None:
    """The status of a C-STORE; None where there was no answer."""
    one.file_meta = Dataset()
    one.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    one.file_meta.MediaStorageSOPClassUID, one.file_meta.MediaStorageSOPInstanceUID = (
        one.SOPClassUID,
        one.SOPInstanceUID,
    )
    status = association.send_c_store(one)
    return status.Status if "Status" in status else None


def keys(level: str, **values: object) -> Dataset:
    """An identifier."""
    made = Dataset()
    made.QueryRetrieveLevel = level
    for keyword, value in values.items():
        setattr(made, keyword, value)
    return made


def found(peer: Peer, identifier: Dataset) -> tuple[list[Dataset], int]:
    """The matches of this run, and the final status."""
    with peer.associated((FIND, [ImplicitVRLittleEndian])) as association:
        answers = list(association.send_c_find(identifier, FIND))
    matches = [match for status, match in answers if status and status.Status in (0xFF00, 0xFF01)]
    assert all(match is not None for match in matches)
    final, left = answers[-1]
    assert left is None, "the final response has no identifier (PS3.4 C.4.1.1.4)"
    ours = [match for match in matches if str(match.get("StudyInstanceUID", ROOT)).startswith(ROOT)]
    return ours, final.Status if "Status" in final else -1


def studies(peer: Peer, **values: object) -> set[str]:
    """Which studies of this run a STUDY level query matches, by their number."""
    matches, status = found(peer, keys("STUDY", **({"StudyInstanceUID": ""} | values)))
    assert status == 0
    return {str(match.StudyInstanceUID).rpartition(".")[2] for match in matches}
