"""Users and nodes in the database: uniqueness, generations, and what a failed change leaves behind (nothing)."""

import threading
from contextlib import contextmanager

import pytest
from sqlalchemy import event

from archive.records.nodes import NodeRecords
from archive.records.users import UserRecords
from auth.errors import RecordExists, RecordInvalid, RecordMissing
from auth.node.peer import fingerprint_of
from auth.ports import NodeRecord
from auth.principal import NodeTrust
from tests.simulators.certificates import make
from tests.simulators.records import MemoryDatabase, node_identity

HASH = "$argon2id$v=19$m=19456,t=2,p=1$AAAA"
DER = make("x").der


@pytest.fixture
def database():
    memory = MemoryDatabase()
    yield memory
    memory.close()


@pytest.fixture
def users(database):
    return UserRecords(database, known_roles=frozenset({"radiologist", "service"}))


@pytest.fixture
def nodes(database):
    return NodeRecords(database)


def plain(name, *titles):
    return NodeRecord(node_identity(name, ae_titles=frozenset({name, *titles})))


def secure(name, der=DER, trust=NodeTrust.PINNED):
    return NodeRecord(node_identity(name, trust=trust, fingerprint=fingerprint_of(der)), certificate=der)


@contextmanager
def statements(database):
    seen = []

    def note(connection, cursor, statement, *rest):
        seen.append(statement)

    event.listen(database.engine, "before_cursor_execute", note)
    yield seen
    event.remove(database.engine, "before_cursor_execute", note)


def test_users_live_as_long_as_the_database(database, users):
    users.add("b", roles=["service"])
    users.add("a", roles=["radiologist"], attributes={"k": "v"}, passcode_hash=HASH)
    again = UserRecords(database)
    assert again.all() == users.all()
    assert [user.name for user in again.all()] == ["a", "b"]
    assert again.generation == users.generation


def test_user_of_the_same_name_in_another_spelling_exists_already(users):
    users.add("S\u00fcß")
    with pytest.raises(RecordExists):
        users.add("Su\u0308ß")
    assert len(users.all()) == 1


@pytest.mark.parametrize(
    "parts",
    [
        {"name": "a!b"},
        {"name": ""},
        {"roles": ["nurse"]},
        {"roles": ["Radiologist"]},
        {"attributes": {"K": "v"}},
        {"passcode_hash": "hunter2"},
        {"passcode_hash": HASH + "A" * 600},
    ],
)
def test_malformed_user_is_not_kept_and_counts_as_no_change(users, parts):
    before = users.generation
    with pytest.raises(RecordInvalid):
        users.add(**({"name": "anna"} | parts))
    assert users.all() == ()
    assert users.generation == before


def test_passcode_in_clear_is_never_kept_in_place_of_its_hash(users):
    users.add("anna")
    with pytest.raises(RecordInvalid) as caught:
        users.set_passcode("anna", "hunter2")
    assert "hunter2" not in str(caught.value)


def test_every_change_of_a_right_is_a_new_generation(users):
    seen = [users.generation]
    users.add("anna", roles=["service"], passcode_hash=HASH)
    seen.append(users.generation)
    assert users.set_roles("anna", ["radiologist"]).roles == {"radiologist"}
    seen.append(users.generation)
    assert users.set_enabled("anna", enabled=False).enabled is False
    seen.append(users.generation)
    assert users.set_passcode("anna", None).passcode_hash is None
    seen.append(users.generation)
    users.remove("anna")
    seen.append(users.generation)
    assert seen == sorted(set(seen))
    assert users.user("anna") is None


def test_stronger_hash_of_the_same_passcode_is_no_new_generation(users):
    users.add("anna", passcode_hash=HASH)
    before = users.generation
    users.replace_hash("anna", HASH + "B", instead_of=HASH)
    assert users.generation == before
    assert users.user("anna").passcode_hash == HASH + "B"


def test_generation_never_falls_across_restarts(database, users):
    users.add("anna")
    users.remove("anna")
    assert UserRecords(database).generation == users.generation == 2


@pytest.mark.parametrize(
    "change",
    [
        lambda users: users.remove("nobody"),
        lambda users: users.set_enabled("nobody", enabled=False),
        lambda users: users.set_roles("nobody", ["service"]),
        lambda users: users.set_passcode("nobody", HASH),
    ],
)
def test_nobody_cannot_be_changed(users, change):
    with pytest.raises(RecordMissing):
        change(users)
    assert users.generation == 0


def test_change_by_another_process_is_seen_after_refresh(database, users, nodes):
    UserRecords(database).add("anna")
    NodeRecords(database).add(plain("CT1"))
    assert users.user("anna") is None
    users.refresh()
    nodes.refresh()
    assert users.user("anna") is not None
    assert nodes.node("CT1") is not None


def test_lookups_never_touch_the_database(database, users, nodes):
    users.add("anna")
    nodes.add(secure("CT1"))
    with statements(database) as seen:
        users.user("anna")
        users.user("nobody")
        nodes.by_fingerprint(fingerprint_of(DER))
        nodes.by_title("CT1")
        nodes.owner_of("CT1")
        nodes.pinned_certificates()
        _ = users.generation, nodes.generation
    assert seen == []


def test_change_that_fails_to_commit_is_not_seen(database, users):
    users.add("anna", roles=["service"])

    def fail(connection):
        raise OSError("disk full")

    event.listen(database.engine, "commit", fail)
    with pytest.raises(OSError, match="disk full"):
        users.set_roles("anna", ["radiologist"])
    event.remove(database.engine, "commit", fail)
    assert users.user("anna").roles == {"service"}
    assert users.generation == 1


def test_readers_see_a_whole_state_while_others_change_it(users):
    users.add("anna", roles=["service"])
    stop = threading.Event()
    seen = set()

    def read():
        while not stop.is_set():
            seen.add(users.user("anna").roles)

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(50):
        users.set_roles("anna", ["radiologist"])
        users.set_roles("anna", ["service"])
    stop.set()
    reader.join()
    assert seen <= {frozenset({"service"}), frozenset({"radiologist"})}


def test_nodes_live_as_long_as_the_database(database, nodes):
    nodes.add(plain("CT1", "CT1B"))
    nodes.add(secure("PIN"))
    again = NodeRecords(database)
    assert again.all() == nodes.all()
    assert again.owner_of("CT1B").identity.name == "CT1"
    assert again.generation == nodes.generation == 2


@pytest.mark.parametrize("second", [plain("CT1"), plain("CT1B"), plain("NEW", "CT1B"), plain("NEW", "CT1")])
def test_ae_title_belongs_to_one_node(nodes, second):
    nodes.add(plain("CT1", "CT1B"))
    with pytest.raises(RecordExists, match="belongs to node CT1"):
        nodes.add(second)
    assert len(nodes.all()) == 1


def test_plain_node_cannot_take_the_title_of_one_with_a_certificate(nodes):
    nodes.add(secure("CT1"))
    with pytest.raises(RecordExists):
        nodes.add(plain("CT1"))
    assert nodes.by_title("CT1") is None


def test_certificate_belongs_to_one_node(nodes):
    nodes.add(secure("CT1"))
    with pytest.raises(RecordExists, match="certificate belongs to node CT1"):
        nodes.add(secure("CT2"))


def test_removed_node_is_gone_in_every_way_and_its_title_free(nodes):
    nodes.add(secure("CT1"))
    assert nodes.remove("CT1").certificate == DER
    assert nodes.by_fingerprint(fingerprint_of(DER)) is None
    assert nodes.owner_of("CT1") is None
    assert nodes.pinned_certificates() == ()
    assert nodes.generation == 2
    nodes.add(plain("CT1"))
    assert nodes.by_title("CT1") is not None


def test_node_that_is_not_there_cannot_be_removed(nodes):
    nodes.add(plain("CT1", "CT1B"))
    with pytest.raises(RecordMissing):
        nodes.remove("CT1B")
    assert nodes.generation == 1
