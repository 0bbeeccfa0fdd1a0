"""Admission: each step's rejection as three numbers, one audit event for each refusal and admission, and the answer."""

from dataclasses import replace

import pytest

from archive.audit.events import (
    AccessRefused,
    NodeAuthenticated,
    NodeRefused,
    Outcome,
    SecurityAlert,
    UserAuthenticated,
)
from archive.dimse.admission import AssociationAdmission
from archive.dimse.channel import Peer, Rejected
from archive.dimse.contexts import ContextNegotiation
from archive.dimse.sop_classes import storage_classes
from archive.services.glass import GlassService
from archive.upper_layer.negotiation import (
    APPLICATION_CONTEXT,
    AssociationRequest,
    ProposedContext,
    UserIdentityItem,
    encode_accept,
    encode_reject,
)
from auth.credential import Secret
from auth.errors import CertificateRefused, TokenReplayed, UnknownNode
from auth.identity.authenticator import Authenticator
from auth.identity.chain import Chain
from auth.identity.passcode import LocalPasscodes, hash_passcode
from auth.identity.username import AssertedUsers
from auth.ports import NodeRecord, UserRecord
from auth.principal import IdentityDemand
from storage.transfer_syntax import EXPLICIT_BIG, EXPLICIT_LITTLE, IMPLICIT_LITTLE
from tests.simulators.memory_archive import CT, POLICIES, World
from tests.simulators.subjects import Unthrottled, node

VERIFICATION = "1.2.840.10008.1.1"
FIND, GET, MOVE = (f"1.2.840.10008.5.1.4.1.2.2.{number}" for number in (1, 3, 2))
JPEG, JPEG_2000 = "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.90"
MR = "1.2.840.10008.5.1.4.1.1.4"
DEFLATED = "1.2.840.10008.1.2.1.99"
PEER = Peer("127.0.0.7", 4000, True, b"certificate")
GOOD = UserIdentityItem(2, True, b"alice", b"correct horse")


class Verifier:
    """Knows nodes by a certificate's bytes, or by title."""

    def __init__(self):
        self.node = node("radiologist")
        self.error = None

    def identify(self, certificate):
        if self.error is not None:
            raise self.error
        if certificate != b"certificate":
            raise UnknownNode("no node is registered with this certificate")
        return self.node

    def may_call(self, node, ae_title):
        return ae_title in node.ae_titles

    def plain(self, ae_title):
        if ae_title not in self.node.ae_titles:
            raise UnknownNode("no node is registered for this AE title without TLS")
        return self.node


class Door:
    """An admission with everything real but the certificates."""

    def __init__(self, world):
        self.world = world
        self.verifier = Verifier()
        world.users.users["alice"] = UserRecord("alice", frozenset({"radiologist"}), {}, _HASH)
        self.set_node(identity=IdentityDemand.REQUIRED)
        people = Authenticator(Chain([AssertedUsers(world.users), LocalPasscodes(world.users)]), Unthrottled())
        self.people = people
        self.admission = AssociationAdmission(
            ae_title="STRONGROOM",
            nodes=self.verifier,
            people=people,
            pep=world.pep,
            glass=GlassService(world.overrides, world.pep, world.trail),
            audit=world.trail,
            contexts=ContextNegotiation(),
        )

    def set_node(self, **changes):
        self.verifier.node = replace(self.verifier.node, **changes)
        self.world.nodes.nodes["WS1"] = NodeRecord(self.verifier.node)

    def employ(self, *roles):
        """Give node and person these roles instead."""
        self.set_node(roles=frozenset(roles))
        self.world.users.users["alice"] = UserRecord("alice", frozenset(roles), {}, _HASH)

    def admit(self, peer=PEER, **changes):
        return self.admission.admit(peer, replace(REQUEST, **changes))

    def rejected(self, peer=PEER, **changes):
        with pytest.raises(Rejected) as caught:
            self.admit(peer, **changes)
        return caught.value.result, caught.value.source, caught.value.reason

    def told(self):
        (event,) = self.world.trail.events
        return event


_HASH = hash_passcode(Secret(b"correct horse"))
REQUEST = AssociationRequest(
    protocol_version=1,
    called_ae="STRONGROOM",
    calling_ae="WS1",
    application_context=APPLICATION_CONTEXT,
    contexts=(ProposedContext(1, VERIFICATION, (IMPLICIT_LITTLE,)),),
    max_pdu=16384,
    implementation_class_uid="1.2.3",
    implementation_version="X",
    user_identity=GOOD,
    roles={},
    extended={},
    titles=bytes(64),
)


@pytest.fixture
def door(tmp_path):
    world = World(tmp_path)
    yield Door(world)
    world.close()


def test_a_good_request_becomes_a_session_and_is_told_before_the_peer_hears(door):
    admitted = door.admit()
    session = admitted.session
    assert (session.person, session.node.name, session.calling_ae, session.called_ae) == (
        "alice",
        "WS1",
        "WS1",
        "STRONGROOM",
    )
    assert (session.assurance.identity_type, session.assurance.tls, session.peer_address) == (2, True, "127.0.0.7")
    event = door.told()
    assert isinstance(event, UserAuthenticated) and event.outcome is Outcome.SUCCESS
    assert (event.actor.person, event.identity_type, event.actor.association) == ("alice", 2, session.correlation_id)


def test_a_node_alone_is_told_as_a_node(door):
    door.set_node(identity=IdentityDemand.OPTIONAL, roles=frozenset({"modality"}))
    admitted = door.admit(user_identity=None)
    assert admitted.session.principal is None and isinstance(door.told(), NodeAuthenticated)


@pytest.mark.parametrize(
    ("numbers", "changes", "reason"),
    [
        ((1, 2, 2), {"protocol_version": 2}, "protocol version"),
        ((1, 1, 2), {"application_context": "1.2.3"}, "application context"),
        ((1, 1, 7), {"called_ae": "OTHER"}, "called"),
        ((1, 1, 7), {"called_ae": "strongroom"}, "called"),
        ((1, 1, 3), {"calling_ae": "WS2"}, "does not belong"),
    ],
)
def test_a_request_that_is_not_for_us_or_not_theirs_is_refused_and_told_once(door, numbers, changes, reason):
    assert door.rejected(**changes) == numbers
    event = door.told()
    assert isinstance(event, NodeRefused) and reason in event.reason and event.actor.address == "127.0.0.7"


@pytest.mark.parametrize("peer", [replace(PEER, certificate=b"other"), replace(PEER, certificate=None)])
def test_an_unknown_certificate_is_113_and_told_with_its_fingerprint(door, peer):
    assert door.rejected(peer) == (1, 1, 3)
    event = door.told()
    assert isinstance(event, NodeRefused) and ("sha256" in event.certificate) == (peer.certificate is not None)


def test_a_refused_certificate_is_113(door):
    door.verifier.error = CertificateRefused("expired")
    assert door.rejected() == (1, 1, 3)
    assert door.told().reason == "expired"


def test_a_token_that_another_node_presented_first_is_an_alert_besides(door, monkeypatch):
    def replayed(*_, **__):
        raise TokenReplayed("another node presented it first", claimed="alice@idp")

    monkeypatch.setattr(door.people, "authenticate", replayed)
    assert door.rejected() == (1, 2, 1)
    refusal, alert = door.world.trail.events
    assert isinstance(refusal, UserAuthenticated) and refusal.claimed == "alice@idp"
    assert isinstance(alert, SecurityAlert) and "alice@idp" in alert.description and alert.actor.node == "WS1"


def test_without_tls_a_node_is_known_by_its_title_alone(door):
    door.set_node(identity=IdentityDemand.OPTIONAL, roles=frozenset({"modality"}))
    plain = Peer("127.0.0.7", 4000, False, None)
    assert not door.admit(plain, user_identity=None).session.assurance.tls
    assert door.rejected(plain, user_identity=None, calling_ae="OTHER") == (1, 1, 3)


BAD = {
    "wrong passcode": UserIdentityItem(2, True, b"alice", b"hunter2"),
    "unknown person": UserIdentityItem(2, True, b"mallory", b"correct horse"),
    "empty passcode": UserIdentityItem(2, True, b"alice", b""),
    "empty name": UserIdentityItem(2, True, b"", b"correct horse"),
    "bare name of a node that asserts nobody": UserIdentityItem(1, True, b"alice", b""),
    "ticket nobody verifies": UserIdentityItem(3, True, b"ticket", b""),
    "assertion nobody verifies": UserIdentityItem(4, True, b"<saml>", b""),
    "token nobody verifies": UserIdentityItem(5, True, b"a.b.c", b""),
    "unknown type": UserIdentityItem(6, True, b"alice", b"correct horse"),
    "type 0": UserIdentityItem(0, False, b"alice", b"correct horse"),
    "invalid UTF-8": UserIdentityItem(2, True, b"\xff\xfe", b"correct horse"),
    "missing": None,
}


@pytest.mark.parametrize("offered", BAD.values(), ids=BAD.keys())
def test_an_identity_missing_or_not_good_is_121_and_told_once_without_secrets(door, offered):
    assert door.rejected(user_identity=offered) == (1, 2, 1)
    event = door.told()
    assert isinstance(event, UserAuthenticated) and event.outcome is Outcome.MINOR_FAILURE
    assert event.actor.node == "WS1" and event.actor.person is None
    assert "correct horse" not in str(event.facts()) and "hunter2" not in str(event.facts())


def test_a_bad_identity_is_refused_also_where_none_is_demanded(door):
    door.set_node(identity=IdentityDemand.OPTIONAL)
    assert door.rejected(user_identity=BAD["wrong passcode"]) == (1, 2, 1)


def test_a_person_without_a_role_may_not_associate_121_told_once(door):
    door.world.users.users["alice"] = UserRecord("alice", frozenset(), {}, _HASH)
    assert door.rejected() == (1, 2, 1)
    assert isinstance(door.told(), AccessRefused)


def test_a_node_without_a_role_may_not_associate_113_told_once(door):
    door.set_node(identity=IdentityDemand.OPTIONAL, roles=frozenset())
    assert door.rejected(user_identity=None) == (1, 1, 3)
    assert isinstance(door.told(), AccessRefused)


def test_nobody_is_admitted_when_the_audit_cannot_be_written(door):
    door.world.trail.broken = True
    assert door.rejected() == (2, 3, 1)
    assert door.rejected(called_ae="OTHER") == (2, 3, 1)


def test_a_check_that_fails_admits_nobody_and_is_told_without_its_text(door):
    door.verifier.error = RuntimeError("text with alice in it")
    assert door.rejected() == (2, 3, 1)
    assert door.told().reason == "a check failed (RuntimeError)"
    door.world.trail.broken = True
    assert door.rejected() == (2, 3, 1)


def test_control_characters_of_a_title_do_not_reach_the_audit(door):
    door.rejected(calling_ae="A\nB\x1b")
    assert door.told().actor.ae_title == "A\N{REPLACEMENT CHARACTER}B\N{REPLACEMENT CHARACTER}"


@pytest.mark.parametrize("identity_type", [1, 2])
@pytest.mark.parametrize("requested", [True, False])
def test_59h_is_empty_and_sent_iff_requested_and_verified(door, identity_type, requested):
    door.set_node(asserts_roles=frozenset({"radiologist"}))
    secret = b"correct horse" if identity_type == 2 else b""
    answer = door.admit(user_identity=UserIdentityItem(identity_type, requested, b"alice", secret)).answer
    assert answer.user_identity_response == (b"" if requested else None)
    encoded = encode_accept(REQUEST, answer, 16384)
    assert (b"\x59\x00\x00\x02\x00\x00" in encoded) == requested


def test_an_identity_that_is_not_read_gets_no_59h(door):
    door.set_node(identity=IdentityDemand.NONE, roles=frozenset({"modality"}))
    admitted = door.admit(user_identity=BAD["wrong passcode"])
    assert admitted.session.principal is None and admitted.answer.user_identity_response is None


def test_the_rejection_is_ten_bytes_as_ps38_has_them(door):
    assert encode_reject(*door.rejected(user_identity=None)) == bytes.fromhex("03000000000400010201")
    assert encode_reject(*door.rejected(calling_ae="WS2")) == bytes.fromhex("03000000000400010103")
    assert encode_reject(*door.rejected(called_ae="OTHER")) == bytes.fromhex("03000000000400010107")


@pytest.mark.parametrize(
    ("abstract", "proposed", "result", "syntax"),
    [
        (VERIFICATION, (IMPLICIT_LITTLE, EXPLICIT_LITTLE), 0, EXPLICIT_LITTLE),
        (FIND, (IMPLICIT_LITTLE,), 0, IMPLICIT_LITTLE),
        (GET, (EXPLICIT_BIG,), 0, EXPLICIT_BIG),
        (FIND, (DEFLATED, JPEG), 4, IMPLICIT_LITTLE),
        (CT, (IMPLICIT_LITTLE, JPEG_2000, EXPLICIT_LITTLE), 0, JPEG_2000),
        (CT, (IMPLICIT_LITTLE,), 0, IMPLICIT_LITTLE),
        (CT, (DEFLATED,), 0, DEFLATED),
        (CT, ("1.2.840.10008.1.2.6.1", "1.2.3"), 4, IMPLICIT_LITTLE),
        (MOVE, (EXPLICIT_LITTLE,), 0, EXPLICIT_LITTLE),
        ("1.2.840.10008.1.20.1", (EXPLICIT_LITTLE,), 0, EXPLICIT_LITTLE),
        ("1.2.3.4", (EXPLICIT_LITTLE,), 3, IMPLICIT_LITTLE),
    ],
)
def test_each_context_has_its_own_answer(door, abstract, proposed, result, syntax):
    door.employ("radiologist", "modality")
    answer = door.admit(contexts=(ProposedContext(3, abstract, proposed),)).answer
    ((context_id, given, chosen),) = [(c.context_id, c.result, c.transfer_syntax) for c in answer.contexts]
    assert (context_id, given, chosen) == (3, result, syntax)


def test_the_scp_role_is_given_for_storage_classes_that_asked_and_for_nothing_else(door):
    contexts = (
        ProposedContext(1, CT, (EXPLICIT_LITTLE,)),
        ProposedContext(3, GET, (EXPLICIT_LITTLE,)),
        ProposedContext(5, MOVE, (EXPLICIT_LITTLE,)),
    )
    roles = {CT: (False, True), GET: (True, True), MOVE: (True, True), VERIFICATION: (True, True)}
    given = {CT: (False, True), GET: (True, False), MOVE: (True, False)}
    assert door.admit(contexts=contexts, roles=roles).answer.roles == given
    assert door.admit(contexts=contexts).answer.roles == {}


def test_level_2_is_answered_where_asked_with_bit_preservation_where_every_context_is_explicit(door):
    door.employ("radiologist", "modality")
    offer = {CT: bytes((3, 0, 0, 0, 2, 0)), VERIFICATION: b"\x01"}
    explicit = (ProposedContext(1, CT, (EXPLICIT_LITTLE,)), ProposedContext(3, VERIFICATION, (EXPLICIT_LITTLE,)))
    assert door.admit(contexts=explicit, extended=offer).answer.extended == {CT: bytes((2, 0, 3, 0, 0, 0))}
    mixed = (*explicit, ProposedContext(5, CT, (IMPLICIT_LITTLE,)))
    assert door.admit(contexts=mixed, extended=offer).answer.extended == {CT: bytes((2, 0, 1, 0, 0, 0))}
    assert door.admit(contexts=explicit).answer.extended == {}


@pytest.mark.parametrize("offer", [b"", b"\3", bytes(5), bytes(7)])
def test_an_offer_of_another_length_than_ps34_b31_has_is_not_answered(door, offer):
    explicit = (ProposedContext(1, CT, (EXPLICIT_LITTLE,)),)
    assert door.admit(contexts=explicit, extended={CT: offer}).answer.extended == {}


def test_nothing_is_answered_for_a_class_of_which_no_context_was_accepted(door):
    refused = (ProposedContext(1, CT, ("1.2.3",)),)
    assert door.admit(contexts=refused, extended={CT: bytes(6)}).answer.extended == {}


@pytest.mark.parametrize(
    ("offer", "answer"),
    [
        (b"\x01", b"\x01"),
        (b"\x00", b"\x00"),
        (b"\x01\x01\x01", b"\x01\x01\x01"),
        (b"\x00\x01\x00\x01\x01", b"\x00\x01\x00\x00\x00"),
        (b"\x02\xff", b"\x00\x00"),
        (bytes([1] * 9), b"\x01\x01\x01\x00\x00"),
    ],
)
def test_query_options_are_answered_byte_for_byte_where_they_were_offered(door, offer, answer):
    contexts = (ProposedContext(1, FIND, (EXPLICIT_LITTLE,)),)
    assert door.admit(contexts=contexts, extended={FIND: offer}).answer.extended == {FIND: answer}
    assert door.admit(contexts=contexts, extended={FIND: b""}).answer.extended == {}
    refused = (ProposedContext(1, FIND, ("1.2.840.10008.1.2.4.50",)),)
    assert door.admit(contexts=refused, extended={FIND: offer}).answer.extended == {}


@pytest.mark.parametrize(("offer", "answer"), [(b"\1", b"\1"), (b"\0\1", b"\0\0"), (b"\1\1\1", b"\1\0"), (b"", None)])
@pytest.mark.parametrize("uid", [GET, MOVE])
def test_relational_retrieval_is_agreed_to_where_it_was_offered(door, uid, offer, answer):
    contexts = (ProposedContext(1, uid, (EXPLICIT_LITTLE,)),)
    expected = {} if answer is None else {uid: answer}
    assert door.admit(contexts=contexts, extended={uid: offer}).answer.extended == expected


def test_a_private_storage_class_is_accepted_where_the_settings_name_it():
    proposed = ProposedContext(1, "1.2.826.0.1.77", (EXPLICIT_LITTLE,))
    assert ContextNegotiation().result(proposed).result == 3
    named = ContextNegotiation(storage_classes(("1.2.826.0.1.77",)))
    assert named.result(proposed).result == 0
    contexts, roles = (ProposedContext(1, "1.2.826.0.1.77", (EXPLICIT_LITTLE,)),), {"1.2.826.0.1.77": (True, True)}
    request = replace(REQUEST, contexts=contexts, roles=roles, extended={"1.2.826.0.1.77": bytes(6)})
    agreed = named.agreed(request, lambda action, uid: True)
    assert agreed.roles == roles and agreed.extended == {"1.2.826.0.1.77": bytes((2, 0, 3, 0, 0, 0))}


def results(answer):
    return {context.context_id: context.result for context in answer.contexts}


def test_a_service_that_is_never_permitted_is_1_and_told_once_beside_the_login(door):
    contexts = (
        ProposedContext(1, VERIFICATION, (EXPLICIT_LITTLE,)),
        ProposedContext(3, CT, (EXPLICIT_LITTLE,)),
        ProposedContext(5, MR, (EXPLICIT_LITTLE,)),
        ProposedContext(7, CT, ("1.2.3",)),
        ProposedContext(9, FIND, (EXPLICIT_LITTLE,)),
    )
    assert results(door.admit(contexts=contexts).answer) == {1: 0, 3: 1, 5: 1, 7: 4, 9: 0}
    login, refused = door.world.trail.events
    assert isinstance(login, UserAuthenticated) and isinstance(refused, AccessRefused)
    assert (refused.action, refused.actor.person) == ("Store", "alice")


def test_a_storage_context_is_accepted_for_what_a_c_get_sends_and_for_nothing_else(door):
    contexts = (ProposedContext(1, CT, (EXPLICIT_LITTLE,)), ProposedContext(3, GET, (EXPLICIT_LITTLE,)))
    answer = door.admit(contexts=contexts, roles={CT: (False, True)}).answer
    assert results(answer) == {1: 0, 3: 0} and answer.roles == {CT: (False, True)}
    assert results(door.admit(contexts=contexts[:1], roles={CT: (False, True)}).answer) == {1: 1}
    door.employ("modality")
    assert results(door.admit(contexts=contexts, roles={CT: (False, True)}).answer) == {1: 1, 3: 1}
    assert results(door.admit(contexts=contexts, roles={CT: (True, True)}).answer) == {1: 0, 3: 1}


def test_a_role_whose_studies_are_none_at_present_is_given_its_contexts(door):
    door.employ("researcher")
    answer = door.admit(contexts=(ProposedContext(1, FIND, (EXPLICIT_LITTLE,)),)).answer
    assert results(answer) == {1: 0}


def test_what_breaking_the_glass_may_open_is_not_closed_at_the_door(door):
    door.employ("emergency")
    contexts = tuple(ProposedContext(number, uid, (EXPLICIT_LITTLE,)) for number, uid in ((1, FIND), (3, GET), (5, CT)))
    assert results(door.admit(contexts=contexts).answer) == {1: 0, 3: 0, 5: 1}


@pytest.mark.parametrize(
    ("condition", "result"),
    [
        ("context has time && context.time < 100", 0),
        ('context has destination && context.destination in Role::"r"', 0),
        ("context.tls == false", 1),
        ('context has sop_class && context.sop_class == "1.2.3"', 1),
        ('context has sop_class && context.sop_class == "1.2.840.10008.5.1.4.1.2.2.2"', 0),
    ],
)
def test_only_what_nothing_can_change_closes_a_context(door, tmp_path, condition, result):
    text = '@id("a") permit (principal in Role::"r", action == Action::"Associate", resource);'
    text += f'@id("m") permit (principal in Role::"r", action == Action::"Move", resource) when {{ {condition} }};'
    folder = tmp_path / "policies"
    folder.mkdir()
    (folder / "schema.cedarschema").write_bytes((POLICIES / "schema.cedarschema").read_bytes())
    (folder / "one.cedar").write_text(text)
    door.world.pep._engine.reload(folder)
    door.employ("r")
    assert results(door.admit(contexts=(ProposedContext(1, MOVE, (EXPLICIT_LITTLE,)),)).answer) == {1: result}
