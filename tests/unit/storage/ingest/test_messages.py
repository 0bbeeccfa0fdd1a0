"""What an archive and its workers tell each other comes through whole, and nothing else is believed."""

import socket
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage import errors
from storage.identifiers import new_object_id
from storage.ingest.messages import (
    Inbox,
    Kind,
    LaneBroken,
    declared_fields,
    declared_of,
    encoded,
    failure_fields,
    failure_of,
    received_of,
    sealed_of,
)
from storage.instance import StagedBytes
from tests.simulators.object_store import declared


@contextmanager
def inbox(sent):
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            theirs.sendall(sent)
        yield Inbox(ours)


@given(st.lists(st.tuples(st.sampled_from(Kind), st.dictionaries(st.text(), st.text() | st.integers())), max_size=5))
def test_messages_come_out_one_by_one_as_they_were_sent(messages):
    with inbox(b"".join(encoded(kind, fields) for kind, fields in messages)) as received:
        assert [received.next() for _ in messages] == messages
        with pytest.raises(LaneBroken):
            received.next()


@given(st.binary(max_size=200))
def test_any_bytes_are_a_message_or_break_the_lane(sent):
    with inbox(sent) as received, pytest.raises(LaneBroken):
        while True:
            kind, fields = received.next()
            assert isinstance(kind, Kind)
            assert isinstance(fields, dict)


def test_what_is_announced_comes_out_as_it_went_in():
    object_id = new_object_id()
    assert declared_of(declared_fields(declared(), object_id)) == (declared(), object_id)


@pytest.mark.parametrize("error", [errors.MalformedDataSet("odd length"), errors.OutOfSpace("full")])
def test_a_failure_keeps_its_kind_and_words(error):
    told = failure_of(failure_fields(error))
    assert type(told) is type(error)
    assert str(told) == str(error)


@pytest.mark.parametrize("name", ["ClassVar", "__doc__", "nothing", None, 7])
def test_a_failure_of_no_known_kind_is_a_failure_all_the_same(name):
    assert type(failure_of({"error": name, "text": "x"})) is errors.StorageError


_VALUES = st.recursive(
    st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
)


@given(
    st.dictionaries(
        st.sampled_from(["key", "rows", "facts", "address", "size", "canonical", "foreign", "own"]), _VALUES
    )
)
def test_whatever_a_worker_answers_is_believed_or_breaks_the_lane(fields):
    for read in (lambda: received_of(fields, declared(), new_object_id(), StagedBytes()), lambda: sealed_of(fields)):
        try:
            read()
        except LaneBroken:
            continue
