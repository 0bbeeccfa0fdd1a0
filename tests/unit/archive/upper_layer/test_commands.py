"""Command sets (PS3.7 6.3.1, Annex E) against pynetdicom's own codec, and against lies."""

import struct
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pynetdicom.dimse_messages import C_ECHO_RQ, C_FIND_RQ, C_GET_RQ, C_STORE_RQ
from pynetdicom.dimse_primitives import C_ECHO, C_FIND, C_GET, C_STORE
from pynetdicom.dsutils import decode as decode_with_pynetdicom

from archive.errors import LimitExceeded, ProtocolViolation
from archive.upper_layer.commands import (
    CommandBuffer,
    CommandSet,
    Element,
    Field,
    SubOperations,
    c_echo_rsp,
    c_find_rsp,
    c_store_rq,
    c_store_rsp,
    failure_rsp,
    retrieve_rsp,
)
from storage.errors import InvalidIdentifier

CT = "1.2.840.10008.5.1.4.1.1.2"
shorts = st.integers(0, 0xFFFF)
uids = st.lists(st.integers(0, 9_999), min_size=2, max_size=9).map(lambda parts: ".".join(map(str, parts)))


def request(kind: int = Field.C_STORE_RQ, **more: bytes | int | str) -> CommandSet:
    values: dict[int, bytes | int | str] = {
        Element.AFFECTED_SOP_CLASS_UID: CT,
        Element.FIELD: kind,
        Element.MESSAGE_ID: 7,
        Element.DATA_SET_TYPE: 0,
        Element.AFFECTED_SOP_INSTANCE_UID: "1.2.3",
    }
    return CommandSet.build(values | {Element[name]: value for name, value in more.items()})


def as_pynetdicom_reads(command: CommandSet):
    return decode_with_pynetdicom(BytesIO(command.encode()), True, True)


def as_pynetdicom_writes(message, primitive) -> bytes:
    message.primitive_to_message(primitive)
    p_data = next(message.encode_msg(1, 16_382))
    return bytes(p_data.presentation_data_value_list[0][1][1:])


@given(uids, uids, shorts)
def test_what_pynetdicom_writes_is_read(sop_class, instance, message_id):
    primitive = C_STORE()
    primitive.AffectedSOPClassUID, primitive.AffectedSOPInstanceUID = sop_class, instance
    primitive.MessageID, primitive.Priority, primitive.DataSet = message_id, 2, BytesIO(b"data")
    encoded = as_pynetdicom_writes(C_STORE_RQ(), primitive)
    command = CommandSet.decode(encoded)
    assert command.encode() == encoded
    assert (command.field, command.message_id, command.priority) == (Field.C_STORE_RQ, message_id, 2)
    assert (command.affected_sop_class_uid, command.affected_sop_instance_uid) == (sop_class, instance)
    assert command.is_request
    assert command.has_data_set


@pytest.mark.parametrize(
    ("message", "primitive", "kind", "has_data"),
    [
        (C_ECHO_RQ, C_ECHO, Field.C_ECHO_RQ, False),
        (C_FIND_RQ, C_FIND, Field.C_FIND_RQ, True),
        (C_GET_RQ, C_GET, Field.C_GET_RQ, True),
    ],
)
def test_other_requests_of_pynetdicom_are_read(message, primitive, kind, has_data):
    made = primitive()
    made.MessageID, made.AffectedSOPClassUID = 9, CT
    if has_data:
        made.Priority, made.Identifier = 0, BytesIO(b"keys")
    command = CommandSet.decode(as_pynetdicom_writes(message(), made))
    assert (command.field, command.message_id, command.has_data_set) == (kind, 9, has_data)


@given(uids, uids, shorts)
def test_what_we_write_is_read_by_pynetdicom_and_by_ourselves(sop_class, instance, message_id):
    command = c_store_rq(message_id, sop_class, instance)
    theirs = as_pynetdicom_reads(command)
    assert (theirs.CommandField, theirs.MessageID, theirs.Priority) == (1, message_id, 0)
    assert (theirs.AffectedSOPClassUID, theirs.AffectedSOPInstanceUID) == (sop_class, instance)
    assert theirs.CommandGroupLength == len(command.encode()) - 12
    again = CommandSet.decode(command.encode())
    assert again.encode() == command.encode()
    assert again.has_data_set


@given(shorts, shorts, shorts, st.integers(0, 10**6), st.integers(0, 10**6), st.none() | st.integers(0, 10**6))
def test_a_retrieve_response_saturates_its_counters(status, message_id, completed, failed, warning, remaining):
    asked = CommandSet.build({Element.FIELD: Field.C_GET_RQ, Element.MESSAGE_ID: message_id, Element.DATA_SET_TYPE: 0})
    answer = retrieve_rsp(asked, status, SubOperations(completed, failed, warning, remaining))
    theirs = as_pynetdicom_reads(answer)
    assert (theirs.CommandField, theirs.Status, theirs.MessageIDBeingRespondedTo) == (0x8010, status, message_id)
    assert theirs.NumberOfCompletedSuboperations == completed
    assert theirs.NumberOfFailedSuboperations == min(failed, 0xFFFF)
    assert theirs.NumberOfWarningSuboperations == min(warning, 0xFFFF)
    assert theirs.get("NumberOfRemainingSuboperations") == (None if remaining is None else min(remaining, 0xFFFF))
    counters = CommandSet.decode(answer.encode()).sub_operations
    assert counters.completed == completed


def test_responses_say_what_they_answer():
    asked = request()
    for answer, kind in [
        (c_echo_rsp(asked), 0x8030),
        (c_store_rsp(asked, 0), 0x8001),
        (c_find_rsp(asked, 0xFF00, has_identifier=True), 0x8020),
        (failure_rsp(asked, 0x0211), 0x8001),
    ]:
        theirs = as_pynetdicom_reads(answer)
        assert theirs.CommandField == kind
        assert theirs.MessageIDBeingRespondedTo == 7
        assert theirs.AffectedSOPClassUID == CT
        assert not CommandSet.decode(answer.encode()).is_request
    assert as_pynetdicom_reads(c_store_rsp(asked, 0)).AffectedSOPInstanceUID == "1.2.3"
    assert c_find_rsp(asked, 0xFF00, has_identifier=True).has_data_set
    assert not c_find_rsp(asked, 0).has_data_set


def test_a_comment_is_cut_to_the_length_of_an_lo_and_to_ascii():
    answer = c_store_rsp(request(), 0xA700, "ü" + "x" * 100)
    assert answer.error_comment == "?" + "x" * 63


def test_a_uid_that_is_none_is_told_when_it_is_asked_for():
    command = CommandSet.decode(request(AFFECTED_SOP_INSTANCE_UID=b"../etc/passwd\0").encode())
    with pytest.raises(InvalidIdentifier):
        _ = command.affected_sop_instance_uid


@given(st.one_of(st.binary(max_size=120), st.builds(lambda tail: request().encode() + tail, st.binary(max_size=20))))
def test_any_bytes_are_a_command_set_or_a_violation(data):
    try:
        command = CommandSet.decode(data)
    except ProtocolViolation:
        return
    assert command.encode() == data


@given(st.data())
def test_one_byte_turned_is_a_command_set_or_a_violation_and_so_is_each_value(data):
    encoded = bytearray(request(PRIORITY=1, STATUS=0, REMAINING=1).encode())
    encoded[data.draw(st.integers(0, len(encoded) - 1))] = data.draw(st.integers(0, 255))
    try:
        command = CommandSet.decode(bytes(encoded))
    except ProtocolViolation:
        return
    for name in (
        "message_id",
        "message_id_being_responded_to",
        "status",
        "priority",
        "sub_operations",
        "error_comment",
    ):
        try:
            getattr(command, name)
        except ProtocolViolation:
            continue


def element(number: int, value: bytes, group: int = 0) -> bytes:
    return struct.pack("<HHL", group, number, len(value)) + value


def with_length(body: bytes) -> bytes:
    return element(0, struct.pack("<L", len(body))) + body


FIELD, ID, NONE = element(0x100, b"\x30\0"), element(0x110, b"\1\0"), element(0x800, b"\1\1")


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="empty"),
        pytest.param(FIELD + ID + NONE, id="no-group-length"),
        pytest.param(element(0, b"\0\0\0\0") + FIELD + ID + NONE, id="wrong-group-length"),
        pytest.param(element(0, b"\0\0") + FIELD + ID + NONE, id="short-group-length"),
        pytest.param(with_length(FIELD + FIELD + ID + NONE), id="repeated"),
        pytest.param(with_length(ID + FIELD + NONE), id="not-ascending"),
        pytest.param(with_length(FIELD + ID + NONE + element(0x10, b"", 8)), id="another-group"),
        pytest.param(with_length(FIELD + NONE), id="no-message-id"),
        pytest.param(with_length(ID + NONE), id="no-field"),
        pytest.param(with_length(FIELD + ID), id="no-data-set-type"),
        pytest.param(with_length(FIELD + ID + NONE)[:-1], id="cut-off"),
        pytest.param(with_length(FIELD + ID + NONE + b"\0\0\0"), id="cut-off-header"),
        pytest.param(with_length(FIELD + ID + NONE + element(0x902, b"abc")), id="odd-length"),
        pytest.param(with_length(FIELD + ID + NONE + struct.pack("<HHL", 0, 0x902, 2**32 - 2)), id="endless"),
        pytest.param(with_length(element(0x100, b"\x30\0\0\0") + ID + NONE), id="long-field"),
    ],
)
def test_a_command_set_that_lies_is_refused(data):
    with pytest.raises(ProtocolViolation):
        CommandSet.decode(data)


def test_a_command_longer_than_command_bytes_is_refused():
    buffer = CommandBuffer(100)
    buffer.add(memoryview(bytes(100)))
    with pytest.raises(LimitExceeded, match="command_bytes"):
        buffer.add(memoryview(b"x"))


@given(st.lists(st.integers(1, 40), max_size=8))
def test_a_command_set_in_any_fragments_is_the_same(pieces):
    encoded, buffer, offset = request().encode(), CommandBuffer(1_000), 0
    for size in [*pieces, len(encoded)]:
        buffer.add(memoryview(encoded[offset : offset + size]))
        offset += size
    assert buffer.take().encode() == encoded
    assert not buffer
