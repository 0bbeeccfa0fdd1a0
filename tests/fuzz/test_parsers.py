"""Invariant: a parser of the front door returns what it was given, or raises the error that its docstring names.

Conversations reach all of these too; here hypothesis finds the smallest bytes that break one.
"""

import contextlib

from hypothesis import given, settings
from hypothesis import strategies as st

from archive.dimse.identifier import decode_identifier
from archive.errors import ProtocolViolation
from archive.upper_layer.commands import CommandSet
from archive.upper_layer.framing import Framer, StrayPdu
from archive.upper_layer.limits import Limits
from archive.upper_layer.negotiation import parse_associate_request
from storage.errors import StorageError
from storage.transfer_syntax import transfer_syntax
from tests.fuzz.endurance import read_data_set
from tests.simulators.acceptor import ECHO, STORE, request_bytes
from tests.simulators.conversations import BIG, DEFLATED, EXPLICIT, Speaker, mutated
from tests.simulators.scu import IMPLICIT

LIMITS = Limits()
SPEAKER = Speaker(0)
SYNTAXES = st.sampled_from((EXPLICIT, IMPLICIT, BIG, DEFLATED))


def near(*samples: bytes) -> st.SearchStrategy[bytes]:
    """Any bytes, and samples with a few things wrong with them."""
    broken = st.builds(mutated, st.randoms(use_true_random=False), st.sampled_from(samples))
    return st.one_of(st.binary(max_size=300), broken)


@settings(max_examples=500, deadline=None)
@given(near(ECHO, STORE))
def test_a_command_set_that_is_read_is_written_as_it_came(data):
    with contextlib.suppress(ProtocolViolation):
        assert CommandSet.decode(data).encode() == data


@settings(max_examples=500, deadline=None)
@given(near(request_bytes()[6:]))
def test_an_association_request_is_read_within_its_limits_or_refused(data):
    with contextlib.suppress(ProtocolViolation):
        request = parse_associate_request(data, LIMITS)
        assert 1 <= len(request.contexts) <= LIMITS.presentation_contexts
        assert request.calling_ae.isprintable() or "\ufffd" in request.calling_ae


@settings(max_examples=500, deadline=None)
@given(SYNTAXES, st.integers(0, 2**32))
def test_an_identifier_is_read_in_order_or_refused(syntax, seed):
    SPEAKER.rng.seed(seed)
    data = SPEAKER.identifier(syntax)
    with contextlib.suppress(StorageError):
        keys = decode_identifier(data, transfer_syntax(syntax))
        assert [key.tag for key in keys] == sorted({key.tag for key in keys})


@settings(max_examples=200, deadline=None)
@given(SYNTAXES, st.binary(max_size=200), st.integers(1, 50))
def test_any_bytes_are_read_as_the_same_data_set_in_pieces_of_any_size(syntax, data, step):
    assert read_data_set(syntax, data, step) == read_data_set(syntax, data, 1_000)


@settings(max_examples=300, deadline=None)
@given(st.lists(near(request_bytes(), ECHO), max_size=4), st.integers(1, 400))
def test_the_framer_says_the_same_whatever_pieces_bytes_come_in(parts, step):
    data = b"".join(parts)
    assert _units(data, step) == _units(data, 4_096)


def _units(data: bytes, step: int) -> list[object]:
    """What the framer makes of it, fragments of one value put together; the kind of error ends it."""
    framer, told = Framer(LIMITS), []
    try:
        for at in range(0, len(data), step):
            piece = data[at : at + step]
            while piece:
                space = framer.space()
                count = min(len(space), len(piece))
                space[:count] = piece[:count]
                framer.received(count)
                piece = piece[count:]
                while (unit := framer.next()) is not None:
                    held = getattr(unit, "data", None)
                    told.append(bytes(held) if held is not None else unit)
                    if isinstance(unit, StrayPdu):
                        return _joined(told)
    except ProtocolViolation as error:
        told.append(type(error))
    return _joined(told)


def _joined(told: list[object]) -> list[object]:
    joined: list[object] = []
    for each in told:
        if isinstance(each, bytes) and joined and isinstance(joined[-1], bytes):
            joined[-1] += each
        else:
            joined.append(each)
    return [each for each in joined if each != b""]
