"""Rows that decide who may do what, written past the archive, are found when they are read (THREATS D21)."""

import pytest
from sqlalchemy import text

from archive.errors import RecordsDamaged
from archive.records.nodes import NodeRecords
from archive.records.overrides import OverrideRecords
from archive.records.policy import PolicyRecord
from archive.records.users import UserRecords
from auth.ports import NodeRecord
from auth.principal import NodeTrust
from tests.simulators.records import MemoryDatabase, node_identity

KEY = b"k" * 32
KINDS = (UserRecords, NodeRecords, OverrideRecords, PolicyRecord)


@pytest.fixture
def database():
    memory = MemoryDatabase()
    users, nodes = UserRecords(memory, key=KEY), NodeRecords(memory, key=KEY)
    users.add("alice", roles=["radiologist"])
    users.add("bob", roles=["service"])
    nodes.add(NodeRecord(node_identity("WS1", trust=NodeTrust.PLAIN)))
    overrides = OverrideRecords(memory, key=KEY)
    overrides.keep(overrides.prepared("alice", "WS1", "why", "alice"))
    PolicyRecord(memory, key=KEY).adopt("f" * 64)
    yield memory
    memory.close()


def write(database, statement):
    with database.writing() as connection:
        assert connection.execute(text(statement)).rowcount


def test_records_that_nobody_touched_are_read_again(database):
    for kind in KINDS:
        kind(database, key=KEY)


@pytest.mark.parametrize(
    ("statement", "kind"),
    [
        ("UPDATE record_user SET roles = '[\"administrator\"]' WHERE name = 'bob'", UserRecords),
        ("UPDATE record_user SET enabled = 0", UserRecords),
        ("DELETE FROM record_user WHERE name = 'bob'", UserRecords),
        (
            "INSERT INTO record_user SELECT 'eve', roles, attributes, passcode_hash, enabled FROM record_user",
            UserRecords,
        ),
        ("UPDATE record_generation SET generation = 1 WHERE kind = 'user'", UserRecords),
        ("DELETE FROM record_seal WHERE kind = 'user'", UserRecords),
        ("UPDATE record_node SET roles = '[\"radiologist\"]'", NodeRecords),
        ("UPDATE record_node_title SET ae_title = 'CT1'", NodeRecords),
        ("UPDATE record_override SET ends = ends + 999999", OverrideRecords),
        ("UPDATE record_override SET reviewed_by = 'alice'", OverrideRecords),
        ("UPDATE record_policy SET fingerprint = 'e'", PolicyRecord),
    ],
)
def test_a_row_written_past_the_archive_is_found_at_the_next_start(database, statement, kind):
    if "'eve'" in statement:
        statement += " WHERE name = 'alice'"
    write(database, statement)
    with pytest.raises(RecordsDamaged):
        kind(database, key=KEY)


def test_a_change_does_not_vouch_for_what_somebody_else_wrote_meanwhile(database):
    users = UserRecords(database, key=KEY)
    write(database, "UPDATE record_user SET roles = '[\"administrator\"]' WHERE name = 'bob'")
    with pytest.raises(RecordsDamaged):
        users.add("carol")
    with pytest.raises(RecordsDamaged):
        users.refresh()
    assert users.user("bob").roles == {"service"}


def test_another_key_vouches_for_nothing(database):
    with pytest.raises(RecordsDamaged):
        UserRecords(database, key=b"x" * 32)


def test_rows_of_one_kind_are_not_those_of_another(database):
    write(
        database, "UPDATE record_seal SET mac = (SELECT mac FROM record_seal WHERE kind = 'node') WHERE kind = 'user'"
    )
    with pytest.raises(RecordsDamaged):
        UserRecords(database, key=KEY)
