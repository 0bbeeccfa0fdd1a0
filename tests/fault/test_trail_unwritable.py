"""The audit trail cannot be written any more, in the middle of the day: protected data does not move from then on.

The system calls on the trail's segment fail as they do on a full or a broken disk (injected by strace), under a real
server with real peers.
"""

import contextlib
import json
import shutil

import pytest

from tests.simulators.dicom_files import packaged, read, valid
from tests.simulators.running_archive import RunningArchive
from tests.simulators.scu import CT, EXPLICIT, IMPLICIT, STUDY_FIND, Refused, identifier

STUDY_UID, PATIENT_ID = 0x0020000D, 0x00100020
STRACE = shutil.which("strace")
CLOSED = (Refused, OSError)


def the_ct():
    (path,) = [path for path in packaged() if path.name == "CT_small.dcm"]
    file = valid(read(path))
    assert file is not None
    return file


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    """An archive with a modality and a station, stopped; and the person at the station."""
    if STRACE is None:
        pytest.skip("needs strace to see system calls: Debian package strace, which scripts/test installs")
    archive = RunningArchive(tmp_path_factory.mktemp("house")).init()
    archive.node("CT1", "modality")
    archive.node("WS1", "radiologist")
    return archive, archive.person("alice", "radiologist")


def start_failing(archive, call, error, after):
    """Serve; from its ``after``-th such call on the trail's segment on, that call fails."""
    (segment,) = archive.paths()["trail"].glob("*.trail")
    inject = f"inject={call}:error={error}:when={after}+"
    archive.start((STRACE, "-f", "-o", "/dev/null", "-P", str(segment), "-e", f"trace={call}", "-e", inject))


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("call", "error"), [("write", "ENOSPC"), ("fdatasync", "EIO")])
def test_protected_data_does_not_move_once_the_trail_cannot_be_written(house, call, error):
    file = the_ct()
    archive, alice = house
    query = identifier("STUDY", {PATIENT_ID: "", STUDY_UID: ""})
    start_failing(archive, call, error, after=20)
    stored = 0
    with archive.requestor("WS1", contexts=[(STUDY_FIND, [IMPLICIT])], user=alice) as station:
        with contextlib.suppress(*CLOSED):
            for _ in range(40):
                with archive.requestor("CT1", contexts=[(CT, [EXPLICIT])]) as modality:
                    if modality.store(CT, file.instance, file.data).status != 0:
                        break
                stored += 1
                found, response = station.find(STUDY_FIND, query)
                if response.status != 0:
                    break
                assert len(found) == 1
        assert 0 < stored < 40, "it worked before, and not any more"
        # 1 Whoever is in finds nothing any more, even if nothing is wrong with the index.
        found = []
        with contextlib.suppress(*CLOSED):
            found, response = station.find(STUDY_FIND, query)
            assert response.status >= 0xA700
        assert found == []
    # 2 Nobody else gets in.
    with pytest.raises(CLOSED), archive.requestor("WS1", contexts=[(STUDY_FIND, [IMPLICIT])], user=alice):
        pass
    archive.stop()
    # 3 What was recorded is whole, but for a torn end, which the next start cuts off and tells of.
    report = json.loads(archive.strongroom("audit", "verify", "--json").stdout)
    assert all(fault.startswith("E112 ") for fault in report["faults"])
    with archive.serving(), archive.requestor("CT1", contexts=[(CT, [EXPLICIT])]) as modality:
        assert modality.store(CT, file.instance, file.data).status == 0
    archive.must("verify", "--full")
