"""Other people's archives and workstations, as far as they go: Orthanc both ways, dcmjs-dimse with a person at it."""

import json
import subprocess
import time
from pathlib import Path

import pytest

from tests.simulators.memory_archive import encoded, image
from tests.simulators.peers import orthanc, program
from tests.simulators.running_archive import PASSCODE, RunningArchive, free_port
from tests.simulators.scu import CT, EXPLICIT, IMPLICIT, STUDY_MOVE, identifier

STUDY_UID = 0x0020000D
NODE_MODULES = Path(__file__).parents[2] / ".venv" / "node" / "node_modules"
ORTHANC_PORT = free_port()


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    archive = RunningArchive(tmp_path_factory.mktemp("peers")).init()
    with archive.serving():
        archive.enrol("CT1", "modality")
        archive.enrol("WS1", "radiologist")
        archive.enrol("JS1", "radiologist", "modality")
        archive.enrol("ORTHANC", "modality", "radiologist", identity="optional", port=ORTHANC_PORT)
        archive.employ("alice", "radiologist", "modality")
        with archive.requestor("CT1", contexts=[(CT, [EXPLICIT])]) as modality:
            for number in (1, 2):
                dataset = image(1, 1, number, PatientName="Doe^Jane")
                assert modality.store(CT, dataset.SOPInstanceUID, encoded(dataset)).status == 0
        yield archive


@pytest.fixture(scope="module")
def peer(archive):
    """An Orthanc."""
    node = archive.folder / "nodes" / "ORTHANC"
    with orthanc(node, "ORTHANC", ORTHANC_PORT, archive.folder / "orthanc", ("STRONGROOM", archive.port)) as running:
        yield running


def file_of(dataset, path):
    """A DICOM file."""
    dataset.ensure_file_meta()
    dataset.file_meta.TransferSyntaxUID = EXPLICIT
    dataset.save_as(path, enforce_file_format=True)
    return path


def eventually(what, seconds=60.0):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = what()
        if found:
            return found
        time.sleep(0.1)
    raise AssertionError("it never came")


def test_orthanc_takes_what_is_moved_to_it(archive, peer):
    alice = archive.user("alice")
    with archive.requestor("WS1", user=alice, contexts=[(STUDY_MOVE, [IMPLICIT])]) as workstation:
        *_, final = workstation.move(STUDY_MOVE, identifier("STUDY", {STUDY_UID: "1.2.1"}), "ORTHANC")
    assert (final.status, final.number(0x1021), final.number(0x1022)) == (0, 2, 0)
    keys = peer.ask("GET", "/instances")
    kept = {peer.ask("GET", f"/instances/{key}/simplified-tags")["SOPInstanceUID"]: key for key in keys}
    assert {"1.2.1.1.1", "1.2.1.1.2"} <= kept.keys()
    file = archive.folder / "from-orthanc.dcm"
    file.write_bytes(peer.ask("GET", f"/instances/{kept['1.2.1.1.1']}/file"))
    archive.must("signature", "verify", str(file), "--trust", str(archive.folder / "nodes" / "WS1" / "ca.pem"))


def test_orthanc_echoes_stores_and_hears_that_it_is_committed(archive, peer, tmp_path):
    peer.ask("POST", "/modalities/archive/echo", {})
    path = file_of(image(7, 1, 1), tmp_path / "object.dcm")
    key = peer.ask("POST", "/instances", path.read_bytes())["ID"]
    stored = peer.ask("POST", "/modalities/archive/store", {"Resources": [key], "StorageCommitment": True})
    transaction = stored["StorageCommitmentTransactionUID"]
    report = eventually(
        lambda: (told := peer.ask("GET", f"/storage-commitment/{transaction}"))["Status"] != "Pending" and told
    )
    assert report["Status"] == "Success" and report["Success"][0]["SOPInstanceUID"] == "1.2.7.1.1"
    asked = {"DicomInstances": [[CT, "1.2.7.1.1"], [CT, "9.9.9"]]}
    transaction = peer.ask("POST", "/modalities/archive/storage-commitment", asked)["ID"]
    report = eventually(
        lambda: (told := peer.ask("GET", f"/storage-commitment/{transaction}"))["Status"] != "Pending" and told
    )
    assert report["Status"] == "Failure"
    assert [(one["SOPInstanceUID"], one["FailureReason"]) for one in report["Failures"]] == [("9.9.9", 0x0112)]


def test_orthanc_names_nobody_and_so_finds_nothing(archive, peer):
    denied = len(archive.told("access-refused"))
    with pytest.raises(AssertionError, match=r"500|404|Internal"):
        peer.ask("POST", "/modalities/archive/query", {"Level": "Study", "Query": {"PatientID": "*"}})
    assert archive.told("access-refused")[denied]["action"] == "Query"


@pytest.fixture
def workstation(archive, tmp_path):
    """Does one thing with dcmjs-dimse, alice being at it; what came of it."""
    if not NODE_MODULES.is_dir():
        pytest.skip("needs dcmjs-dimse as peer: npm package, which scripts/test installs")
    script = Path(__file__).parents[1] / "simulators" / "dcmjs_dimse.js"

    def do(what, passcode=PASSCODE, **more):
        job = {"what": what, "port": archive.port, "title": "JS1", "user": ["alice", passcode]}
        job["node"] = str(archive.folder / "nodes" / "JS1")
        (tmp_path / "job.json").write_text(json.dumps(job | more))
        command = [program("node", "nodejs"), str(script), str(NODE_MODULES), str(tmp_path / "job.json")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads((tmp_path / "job.json.told").read_text())

    return do


def test_dcmjs_is_let_in_with_a_person_and_no_other_way(workstation):
    assert workstation("echo")["statuses"] == [0]
    refused = workstation("echo", passcode="wrong")
    assert refused["statuses"] == [] and refused["errors"][0][0] == "rejected"


def test_dcmjs_stores_finds_and_gets(archive, workstation, tmp_path):
    stored = workstation("store", file=str(file_of(image(8, 1, 1), tmp_path / "object.dcm")))
    assert stored["statuses"] == [0]
    found = workstation("find", keys={"StudyInstanceUID": "1.2.8", "PatientName": ""})
    assert [study["StudyInstanceUID"] for study in found["found"]] == ["1.2.8"] and found["statuses"][-1] == 0
    got = workstation("get", study="1.2.8")
    assert got["taken"] == ["1.2.8.1.1"] and got["statuses"] == [0xFF00, 0]


def test_dcmjs_moves_to_orthanc(workstation, peer):
    moved = workstation("move", study="1.2.1", destination="ORTHANC")
    assert moved["statuses"] == [0xFF00, 0xFF00, 0]
    assert workstation("move", study="1.2.1", destination="ELSEWHERE")["statuses"] == [0xA801]


def test_dcmjs_hears_on_the_same_association_what_is_committed(workstation):
    references = [[CT, "1.2.1.1.1"], [CT, "9.9.9"]]
    told = workstation("commit", transaction="1.2.3.4.5", references=references, linger=5000)
    assert told["statuses"] == [0]
    (report,) = told["reports"]
    assert report["TransactionUID"] == "1.2.3.4.5"
    assert [one["FailureReason"] for one in report["FailedSOPSequence"]] == [0x0112]
