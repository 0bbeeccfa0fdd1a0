"""Attacks on what policy keeps apart: each by its number in the attack model.

Others have files of their own: D05 and D06 (harvest, oracles) test_hidden_and_absent and test_timing_of_hidden_studies,
D20 (break-glass) unit/archive/services/test_glass and integration/test_break_glass, D21 (policy edit)
unit/archive/records/test_seal and unit/archive/control/test_server, D31, D32 (rogue destinations)
integration/test_move, D33 (covert data) unit/storage/confidentiality/test_masking.
"""

from dataclasses import replace

import pytest

from archive.audit.events import AccessRefused
from archive.dimse.admission import AssociationAdmission
from archive.dimse.channel import AcceptedContext, Peer, Rejected
from archive.dimse.contexts import ContextNegotiation
from archive.dimse.query import QueryProvider
from archive.services.glass import GlassService
from archive.services.query import QueryService
from archive.upper_layer.commands import Field
from archive.upper_layer.limits import Limits
from archive.upper_layer.negotiation import APPLICATION_CONTEXT, AssociationRequest, ProposedContext
from auth.errors import UnknownNode
from auth.identity.authenticator import Authenticator
from auth.identity.chain import Chain
from auth.identity.passcode import LocalPasscodes
from auth.node.peer import NodeVerifier
from auth.ports import NodeRecord
from auth.principal import IdentityDemand
from storage.transfer_syntax import EXPLICIT_LITTLE, supported
from tests.simulators.memory_archive import CT, POLICIES, World, encoded, image
from tests.simulators.memory_channel import MemoryChannel, MemoryData, request
from tests.simulators.retrieving import get_provider
from tests.simulators.subjects import Unthrottled, node, person

FIND, GET, MOVE = (f"1.2.840.10008.5.1.4.1.2.2.{number}" for number in (1, 3, 2))


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path)
    yield world
    world.close()


def policies(folder, text):
    folder.mkdir()
    (folder / "schema.cedarschema").write_bytes((POLICIES / "schema.cedarschema").read_bytes())
    (folder / "one.cedar").write_text(text)
    return folder


def asked(world, session, operation, **keys):
    """The final status, and how much came."""
    identifier = image()
    identifier.clear()
    for keyword, value in ({"QueryRetrieveLevel": "STUDY"} | keys).items():
        setattr(identifier, keyword, value)
    sop_class = FIND if operation == Field.C_FIND_RQ else GET
    context = AcceptedContext(1, sop_class, EXPLICIT_LITTLE)
    channel = MemoryChannel(session, context, AcceptedContext(5, CT, EXPLICIT_LITTLE, False, True))
    query = QueryProvider(QueryService(world.reader, world.pep, world.trail, world.repository), "S", Limits())
    provider = query if operation == Field.C_FIND_RQ else get_provider(world)
    provider.handle(channel, context, request(operation, sop_class), MemoryData(encoded(identifier, EXPLICIT_LITTLE)))
    kinds = (Field.C_FIND_RSP, Field.C_STORE_RQ)
    return channel.last.status, sum(message.data is not None for kind in kinds for message in channel.of(kind))


def test_d05_a_harvest_by_wildcard_is_refused_where_keys_are_asked_for_and_capped_where_not(tmp_path):
    text = '@id("p") {} permit (principal in Role::"r", action, resource);'
    for annotation, expected in (('@keys("PatientID")', (0xC012, 0)), ('@results("10")', (0xA700, 10))):
        folder = tmp_path / annotation[1:5]
        world = World(policies(folder, text.format(annotation)), folder)
        world.keep(*(image(number) for number in range(1, 30)))
        session = world.admit(node("r"), person("r"))
        for name in ("*", "?*", "", "**"):
            assert asked(world, session, Field.C_FIND_RQ, PatientName=name, StudyInstanceUID="") == expected, name
        world.close()


class OneNode(NodeVerifier):
    """Believes every certificate to be that of one node, and nothing else that the real one does not."""

    def __init__(self, at):
        self.at = at

    def identify(self, certificate):
        return self.at

    def plain(self, ae_title):
        raise UnknownNode("no plain node")


def admission(world, at):
    world.nodes.nodes[at.name] = NodeRecord(at)
    return AssociationAdmission(
        ae_title="STRONGROOM",
        nodes=OneNode(at),
        people=Authenticator(Chain([LocalPasscodes(world.users)]), Unthrottled()),
        pep=world.pep,
        glass=GlassService(world.overrides, world.pep, world.trail),
        audit=world.trail,
        contexts=ContextNegotiation(),
    )


def sweep(calling="WS1"):
    """An association request for every SOP class in every syntax, as far as one request can hold."""
    others = ("1.2.840.10008.1.1", "1.2.840.10008.1.20.1", "1.2.840.10008.5.1.4.31")
    classes = [CT, FIND, GET, MOVE, *others]
    contexts = tuple(
        ProposedContext(2 * number + 1, uid, tuple(sorted(supported()))) for number, uid in enumerate(classes)
    )
    return AssociationRequest(
        protocol_version=1,
        called_ae="STRONGROOM",
        calling_ae=calling,
        application_context=APPLICATION_CONTEXT,
        contexts=contexts,
        max_pdu=16_384,
        implementation_class_uid="1.2.3",
        implementation_version="X",
        roles={},
        extended={},
        user_identity=None,
        titles=bytes(64),
    )


ECHO, COMMIT = "1.2.840.10008.1.1", "1.2.840.10008.1.20.1"
MAY = {
    "modality": {CT, ECHO, COMMIT},
    "radiologist": {ECHO, FIND, GET, MOVE},
    "researcher": {ECHO, FIND, GET},
    "physician": {FIND, GET},
    "service": {ECHO},
    "administrator": set(),
}


@pytest.mark.parametrize("role", MAY)
def test_d07_a_sweep_of_presentation_contexts_is_given_those_of_services_that_it_may_use(world, role):
    """And the rest is refused alike, and told; what the archive has no service for is no secret."""
    who = person(role, physician_name="HOUSE^GREGORY")
    agreed = ContextNegotiation().agreed(sweep(), world.pep.reach(world.admit(node(role), who)))
    results = {
        context.abstract_syntax: one.result for context, one in zip(sweep().contexts, agreed.contexts, strict=True)
    }
    assert {uid for uid, result in results.items() if result == 0} == MAY[role]
    assert {result for uid, result in results.items() if uid not in MAY[role]} == {1, 3}
    assert len(agreed.refused) == 6 - len(MAY[role])


def test_d07_a_node_alone_is_given_nothing_that_needs_a_person_and_the_audit_is_told(world):
    at = replace(node("modality", "radiologist"), identity=IdentityDemand.NONE)
    admitted = admission(world, at).admit(Peer("127.0.0.7", 4000, True, b"c"), sweep())
    given = {
        uid.abstract_syntax
        for uid, one in zip(sweep().contexts, admitted.answer.contexts, strict=True)
        if not one.result
    }
    assert given == {CT, ECHO, COMMIT}
    told = [event.action for event in world.trail.events if isinstance(event, AccessRefused)]
    assert told == ["Query", "Retrieve", "Move"]


@pytest.mark.parametrize("own", ["WS1", "CT1", "ER1"])
@pytest.mark.parametrize("claimed", ["WS1", "CT1", "ER1", "ws1", "WS1 ", "NOBODY"])
def test_d19_a_node_is_itself_and_no_other_whatever_title_it_calls_itself(world, own, claimed):
    at = replace(node("radiologist", name=own), identity=IdentityDemand.NONE)
    door = admission(world, at)
    if own == claimed:
        assert door.admit(Peer("127.0.0.7", 4000, True, b"c"), sweep(claimed)).session.node.name == own
        return
    with pytest.raises(Rejected) as rejected:
        door.admit(Peer("127.0.0.7", 4000, True, b"c"), sweep(claimed))
    assert (rejected.value.result, rejected.value.source, rejected.value.reason) == (1, 1, 3)


def test_d30_an_insiders_mass_retrieval_stops_at_the_budget_over_associations_and_nodes(tmp_path):
    text = '@id("p") @volume("5") permit (principal in Role::"r", action, resource);'
    world = World(policies(tmp_path / "p", text), tmp_path / "p")
    world.keep(*(image(study, 1, number) for study in range(1, 6) for number in (1, 2)))
    got = []
    for study in range(1, 6):
        at = replace(node("r", name=f"WS{study}"), fingerprint=f"{study:02d}" * 32)
        status, objects = asked(world, world.admit(at, person("r")), Field.C_GET_RQ, StudyInstanceUID=f"1.2.{study}")
        got.append((status, objects))
    assert got == [(0, 2), (0, 2), (0xC013, 0), (0xC013, 0), (0xC013, 0)]
    assert sum(isinstance(event, AccessRefused) for event in world.trail.events) == 3
    world.close()
