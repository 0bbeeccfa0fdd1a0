"""Hanging protocols, palettes and implants over the wire: kept, found, fetched and moved by administrators, and there
again after a rebuild."""

import base64
from io import BytesIO

import pydicom
import pytest

from auth.node.pem import read_certificate
from tests.simulators import definitions
from tests.simulators.definitions import hanging_protocol, implant, palette
from tests.simulators.index_dump import index_dump
from tests.simulators.memory_archive import encoded
from tests.simulators.running_archive import RunningArchive, free_port
from tests.simulators.scu import EXPLICIT, IMPLICIT, element

CLASSES = (definitions.HANGING_PROTOCOL, definitions.PALETTE, definitions.IMPLANT)
SERVICES = (
    *(definitions.HANGING_FIND, definitions.HANGING_GET, definitions.HANGING_MOVE),
    *(definitions.PALETTE_FIND, definitions.PALETTE_GET),
)
PEOPLE = {"ann": "administrator", "rob": "radiologist"}
CONTEXTS = [(uid, [EXPLICIT]) for uid in CLASSES] + [(uid, [IMPLICIT]) for uid in SERVICES]


def keys(**values):
    tags = {"uid": (0x0008, 0x0018), "name": (0x0072, 0x0002)}
    return b"".join(element(*tags[key], text.encode()) for key, text in values.items())


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    archive = RunningArchive(tmp_path_factory.mktemp("definitions")).init()
    with archive.serving():
        archive.enrol("ADMIN", "administrator")
        archive.enrol("VIEWER", "radiologist", port=free_port())
        archive.enrol("WS1", "radiologist", "administrator")
        archive.users = {name: archive.employ(name, role) for name, role in PEOPLE.items()}
        with archive.requestor("ADMIN", user=archive.users["ann"], contexts=CONTEXTS) as administrator:
            for dataset in (hanging_protocol(1), hanging_protocol(2), palette(1), implant(1)):
                stored = administrator.store(str(dataset.SOPClassUID), str(dataset.SOPInstanceUID), encoded(dataset))
                assert stored.status == 0
        yield archive


def test_an_administrator_finds_and_fetches_them_signed(archive):
    options = {"user": archive.users["ann"], "contexts": CONTEXTS, "scp_roles": CLASSES}
    with archive.requestor("ADMIN", **options) as administrator:
        found, final = administrator.find(definitions.HANGING_FIND, keys(uid="", name="CHEST*"))
        assert (len(found), final.status) == (2, 0) and b"CHEST 2" in found[1]
        (message,), responses = administrator.get(definitions.PALETTE_GET, keys(uid="1.2.826.39.1"))
    assert responses[-1].status == 0
    kept = pydicom.dcmread(BytesIO(message.data), force=True)
    assert kept.ContentLabel == "HOT_1" and len(kept.DigitalSignaturesSequence) == 1


def test_they_are_moved_to_a_node_that_may_receive_them_and_to_no_other(archive, tmp_path):
    second = RunningArchive(tmp_path).init()
    with second.serving():
        # Each knows the other by its server's certificate; nobody is at either when it sends or receives.
        for here, there in ((archive, second), (second, archive)):
            certificate = base64.b64encode(read_certificate(there.home / "pki" / "server.pem")).decode()
            more = {"trust": "pinned", "certificate": certificate, "identity": "none"}
            here.enrol("STRONGROOM", "administrator", port=there.port, **more)
        with archive.requestor("ADMIN", user=archive.users["ann"], contexts=CONTEXTS) as administrator:
            wanted = keys(uid="1.2.826.38.1\\1.2.826.38.2")
            *_, moved = administrator.move(definitions.HANGING_MOVE, wanted, "STRONGROOM")
            *_, refused = administrator.move(definitions.HANGING_MOVE, wanted, "VIEWER")
        stored = second.told("instance-stored")
    assert (moved.status, refused.status) == (0, 0x0124)
    assert [facts["study"]["sop_classes"] for facts in stored] == [{definitions.HANGING_PROTOCOL: 1}] * 2


def test_a_radiologist_is_given_no_context_for_them(archive):
    with archive.requestor("WS1", user=archive.users["rob"], contexts=CONTEXTS) as workstation:
        assert workstation.accepted == {}
    assert {facts["action"] for facts in archive.told("access-refused")[-4:]} == {"Store", "Query", "Retrieve", "Move"}


def test_they_are_in_ledger_and_audit_and_there_again_after_a_rebuild(archive):
    stored = archive.told("instance-stored")
    assert [facts["study"]["study_uid"] for facts in stored] == [CLASSES[0], CLASSES[0], CLASSES[1], CLASSES[2]]
    assert archive.strongroom("verify", "--full").returncode == 0
    before = index_dump(archive.paths()["index"])
    archive.must("rebuild")
    assert index_dump(archive.paths()["index"]) == before
    assert archive.strongroom("verify", "--full").returncode == 0
