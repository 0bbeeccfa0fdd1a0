"""Which objects are said to be committed, and what somebody learns of those that they may not ask about."""

import itertools
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from archive.audit.events import AccessRefused, CommitmentAnswered, SecurityAlert
from archive.dimse.channel import AcceptedContext
from archive.dimse.commitment_messages import decode_action, encode_result
from archive.dimse.outbox import Outbox
from archive.dimse.results import Patience, ResultDeliverer
from archive.dimse.sop_classes import STORAGE, STORAGE_COMMITMENT
from archive.errors import AuditUnavailable, NodeUnreachable
from archive.records.commitments import CommitmentRecords
from archive.services.commitment import CommitmentResult, CommitmentService, Failure, Reference
from archive.upper_layer.commands import CommandSet, Element, Field
from auth.errors import AccessDenied
from auth.ports import CommitmentReply, NodeRecord
from storage.errors import DataSetMismatch, ObjectMissing, StorageError, StoreNotReady
from storage.transfer_syntax import EXPLICIT_BIG, EXPLICIT_LITTLE, IMPLICIT_LITTLE
from tests.simulators.clock import Clock
from tests.simulators.memory_archive import CT, World, decoded, encoded, image
from tests.simulators.memory_channel import MemoryChannel
from tests.simulators.records import MemoryDatabase
from tests.simulators.subjects import node

POLICIES = Path(__file__).parents[4] / "config" / "policies"
NOW = datetime(2026, 11, 27, tzinfo=UTC)
MR = "1.2.840.10008.5.1.4.1.1.4"
# A modality that may ask about CT studies that nobody has labelled secret.
NARROW = """
@id("narrow")
@reason("commitment of what is not secret")
permit (principal in Role::"modality", action == Action::"Commit", resource)
unless { resource.labels.contains("secret") };
"""


@pytest.fixture
def clock():
    return Clock(NOW)


@pytest.fixture
def world(tmp_path):
    policies = tmp_path / "policies"
    policies.mkdir()
    for path in [*POLICIES.glob("*.cedar"), *POLICIES.glob("*.cedarschema")]:
        text = path.read_text()
        if path.name == "roles.cedar":
            text = text.replace('Action::"Store", Action::"Commit"', 'Action::"Store"') + NARROW
        (policies / path.name).write_text(text)
    world = World(tmp_path, policies)
    world.keep(image(1, 1, 1), image(1, 1, 2), image(2))
    world.label("1.2.2", "secret")
    world.queue = CommitmentRecords(MemoryDatabase())
    world.unregistered = set()
    yield world
    world.close()


@pytest.fixture
def service(world, clock):
    class Opens:
        """As the repository: an object is opened in its own syntax."""

        def open(self, instance):
            return world.repository.open(instance, instance.transfer_syntax)

    return CommitmentService(world.reader, Opens(), world.pep, world.trail, world.queue, supported=STORAGE, clock=clock)


@pytest.fixture
def session(world):
    return world.admit(node("modality", name="CT1"))


def ask(service, session, *references, transaction="1.9"):
    return service.ask(session, STORAGE_COMMITMENT, transaction, [Reference(*pair) for pair in references])


def settle(service, world, clock):
    (pending,) = world.queue.due(clock(), 10)
    return service.settle(pending)


def reasons(result):
    return {one.sop_instance_uid: reason for one, reason in result.failed}


def test_what_is_there_and_reads_back_is_committed(world, service, session, clock):
    ask(service, session, (CT, "1.2.1.1.1"), (CT, "1.2.1.1.2"))
    result = settle(service, world, clock)
    assert [one.sop_instance_uid for one in result.committed] == ["1.2.1.1.1", "1.2.1.1.2"] and not result.failed
    (told,) = [event for event in world.trail.events if isinstance(event, CommitmentAnswered)]
    assert told.studies[0].patient_id == "P1" and told.studies[0].sop_classes == {CT: 2}
    assert world.repository.open_objects == 0


def test_nobody_learns_of_what_they_may_not_ask_about(world, service, session, clock):
    ask(service, session, (CT, "1.2.2.1.1"), (MR, "1.2.2.1.1.0"), (CT, "9.9"))
    result = settle(service, world, clock)
    assert set(reasons(result).values()) == {Failure.NO_SUCH_INSTANCE}
    assert [event.study_uid for event in world.trail.events if isinstance(event, AccessRefused)] == ["1.2.2"]
    ask(service, session, (MR, "1.2.2.1.1"), transaction="1.8")
    world.queue.done(1)
    assert reasons(settle(service, world, clock)) == {"1.2.2.1.1": Failure.NO_SUCH_INSTANCE}


def test_each_reason(world, service, session, clock):
    world.repository.damaged = frozenset({"1.2.1.1.2"})
    ask(service, session, (MR, "1.2.1.1.1"), ("1.2.3", "1.2.1.1.1.9"), (CT, "9.9"), (CT, "1.2.1.1.2"))
    assert reasons(settle(service, world, clock)) == {
        "1.2.1.1.1": 0x0119,
        "1.2.1.1.1.9": 0x0122,
        "9.9": 0x0112,
        "1.2.1.1.2": 0x0110,
    }
    assert [event.study_uid for event in world.trail.events if isinstance(event, SecurityAlert)] == ["1.2.1"]


@pytest.mark.parametrize(("error", "reason"), [(ObjectMissing(""), 0x0112), (StorageError(""), 0x0213)])
def test_an_object_that_cannot_be_read_back_is_not_committed(world, service, session, clock, error, reason):
    world.repository.fails["open"] = error
    ask(service, session, (CT, "1.2.1.1.1"))
    assert reasons(settle(service, world, clock)) == {"1.2.1.1.1": reason}


def test_a_store_that_is_not_ready_is_asked_again_later(world, service, session, clock):
    world.repository.fails["open"] = StoreNotReady("")
    ask(service, session, (CT, "1.2.1.1.1"))
    with pytest.raises(StoreNotReady):
        settle(service, world, clock)
    world.repository.fails.clear()
    assert len(settle(service, world, clock).committed) == 1


def test_a_second_request_under_a_transaction_uid_in_use_fails_whole(world, service, session, clock):
    ask(service, session, (CT, "1.2.1.1.1"))
    ask(service, session, (CT, "1.2.1.1.1"), (CT, "1.2.1.1.2"))
    first, second = world.queue.due(clock(), 10)
    assert not service.settle(first).failed
    assert set(reasons(service.settle(second)).values()) == {0x0131}
    assert world.queue.in_use("CT1", "1.9") and not world.queue.in_use("CT2", "1.9")


def test_who_may_ask_about_nothing_is_denied_and_nothing_is_kept(world, service, clock):
    with pytest.raises(AccessDenied):
        ask(service, world.admit(node("radiologist")), (CT, "1.2.1.1.1"))
    assert world.queue.due(clock(), 10) == []


def test_a_result_is_found_once_and_told_the_same_ever_after(world, service, session, clock):
    ask(service, session, (CT, "1.2.1.1.1"))
    result = settle(service, world, clock)
    world.repository.damaged = frozenset({"1.2.1.1.1"})
    assert settle(service, world, clock) == result
    assert world.trail.kinds().count("commitment-answered") == 1


def test_nobody_is_told_what_the_audit_was_not(world, service, session, clock):
    ask(service, session, (CT, "1.2.1.1.1"))
    world.trail.broken = True
    with pytest.raises(AuditUnavailable):
        settle(service, world, clock)
    (pending,) = world.queue.due(clock(), 10)
    assert pending.result is None


class Away:
    """Nobody ever answers."""

    def __init__(self):
        self.tried = 0

    def associate(self, record, proposal):
        self.tried += 1
        raise NodeUnreachable("no connection")


@pytest.fixture
def away():
    return Away()


@pytest.fixture
def deliverer(world, service, away, clock):
    class Nodes:
        reply = CommitmentReply.SAME

        def node(self, name):
            if name in world.unregistered:
                return None
            return NodeRecord(node("modality", name=name), host="127.0.0.1", port=1, commitment=self.reply)

    return ResultDeliverer(service, world.queue, Nodes(), away, "STRONGROOM", clock=clock, patience=Patience())


def attend(deliverer, world, clock):
    for pending in world.queue.due(clock(), 10):
        deliverer._attend(pending)


def test_a_result_is_tried_for_a_day_with_longer_and_longer_pauses_and_then_given_up(
    world, service, session, deliverer, away, clock
):
    ask(service, session, (CT, "1.2.1.1.1"))
    tries = []
    while world.queue.in_use("CT1", "1.9"):
        before = away.tried
        attend(deliverer, world, clock)
        if away.tried > before:
            tries.append(clock.now - NOW)
        clock.now += timedelta(seconds=10)
    pauses = [(late - early).total_seconds() for early, late in itertools.pairwise(tries)]
    assert pauses[:4] == [10, 20, 40, 80] and max(pauses) == 1800
    assert timedelta(hours=23) < tries[-1] <= timedelta(hours=24)
    (alert,) = [event for event in world.trail.events if isinstance(event, SecurityAlert)]
    assert "could not be delivered" in alert.description


def response(status=0, number=1):
    return CommandSet.build(
        {
            Element.FIELD: Field.N_EVENT_REPORT_RSP,
            Element.MESSAGE_ID_RESPONDED_TO: number,
            Element.DATA_SET_TYPE: 0x0101,
            Element.STATUS: status,
        }
    )


@pytest.mark.parametrize(("answer", "left"), [(response(), 0), (response(0x0110), 1), (None, 1)])
def test_on_the_same_association_a_result_is_done_once_it_was_taken(
    world, service, session, deliverer, away, clock, answer, left
):
    context = AcceptedContext(3, STORAGE_COMMITMENT, IMPLICIT_LITTLE)
    channel = MemoryChannel(session, context)
    deliverer.asked(ask(service, session, (CT, "1.2.1.1.1")), channel, context)
    attend(deliverer, world, clock)
    (report,) = channel.posted
    assert report.context_id == 3 and away.tried == 0 and world.queue.due(clock(), 10) == []
    assert decoded(report.data, IMPLICIT_LITTLE).TransactionUID == "1.9"
    report.answered(answer)
    assert len(world.queue.due(clock(), 10)) == left


def test_an_association_that_is_over_sends_the_result_another_way(world, service, session, deliverer, away, clock):
    context = AcceptedContext(3, STORAGE_COMMITMENT, EXPLICIT_LITTLE)
    channel = MemoryChannel(session, context)
    channel.over = True
    deliverer.asked(ask(service, session, (CT, "1.2.1.1.1")), channel, context)
    attend(deliverer, world, clock)
    assert away.tried == 1


def test_a_node_that_is_registered_no_more_is_told_nothing_on_the_association_that_it_had(
    world, service, session, deliverer, away, clock
):
    context = AcceptedContext(3, STORAGE_COMMITMENT, EXPLICIT_LITTLE)
    channel = MemoryChannel(session, context)
    deliverer.asked(ask(service, session, (CT, "1.2.1.1.1")), channel, context)
    world.unregistered.add("CT1")
    attend(deliverer, world, clock)
    world.unregistered.clear()
    clock.now += timedelta(seconds=10)
    attend(deliverer, world, clock)
    assert not channel.posted and away.tried == 1


def test_a_result_left_to_an_association_that_a_crash_ended_is_due_at_the_next_start(
    world, service, session, deliverer, away, clock
):
    context = AcceptedContext(3, STORAGE_COMMITMENT, EXPLICIT_LITTLE)
    deliverer.asked(ask(service, session, (CT, "1.2.1.1.1")), MemoryChannel(session, context), context)
    attend(deliverer, world, clock)
    assert world.queue.due(clock(), 10) == []
    # No answer, and no end of the association: the process was killed.
    world.queue.recalled(clock())
    attend(deliverer, world, clock)
    assert away.tried == 1
    # What was tried in vain keeps its pause, however often somebody starts the archive again.
    world.queue.recalled(clock())
    assert world.queue.due(clock(), 10) == []


def test_an_outbox_tells_everybody_that_no_answer_will_come():
    outbox, told = Outbox(), []

    def report(name):
        from archive.dimse.channel import Report

        return Report(3, lambda number: response(number=number), b"", lambda answer: told.append((name, answer)))

    assert outbox.post(report("sent")) and outbox.post(report("answered")) and outbox.waiting
    numbers = [number for _, number in outbox.taken()]
    assert outbox.answered(3, response(number=numbers[1])) and not outbox.answered(3, response(number=numbers[1]))
    assert not outbox.answered(5, response(number=numbers[0]))
    outbox.post(report("waiting"))
    outbox.close()
    assert not outbox.post(report("late"))
    assert [(name, answer is None) for name, answer in told] == [("answered", False), ("sent", True), ("waiting", True)]


@pytest.mark.parametrize("syntax", [EXPLICIT_LITTLE, IMPLICIT_LITTLE, EXPLICIT_BIG])
def test_results_say_which_and_why_not_in_every_syntax(syntax):
    result = CommitmentResult((Reference(CT, "1.2.3"),), ((Reference(MR, "1.2.4"), 0x0112),))
    event_type, data = encode_result("1.9.9", result, "STRONGROOM", syntax)
    told = decoded(data, syntax)
    assert event_type == 2 and told.RetrieveAETitle == "STRONGROOM" and told.TransactionUID == "1.9.9"
    assert [item.ReferencedSOPInstanceUID for item in told.ReferencedSOPSequence] == ["1.2.3"]
    assert [(item.ReferencedSOPInstanceUID, item.FailureReason) for item in told.FailedSOPSequence] == [
        ("1.2.4", 0x0112)
    ]


def test_a_result_with_nothing_committed_names_no_source_and_no_empty_sequence():
    event_type, data = encode_result(
        "1.9", CommitmentResult((), ((Reference(CT, "1.2"), 0x0110),)), "S", EXPLICIT_LITTLE
    )
    told = decoded(data)
    assert event_type == 2 and "RetrieveAETitle" not in told and "ReferencedSOPSequence" not in told


@pytest.mark.parametrize("syntax", [EXPLICIT_LITTLE, IMPLICIT_LITTLE, EXPLICIT_BIG])
def test_a_request_is_read_in_every_syntax(syntax):
    asked = image()
    asked.clear()
    asked.TransactionUID = "1.9"
    item = image()
    item.clear()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = CT, "1.2.3"
    asked.ReferencedSOPSequence = [item]
    assert decode_action(encoded(asked, syntax), syntax) == ("1.9", (Reference(CT, "1.2.3"),))
    del item.ReferencedSOPInstanceUID
    with pytest.raises(DataSetMismatch):
        decode_action(encoded(asked, syntax), syntax)
