"""What was acknowledged survives the death of the process, at whatever moment it comes."""

import io
import random
import threading
import time

import pydicom
import pytest
from pydicom.uid import generate_uid

from tests.simulators.dicom_files import packaged
from tests.simulators.running_archive import RunningArchive
from tests.simulators.scu import CT, EXPLICIT, IMPLICIT, STUDY_GET, identifier

STUDY_UID = 0x0020000D
KILLS = 50


class Sender(threading.Thread):
    """Stores objects of one study until the archive dies; remembers what was acknowledged."""

    def __init__(self, archive, template, study):
        super().__init__()
        self.archive, self.template, self.study = archive, template, study
        self.series = generate_uid()
        self.acknowledged = {}

    def run(self):
        try:
            with self.archive.requestor("CT1", contexts=[(CT, [EXPLICIT])]) as modality:
                while True:
                    instance, data = self.another()
                    if modality.store(CT, instance, data).status == 0:
                        self.acknowledged[instance] = data
        except Exception:
            # The archive was killed under us: that is the test. What it had acknowledged is what counts.
            return

    def another(self):
        data_set = self.template
        data_set.StudyInstanceUID, data_set.SeriesInstanceUID = self.study, self.series
        data_set.SOPInstanceUID = generate_uid()
        stream = io.BytesIO()
        pydicom.dcmwrite(stream, data_set, implicit_vr=False, little_endian=True, enforce_file_format=False)
        return str(data_set.SOPInstanceUID), stream.getvalue()


def bare_data_set():
    (path,) = [path for path in packaged() if path.name == "CT_small.dcm"]
    data_set = pydicom.dcmread(path)
    bare = pydicom.Dataset()
    # Without trailing padding, so that the pixels are the last element and our signature follows them.
    bare.update({element.tag: element for element in data_set if element.tag != 0xFFFCFFFC})
    return bare


@pytest.mark.timeout(900)
def test_fifty_kills_during_stores_from_four_senders_lose_nothing_acknowledged(tmp_path):
    archive = RunningArchive(tmp_path).init()
    archive.node("CT1", "modality")
    archive.node("WS1", "radiologist")
    alice = archive.person("alice", "radiologist")
    moment = random.Random(2)
    acknowledged = {}
    for _ in range(KILLS):
        archive.start()
        senders = [Sender(archive, bare_data_set(), generate_uid()) for _ in range(4)]
        for sender in senders:
            sender.start()
        waited = time.monotonic() + 20
        while not any(sender.acknowledged for sender in senders) and time.monotonic() < waited:
            time.sleep(0.01)
        time.sleep(moment.uniform(0.0, 0.3))
        archive.kill()
        for sender in senders:
            sender.join()
            acknowledged[sender.study] = sender.acknowledged
    assert sum(map(len, acknowledged.values())) >= KILLS
    with archive.serving():
        contexts = [(STUDY_GET, [IMPLICIT]), (CT, [EXPLICIT])]
        with archive.requestor("WS1", user=alice, contexts=contexts, scp_roles=(CT,)) as workstation:
            for study, sent in acknowledged.items():
                if not sent:
                    continue
                objects, responses = workstation.get(STUDY_GET, identifier("STUDY", {STUDY_UID: study}))
                assert responses[-1].status == 0
                fetched = {message.fields[0x1000].rstrip(b"\0").decode(): message.data for message in objects}
                assert set(sent) <= set(fetched)
                for instance, data in sent.items():
                    # The signature lies behind 4FFE,0001; everything before it is as it was sent.
                    head = data.index(b"\xe0\x7f\x10\x00")
                    assert fetched[instance].startswith(data[:head])
                    assert data[head:] in fetched[instance]
    archive.must("verify", "--full")
    stored = [record for record in archive.trail() if record["kind"] == "instance-stored"]
    told = {record["facts"]["sop_instance_uid"] for record in stored if record["facts"]["outcome"] == 0}
    assert {instance for sent in acknowledged.values() for instance in sent} <= told
