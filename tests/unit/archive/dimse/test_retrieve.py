"""C-GET on the wire: exact counters, failed lists and final statuses (PS3.4 C.4.3, PS3.7 9.3.3), both audit ends."""

import base64

import pytest

from archive.audit.events import (
    AccessRefused,
    InstancesTransferred,
    Outcome,
    QueryPerformed,
    SecurityAlert,
    TransferBegun,
)
from archive.dimse.channel import AcceptedContext
from archive.dimse.retrieve import GetProvider
from archive.dimse.sub_operations import MAX_FAILED_UIDS, Counted
from archive.errors import PeerGone, TransferBroken
from archive.services.destinations import Destinations
from archive.services.retrieve import RetrieveService
from archive.upper_layer.commands import Field, SubOperations, retrieve_rsp
from archive.upper_layer.limits import Limits
from storage.errors import IntegrityFault
from storage.transfer_syntax import EXPLICIT_BIG, EXPLICIT_LITTLE, IMPLICIT_LITTLE
from tests.simulators.memory_archive import CT, World, decoded, encoded, image
from tests.simulators.memory_channel import MemoryChannel, MemoryData, request
from tests.simulators.subjects import node, person

JPEG_BASELINE = "1.2.840.10008.1.2.4.50"
STUDY_GET, PATIENT_GET = "1.2.840.10008.5.1.4.1.2.2.3", "1.2.840.10008.5.1.4.1.2.1.3"
CONTEXT = AcceptedContext(1, STUDY_GET, EXPLICIT_LITTLE)
TAKES_CT = AcceptedContext(5, CT, EXPLICIT_LITTLE, scu_role=False, scp_role=True)


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path)
    world.keep(image(1, 1, 1), image(1, 1, 2), image(1, 2, 1), image(2), image(3))
    world.label("1.2.3", "restricted")
    yield world
    world.close()


def service_of(world, reader=None):
    reader, destinations = reader or world.reader, Destinations(world.nodes)
    return RetrieveService(reader, world.repository, world.pep, world.trail, world.kept, destinations)


@pytest.fixture
def provider(world):
    return GetProvider(service_of(world), Limits())


@pytest.fixture
def channel(world):
    return MemoryChannel(world.admit(node("radiologist"), person("radiologist")), CONTEXT, TAKES_CT)


def get(provider, channel, context=CONTEXT, data=None, **keys):
    """Retrieve; the stores and pending responses that came, and the final one."""
    dataset = image()
    dataset.clear()
    for keyword, value in ({"QueryRetrieveLevel": "STUDY"} | keys).items():
        setattr(dataset, keyword, value)
    identifier = encoded(dataset, context.transfer_syntax) if data is None else data
    provider.handle(channel, context, request(Field.C_GET_RQ, context.abstract_syntax), MemoryData(identifier))
    *pending, final = channel.of(Field.C_GET_RSP)
    assert all(message.status == 0xFF00 and message.data is None for message in pending)
    assert final.status != 0xFF00
    return channel.of(Field.C_STORE_RQ), pending, final


def counters(message):
    counted = message.command.sub_operations
    return counted.remaining, counted.completed, counted.failed, counted.warning


def failed_list(final, context=CONTEXT):
    value = decoded(final.data, context.transfer_syntax).FailedSOPInstanceUIDList
    return [value] if isinstance(value, str) else list(value)


def transferred(world):
    return [
        (event.outcome.value, [(study.study_uid, study.sop_classes) for study in event.studies])
        for event in world.trail.events
        if isinstance(event, InstancesTransferred)
    ]


def test_every_object_is_sent_as_it_was_stored_and_counted(world, provider, channel):
    stores, pending, final = get(provider, channel, StudyInstanceUID="1.2.1")
    assert [message.data for message in stores] == [
        encoded(image(1, 1, 1)),
        encoded(image(1, 1, 2)),
        encoded(image(1, 2, 1)),
    ]
    assert [message.command.affected_sop_instance_uid for message in stores] == ["1.2.1.1.1", "1.2.1.1.2", "1.2.1.2.1"]
    assert {message.context_id for message in stores} == {5}
    assert [message.command.message_id for message in stores] == [1, 2, 3]
    assert [counters(message) for message in pending] == [(2, 1, 0, 0), (1, 2, 0, 0), (0, 3, 0, 0)]
    assert (final.status, counters(final), final.data) == (0x0000, (None, 3, 0, 0), None)
    assert world.repository.open_objects == 0


def test_both_ends_are_told_for_each_patient(world, provider, channel):
    get(provider, channel, StudyInstanceUID="1.2.1\\1.2.2")
    kinds = world.trail.kinds()
    assert kinds == ["transfer-begun"] * 2 + ["instances-transferred"] * 2
    begun = [event for event in world.trail.events if isinstance(event, TransferBegun)]
    assert [(event.studies[0].patient_id, event.studies[0].sop_classes) for event in begun] == [
        ("P1", {CT: 3}),
        ("P2", {CT: 1}),
    ]
    assert begun[0].destination == "WS1" and begun[0].actor.person == "alice"
    ended = [event for event in world.trail.events if isinstance(event, InstancesTransferred)]
    for event in begun + ended:
        (study,) = event.studies
        number = study.patient_id.removeprefix("P")
        assert (study.patient_name, study.accession_number) == (f"NAME^{number}", f"A{number}")


def test_studies_without_a_patient_id_are_nobody_elses(world, provider, channel):
    world.keep(image(4, PatientID=""), image(5, PatientID=""))
    get(provider, channel, StudyInstanceUID="1.2.4\\1.2.5")
    assert transferred(world) == [(0, [("1.2.4", {CT: 1})]), (0, [("1.2.5", {CT: 1})])]


def test_nothing_selected_is_success_with_counters_of_zero(world, provider, channel):
    stores, pending, final = get(provider, channel, StudyInstanceUID="9.9")
    assert (stores, pending, final.status, counters(final)) == ([], [], 0x0000, (None, 0, 0, 0))


def test_who_asks_for_what_is_not_there_is_told_as_a_query(world, provider, channel):
    get(provider, channel, StudyInstanceUID="9.9")
    [asked] = world.trail.events
    assert isinstance(asked, QueryPerformed) and asked.outcome is Outcome.SUCCESS
    assert asked.sop_class_uid == STUDY_GET and b"9.9" in base64.b64decode(asked.identifier)


def test_a_restricted_study_is_not_there(provider, channel):
    stores, _, final = get(provider, channel, StudyInstanceUID="1.2.3")
    assert stores == [] and counters(final) == (None, 0, 0, 0)


def test_series_and_image_level_take_lists(provider, channel):
    stores, _, _ = get(
        provider,
        channel,
        QueryRetrieveLevel="IMAGE",
        StudyInstanceUID="1.2.1",
        SeriesInstanceUID="1.2.1.1",
        SOPInstanceUID="1.2.1.1.2\\1.2.1.2.1",
    )
    assert [message.command.affected_sop_instance_uid for message in stores] == ["1.2.1.1.2"]


@pytest.mark.parametrize(("agreed", "found"), [(b"\1", 2), (b"\0", 0), (b"", 0)])
def test_levels_above_may_be_left_out_only_where_that_was_agreed(provider, channel, agreed, found):
    context = AcceptedContext(1, STUDY_GET, EXPLICIT_LITTLE, extended=agreed)
    uids = "1.2.1.2.1\\1.2.2.1.1\\1.2.3.1.1"  # the last one is of a restricted study
    stores, _, final = get(provider, channel, context, QueryRetrieveLevel="IMAGE", SOPInstanceUID=uids)
    assert len(stores) == found and (final.status == 0) == bool(found)


def test_patient_root_names_the_patient(provider, channel):
    context = AcceptedContext(1, PATIENT_GET, IMPLICIT_LITTLE)
    stores, _, final = get(provider, channel, context, QueryRetrieveLevel="PATIENT", PatientID="P2")
    assert len(stores) == 1 and final.status == 0x0000


@pytest.mark.parametrize("accepted", [IMPLICIT_LITTLE, EXPLICIT_BIG])
def test_an_object_goes_in_another_native_syntax_where_its_own_was_not_accepted(world, provider, accepted):
    takes = AcceptedContext(5, CT, accepted, scp_role=True)
    channel = MemoryChannel(world.admit(node("radiologist"), person("radiologist")), CONTEXT, takes)
    stores, _, final = get(provider, channel, StudyInstanceUID="1.2.2")
    assert [message.data for message in stores] == [encoded(image(2), accepted)] and final.status == 0


def test_its_own_syntax_comes_first_then_those_that_keep_every_vr(world, provider):
    session = world.admit(node("radiologist"), person("radiologist"))
    syntaxes = (IMPLICIT_LITTLE, EXPLICIT_BIG, EXPLICIT_LITTLE)
    for left in ([], [2], [1, 2]):
        taken = [
            AcceptedContext(5 + 2 * at, CT, uid, scp_role=True) for at, uid in enumerate(syntaxes) if at not in left
        ]
        channel = MemoryChannel(session, CONTEXT, *taken)
        stores, _, _ = get(provider, channel, StudyInstanceUID="1.2.2")
        assert stores[0].context_id == taken[-1].context_id


def test_an_object_in_a_syntax_that_was_not_accepted_is_a_failed_sub_operation(world, provider, channel):
    world.keep(image(1, 1, 9), syntax_uid=JPEG_BASELINE)
    stores, pending, final = get(provider, channel, StudyInstanceUID="1.2.1")
    assert len(stores) == 3 and counters(pending[-1]) == (0, 3, 1, 0)
    assert (final.status, counters(final)) == (0xB000, (None, 3, 1, 0))
    assert failed_list(final) == ["1.2.1.1.9"]
    assert transferred(world) == [(0, [("1.2.1", {CT: 3})]), (4, [("1.2.1", {CT: 1})])]


@pytest.mark.parametrize(
    "context",
    [
        AcceptedContext(5, CT, EXPLICIT_LITTLE),
        AcceptedContext(5, CT, JPEG_BASELINE, scp_role=True),
        AcceptedContext(5, "1.2.840.10008.5.1.4.1.1.4", EXPLICIT_LITTLE, scp_role=True),
    ],
    ids=["no role", "other syntax", "other class"],
)
def test_a_requestor_that_can_take_nothing_is_a702_with_every_uid(world, provider, context):
    channel = MemoryChannel(world.admit(node("radiologist"), person("radiologist")), CONTEXT, context)
    stores, _, final = get(provider, channel, StudyInstanceUID="1.2.1")
    assert stores == [] and (final.status, counters(final)) == (0xA702, (None, 0, 3, 0))
    assert failed_list(final) == ["1.2.1.1.1", "1.2.1.1.2", "1.2.1.2.1"]


def test_the_peers_statuses_are_counted(world, provider, channel):
    answers = {"1.2.1.1.1": 0xB000, "1.2.1.1.2": 0xA700, "1.2.1.2.1": 0x0000}
    channel.store_status = lambda message: answers[message.command.affected_sop_instance_uid]
    _, pending, final = get(provider, channel, StudyInstanceUID="1.2.1")
    assert [counters(message) for message in pending] == [(2, 0, 0, 1), (1, 0, 1, 1), (0, 1, 1, 1)]
    assert (final.status, counters(final), failed_list(final)) == (0xB000, (None, 1, 1, 1), ["1.2.1.1.2"])
    assert transferred(world) == [(0, [("1.2.1", {CT: 2})]), (4, [("1.2.1", {CT: 1})])]


def test_nothing_but_warnings_is_b000_without_a_list(provider, channel):
    channel.store_status = lambda message: 0xB007
    _, _, final = get(provider, channel, StudyInstanceUID="1.2.1")
    assert (final.status, counters(final), final.data) == (0xB000, (None, 0, 0, 3), None)


def test_all_failed_is_a702_with_every_uid(provider, channel):
    channel.store_status = lambda message: 0xC001
    _, _, final = get(provider, channel, StudyInstanceUID="1.2.1")
    assert (final.status, counters(final), len(failed_list(final))) == (0xA702, (None, 0, 3, 0), 3)


def test_a_cancel_stops_before_the_next_object_and_says_what_remains(world, provider, channel):
    channel.cancel_after = 1
    stores, _, final = get(provider, channel, StudyInstanceUID="1.2.1")
    assert len(stores) == 1 and (final.status, counters(final)) == (0xFE00, (2, 1, 0, 0))
    assert transferred(world) == [(0, [("1.2.1", {CT: 1})]), (4, [("1.2.1", {CT: 2})])]
    assert world.trail.events[-1].reason == "cancelled by the requestor"


def test_a_damaged_object_fails_alone_and_raises_an_alert(world, provider, channel):
    world.repository.damaged = frozenset({"1.2.1.1.2"})
    stores, _, final = get(provider, channel, StudyInstanceUID="1.2.1")
    assert len(stores) == 2 and failed_list(final) == ["1.2.1.1.2"]
    (alert,) = [event for event in world.trail.events if isinstance(event, SecurityAlert)]
    assert alert.study_uid == "1.2.1" and "NAME" not in alert.description


def test_a_study_restricted_meanwhile_is_not_sent_and_counted_failed(world, provider, channel):
    def restrict(message):
        world.label("1.2.1", "restricted")
        return 0x0000

    channel.store_status = restrict
    stores, _, final = get(provider, channel, StudyInstanceUID="1.2.1\\1.2.2")
    assert [message.command.affected_sop_instance_uid for message in stores] == ["1.2.1.1.1", "1.2.2.1.1"]
    assert (final.status, failed_list(final)) == (0xB000, ["1.2.1.1.2", "1.2.1.2.1"])
    assert len([event for event in world.trail.events if isinstance(event, AccessRefused)]) == 1


def test_a_person_disabled_meanwhile_gets_no_further_object_and_is_told_once_a_study(world, provider, channel):
    def disable(message):
        world.users.users.clear()
        return 0x0000

    channel.store_status = disable
    stores, _, final = get(provider, channel, StudyInstanceUID="1.2.1")
    assert len(stores) == 1 and (final.status, counters(final)) == (0xB000, (None, 1, 2, 0))
    assert len([event for event in world.trail.events if isinstance(event, AccessRefused)]) == 1


def test_objects_gone_between_selection_and_reading_are_counted_failed(world, channel):
    class Shrinking:
        """Selects three objects, and finds one when it reads again."""

        calls = 0
        study_facts = staticmethod(world.reader.study_facts)
        study_names = staticmethod(world.reader.study_names)

        def instances(self, predicate, scope):
            self.calls += 1
            found = list(world.reader.instances(predicate, scope))
            return iter(found if self.calls == 1 else found[:1])

    provider = GetProvider(service_of(world, Shrinking()), Limits())
    _, _, final = get(provider, channel, StudyInstanceUID="1.2.1")
    assert (final.status, counters(final)) == (0xB000, (None, 1, 2, 0))
    assert transferred(world) == [(0, [("1.2.1", {CT: 1})]), (4, [("1.2.1", {CT: 2})])]


def test_counters_of_a_retrieval_that_is_larger_than_16_bits_stay_at_their_most():
    counted = Counted(total=70_000, completed=66_000, failed=1)
    answer = retrieve_rsp(request(Field.C_GET_RQ, STUDY_GET), 0xFF00, counted.counters(with_remaining=True))
    assert answer.sub_operations == SubOperations(65_535, 1, 0, 3_999)
    for number in range(20_000):
        counted.count(None, str(number))
    assert counted.failed == 20_001 and len(counted.failed_uids) == MAX_FAILED_UIDS


@pytest.mark.parametrize(
    ("keys", "status"),
    [
        ({}, 0xA900),
        ({"StudyInstanceUID": "1.2.*"}, 0xA900),
        ({"StudyInstanceUID": "1.2.1", "Modality": "CT"}, 0xA900),
        ({"QueryRetrieveLevel": "IMAGE", "SOPInstanceUID": "1.2.1.1.1"}, 0xA900),
    ],
)
def test_an_identifier_that_selects_nothing_certain_is_a900(world, provider, channel, keys, status):
    dataset = image()
    dataset.clear()
    for keyword, value in ({"QueryRetrieveLevel": "STUDY"} | keys).items():
        dataset.add_new(keyword, "LO", value)
    stores, _, final = get(provider, channel, data=encoded(dataset))
    assert stores == [] and final.status == status and world.trail.kinds() == ["query-performed"]
    assert world.trail.events[0].outcome is Outcome.MINOR_FAILURE


def test_bytes_that_are_no_identifier_are_c000(world, provider, channel):
    _, _, final = get(provider, channel, data=b"\x08\x00")
    assert final.status == 0xC000 and len(world.trail.events) == 1


@pytest.mark.parametrize("role", ["modality", "service"])
def test_who_may_not_retrieve_is_0124_and_told_once(world, provider, role):
    channel = MemoryChannel(world.admit(node(role), person(role)), CONTEXT, TAKES_CT)
    stores, _, final = get(provider, channel, StudyInstanceUID="1.2.1")
    assert stores == [] and final.status == 0x0124 and world.trail.kinds() == ["access-refused"]
    assert final.command.error_comment == "not authorized"


def test_nothing_leaves_when_the_audit_cannot_be_written(world, provider, channel):
    world.trail.broken = True
    stores, _, final = get(provider, channel, StudyInstanceUID="1.2.1")
    assert stores == [] and final.status == 0xA702


def test_an_end_that_cannot_be_told_is_a_failure_with_the_true_counters(world, provider, channel):
    def breaks(message):
        world.trail.broken = True
        return 0x0000

    channel.store_status = breaks
    _, _, final = get(provider, channel, StudyInstanceUID="1.2.2")
    assert (final.status, counters(final)) == (0xA702, (None, 1, 0, 0))


def test_a_peer_that_vanishes_is_told_with_what_it_got(world, provider, channel):
    def vanish(message):
        if message.command.affected_sop_instance_uid == "1.2.1.1.2":
            raise PeerGone("the connection ended")
        return 0x0000

    channel.store_status = vanish
    with pytest.raises(PeerGone):
        get(provider, channel, StudyInstanceUID="1.2.1")
    assert transferred(world) == [(0, [("1.2.1", {CT: 1})]), (4, [("1.2.1", {CT: 2})])]
    assert world.trail.events[-1].reason == "broken off (PeerGone)"
    assert world.repository.open_objects == 0


def test_an_object_that_cannot_be_read_to_its_end_ends_the_association(world, provider, channel, monkeypatch):
    def chunks(self):
        yield b"abcd"
        raise IntegrityFault("a chunk is not what was written")

    monkeypatch.setattr("tests.simulators.memory_archive.MemoryOutgoing.chunks", chunks)
    with pytest.raises(TransferBroken):
        get(provider, channel, StudyInstanceUID="1.2.2")
    assert transferred(world) == [(4, [("1.2.2", {CT: 1})])] and world.repository.open_objects == 0


def test_the_next_object_is_read_while_the_peer_has_the_one_before(world, provider, channel):
    held = []
    channel.store_status = lambda message: held.append(world.repository.open_objects) or 0x0000
    get(provider, channel, StudyInstanceUID="1.2.1")
    # The one before is closed once it is sent; behind the last there is none.
    assert held == [1, 1, 0] and world.repository.open_objects == 0


def test_what_was_read_ahead_is_let_go_when_its_turn_does_not_come(world, provider, channel):
    channel.cancel_after = 1
    _, _, final = get(provider, channel, StudyInstanceUID="1.2.1")
    assert final.status == 0xFE00 and world.repository.open_objects == 0
