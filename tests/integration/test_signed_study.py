"""A signed study goes to Orthanc and to DCMTK and comes back, and every signature is valid all the way (PS3.15 A.3)."""

import json
import subprocess
import time

import pydicom
import pytest

from auth.node.pem import read_certificates
from storage.integrity.trust import Trust
from storage.integrity.verifier import Verdict, verify_signatures
from storage.transfer_syntax import transfer_syntax
from tests.simulators.dicom_files import packaged, read
from tests.simulators.encoding import element, implicit, signing_key
from tests.simulators.peers import orthanc, program, storescp
from tests.simulators.running_archive import RunningArchive, free_port
from tests.simulators.scu import IMPLICIT, STUDY_MOVE, identifier
from tests.simulators.signed_objects import signed_by

STUDY = "1.2.826.0.1.3680043.9.1234.1"
PROPOSED = {IMPLICIT: "-xi", "1.2.840.10008.1.2.4.90": "-xv", "1.2.840.10008.1.2.4.91": "-xw"}
"""What storescu is told to propose; else explicit VR."""
NAMES = ("CT_small.dcm", "MR_small.dcm", "JPEG2000.dcm", "rtdose_1frame.dcm", "test-SR.dcm")


def of_one_study():
    """Objects of several classes and syntaxes in one study, each signed by a modality."""
    made = []
    for number, name in enumerate(NAMES, 1):
        file = read(next(path for path in packaged() if path.name == name))
        syntax = transfer_syntax(file.syntax)
        if syntax.deflated:
            continue
        data = file.data
        known = pydicom.dcmread(file.path, stop_before_pixels=True)
        for tag, old, new in (
            (0x0020000D, str(known.StudyInstanceUID), STUDY),
            (0x00080018, str(known.SOPInstanceUID), f"{STUDY}.{number}"),
        ):
            before, after = (_element(tag, text, explicit=syntax.explicit) for text in (old, new))
            assert data.count(before) >= 1, name
            data = data.replace(before, after, 1)
        data, _ = signed_by(data, "modality", syntax=syntax)
        made.append((file.sop_class, f"{STUDY}.{number}", file.syntax, data))
    return made


def _element(tag, text, *, explicit):
    value = text.encode() + b"\0" * (len(text) & 1)
    return element(tag, b"UI", value) if explicit else implicit(tag, value)


@pytest.fixture(scope="module")
def hospital(tmp_path_factory):
    archive = RunningArchive(tmp_path_factory.mktemp("study")).init()
    archive.ports = {"ORTHANC": free_port(), "DCMTK": free_port()}
    with archive.serving():
        archive.enrol("CT1", "modality")
        archive.enrol("WS1", "radiologist")
        for title, port in archive.ports.items():
            archive.enrol(title, "modality", "radiologist", port=port, identity="none")
        archive.alice = archive.employ("alice", "radiologist")
        objects = of_one_study()
        for sop_class, uid, syntax, data in objects:
            with archive.requestor("CT1", contexts=[(sop_class, [syntax])]) as modality:
                assert modality.store(sop_class, uid, data).status == 0
        archive.objects = objects
        yield archive


def moved(archive, destination):
    with archive.requestor("WS1", user=archive.alice, contexts=[(STUDY_MOVE, [IMPLICIT])]) as workstation:
        *_, final = workstation.move(STUDY_MOVE, identifier("STUDY", {0x0020000D: STUDY}), destination)
    assert (final.status, final.number(0x1021)) == (0, len(archive.objects))


def judged(archive, path):
    """Every signature of a file that left, by the verifier that trusts the modality and the archive's authority."""
    file = read(path)
    own = pydicom.dcmread(path, stop_before_pixels=True)
    syntax = transfer_syntax(str(own.file_meta.TransferSyntaxUID))
    authorities = (signing_key("modality").certificate, *certificates(archive))
    return [report.verdict for report in verify_signatures(lambda: [file.data], syntax, Trust((), authorities))]


def certificates(archive):
    return read_certificates(archive.home / "pki" / "ca.pem")


def kept_as_before(archive):
    """What the archive keeps has both signatures, valid, and nothing was added by what came back."""
    for _, uid, _, _ in archive.objects:
        found = json.loads(archive.must("signature", "verify", uid, "--json"))
        assert [one["valid"] for one in found["signatures"]] == [True, True]
    archive.must("verify", "--full")


def test_through_dcmtk_and_back(hospital):
    folder = hospital.folder / "dcmtk"
    node = hospital.folder / "nodes" / "DCMTK"
    with storescp(node, hospital.ports["DCMTK"], folder, "+xa"):
        moved(hospital, "DCMTK")
    files = sorted(path for path in folder.iterdir() if path.is_file())
    assert len(files) == len(hospital.objects)
    for path in files:
        assert judged(hospital, path) == [Verdict.VALID, Verdict.VALID], path
    tls = ["+tls", str(node / "key.pem"), str(node / "cert.pem"), "+cf", str(node / "ca.pem")]
    for path in files:
        syntax = str(pydicom.dcmread(path, stop_before_pixels=True).file_meta.TransferSyntaxUID)
        words = [program("storescu", "dcmtk"), *tls, "-aet", "DCMTK", "-aec", "STRONGROOM", PROPOSED.get(syntax, "-xe")]
        command = [*words, "127.0.0.1", str(hospital.port), str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr
    kept_as_before(hospital)


def test_through_orthanc_and_back(hospital):
    node, port = hospital.folder / "nodes" / "ORTHANC", hospital.ports["ORTHANC"]
    with orthanc(node, "ORTHANC", port, hospital.folder / "orthanc", ("STRONGROOM", hospital.port)) as server:
        moved(hospital, "ORTHANC")
        deadline = time.monotonic() + 30
        while len(server.ask("GET", "/instances")) < len(hospital.objects) and time.monotonic() < deadline:
            time.sleep(0.1)
        instances = server.ask("GET", "/instances")
        assert len(instances) == len(hospital.objects)
        taken = hospital.folder / "from-orthanc"
        taken.mkdir()
        for name in instances:
            path = taken / f"{name}.dcm"
            path.write_bytes(server.ask("GET", f"/instances/{name}/file"))
            assert judged(hospital, path) == [Verdict.VALID, Verdict.VALID], path
        sent = server.ask("POST", "/modalities/archive/store", {"Resources": instances, "Synchronous": True})
        assert sent["FailedInstancesCount"] == 0
    kept_as_before(hospital)


def test_a_note_over_the_study_is_written_signed_and_checked(hospital):
    made = json.loads(hospital.must("study", "note", STUDY, "--json"))
    assert made["objects"] == len(hospital.objects)
    note = made["sop_instance_uid"]
    found = json.loads(hospital.must("signature", "verify", note, "--json"))
    assert found["good"]
    written, ours = found["signatures"]
    assert (written["purpose"], "sr" in written["profiles"], written["verdict"]) == ("1", True, "valid")
    assert ours["verdict"] == "valid"
    assert len(found["references"]) == 2 * len(hospital.objects)
    assert {one["proof"] for one in found["references"]} == {"valid"}
    words = hospital.must("signature", "verify", note)
    assert f"{2 * len(hospital.objects)} of {2 * len(hospital.objects)} statements about other objects hold" in words
    studies = json.loads(hospital.must("study", "list", "--json"))
    assert [study["study_uid"] for study in studies] == [STUDY]
    hospital.must("verify", "--full")
    folder = hospital.folder / "with-note"
    with storescp(hospital.folder / "nodes" / "DCMTK", hospital.ports["DCMTK"], folder, "+xa"):
        hospital.objects.append(None)
        moved(hospital, "DCMTK")
        hospital.objects.pop()
    (path,) = [one for one in folder.iterdir() if one.is_file() and pydicom.dcmread(one).Modality == "KO"]
    ca = hospital.home / "pki" / "ca.pem"
    verified = subprocess.run(
        [program("dcmsign", "dcmtk"), "--verify", "+cf", str(ca), "+rs", str(path)], capture_output=True, check=False
    )
    assert verified.returncode == 0, verified.stderr
