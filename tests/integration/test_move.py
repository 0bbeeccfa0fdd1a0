"""C-MOVE over the wire: to registered nodes alone, each who its certificate says, with objects that it may receive."""

import base64
import contextlib
import itertools
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pydicom
import pytest

from auth.node.pem import read_certificate
from tests.simulators.memory_archive import encoded, image
from tests.simulators.peers import storescp
from tests.simulators.running_archive import RunningArchive, free_port
from tests.simulators.scu import CT, EXPLICIT, IMPLICIT, STUDY_MOVE, Requestor, User, identifier

STUDY_UID = 0x0020000D
KINDS = ("transfer-begun", "instances-transferred", "access-refused", "query-performed")


def counters(message):
    return tuple(message.number(element) for element in (0x1020, 0x1021, 0x1022, 0x1023))


@pytest.fixture(scope="module")
def hospital(tmp_path_factory):
    """One archive with three studies of three objects, a radiologist at a workstation, and nodes to move to."""
    archive = RunningArchive(tmp_path_factory.mktemp("hospital")).init()
    ports = {title: free_port() for title in ("PACS2", "CT2", "AWAY", "GUARDED", "OLD")}
    with archive.serving():
        archive.enrol("CT1", "modality")
        archive.enrol("WS1", "radiologist")
        archive.enrol("PACS2", "radiologist", port=ports["PACS2"])
        archive.enrol("CT2", "modality", port=ports["CT2"])
        archive.enrol("AWAY", "radiologist", port=ports["AWAY"])
        archive.enrol("GUARDED", "radiologist", port=ports["GUARDED"])
        archive.enrol("OLD", "radiologist", port=ports["OLD"], trust="plain")
        archive.enrol("IMPOSTOR", "radiologist")
        people = {name: archive.employ(name, role) for name, role in (("alice", "radiologist"), ("bob", "researcher"))}
        with archive.requestor("CT1", contexts=[(CT, [EXPLICIT])]) as modality:
            for study, number in itertools.product((1, 2, 3), repeat=2):
                dataset = image(study, 1, number)
                assert modality.store(CT, dataset.SOPInstanceUID, encoded(dataset)).status == 0
        yield Hospital(archive, ports, people)


@dataclass
class Hospital:
    archive: RunningArchive
    ports: dict[str, int]
    people: dict[str, User]

    def workstation(self, who: str = "alice") -> Requestor:
        return self.archive.requestor("WS1", user=self.people[who], contexts=[(STUDY_MOVE, [IMPLICIT])])

    def move(self, destination: str, study: str = "1.2.1", who: str = "alice"):
        """Move a study; the responses, and what that added to the audit trail, by kind."""
        before = {kind: len(self.archive.told(kind)) for kind in KINDS}
        with self.workstation(who) as requestor:
            responses = requestor.move(STUDY_MOVE, identifier("STUDY", {STUDY_UID: study}), destination)
        return responses, {kind: self.archive.told(kind)[before[kind] :] for kind in KINDS}

    @contextlib.contextmanager
    def scp(self, title: str, *options: str, material: str | None = None):
        """DCMTK's storescp as a node, or with another's certificate; the folder that it writes to."""
        node = self.archive.folder / "nodes" / (material or title)
        with storescp(node, self.ports[title], self.archive.folder / f"taken-{uuid4().hex}", *options) as folder:
            yield folder


def received(folder: Path):
    return sorted(str(pydicom.dcmread(path).SOPInstanceUID) for path in folder.iterdir() if path.is_file())


def test_a_study_goes_to_a_registered_node_over_tls(hospital):
    with hospital.scp("PACS2", "-d") as folder:
        (*pending, final), told = hospital.move("PACS2")
        assert received(folder) == ["1.2.1.1.1", "1.2.1.1.2", "1.2.1.1.3"]
    assert [counters(message) for message in pending] == [(2, 1, 0, 0), (1, 2, 0, 0), (0, 3, 0, 0)]
    assert (final.status, counters(final), final.data) == (0, (None, 3, 0, 0), b"")
    said = folder.with_suffix(".log").read_text()
    assert "Move Originator AE Title      : WS1" in said and "Move Originator ID            : 1" in said
    (begun,), (ended,) = told["transfer-begun"], told["instances-transferred"]
    for facts in (begun, ended):
        assert (facts["destination"], facts["destination_node"]) == ("PACS2", "PACS2")
        assert facts["actor"]["person"] == "alice" and facts["actor"]["node"] == "WS1"
    sent = pydicom.dcmread(next(path for path in folder.iterdir() if path.is_file()))
    assert len(sent.DigitalSignaturesSequence) == 1


def test_a_destination_that_takes_only_implicit_vr_gets_that(hospital):
    with hospital.scp("PACS2", "+xi") as folder:
        (*_, final), _ = hospital.move("PACS2", "1.2.2")
        files = [pydicom.dcmread(path) for path in folder.iterdir() if path.is_file()]
    assert (final.status, counters(final)) == (0, (None, 3, 0, 0))
    assert {file.file_meta.TransferSyntaxUID for file in files} == {IMPLICIT}
    assert sorted(file.SOPInstanceUID for file in files) == ["1.2.2.1.1", "1.2.2.1.2", "1.2.2.1.3"]


def test_a_cancel_ends_it_with_what_remains(hospital):
    with hospital.scp("PACS2") as folder, hospital.workstation() as requestor:
        requestor.begin(STUDY_MOVE, 0x21, identifier("STUDY", {STUDY_UID: "1.2.1\\1.2.2\\1.2.3"}), "PACS2")
        requestor.cancel(STUDY_MOVE)
        responses = [requestor.receive()]
        while responses[-1].status == 0xFF00:
            responses.append(requestor.receive())
    remaining, completed, failed, warning = counters(responses[-1])
    assert responses[-1].status == 0xFE00 and responses[-1].data == b""
    assert (remaining + completed, failed, warning) == (9, 0, 0) and completed == len(received(folder))


def test_a_destination_that_is_not_registered_is_a801_and_told(hospital):
    for title in ("ELSEWHERE", "WS1", "127.0.0.1"):
        (final,), told = hospital.move(title)
        assert (final.status, final.data) == (0xA801, b"")
        assert [facts["outcome"] for facts in told["query-performed"]] == [4]


def test_a_destination_that_may_receive_nothing_is_0124(hospital):
    (final,), told = hospital.move("CT2")
    assert final.status == 0x0124
    (denied,) = told["access-refused"]
    assert (denied["action"], denied["actor"]["person"]) == ("Receive", "alice")


def test_who_may_not_move_is_given_no_context_for_it_and_told(hospital):
    before = len(hospital.archive.told("access-refused"))
    with hospital.workstation("bob") as requestor:
        assert requestor.accepted == {}
    assert [facts["action"] for facts in hospital.archive.told("access-refused")[before:]] == ["Move"]


def test_a_destination_that_is_away_fails_every_object_and_lists_them(hospital):
    (*pending, final), told = hospital.move("AWAY")
    assert [counters(message) for message in pending] == [(2, 0, 1, 0), (1, 0, 2, 0), (0, 0, 3, 0)]
    assert (final.status, counters(final)) == (0xA702, (None, 0, 3, 0))
    assert final.data.count(b"1.2.1.1.") == 3
    (ended,) = told["instances-transferred"]
    assert ended["outcome"] == 4 and "could not be reached" in ended["reason"]


def test_another_node_at_the_destinations_address_hears_nothing_of_us(hospital):
    with hospital.scp("GUARDED", "-d", material="IMPOSTOR") as folder:
        (*_, final), told = hospital.move("GUARDED")
        assert received(folder) == []
    assert final.status == 0xA702
    assert "GUARDED" not in folder.with_suffix(".log").read_text()
    (ended,) = told["instances-transferred"]
    assert "another node answered" in ended["reason"]


def test_a_destination_without_tls_is_reached_only_where_that_is_switched_on(hospital):
    (*_, final), told = hospital.move("OLD")
    assert final.status == 0xA702
    (ended,) = told["instances-transferred"]
    assert "without TLS" in ended["reason"]


def test_another_archive_takes_what_is_moved_to_it(hospital, tmp_path):
    second = RunningArchive(tmp_path).init()
    # Each knows the other by its server's certificate, byte for byte.
    with second.serving():
        for here, there, role in ((hospital.archive, second, "radiologist"), (second, hospital.archive, "modality")):
            certificate = base64.b64encode(read_certificate(there.home / "pki" / "server.pem")).decode()
            here.enrol("STRONGROOM", role, port=there.port, trust="pinned", certificate=certificate)
        (*_, final), _ = hospital.move("STRONGROOM")
        stored = second.told("instance-stored")
    assert (final.status, counters(final)) == (0, (None, 3, 0, 0))
    assert [facts["outcome"] for facts in stored] == [0, 0, 0]
    assert second.strongroom("verify", "--full").returncode == 0
