"""Requests and answers of the control socket."""

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archive.control.protocol import (
    MAX_REQUEST_BYTES,
    Failure,
    OperationRefused,
    Request,
    decode_answer,
    decode_request,
    encode_answer,
    encode_request,
    failure_of,
)
from archive.errors import HomeInUse, TrailDamaged, UsageInvalid
from auth.errors import RecordMissing
from storage.errors import IntegrityFault, StoreReadOnly

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(st.text(), st.dictionaries(st.text(), VALUES))
def test_a_request_arrives_as_it_was_sent(operation, arguments):
    line = encode_request(Request(operation, arguments))
    assert line.endswith(b"\n") and line.count(b"\n") == 1
    assert decode_request(line) == Request(operation, arguments)


@given(VALUES)
def test_a_result_arrives_as_it_was_sent(result):
    line = encode_answer(result)
    assert line.count(b"\n") == 1
    assert decode_answer(line) == result


def test_a_failure_arrives_as_an_error_with_its_number():
    with pytest.raises(OperationRefused) as refused:
        decode_answer(encode_answer(Failure(352, "no user of that name", 2)))
    assert refused.value.failure == Failure(352, "no user of that name", 2)


@given(st.binary(max_size=200))
def test_no_bytes_do_more_than_be_refused(line):
    for decode in (decode_request, decode_answer):
        with contextlib.suppress(UsageInvalid, OperationRefused):
            decode(line)


@pytest.mark.parametrize(
    "value",
    [
        [],
        None,
        {"operation": "x"},
        {"operation": 1, "arguments": {}},
        {"operation": "x", "arguments": []},
        {"operation": "x", "arguments": {}, "more": 1},
    ],
)
def test_a_request_has_an_operation_and_arguments_and_nothing_else(value):
    with pytest.raises(UsageInvalid):
        decode_request(json.dumps(value).encode())


def test_a_request_nested_beyond_reason_is_refused():
    with pytest.raises(UsageInvalid):
        decode_request(b"[" * 500_000)


def test_a_request_that_is_too_large_is_not_sent():
    with pytest.raises(UsageInvalid, match="larger"):
        encode_request(Request("x", {"text": "a" * MAX_REQUEST_BYTES}))


def test_exit_codes_tell_a_failed_check_from_a_refusal():
    assert failure_of(TrailDamaged("x")).exit_code == 1
    assert failure_of(IntegrityFault("x")).exit_code == 1
    assert failure_of(StoreReadOnly("x")).exit_code == 2
    assert failure_of(RecordMissing("x")).exit_code == 2
    assert failure_of(HomeInUse("x")) == Failure(104, "x", 2)
