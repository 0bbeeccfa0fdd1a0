"""Which command goes to which provider, and what is refused before one sees it."""

import pytest

from archive.dimse.channel import AcceptedContext
from archive.dimse.dispatch import ServiceDispatcher
from archive.dimse.sop_classes import STORAGE, storage_classes
from archive.dimse.verification import VerificationProvider
from archive.errors import ProtocolViolation, SettingsInvalid
from archive.upper_layer.commands import NO_DATA_SET, CommandSet, Element, Field
from archive.upper_layer.limits import Limits
from storage.transfer_syntax import EXPLICIT_LITTLE
from tests.simulators.memory_archive import CT, World
from tests.simulators.memory_channel import MemoryChannel, MemoryData, request
from tests.simulators.subjects import node, session

VERIFICATION, COMMITMENT = "1.2.840.10008.1.1", "1.2.840.10008.1.20.1"
FIND, MOVE, GET = (f"1.2.840.10008.5.1.4.1.2.2.{number}" for number in (1, 2, 3))
PROTOCOLS = "1.2.840.10008.5.1.4.1.1.200"


class Recorder:
    """A provider that only notes that it was asked."""

    def __init__(self):
        self.asked = 0

    def handle(self, channel, context, command, data):
        self.asked += 1


@pytest.fixture
def providers():
    return {name: Recorder() for name in ("verification", "storage", "query", "get", "move", "commitment")}


@pytest.fixture
def dispatcher(providers):
    return ServiceDispatcher(**providers, limits=Limits())


def handle(dispatcher, command, abstract_syntax, data=None, **roles):
    context = AcceptedContext(1, abstract_syntax, EXPLICIT_LITTLE, **roles)
    channel = MemoryChannel(session(node("modality")), context)
    dispatcher.handle(channel, context, command, data)
    return channel.sent


@pytest.mark.parametrize(
    ("field", "sop_class", "name"),
    [
        (Field.C_ECHO_RQ, VERIFICATION, "verification"),
        (Field.C_STORE_RQ, CT, "storage"),
        (Field.C_FIND_RQ, FIND, "query"),
        (Field.C_GET_RQ, GET, "get"),
        (Field.C_MOVE_RQ, MOVE, "move"),
        (Field.N_ACTION_RQ, COMMITMENT, "commitment"),
    ],
)
def test_each_service_has_its_provider(dispatcher, providers, field, sop_class, name):
    named = {"requested_sop_class_uid": sop_class} if field == Field.N_ACTION_RQ else {}
    assert handle(dispatcher, request(field, sop_class, **named), sop_class) == []
    assert {key for key, provider in providers.items() if provider.asked} == {name}


@pytest.mark.parametrize(
    ("field", "sop_class", "abstract_syntax", "roles", "status"),
    [
        (Field.C_MOVE_RQ, GET, GET, {}, 0x0122),
        (Field.N_ACTION_RQ, VERIFICATION, VERIFICATION, {}, 0x0122),
        (Field.N_EVENT_REPORT_RQ, VERIFICATION, VERIFICATION, {}, 0x0211),
        (0x0123, VERIFICATION, VERIFICATION, {}, 0x0211),
        (Field.C_STORE_RQ, CT, CT, {"scu_role": False, "scp_role": True}, 0x0211),
        (Field.C_STORE_RQ, CT, FIND, {}, 0x0122),
        (Field.C_FIND_RQ, GET, GET, {}, 0x0122),
        (Field.C_GET_RQ, FIND, FIND, {}, 0x0122),
        (Field.C_ECHO_RQ, VERIFICATION, CT, {}, 0x0122),
        (Field.C_FIND_RQ, GET, FIND, {}, 0x0122),
        (Field.C_ECHO_RQ, "", VERIFICATION, {}, 0x0122),
    ],
)
def test_what_fits_no_provider_is_refused_and_drained(
    dispatcher, providers, field, sop_class, abstract_syntax, roles, status
):
    data = MemoryData(b"x" * 200)
    (answer,) = handle(dispatcher, request(field, sop_class), abstract_syntax, data, **roles)
    assert (answer.status, answer.command.field) == (status, int(field) | 0x8000)
    assert data.drained and not any(provider.asked for provider in providers.values())


def test_a_cancel_of_nothing_is_passed_over(dispatcher):
    cancel = CommandSet.build(
        {Element.FIELD: Field.C_CANCEL_RQ, Element.MESSAGE_ID_RESPONDED_TO: 7, Element.DATA_SET_TYPE: NO_DATA_SET}
    )
    assert handle(dispatcher, cancel, FIND) == []


def test_a_response_to_nothing_is_a_violation(dispatcher):
    response = CommandSet.build(
        {
            Element.FIELD: Field.C_STORE_RSP,
            Element.MESSAGE_ID_RESPONDED_TO: 1,
            Element.DATA_SET_TYPE: NO_DATA_SET,
            Element.STATUS: 0,
        }
    )
    with pytest.raises(ProtocolViolation):
        handle(dispatcher, response, CT)


@pytest.mark.parametrize(
    ("role", "data", "status"),
    [("service", None, 0x0000), (None, None, 0x0124), ("service", b"data", 0x0212)],
)
def test_an_echo_is_answered_by_policy(tmp_path, role, data, status):
    world = World(tmp_path)
    context = AcceptedContext(1, VERIFICATION, EXPLICIT_LITTLE)
    channel = MemoryChannel(world.admit(node(*([role] if role else []))), context)
    command = request(Field.C_ECHO_RQ, VERIFICATION, data_set=data is not None)
    incoming = None if data is None else MemoryData(data)
    VerificationProvider(world.pep, Limits()).handle(channel, context, command, incoming)
    assert (channel.last.status, channel.last.command.field) == (status, Field.C_ECHO_RSP)
    assert len(world.trail.events) == (status == 0x0124)
    world.close()


def test_storage_classes_are_those_of_composite_objects_retired_ones_and_those_without_a_patient_included():
    retired, palette, performed = ("1.2.840.10008.5.1.4.1.1.5", "1.2.840.10008.5.1.4.39.1", f"{PROTOCOLS}.2")
    assert {CT, retired, palette, performed, f"{PROTOCOLS}.1"} <= STORAGE
    for no_object in ("1.2.840.10008.1.3.10", "1.2.840.10008.1.20.1", f"{PROTOCOLS}.4", FIND):
        assert no_object not in STORAGE


PRIVATE, HARDCOPY = "1.2.826.0.1.77", "1.2.840.10008.5.1.1.29"


def test_what_an_operator_names_is_stored_and_nothing_private_without(providers):
    named = storage_classes((PRIVATE, HARDCOPY))
    assert named == STORAGE | {PRIVATE, HARDCOPY} and not {PRIVATE, HARDCOPY} & STORAGE
    for classes, asked in ((STORAGE, 0), (named, 1)):
        dispatcher = ServiceDispatcher(**providers, limits=Limits(), storage_classes=classes)
        handle(dispatcher, request(Field.C_STORE_RQ, PRIVATE), PRIVATE)
        assert providers["storage"].asked == asked


@pytest.mark.parametrize(
    "uid", ["1.2.x", "", "1.2.840.10008.1.1", FIND, "1.2.840.10008.1.2.1", "1.2.840.10008.5.1.4.31"]
)
def test_what_is_no_sop_class_of_objects_is_no_setting_for_them(uid):
    with pytest.raises(SettingsInvalid, match=r"storage\.sop_classes"):
        storage_classes((uid,))
