"""The acceptor's half of the upper layer state machine (PS3.8 9.2, Tables 9-6 to 9-10) as a table. Pure.

The archive never releases an association itself, so Sta4, Sta5, Sta7 and Sta9 to Sta12 cannot be reached and have no
row. docs/upper-layer-states.md is drawn from this table by `diagram`.
"""

from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType
from typing import Final

from archive.upper_layer.framing import (
    AbortPdu,
    AssociateRequestPdu,
    DataFragment,
    ReleaseReplyPdu,
    ReleaseRequestPdu,
    StrayPdu,
)


class State(Enum):
    """PS3.8 Tables 9-1 to 9-5."""

    IDLE = "Sta1"
    AWAITING_REQUEST = "Sta2"
    AWAITING_LOCAL_ANSWER = "Sta3"
    ESTABLISHED = "Sta6"
    AWAITING_LOCAL_RELEASE = "Sta8"
    AWAITING_CLOSE = "Sta13"


class Event(Enum):
    """PS3.8 Table 9-10, left column."""

    ACCEPT_RECEIVED = "Evt3"
    REJECT_RECEIVED = "Evt4"
    TRANSPORT_OPEN = "Evt5"
    REQUEST_RECEIVED = "Evt6"
    ACCEPT = "Evt7"
    REJECT = "Evt8"
    SEND_DATA = "Evt9"
    DATA_RECEIVED = "Evt10"
    RELEASE_REQUEST_RECEIVED = "Evt12"
    RELEASE_REPLY_RECEIVED = "Evt13"
    RELEASE_REPLY = "Evt14"
    ABORT = "Evt15"
    ABORT_RECEIVED = "Evt16"
    TRANSPORT_CLOSED = "Evt17"
    TIMER_EXPIRED = "Evt18"
    INVALID_PDU = "Evt19"


EVENTS: Final[Mapping[type, Event]] = MappingProxyType(
    {
        AssociateRequestPdu: Event.REQUEST_RECEIVED,
        DataFragment: Event.DATA_RECEIVED,
        ReleaseRequestPdu: Event.RELEASE_REQUEST_RECEIVED,
        ReleaseReplyPdu: Event.RELEASE_REPLY_RECEIVED,
        AbortPdu: Event.ABORT_RECEIVED,
        StrayPdu: Event.ACCEPT_RECEIVED,
    }
)
"""What it is to the table that the peer sent a unit."""


class Action(Enum):
    """PS3.8 Tables 9-6 to 9-9: what is to be done, in a few words."""

    START_TIMER = "AE-5"
    ADMIT = "AE-6"
    SEND_ACCEPT = "AE-7"
    SEND_REJECT = "AE-8"
    SEND_DATA = "DT-1"
    DELIVER_DATA = "DT-2"
    INDICATE_RELEASE = "AR-2"
    SEND_RELEASE_REPLY = "AR-4"
    CLOSED = "AR-5"
    SEND_DATA_BEFORE_RELEASE = "AR-7"
    ABORT_BY_USER = "AA-1"
    CLOSE = "AA-2"
    INDICATE_ABORT = "AA-3"
    INDICATE_PROVIDER_ABORT = "AA-4"
    STOP_TIMER = "AA-5"
    IGNORE = "AA-6"
    SEND_ABORT = "AA-7"
    ABORT_BY_PROVIDER = "AA-8"


_PEER_UNITS: Final = (
    Event.ACCEPT_RECEIVED,
    Event.REJECT_RECEIVED,
    Event.REQUEST_RECEIVED,
    Event.DATA_RECEIVED,
    Event.RELEASE_REQUEST_RECEIVED,
    Event.RELEASE_REPLY_RECEIVED,
    Event.INVALID_PDU,
)
"""Everything a peer can send but an A-ABORT."""

_Row = Mapping[Event, tuple[Action, State]]


def _row(otherwise: tuple[Action, State], **expected: tuple[Action, State]) -> _Row:
    row = dict.fromkeys(_PEER_UNITS, otherwise)
    return MappingProxyType(row | {Event[name]: transition for name, transition in expected.items()})


_OPEN_ROW: Final = {
    "ABORT": (Action.ABORT_BY_USER, State.AWAITING_CLOSE),
    "ABORT_RECEIVED": (Action.INDICATE_ABORT, State.IDLE),
    "TRANSPORT_CLOSED": (Action.INDICATE_PROVIDER_ABORT, State.IDLE),
}

TABLE: Final[Mapping[State, _Row]] = MappingProxyType(
    {
        State.IDLE: MappingProxyType({Event.TRANSPORT_OPEN: (Action.START_TIMER, State.AWAITING_REQUEST)}),
        State.AWAITING_REQUEST: _row(
            (Action.ABORT_BY_USER, State.AWAITING_CLOSE),
            REQUEST_RECEIVED=(Action.ADMIT, State.AWAITING_LOCAL_ANSWER),
            ABORT_RECEIVED=(Action.CLOSE, State.IDLE),
            TRANSPORT_CLOSED=(Action.STOP_TIMER, State.IDLE),
            TIMER_EXPIRED=(Action.CLOSE, State.IDLE),
        ),
        State.AWAITING_LOCAL_ANSWER: _row(
            (Action.ABORT_BY_PROVIDER, State.AWAITING_CLOSE),
            ACCEPT=(Action.SEND_ACCEPT, State.ESTABLISHED),
            REJECT=(Action.SEND_REJECT, State.AWAITING_CLOSE),
            **_OPEN_ROW,
        ),
        State.ESTABLISHED: _row(
            (Action.ABORT_BY_PROVIDER, State.AWAITING_CLOSE),
            SEND_DATA=(Action.SEND_DATA, State.ESTABLISHED),
            DATA_RECEIVED=(Action.DELIVER_DATA, State.ESTABLISHED),
            RELEASE_REQUEST_RECEIVED=(Action.INDICATE_RELEASE, State.AWAITING_LOCAL_RELEASE),
            **_OPEN_ROW,
        ),
        State.AWAITING_LOCAL_RELEASE: _row(
            (Action.ABORT_BY_PROVIDER, State.AWAITING_CLOSE),
            SEND_DATA=(Action.SEND_DATA_BEFORE_RELEASE, State.AWAITING_LOCAL_RELEASE),
            RELEASE_REPLY=(Action.SEND_RELEASE_REPLY, State.AWAITING_CLOSE),
            **_OPEN_ROW,
        ),
        State.AWAITING_CLOSE: _row(
            (Action.IGNORE, State.AWAITING_CLOSE),
            REQUEST_RECEIVED=(Action.SEND_ABORT, State.AWAITING_CLOSE),
            INVALID_PDU=(Action.SEND_ABORT, State.AWAITING_CLOSE),
            ABORT_RECEIVED=(Action.CLOSE, State.IDLE),
            TRANSPORT_CLOSED=(Action.CLOSED, State.IDLE),
            TIMER_EXPIRED=(Action.CLOSE, State.IDLE),
        ),
    }
)


class Protocol:
    """Where one association stands."""

    __slots__ = ("state",)

    def __init__(self) -> None:
        self.state = State.IDLE

    def step(self, event: Event) -> Action:
        """Take the transition for an event; the action that goes with it.

        Raises:
            ValueError: our own side did something that the state does not allow; a peer cannot bring this about.
        """
        transition = TABLE[self.state].get(event)
        if transition is None:
            raise ValueError(f"{event.name} is not possible in {self.state.name}")
        action, self.state = transition
        return action


def diagram() -> str:
    """The table as a Markdown page."""
    lines = [
        "# Upper layer states of the acceptor",
        "",
        "Drawn from `archive/upper_layer/protocol.py`; the numbers are those of PS3.8 Tables 9-1 to 9-10. The archive",
        "never releases an association itself, so the states of a releasing side are missing.",
        "",
        "| State | Event | Action | Next state |",
        "|---|---|---|---|",
    ]
    for state, row in TABLE.items():
        for event, (action, following) in sorted(row.items(), key=lambda entry: int(entry[0].value[3:])):
            lines.append(
                f"| {state.value} {_words(state)} | {event.value} {_words(event)} "
                f"| {action.value} {_words(action)} | {following.value} |"
            )
    return "\n".join(lines) + "\n"


def _words(member: Enum) -> str:
    return member.name.lower().replace("_", " ")
