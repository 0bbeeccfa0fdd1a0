"""Storage commitment over the wire, with pynetdicom as the one who asks (PS3.4 J)."""

import queue
import ssl
from collections.abc import Callable

import pytest
from pydicom import Dataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from pynetdicom import AE, evt
from pynetdicom.sop_class import StorageCommitmentPushModel

from tests.simulators.memory_archive import encoded, image
from tests.simulators.running_archive import RunningArchive, free_port
from tests.simulators.scu import CT, EXPLICIT, client_tls

INSTANCE = "1.2.840.10008.1.20.1.1"
MR = "1.2.840.10008.5.1.4.1.1.4"


class Modality:
    """Asks for commitment, and takes results: on the association that asked, or as a server of its own."""

    def __init__(self, archive: RunningArchive, title: str) -> None:
        self.archive, self.title = archive, title
        self.node = archive.folder / "nodes" / title
        self.reports: queue.Queue[tuple[int, Dataset]] = queue.Queue()
        self.status = 0x0000
        self.before_answering: Callable[[], None] | None = None
        self.ae = AE(ae_title=title)
        self.handlers = [(evt.EVT_N_EVENT_REPORT, self._told)]

    def _told(self, event):
        if self.before_answering is not None:
            self.before_answering()
        self.reports.put((event.request.EventTypeID, event.event_information))
        return self.status, None

    def ask(self, references, *, transaction=None, wait=0.0, action=1, instance=INSTANCE):
        """N-ACTION; its status, and what was told on the same association within so many seconds."""
        information = Dataset()
        information.TransactionUID = transaction or generate_uid()
        information.ReferencedSOPSequence = []
        for sop_class, uid in references:
            item = Dataset()
            item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, uid
            information.ReferencedSOPSequence.append(item)
        self.ae.requested_contexts = []
        self.ae.add_requested_context(StorageCommitmentPushModel, [ExplicitVRLittleEndian])
        tls = (client_tls(self.node), None)
        association = self.ae.associate(
            "127.0.0.1", self.archive.port, ae_title="STRONGROOM", tls_args=tls, evt_handlers=self.handlers
        )
        assert association.is_established
        try:
            status, _ = association.send_n_action(information, action, StorageCommitmentPushModel, instance)
            told = self.told(wait) if wait else None
        finally:
            association.release()
            association.join(30)
            if (left := association.dul.socket.socket) is not None:
                # pynetdicom leaves the socket of a peer that vanished to the collector.
                left.close()
        return status.Status, information.TransactionUID, told

    def told(self, seconds=30.0):
        """The next result."""
        return self.reports.get(timeout=seconds)

    def listening(self, port):
        """A server for results."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.node / "cert.pem", self.node / "key.pem")
        context.load_verify_locations(self.node / "ca.pem")
        context.verify_mode = ssl.CERT_REQUIRED
        server = AE(ae_title=self.title)
        server.add_supported_context(StorageCommitmentPushModel, scu_role=True, scp_role=True)
        return server.start_server(("127.0.0.1", port), block=False, ssl_context=context, evt_handlers=self.handlers)


def committed(information):
    return {str(item.ReferencedSOPInstanceUID) for item in information.get("ReferencedSOPSequence", [])}


def failed(information):
    return {str(item.ReferencedSOPInstanceUID): item.FailureReason for item in information.get("FailedSOPSequence", [])}


PORTS = {"CT2": free_port(), "CT3": free_port(), "CT4": free_port()}


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    archive = RunningArchive(tmp_path_factory.mktemp("commitment")).init()
    with archive.serving():
        archive.enrol("CT1", "modality")
        archive.enrol("CT2", "modality", port=PORTS["CT2"], commitment="new")
        archive.enrol("CT3", "modality", port=PORTS["CT3"])
        archive.enrol("CT4", "modality", port=PORTS["CT4"])
        archive.enrol("WS1", "radiologist", identity="optional")
        with archive.requestor("CT1", contexts=[(CT, [EXPLICIT])]) as modality:
            for number in (1, 2, 3):
                dataset = image(1, 1, number)
                assert modality.store(CT, dataset.SOPInstanceUID, encoded(dataset)).status == 0
        yield archive


def test_the_result_comes_on_the_same_association_while_it_lasts(archive):
    status, transaction, (event_type, information) = Modality(archive, "CT1").ask(
        [(CT, "1.2.1.1.1"), (CT, "1.2.1.1.2")], wait=30
    )
    assert (status, event_type) == (0, 1)
    assert information.TransactionUID == transaction and information.RetrieveAETitle == "STRONGROOM"
    assert committed(information) == {"1.2.1.1.1", "1.2.1.1.2"} and "FailedSOPSequence" not in information
    (told,) = archive.told("commitment-answered")
    assert told["actor"]["node"] == "CT1" and told["studies"][0]["sop_classes"] == {CT: 2}


def test_every_reference_is_in_the_result_with_the_reason_why_not(archive):
    _, _, (event_type, information) = Modality(archive, "CT1").ask(
        [(CT, "1.2.1.1.1"), (CT, "9.9.9"), (MR, "1.2.1.1.2"), ("1.2.3.4", "1.2.1.1.3")], wait=30
    )
    assert event_type == 2 and committed(information) == {"1.2.1.1.1"}
    assert failed(information) == {"9.9.9": 0x0112, "1.2.1.1.2": 0x0119, "1.2.1.1.3": 0x0122}


def test_the_result_comes_on_a_new_association_where_the_node_is_registered_so(archive):
    modality = Modality(archive, "CT2")
    server = modality.listening(PORTS["CT2"])
    try:
        status, transaction, _ = modality.ask([(CT, "1.2.1.1.1")])
        event_type, information = modality.told()
    finally:
        server.shutdown()
    assert (status, event_type, information.TransactionUID) == (0, 1, transaction)


def test_the_result_comes_on_a_new_association_where_the_first_is_over(archive):
    modality = Modality(archive, "CT3")
    server = modality.listening(PORTS["CT3"])
    try:
        modality.ask([(CT, "1.2.1.1.1")])
        _, information = modality.told()
    finally:
        server.shutdown()
    assert committed(information) == {"1.2.1.1.1"}


def test_a_transaction_uid_that_is_in_use_fails_every_reference_of_the_second_request(archive):
    modality = Modality(archive, "CT4")
    _, transaction, _ = modality.ask([(CT, "1.2.1.1.1")])
    _, _, (event_type, information) = modality.ask([(CT, "1.2.1.1.2")], transaction=transaction, wait=30)
    assert event_type == 2 and failed(information) == {"1.2.1.1.2": 0x0131}


def test_a_node_without_the_right_to_ask_is_given_no_context_and_told(archive):
    with archive.requestor("WS1", contexts=[(StorageCommitmentPushModel, [EXPLICIT])]) as workstation:
        assert workstation.accepted == {}
    assert archive.told("access-refused")[-1]["action"] == "Commit"


@pytest.mark.parametrize(
    ("references", "options", "status"),
    [
        ([(CT, "1.2.1.1.1")], {"action": 2}, 0x0123),
        ([(CT, "1.2.1.1.1")], {"instance": "1.2.3"}, 0x0112),
        ([], {}, 0x0115),
        ([(CT, "1.2.1.1.1"), (CT, "1.2.1.1.1")], {}, 0x0115),
    ],
    ids=["another action", "another instance", "no reference", "a reference twice"],
)
def test_a_request_that_is_none_is_not_taken(archive, references, options, status):
    assert Modality(archive, "CT1").ask(references, **options)[0] == status


@pytest.mark.parametrize("as_it_is_told", [False, True], ids=["before it is told", "while it is told"])
def test_a_result_that_nobody_took_when_the_archive_was_killed_is_told_after_a_restart(tmp_path, as_it_is_told):
    archive = RunningArchive(tmp_path).init()
    port = free_port()
    settings = archive.home / "strongroom.toml"
    settings.write_text(settings.read_text().replace("longest_pause_seconds = 1800.0", "longest_pause_seconds = 1"))
    with archive.serving():
        archive.enrol("CT1", "modality", port=port)
        with archive.requestor("CT1", contexts=[(CT, [EXPLICIT])]) as modality:
            modality.store(CT, "1.2.1.1.1", encoded(image(1, 1, 1)))
        asking = Modality(archive, "CT1")
        if as_it_is_told:
            asking.before_answering = archive.kill
            _, transaction, _ = asking.ask([(CT, "1.2.1.1.1")], wait=30)
            asking.before_answering = None
        else:
            _, transaction, _ = asking.ask([(CT, "1.2.1.1.1")])
            archive.kill()
    with archive.serving():
        server = asking.listening(port)
        try:
            event_type, information = asking.told(60)
        finally:
            server.shutdown()
    assert (event_type, information.TransactionUID) == (1, transaction)
