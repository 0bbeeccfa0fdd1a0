"""Messages as P-DATA-TF (PS3.8 9.3.5, Annex E)."""

import struct

from hypothesis import given
from hypothesis import strategies as st

from archive.dimse.outgoing import WRITE_BYTES, messages_to_pdus
from archive.upper_layer.commands import CommandSet, c_store_rq
from archive.upper_layer.framing import DataFragment, Framer
from archive.upper_layer.limits import Limits

COMMAND = c_store_rq(1, "1.2.840.10008.5.1.4.1.1.2", "1.2.3")


def messages_of(data: bytes, most: int) -> list[tuple[bytes, bytes | None]]:
    """Commands and data sets in what was sent; every PDU at most ``most`` bytes long."""
    framer = Framer(Limits(pdu_bytes=most), buffer_bytes=len(data) + 16_384)
    framer.space()[: len(data)] = data
    framer.received(len(data))
    messages: list[tuple[bytes, bytes | None]] = []
    command, content = b"", b""
    while (unit := framer.next()) is not None:
        assert isinstance(unit, DataFragment)
        assert unit.context_id == 5
        if unit.is_command:
            command += unit.data
            if unit.ends_message_part:
                messages.append((command, None))
                command = b""
        else:
            content += unit.data
            if unit.ends_message_part:
                messages[-1] = (messages[-1][0], content)
                content = b""
    assert not framer.mid_pdu
    assert not command
    assert not content
    return messages


chunks = st.lists(st.binary(max_size=700), max_size=6)


@given(st.lists(st.none() | chunks, max_size=5), st.integers(1, 400))
def test_what_goes_out_is_what_was_given_in_fragments_that_the_peer_takes(data_sets, fragment):
    messages = [(COMMAND, data_set) for data_set in data_sets]
    sent = b"".join(messages_to_pdus(5, messages, fragment))
    expected = [(COMMAND.encode(), None if data_set is None else b"".join(data_set)) for data_set in data_sets]
    assert messages_of(sent, fragment + 6) == expected


def test_every_fragment_but_the_last_of_a_chunk_is_full():
    sent = b"".join(messages_to_pdus(5, [(COMMAND, [bytes(1_000)])], 300))
    offset, lengths = 0, []
    while offset < len(sent):
        (length,) = struct.unpack_from(">L", sent, offset + 2)
        lengths.append(length - 6)
        offset += 6 + length
    assert lengths[1:] == [300, 300, 300, 100]


def test_many_small_messages_are_one_write():
    small: list[tuple[CommandSet, list[bytes]]] = [(COMMAND, [b"keys"])] * 500
    assert len(list(messages_to_pdus(5, small, 16_000))) == 1


def test_what_goes_in_front_is_in_the_first_write():
    front = b"".join(messages_to_pdus(5, [(COMMAND, None)], 300))
    (sent,) = messages_to_pdus(5, [(COMMAND, [b"keys"])], 300, front)
    assert messages_of(sent, 306) == [(COMMAND.encode(), None), (COMMAND.encode(), b"keys")]


def test_a_large_data_set_is_never_held_whole():
    most = 0

    def pieces():
        for _ in range(40):
            yield bytes(131_072)

    for write in messages_to_pdus(5, [(COMMAND, pieces())], 131_066):
        most = max(most, len(write))
    assert most < WRITE_BYTES + 131_072 + 100
