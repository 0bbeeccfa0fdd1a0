"""A-ASSOCIATE (PS3.8 9.3, PS3.7 Annex D) against pynetdicom's own codecs, and against lengths that lie."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pynetdicom.pdu import A_ABORT_RQ, A_ASSOCIATE_AC, A_ASSOCIATE_RJ, A_RELEASE_RP

from archive.errors import LimitExceeded, ProtocolViolation
from archive.upper_layer.limits import Limits
from archive.upper_layer.negotiation import (
    APPLICATION_CONTEXT,
    AssociationAnswer,
    AssociationRequest,
    ContextResult,
    encode_abort,
    encode_accept,
    encode_reject,
    encode_release_reply,
    parse_associate_request,
)
from tests.simulators.scu import CT, EXPLICIT, IMPLICIT, STUDY_GET, VERIFICATION, Requestor, User

LIMITS = Limits()
CONTEXTS = [(VERIFICATION, [IMPLICIT]), (STUDY_GET, [EXPLICIT, IMPLICIT]), (CT, [EXPLICIT])]


def written(**options) -> bytes:
    """The body of an A-ASSOCIATE-RQ that pynetdicom wrote."""
    return Requestor(0, None, **({"calling": "WS1", "contexts": CONTEXTS} | options)).request()[6:]


def read(body: bytes, limits: Limits = LIMITS) -> AssociationRequest:
    return parse_associate_request(body, limits)


def item(kind: int, data: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(data)) + data


def prefixed(data: bytes) -> bytes:
    return struct.pack(">H", len(data)) + data


APPLICATION = item(0x10, APPLICATION_CONTEXT.encode())
LENGTH = item(0x51, struct.pack(">L", 16_384))


def context(number: int = 1, abstract: bytes = VERIFICATION.encode(), transfer: bytes = IMPLICIT.encode()) -> bytes:
    return item(0x20, bytes((number, 0, 0, 0)) + item(0x30, abstract) + item(0x40, transfer))


def body_of(*items: bytes) -> bytes:
    fixed = struct.pack(">HH", 1, 0) + b"STRONGROOM".ljust(16) + b"WS1".ljust(16) + bytes(32)
    return fixed + b"".join(items)


def with_user_items(*sub_items: bytes) -> bytes:
    return body_of(APPLICATION, context(), item(0x50, LENGTH + b"".join(sub_items)))


printable = st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters="\\")
titles = st.text(printable, min_size=1, max_size=16)


@given(titles, titles, st.integers(128, 2**32 - 1), st.binary(min_size=1, max_size=60), st.binary(max_size=60))
def test_what_pynetdicom_writes_is_read(calling, called, max_pdu, name, passcode):
    user = User(name, passcode or b"x")
    request = read(written(calling=calling, called=called, max_pdu=max_pdu, user=user, scp_roles=(CT,)))
    assert (request.calling_ae, request.called_ae, request.max_pdu) == (calling, called, max_pdu)
    assert (request.protocol_version, request.application_context) == (1, APPLICATION_CONTEXT)
    assert [(each.context_id, each.abstract_syntax, list(each.transfer_syntaxes)) for each in request.contexts] == [
        (2 * number + 1, abstract, transfer) for number, (abstract, transfer) in enumerate(CONTEXTS)
    ]
    assert request.roles[CT][1]
    assert request.implementation_class_uid == "2.25.1"
    identity = request.user_identity
    assert identity is not None
    assert (identity.identity_type, identity.positive_response_requested) == (2, True)
    assert (identity.primary, identity.secondary) == (user.name, user.passcode)


def test_an_identity_is_never_shown():
    request = read(written(user=User(b"alice", b"open sesame")))
    assert "alice" not in repr(request)
    assert "sesame" not in repr(request)


@given(
    st.lists(st.sampled_from([0, 1, 3, 4]), min_size=3, max_size=3),
    st.none() | st.binary(max_size=100),
    st.booleans(),
    st.integers(0, 2**32 - 1),
)
def test_what_we_answer_is_read_by_pynetdicom(results, response, role, max_pdu):
    request = read(written())
    answer = AssociationAnswer(
        tuple(
            ContextResult(each.context_id, result, each.transfer_syntaxes[0])
            for each, result in zip(request.contexts, results, strict=True)
        ),
        roles={CT: (True, True)} if role else {},
        user_identity_response=response,
    )
    theirs = A_ASSOCIATE_AC()
    encoded = encode_accept(request, answer, max_pdu)
    theirs.decode(encoded)
    assert theirs.pdu_length == len(encoded) - 6
    assert encoded[10:74] == request.titles[2:], "the titles come back as they were sent"
    assert [(each.context_id, each.result) for each in theirs.presentation_context] == list(
        zip((1, 3, 5), results, strict=True)
    )
    information = {each.item_type: each for each in theirs.user_information.user_data}
    assert information[0x51].maximum_length_received == max_pdu
    assert (0x54 in information) == role
    if role:
        assert (information[0x54].scu_role, information[0x54].scp_role) == (1, 1)
    assert (0x59 in information) == (response is not None)
    if response is not None:
        assert information[0x59].server_response == response


@given(st.integers(0, 255), st.integers(0, 255), st.integers(0, 255))
def test_refusals_and_endings_are_read_by_pynetdicom(first, second, third):
    rejection, abort, release = A_ASSOCIATE_RJ(), A_ABORT_RQ(), A_RELEASE_RP()
    rejection.decode(encode_reject(first, second, third))
    assert (rejection.result, rejection.source, rejection.reason_diagnostic) == (first, second, third)
    abort.decode(encode_abort(first, second))
    assert (abort.source, abort.reason_diagnostic) == (first, second)
    release.decode(encode_release_reply())
    assert release.encode() == encode_release_reply()


@given(st.binary(max_size=300))
def test_any_bytes_are_a_request_or_a_violation(data):
    try:
        read(data)
    except ProtocolViolation:
        return


items = st.builds(
    lambda kind, data, lie: struct.pack(">BxH", kind, (len(data) + lie) % 65_536) + data,
    st.sampled_from([0x10, 0x20, 0x30, 0x40, *range(0x50, 0x5A), 0xFF]),
    st.binary(max_size=30),
    st.sampled_from([0, 0, 0, 1, -1, 60_000]),
)


@given(st.lists(items, max_size=6), st.lists(items, max_size=6))
def test_any_items_are_a_request_or_a_violation(outer, inner):
    try:
        read(body_of(APPLICATION, context(), item(0x50, LENGTH + b"".join(inner)), *outer))
    except ProtocolViolation:
        return


GOOD = written(user=User(b"alice", b"open sesame"), scp_roles=(CT,))


@given(st.integers(0, len(GOOD) - 1), st.integers(0, 255))
def test_one_byte_turned_is_a_request_or_a_violation(offset, byte):
    try:
        read(GOOD[:offset] + bytes((byte,)) + GOOD[offset + 1 :])
    except ProtocolViolation:
        return


@given(st.integers(0, len(GOOD) - 1))
def test_a_request_cut_off_anywhere_is_refused(length):
    with pytest.raises(ProtocolViolation):
        read(GOOD[:length])


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(body_of(), id="no-items"),
        pytest.param(body_of(context(), item(0x50, LENGTH)), id="no-application-context"),
        pytest.param(body_of(APPLICATION, item(0x50, LENGTH)), id="no-contexts"),
        pytest.param(body_of(APPLICATION, context()), id="no-user-information"),
        pytest.param(body_of(APPLICATION, APPLICATION, context(), item(0x50, LENGTH)), id="two-application-contexts"),
        pytest.param(body_of(APPLICATION, context(), item(0x50, LENGTH), item(0x50, LENGTH)), id="two-informations"),
        pytest.param(body_of(APPLICATION, context(1), context(1), item(0x50, LENGTH)), id="repeated-context-id"),
        pytest.param(body_of(APPLICATION, context(2), item(0x50, LENGTH)), id="even-context-id"),
        pytest.param(body_of(APPLICATION, context(0), item(0x50, LENGTH)), id="context-id-zero"),
        pytest.param(body_of(APPLICATION, context(abstract=b"a b"), item(0x50, LENGTH)), id="no-uid"),
        pytest.param(body_of(APPLICATION, context(abstract=b"1" * 65), item(0x50, LENGTH)), id="uid-too-long"),
        pytest.param(body_of(APPLICATION, item(0x20, b"\1\0"), item(0x50, LENGTH)), id="context-too-short"),
        pytest.param(body_of(APPLICATION, item(0x20, b"\1\0\0\0"), item(0x50, LENGTH)), id="context-without-syntaxes"),
        pytest.param(with_user_items() + b"\x20", id="a-byte-behind-the-last-item"),
        pytest.param(with_user_items(LENGTH), id="two-maximum-lengths"),
        pytest.param(body_of(APPLICATION, context(), item(0x50, item(0x51, b"\0\1"))), id="short-maximum-length"),
        pytest.param(with_user_items(item(0x54, prefixed(b"1.2") + b"\1")), id="role-too-short"),
        pytest.param(with_user_items(item(0x54, prefixed(b"1.2") + b"\1\1\1")), id="role-too-long"),
        pytest.param(with_user_items(item(0x56, struct.pack(">H", 200) + b"1.2")), id="extended-uid-that-lies"),
        pytest.param(with_user_items(item(0x58, b"\2\1" + struct.pack(">H", 999) + b"alice")), id="primary-that-lies"),
        pytest.param(
            with_user_items(item(0x58, b"\2\1" + prefixed(b"alice") + struct.pack(">H", 999) + b"x")),
            id="secondary-that-lies",
        ),
        pytest.param(
            with_user_items(item(0x58, b"\2\1" + prefixed(b"alice") + prefixed(b"x") + b"y")), id="identity-too-long"
        ),
        pytest.param(with_user_items(item(0x58, b"")), id="empty-identity"),
        pytest.param(with_user_items(*[item(0x58, b"\1\0" + prefixed(b"a") + prefixed(b""))] * 2), id="two-identities"),
    ],
)
def test_a_request_that_lies_is_refused(body):
    with pytest.raises(ProtocolViolation):
        read(body)


def test_items_that_nobody_knows_are_skipped():
    request = read(with_user_items(item(0x5F, b"what"), item(0x33, b"")) + item(0xEE, b"ever"))
    assert len(request.contexts) == 1


def test_more_contexts_than_the_limit_are_refused():
    limits = Limits(presentation_contexts=2)
    contexts = [context(number) for number in (1, 3, 5)]
    assert len(read(body_of(APPLICATION, *contexts[:2], item(0x50, LENGTH)), limits).contexts) == 2
    with pytest.raises(LimitExceeded, match="presentation_contexts"):
        read(body_of(APPLICATION, *contexts, item(0x50, LENGTH)), limits)


def test_more_items_than_the_limit_are_refused():
    body = with_user_items(*[item(0x5F, b"")] * 100)
    with pytest.raises(LimitExceeded, match="items"):
        read(body, Limits(items=50))
    assert read(body, Limits(items=200))


def test_the_most_contexts_that_the_standard_allows_are_read():
    contexts = [context(number) for number in range(1, 256, 2)]
    assert len(read(body_of(APPLICATION, *contexts, item(0x50, LENGTH))).contexts) == 128


def test_a_title_of_control_characters_equals_none_that_is_registered():
    body = bytearray(with_user_items())
    body[20:36] = b"WS1\0\n" + b" " * 11
    assert read(bytes(body)).calling_ae != "WS1"
