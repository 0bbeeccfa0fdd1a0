"""Framing (PS3.8 9.3): any bytes, in any pieces, become units or a violation, and nothing is taken on trust."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archive.errors import LimitExceeded, ProtocolViolation
from archive.upper_layer.framing import (
    AbortPdu,
    AssociateRequestPdu,
    DataFragment,
    Framer,
    ReleaseReplyPdu,
    ReleaseRequestPdu,
    StrayPdu,
)
from archive.upper_layer.limits import Limits

LIMITS = Limits(pdu_bytes=2_000, associate_pdu_bytes=500)
BUFFER = 300


def pdu(kind: int, body: bytes) -> bytes:
    return struct.pack(">BxL", kind, len(body)) + body


def value(context: int, flags: int, data: bytes) -> bytes:
    return struct.pack(">LBB", len(data) + 2, context, flags) + data


values = st.builds(value, st.integers(0, 255), st.integers(0, 3), st.binary(max_size=400))
good_pdus = st.one_of(
    st.binary(max_size=500).map(lambda body: pdu(1, body)),
    st.lists(values, min_size=1, max_size=4).map(lambda items: pdu(4, b"".join(items))),
    st.binary(min_size=4, max_size=4).map(lambda body: pdu(5, body)),
    st.binary(min_size=4, max_size=4).map(lambda body: pdu(6, body)),
    st.binary(min_size=4, max_size=4).map(lambda body: pdu(7, body)),
    st.binary(min_size=4, max_size=4).map(lambda body: pdu(3, body)),
)
good = st.lists(good_pdus, max_size=6).map(b"".join)
lying = st.builds(
    lambda kind, length, rest: struct.pack(">BxL", kind, length) + rest,
    st.integers(0, 9),
    st.one_of(st.integers(0, 40), st.integers(0, 2**32 - 1)),
    st.binary(max_size=80),
)
anything = st.one_of(st.binary(max_size=200), good, lying, st.tuples(good, lying).map(b"".join))


def units_of(data: bytes, pieces: list[int], buffer_bytes: int = BUFFER) -> list[object]:
    """What the framer makes of the data in these pieces; a violation is the last unit."""
    framer = Framer(LIMITS, buffer_bytes=buffer_bytes)
    units: list[object] = []
    offset, turn = 0, 0
    try:
        while True:
            while (unit := framer.next()) is not None:
                if isinstance(unit, DataFragment):
                    flat = (unit.context_id, unit.is_command, bytes(unit.data), unit.ends_message_part)
                    units.append(flat)
                else:
                    units.append(unit)
                if unit == StrayPdu(2):
                    return joined(units)
            if offset == len(data):
                return joined(units)
            assert framer.wanted >= 1
            space = framer.space()
            assert len(space) >= 1
            size = min(len(space), pieces[turn % len(pieces)] if pieces else len(space), len(data) - offset)
            space[:size] = data[offset : offset + size]
            framer.received(size)
            offset, turn = offset + size, turn + 1
    except ProtocolViolation as violation:
        return [*joined(units), (type(violation), str(violation), violation.abort_reason)]


def joined(units: list[object]) -> list[object]:
    """Pieces of the same command set or data set as one, since where they are cut is up to the pieces received."""
    result: list[object] = []
    for unit in units:
        before = result[-1] if result else None
        if isinstance(unit, tuple) and isinstance(before, tuple) and before[:2] == unit[:2] and not before[3]:
            result[-1] = (*unit[:2], before[2] + unit[2], unit[3])
        else:
            result.append(unit)
    return result


@given(anything, st.lists(st.integers(1, 200), max_size=5))
def test_any_bytes_in_any_pieces_become_the_same_units_or_the_same_violation(data, pieces):
    assert units_of(data, pieces) == units_of(data, [], 65_536) == units_of(data, [1])


@given(good)
def test_good_pdus_are_never_refused_and_nothing_of_them_is_lost(data):
    units = units_of(data, [7])
    assert not any(isinstance(unit, tuple) and isinstance(unit[0], type) for unit in units)
    kept = sum(len(unit[2]) if isinstance(unit, tuple) else len(getattr(unit, "body", b"")) for unit in units)
    assert kept <= len(data)


def first(data: bytes) -> object:
    return units_of(data, [])[0]


def test_each_pdu_becomes_its_unit():
    assert first(pdu(1, b"body")) == AssociateRequestPdu(b"body")
    assert first(pdu(4, value(5, 3, b"command"))) == (5, True, b"command", True)
    assert first(pdu(4, value(5, 0, b"data"))) == (5, False, b"data", False)
    assert first(pdu(4, value(5, 2, b""))) == (5, False, b"", True)
    assert first(pdu(5, bytes(4))) == ReleaseRequestPdu()
    assert first(pdu(6, bytes(4))) == ReleaseReplyPdu()
    assert first(pdu(7, b"\0\0\2\6")) == AbortPdu(2, 6)
    assert first(pdu(3, bytes(4))) == StrayPdu(3)
    assert first(b"\2\0\xff\xff\xff\xff") == StrayPdu(2)


@pytest.mark.parametrize(
    ("kind", "limit"), [(1, LIMITS.associate_pdu_bytes), (4, LIMITS.pdu_bytes)], ids=["a-associate-rq", "p-data"]
)
@pytest.mark.parametrize("beyond", [1, 2**32 - 1], ids=["one-byte-more", "4-gib"])
def test_a_pdu_longer_than_its_limit_is_refused_at_the_header(kind, limit, beyond):
    framer = Framer(LIMITS)
    header = struct.pack(">BxL", kind, min(limit + beyond, 2**32 - 1))
    framer.space()[:6] = header
    framer.received(6)
    with pytest.raises(LimitExceeded, match="bytes"):
        framer.next()


@pytest.mark.parametrize("kind", [1, 4])
def test_a_pdu_of_exactly_its_limit_is_taken(kind):
    limit = LIMITS.associate_pdu_bytes if kind == 1 else LIMITS.pdu_bytes
    body = bytes(limit) if kind == 1 else value(1, 2, bytes(limit - 6))
    assert units_of(pdu(kind, body), [])


@pytest.mark.parametrize("kind", [3, 5, 6, 7])
@pytest.mark.parametrize("length", [0, 3, 5, 2**32 - 1])
def test_a_fixed_pdu_of_another_length_is_refused(kind, length):
    assert first(struct.pack(">BxL", kind, length) + bytes(8))[0] is ProtocolViolation


@pytest.mark.parametrize("kind", [0, 8, 0x16, 255])
def test_an_unknown_type_is_refused_as_unrecognized(kind):
    assert first(struct.pack(">BxL", kind, 4))[2] == 1


@pytest.mark.parametrize(
    "body",
    [
        struct.pack(">LBB", 1, 1, 0),
        struct.pack(">LBB", 0, 1, 0),
        struct.pack(">LBB", 3, 1, 0),
        struct.pack(">LBB", 2**32 - 1, 1, 0),
        value(1, 0, b"abc") + b"x",
        value(1, 0, b"abc") + b"xxxxx",
    ],
)
def test_a_value_that_does_not_fill_its_pdu_exactly_is_refused(body):
    assert units_of(pdu(4, body), [])[-1][0] is ProtocolViolation


def test_reserved_bits_of_a_message_control_header_mean_nothing():
    """PS3.8 E.2: set to zero by the sender, never checked by the receiver."""
    assert first(pdu(4, value(5, 0xFF, b"command"))) == (5, True, b"command", True)
    assert first(pdu(4, value(5, 0xFC, b"data"))) == (5, False, b"data", False)


def test_fragments_are_views_of_the_receive_buffer():
    framer = Framer(LIMITS)
    data = pdu(4, value(1, 0, b"data"))
    space = framer.space()
    space[: len(data)] = data
    framer.received(len(data))
    fragment = framer.next()
    assert isinstance(fragment, DataFragment)
    assert fragment.data.obj is space.obj


def test_what_has_come_already_survives_the_larger_buffer():
    framer = Framer(LIMITS)
    data = pdu(4, value(1, 3, b"command"))
    framer.space()[:9] = data[:9]
    framer.received(9)
    framer.widen()
    assert framer.next() is None
    assert framer.mid_pdu
    framer.space()[: len(data) - 9] = data[9:]
    framer.received(len(data) - 9)
    fragment = framer.next()
    assert isinstance(fragment, DataFragment)
    assert bytes(fragment.data) == b"command"
    assert not framer.mid_pdu


def test_a_peer_that_was_not_let_in_costs_a_page():
    assert len(Framer(Limits()).space()) <= 4_096
