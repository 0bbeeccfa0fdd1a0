"""The acceptor's state table (PS3.8 Table 9-10)."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pynetdicom.fsm import TRANSITION_TABLE

from archive.upper_layer.protocol import TABLE, Action, Event, Protocol, State, diagram

PAGE = Path(__file__).parents[4] / "docs" / "upper-layer-states.md"
FROM_PEER = sorted(
    {
        Event.ACCEPT_RECEIVED,
        Event.REJECT_RECEIVED,
        Event.REQUEST_RECEIVED,
        Event.DATA_RECEIVED,
        Event.RELEASE_REQUEST_RECEIVED,
        Event.RELEASE_REPLY_RECEIVED,
        Event.ABORT_RECEIVED,
        Event.TRANSPORT_CLOSED,
        Event.INVALID_PDU,
    },
    key=lambda event: event.value,
)
OPEN = [state for state in State if state is not State.IDLE]


def test_the_page_is_drawn_from_the_table():
    assert PAGE.read_text() == diagram()


@pytest.mark.parametrize("state", OPEN)
@pytest.mark.parametrize("event", FROM_PEER)
def test_whatever_a_peer_does_has_a_transition_in_every_open_state(state, event):
    assert event in TABLE[state]


@pytest.mark.parametrize(
    ("state", "event"),
    [(state, event) for state, row in TABLE.items() for event in row],
    ids=lambda member: member.name,
)
def test_every_action_is_the_one_of_the_standard_as_pynetdicom_has_it(state, event):
    action, _ = TABLE[state][event]
    assert TRANSITION_TABLE[event.value, state.value].replace("_", "-") == action.value


@given(st.lists(st.sampled_from(FROM_PEER), max_size=12))
def test_no_sequence_of_what_a_peer_does_is_beyond_the_table(events):
    protocol = Protocol()
    protocol.step(Event.TRANSPORT_OPEN)
    for event in events:
        if protocol.state is State.IDLE:
            break
        assert isinstance(protocol.step(event), Action)


@given(st.lists(st.sampled_from(FROM_PEER), min_size=1, max_size=6))
def test_nothing_is_established_without_our_own_acceptance(events):
    protocol = Protocol()
    protocol.step(Event.TRANSPORT_OPEN)
    for event in events:
        if protocol.state is not State.IDLE:
            protocol.step(event)
        assert protocol.state is not State.ESTABLISHED


def test_what_our_own_side_may_not_do_is_an_error_of_ours():
    with pytest.raises(ValueError, match="SEND_DATA"):
        Protocol().step(Event.SEND_DATA)


def test_an_association_from_its_first_step_to_its_last():
    protocol = Protocol()
    steps = [
        (Event.TRANSPORT_OPEN, State.AWAITING_REQUEST),
        (Event.REQUEST_RECEIVED, State.AWAITING_LOCAL_ANSWER),
        (Event.ACCEPT, State.ESTABLISHED),
        (Event.DATA_RECEIVED, State.ESTABLISHED),
        (Event.SEND_DATA, State.ESTABLISHED),
        (Event.RELEASE_REQUEST_RECEIVED, State.AWAITING_LOCAL_RELEASE),
        (Event.RELEASE_REPLY, State.AWAITING_CLOSE),
        (Event.TRANSPORT_CLOSED, State.IDLE),
    ]
    for event, state in steps:
        protocol.step(event)
        assert protocol.state is state
