"""A signed statement has one spelling, one signer, and nothing in it can be changed."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archive.audit.checkpoint import Checkpoint
from archive.audit.removal import Removal
from archive.audit.statement import MAX_LINE_BYTES, unverified
from archive.errors import TrailDamaged
from tests.simulators.audit_trails import identity

FIELDS = {"trail": "00" * 16, "sequence": 7, "why": 'the "law" – ja'}


@pytest.fixture(scope="module")
def line():
    return identity().signer.line("checkpoint", FIELDS)


def test_what_was_signed_comes_back(line):
    assert identity().verifier.fields("checkpoint", line) == FIELDS
    assert line.isascii() and "\n" not in line


def test_a_statement_of_somebody_else_is_not_believed(line):
    with pytest.raises(TrailDamaged, match="not this archive's signer"):
        identity("somebody").verifier.fields("checkpoint", line)


def test_a_statement_of_another_kind_is_not_taken_for_it(line):
    with pytest.raises(TrailDamaged):
        identity().verifier.fields("removal", line)


def test_every_changed_character_is_found(line):
    verifier = identity().verifier
    for place in range(len(line)):
        changed = line[:place] + chr(ord(line[place]) ^ 1) + line[place + 1 :]
        with pytest.raises(TrailDamaged):
            verifier.fields("checkpoint", changed)


def test_the_same_said_in_other_bytes_is_not_accepted(line):
    fields = json.loads(line)
    spellings = [
        json.dumps(fields),
        json.dumps(dict(reversed(fields.items())), separators=(",", ":")),
        line + " ",
        " " + line,
        line.replace('"sequence":7', '"sequence":7,"sequence":7'),
        line.replace('"sequence":7', '"sequence":7.0'),
        line[:-1] + ',"more":1}',
    ]
    for spelling in spellings:
        with pytest.raises(TrailDamaged):
            identity().verifier.fields("checkpoint", spelling)


@given(st.text(max_size=200) | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(json.dumps))
def test_any_text_is_refused_as_damage_and_in_no_other_way(text):
    with pytest.raises(TrailDamaged):
        unverified("checkpoint", text)


json_values = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
names = st.sampled_from(["trail", "sequence", "chain", "ledger", "time", "first", "before", "who", "why", "x"])


@given(st.dictionaries(names, json_values))
def test_fields_of_any_kind_are_a_checkpoint_a_removal_or_refused(fields):
    for kind, reader in (("checkpoint", Checkpoint.claimed), ("removal", lambda text: Removal.of(fields, text))):
        body = json.dumps({"format": f"strongroom {kind} 1", **fields, "signer": "s"}, separators=(",", ":"))
        with pytest.raises(TrailDamaged):
            reader(body[:-1] + ',"signature":"AAAA"}')


def test_a_line_without_an_end_is_not_read():
    with pytest.raises(TrailDamaged, match="longer than any"):
        unverified("checkpoint", "[" * (MAX_LINE_BYTES + 1))
