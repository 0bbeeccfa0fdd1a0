"""A researcher's C-GET: released studies, masked, under other UIDs, signed anew; and what comes back is refused."""

from dataclasses import replace
from pathlib import Path

import pytest

from archive.audit.events import AccessRefused, SecurityAlert
from archive.dimse.channel import AcceptedContext
from archive.dimse.identifier import decode_identifier
from archive.dimse.sop_classes import MOVE
from archive.dimse.storage import StorageProvider
from archive.services.query import Asked
from archive.services.store import StoreService
from archive.upper_layer.commands import Field
from archive.upper_layer.limits import Limits
from auth.policy.loading import load
from auth.ports import NodeRecord
from storage.integrity.trust import Trust
from storage.integrity.verifier import verify_signatures
from storage.transfer_syntax import EXPLICIT_LITTLE, transfer_syntax
from tests.simulators.encoding import signing_key
from tests.simulators.memory_archive import CT, NoNotes, World, decoded, encoded, image
from tests.simulators.memory_channel import MemoryChannel, MemoryData, request
from tests.simulators.retrieving import get_provider, retrieve_service
from tests.simulators.subjects import node, person

_POLICIES = Path(__file__).parents[4] / "config" / "policies"
STUDY_GET, STUDY_MOVE = "1.2.840.10008.5.1.4.1.2.2.3", "1.2.840.10008.5.1.4.1.2.2.2"
CONTEXT = AcceptedContext(1, STUDY_GET, EXPLICIT_LITTLE)
TAKES_CT = AcceptedContext(5, CT, EXPLICIT_LITTLE, scu_role=False, scp_role=True)


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path)
    world.keep(*(image(1, 1, number, PatientName="SECRET", PatientBirthDate="19700101") for number in (1, 2)), image(2))
    world.label("1.2.1", "research")
    yield world
    world.close()


@pytest.fixture
def channel(world):
    return MemoryChannel(world.admit(node("radiologist"), person("researcher", name="rita")), CONTEXT, TAKES_CT)


def get(world, channel, study):
    provider = get_provider(world)
    dataset = image()
    dataset.clear()
    dataset.QueryRetrieveLevel, dataset.StudyInstanceUID = "STUDY", study
    provider.handle(channel, CONTEXT, request(Field.C_GET_RQ, STUDY_GET), MemoryData(encoded(dataset, EXPLICIT_LITTLE)))
    return channel.of(Field.C_STORE_RQ), channel.of(Field.C_GET_RSP)[-1]


def test_objects_leave_masked_under_uids_that_are_kept_in_a_map(world, channel):
    stores, final = get(world, channel, "1.2.1")
    assert (final.status, final.command.sub_operations.completed) == (0, 2)
    for message, original in zip(stores, ("1.2.1.1.1", "1.2.1.1.2"), strict=True):
        left = decoded(message.data, EXPLICIT_LITTLE)
        assert left.PatientName == "" and left.PatientBirthDate == "" and b"SECRET" not in message.data
        assert left.SOPInstanceUID == message.command.affected_sop_instance_uid != original
        assert world.masked.original(left.SOPInstanceUID) == original
        assert left.PatientIdentityRemoved == "YES"


def test_masked_objects_carry_a_signature_of_ours_and_no_other(world, channel):
    stores, _ = get(world, channel, "1.2.1")
    data = stores[0].data
    trust = Trust(frozenset({signing_key().fingerprint}))
    (found,) = verify_signatures(lambda: [data], transfer_syntax(EXPLICIT_LITTLE), trust)
    assert found.valid


def test_same_object_leaves_under_the_same_uid_again(world, channel):
    first, _ = get(world, channel, "1.2.1")
    again, _ = get(world, channel, "1.2.1")
    uids = [message.command.affected_sop_instance_uid for message in again]
    assert uids == [message.command.affected_sop_instance_uid for message in first] * 2


def test_study_that_is_not_released_is_as_one_that_is_not_there(world, channel):
    assert get(world, channel, "1.2.2")[1].status == get(world, channel, "1.2.99")[1].status == 0
    assert channel.of(Field.C_STORE_RQ) == []


def test_masked_copy_that_comes_back_is_refused_as_the_original(world, channel):
    stores, _ = get(world, channel, "1.2.1")
    context = AcceptedContext(1, CT, EXPLICIT_LITTLE)
    modality = MemoryChannel(world.admit(replace(node("modality", name="CT1"), fingerprint="6f" * 32)), context)
    uid = stores[0].command.affected_sop_instance_uid
    storage = StorageProvider(StoreService(world.repository, world.pep, world.trail, world.masked, NoNotes()), Limits())
    storage.handle(
        modality,
        context,
        request(Field.C_STORE_RQ, CT, affected_sop_instance_uid=uid),
        MemoryData(stores[0].data),
    )
    assert modality.last.status == 0x0111
    assert world.trail.events[-1].reason == "a masked copy of an object that is kept came back"
    assert world.repository.open_intakes == 0


def test_what_no_mask_reaches_is_a_failed_sub_operation(world, channel):
    world.keep(image(3, BurnedInAnnotation="YES"), image(3, 1, 2))
    world.label("1.2.3", "research")
    stores, final = get(world, channel, "1.2.3")
    counted = final.command.sub_operations
    assert (len(stores), counted.completed, counted.failed, final.status) == (1, 1, 1, 0xB000)


BUDGETED = '@id("p") @volume("3") permit (principal in Role::"r", action, resource);'


def test_volume_budget_of_a_person_holds_over_a_day_and_is_told(tmp_path):
    (tmp_path / "schema.cedarschema").write_bytes((_POLICIES / "schema.cedarschema").read_bytes())
    (tmp_path / "one.cedar").write_text(BUDGETED)
    world = World(tmp_path, tmp_path)
    world.keep(*(image(1, 1, number) for number in (1, 2)), *(image(2, 1, number) for number in (1, 2)))
    session = world.admit(node("r"), person("r"))

    def status(study):
        return get(world, MemoryChannel(session, CONTEXT, TAKES_CT), study)[1].status

    assert status("1.2.1") == 0
    assert status("1.2.2") == 0xC013
    assert [type(event) for event in world.trail.events[-2:]] == [AccessRefused, SecurityAlert]
    world.moment = world.moment.replace(day=2)
    assert status("1.2.2") == 0
    world.close()


def with_move(folder):
    """The shipped policies, with researchers moving what they may fetch."""
    for path in _POLICIES.glob("*.cedar*"):
        old = 'action in [Action::"Query", Action::"Retrieve", Action::"Receive"],'
        text = path.read_text("utf-8").replace(old, old.replace('"Query"', '"Query", Action::"Move"'))
        (folder / path.name).write_text(text, encoding="utf-8")
    return load(folder)


def test_masked_objects_go_to_other_nodes_masked_as_well(world, tmp_path):
    to = replace(node("radiologist", name="WS2"), fingerprint="6f" * 32)
    world.nodes.nodes["WS2"] = NodeRecord(to, host="127.0.0.1", port=104)
    world.pep._engine.adopt(with_move(tmp_path))
    session = world.admit(node("radiologist"), person("researcher", name="rita"))
    identifier = image()
    identifier.clear()
    identifier.QueryRetrieveLevel, identifier.StudyInstanceUID = "STUDY", "1.2.1"
    data = encoded(identifier, EXPLICIT_LITTLE)
    keys = decode_identifier(data, transfer_syntax(EXPLICIT_LITTLE))
    asked = Asked(STUDY_MOVE, EXPLICIT_LITTLE, data)
    with retrieve_service(world).select_for(session, asked, MOVE[STUDY_MOVE], keys, "WS2") as retrieval:
        for instance in retrieval.instances:
            opened = retrieval.open(instance, EXPLICIT_LITTLE)
            assert b"SECRET" not in b"".join(bytes(piece) for piece in opened.chunks())
            assert world.masked.original(opened.sop_instance_uid) == instance.key.sop_instance_uid
            opened.close()
