"""What an operator deletes, holds, brings back and erases, and an index made anew beside people who ask."""

import json
import subprocess
import sys
import threading
import time

import pytest

from tests.simulators.index_dump import index_dump
from tests.simulators.memory_archive import encoded, image
from tests.simulators.scu import CT, EXPLICIT, IMPLICIT, STUDY_FIND, STUDY_GET, identifier

STUDY_UID = 0x0020000D
CONTEXTS = [(STUDY_FIND, [IMPLICIT]), (STUDY_GET, [IMPLICIT]), (CT, [EXPLICIT])]


@pytest.fixture
def alice(archive):
    archive.node("CT1", "modality")
    archive.node("WS1", "radiologist")
    return archive.person("alice", "radiologist")


def store(archive, *objects):
    with archive.requestor("CT1", contexts=[(CT, [EXPLICIT])]) as modality:
        return [modality.store(CT, made.SOPInstanceUID, encoded(made)).status for made in objects]


def found(archive, user):
    """Study UIDs that a person finds, or the status that says why none."""
    with archive.requestor("WS1", user=user, contexts=CONTEXTS, scp_roles=(CT,)) as peer:
        matches, final = peer.find(STUDY_FIND, identifier("STUDY", {STUDY_UID: ""}))
    return len(matches) if final.status == 0 else hex(final.status)


def objects(archive):
    return [path for path in (archive.home / "blobs" / "objects").rglob("*") if path.is_file()]


def test_a_study_is_deleted_restored_held_and_erased_and_the_audit_knows_each(archive, alice):
    assert store(archive, image(1), image(1, number=2), image(2)) == [0, 0, 0]
    study = image(1).StudyInstanceUID
    assert "2 objects deleted" in archive.must("study", "delete", study, "--reason", "safety")
    assert found(archive, alice) == 1 and len(objects(archive)) == 3
    assert store(archive, image(1)) == [0x0111]
    assert "2 objects restored" in archive.must("study", "restore", study)
    assert found(archive, alice) == 2
    archive.must("study", "hold", study, "--reason", "a court asks")
    refused = archive.strongroom("study", "delete", study, "--reason", "expired")
    assert refused.returncode == 2 and "E216" in refused.stderr and "release" in refused.stderr
    assert [row["held"] for row in json.loads(archive.must("study", "list", "--json"))] == [False, True]
    archive.must("study", "release", study, "--reason", "settled")
    one = image(1).SOPInstanceUID
    assert "1 objects deleted" in archive.must("study", "delete", study, "--instance", one, "--reason", "quality")
    archive.must("study", "delete", study, "--reason", "expired")
    assert "2 objects erased" in archive.must("study", "erase", study)
    assert len(objects(archive)) == 1 and found(archive, alice) == 1
    told = [record for record in archive.trail() if record["kind"] in ("study-deleted", "instances-deleted")]
    assert [(record["kind"], record["facts"]["reason"]) for record in told] == [
        ("study-deleted", "Rejected for Patient Safety Reasons"),
        ("instances-deleted", "Rejected for Quality Reasons"),
        ("study-deleted", "Data Retention Policy Expired"),
        ("study-deleted", "2 objects erased: their keys are destroyed"),
    ]
    assert all(record["facts"]["actor"]["os_user"] for record in told)
    assert told[0]["facts"]["study"]["patient_id"] == "P1"
    assert told[0]["facts"]["study"]["sop_classes"] == {CT: 2}
    archive.must("verify", "--full")
    archive.stop()
    archive.must("verify", "--full")
    before = index_dump(archive.paths()["index"])
    archive.must("rebuild")
    assert index_dump(archive.paths()["index"]) == before
    archive.must("verify", "--full")


def test_a_server_that_makes_its_index_anew_puts_people_off_until_it_is_complete(archive, alice):
    assert set(store(archive, *(image(study) for study in range(1, 61)))) == {0}
    archive.must("study", "label", image(1).StudyInstanceUID, "restricted")
    archive.must("study", "delete", image(2).StudyInstanceUID, "--reason", "safety")
    assert found(archive, alice) == 58
    answers = []
    over = threading.Event()

    def ask():
        while not over.is_set():
            answers.append(found(archive, alice))
            if answers[-1] == "0xa700":
                # A reading that ends in the middle would be an answer as well.
                answers.extend(hex(status) for status in store(archive, image(99)) if status)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        for _ in range(6):
            assert archive.must("rebuild").startswith("index rebuilt from ")
    finally:
        over.set()
        asking.join()
    # Nobody ever got a part of it; what was stored in between is one more.
    assert set(answers) <= {58, 59, "0xa700"} and "0xa700" in answers
    assert found(archive, alice) in (58, 59)
    archive.must("verify", "--full")


def test_a_rebuild_that_is_killed_begins_again_while_the_next_server_listens(archive, alice):
    assert set(store(archive, *(image(study) for study in range(1, 41)))) == {0}
    before = index_dump(archive.paths()["index"])
    archive.stop()
    for moment in (0.5, 1.0, 1.5):
        command = [sys.executable, "-m", "archive", "rebuild", "--home", str(archive.home)]
        rebuilding = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(moment)
        rebuilding.kill()
        rebuilding.wait()
    archive.start()
    deadline = time.monotonic() + 60
    while (answer := found(archive, alice)) == "0xa700" and time.monotonic() < deadline:
        time.sleep(0.1)
    assert answer == 40
    archive.stop()
    assert index_dump(archive.paths()["index"]) == before
    archive.must("verify", "--full")
