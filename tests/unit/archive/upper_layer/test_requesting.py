"""The requestor's half of negotiation, with pynetdicom and our own acceptor as the other half."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pynetdicom.pdu import A_ASSOCIATE_RQ

from archive.errors import ProtocolViolation
from archive.upper_layer.limits import Limits
from archive.upper_layer.negotiation import (
    AssociationAnswer,
    ContextResult,
    ProposedContext,
    encode_accept,
    parse_associate_request,
)
from archive.upper_layer.requesting import Proposal, encode_request, parse_associate_accept

CT, COMMIT = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.20.1"
EXPLICIT, IMPLICIT = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"
PROPOSAL = Proposal(
    "PACS2",
    "STRONGROOM",
    (ProposedContext(1, CT, (EXPLICIT, IMPLICIT)), ProposedContext(3, COMMIT, (IMPLICIT,))),
    {COMMIT: (False, True)},
    {CT: bytes(6)},
)


def accept(contexts=None, roles=None, max_pdu=16_384):
    request = parse_associate_request(encode_request(PROPOSAL, 131_072)[6:], Limits())
    contexts = contexts or [(1, 0, EXPLICIT), (3, 3, IMPLICIT)]
    answer = AssociationAnswer(tuple(ContextResult(*each) for each in contexts), roles or {})
    return encode_accept(request, answer, max_pdu)[6:]


def test_pynetdicom_reads_the_request_as_it_was_meant():
    pdu = A_ASSOCIATE_RQ()
    pdu.decode(encode_request(PROPOSAL, 131_072))
    primitive = pdu.to_primitive()
    assert (primitive.called_ae_title, primitive.calling_ae_title) == ("PACS2", "STRONGROOM")
    assert primitive.maximum_length_received == 131_072
    found = [
        (context.context_id, str(context.abstract_syntax), [str(uid) for uid in context.transfer_syntax])
        for context in primitive.presentation_context_definition_list
    ]
    assert found == [(1, CT, [EXPLICIT, IMPLICIT]), (3, COMMIT, [IMPLICIT])]
    (role,) = [each for each in primitive.user_information if hasattr(each, "scp_role")]
    assert (str(role.sop_class_uid), role.scu_role, role.scp_role) == (COMMIT, False, True)


def test_our_own_acceptor_reads_it_too():
    request = parse_associate_request(encode_request(PROPOSAL, 131_072)[6:], Limits())
    assert request.contexts == PROPOSAL.contexts and request.max_pdu == 131_072
    assert dict(request.roles) == PROPOSAL.roles and dict(request.extended) == PROPOSAL.extended


def test_an_answer_says_what_was_accepted():
    answer = parse_associate_accept(accept(roles={COMMIT: (False, True)}), PROPOSAL, Limits())
    assert dict(answer.contexts) == {1: EXPLICIT} and answer.max_pdu == 16_384
    assert dict(answer.roles) == {COMMIT: (False, True)}


@pytest.mark.parametrize(
    "answer",
    [
        {"contexts": [(1, 0, "1.2.840.10008.1.2.2")]},
        {"contexts": [(5, 0, EXPLICIT)]},
        {"contexts": [(1, 0, EXPLICIT), (1, 0, EXPLICIT)]},
        {"roles": {COMMIT: (True, True)}},
        {"roles": {CT: (True, True)}},
    ],
    ids=["another syntax", "another context", "a context twice", "a role too many", "a role nobody asked for"],
)
def test_what_was_not_proposed_is_not_accepted(answer):
    with pytest.raises(ProtocolViolation):
        parse_associate_accept(accept(**answer), PROPOSAL, Limits())


@given(st.integers(0, 200), st.integers(0, 255))
def test_a_damaged_answer_is_read_or_refused_and_nothing_else(at, byte):
    body = bytearray(accept(roles={COMMIT: (False, True)}))
    body[at % len(body)] = byte
    try:
        answer = parse_associate_accept(bytes(body), PROPOSAL, Limits())
    except ProtocolViolation:
        return
    assert set(answer.contexts) <= {1, 3}


@pytest.mark.parametrize("cut", [0, 40, 70, -1])
def test_an_answer_that_is_cut_short_is_none(cut):
    with pytest.raises(ProtocolViolation):
        parse_associate_accept(accept()[:cut], PROPOSAL, Limits())


def test_a_context_that_is_refused_may_name_any_syntax():
    body = accept(contexts=[(1, 4, "1"), (3, 0, IMPLICIT)])
    assert dict(parse_associate_accept(body, PROPOSAL, Limits()).contexts) == {3: IMPLICIT}
    assert struct.unpack_from(">H", body)[0] == 1
