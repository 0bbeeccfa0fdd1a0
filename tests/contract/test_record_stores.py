"""What every `UserStore` and `NodeStore` must do, run on each implementation."""

import pytest

from archive.records.nodes import NodeRecords
from archive.records.users import UserRecords
from auth.node.peer import fingerprint_of
from auth.ports import NodeRecord, NodeStore, UserStore
from auth.principal import NodeTrust
from tests.simulators.certificates import make
from tests.simulators.records import MemoryDatabase, MemoryNodes, MemoryUsers, node_identity, user_record

HASH, NEWER, OTHER = ("$argon2id$v=19$m=19456,t=2,p=1$" + letter * 22 for letter in "ABC")
USERS = (
    user_record("anna", ("radiologist",), passcode_hash=HASH, attributes={"physician_name": "Doe^Ann"}),
    user_record("off", ("service",), enabled=False),
)
PINNED, ISSUED = make("pinned").der, make("issued").der
NODES = (
    NodeRecord(node_identity("OLD", ae_titles=frozenset({"OLD", "OLD2"}), roles=frozenset({"modality"}))),
    NodeRecord(
        node_identity("PIN", trust=NodeTrust.PINNED, fingerprint=fingerprint_of(PINNED), identity_types=frozenset({2})),
        certificate=PINNED,
        host="192.0.2.1",
        port=104,
    ),
    NodeRecord(
        node_identity("CT1", trust=NodeTrust.ISSUED, fingerprint=fingerprint_of(ISSUED)),
        certificate=ISSUED,
    ),
)


def user_records(database):
    users = UserRecords(database)
    for user in USERS:
        users.add(user.name, roles=user.roles, attributes=user.attributes, passcode_hash=user.passcode_hash)
        users.set_enabled(user.name, user.enabled)
    return users


def node_records(database):
    nodes = NodeRecords(database)
    for node in NODES:
        nodes.add(node)
    return nodes


@pytest.fixture
def database():
    memory = MemoryDatabase()
    yield memory
    memory.close()


@pytest.fixture(params=["memory", "records", "records read again"])
def users(request, database) -> UserStore:
    if request.param == "memory":
        return MemoryUsers(*USERS)
    kept = user_records(database)
    return kept if request.param == "records" else UserRecords(database)


@pytest.fixture(params=["memory", "records", "records read again"])
def nodes(request, database) -> NodeStore:
    if request.param == "memory":
        return MemoryNodes(*NODES)
    kept = node_records(database)
    return kept if request.param == "records" else NodeRecords(database)


def test_user_is_found_by_exactly_their_name_and_whole(users):
    assert users.user("anna") == USERS[0]


def test_disabled_user_is_returned_as_such(users):
    assert users.user("off") == USERS[1]


@pytest.mark.parametrize("name", ["", "Anna", "anna ", "ann", "anna\0", "%", "anna' OR '1'='1", "\ud800"])
def test_other_spellings_are_nobody(users, name):
    assert users.user(name) is None


def test_hash_is_replaced_where_it_is_still_the_one_that_was_checked(users):
    users.replace_hash("anna", NEWER, instead_of=HASH)
    assert users.user("anna").passcode_hash == NEWER
    assert users.user("anna").roles == USERS[0].roles


def test_hash_that_changed_meanwhile_stands(users):
    users.replace_hash("anna", NEWER, instead_of=OTHER)
    assert users.user("anna").passcode_hash == HASH


def test_hash_of_nobody_is_not_kept(users):
    users.replace_hash("nobody", NEWER, instead_of=HASH)
    assert users.user("nobody") is None


def test_node_is_found_by_its_fingerprint(nodes):
    assert nodes.by_fingerprint(fingerprint_of(PINNED)) == NODES[1].identity
    assert nodes.by_fingerprint(fingerprint_of(ISSUED)) == NODES[2].identity


@pytest.mark.parametrize(
    "fingerprint", ["", "0" * 64, fingerprint_of(PINNED).upper()], ids=["nothing", "zeros", "upper case"]
)
def test_other_fingerprints_are_nobodys(nodes, fingerprint):
    assert nodes.by_fingerprint(fingerprint) is None


@pytest.mark.parametrize("title", ["OLD", "OLD2"])
def test_plain_node_is_found_by_each_of_its_titles(nodes, title):
    assert nodes.by_title(title) == NODES[0].identity


@pytest.mark.parametrize("title", ["PIN", "CT1", "", "old", "OLD "])
def test_node_with_a_certificate_is_never_found_by_title(nodes, title):
    assert nodes.by_title(title) is None


def test_pinned_certificates_are_those_of_pinned_nodes_only(nodes):
    assert nodes.pinned_certificates() == (PINNED,)
