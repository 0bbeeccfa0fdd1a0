"""Rows of the index that somebody wrote past the archive to open a study: nothing is permitted by them.

Whoever can write the database cannot make a seal. What SQL lets through, policy decides on the sealed facts; what is
not sealed is permitted to nobody, an officer is told, and `strongroom verify` names it.
"""

import pytest
from sqlalchemy import text

from archive.audit.events import AccessRefused, Alert, SecurityAlert
from archive.dimse.channel import AcceptedContext
from archive.dimse.query import QueryProvider
from archive.services.query import QueryService
from archive.upper_layer.commands import Field
from archive.upper_layer.limits import Limits
from auth.errors import AccessDenied
from storage.errors import IndexFault
from storage.events import facts_naming
from storage.index.engine import IndexEngine
from storage.index.facts import FactsSeal, facts_text, labels_text
from storage.index.reader import IndexReader
from storage.index.writer import label
from storage.instance import StudyFacts
from storage.transfer_syntax import EXPLICIT_LITTLE
from tests.simulators.memory_archive import CT, World, decoded, encoded, image
from tests.simulators.memory_channel import MemoryChannel, MemoryData, request
from tests.simulators.object_store import ObjectStore
from tests.simulators.retrieving import get_provider
from tests.simulators.subjects import node, person
from tests.unit.storage.test_removal import put, take

FIND, GET = "1.2.840.10008.5.1.4.1.2.2.1", "1.2.840.10008.5.1.4.1.2.2.3"
KEY = b"k" * 32
OPENED = StudyFacts("1.2.2", patient_id="P2", study_date=20020102, modalities=frozenset({"CT"}))
TAMPERED = {
    "the label that SQL reads is gone": {"labels": ""},
    "every label is gone": {"labels": "", "facts": facts_text(OPENED)},
    "and the seal is another study's": {"labels": "", "facts": facts_text(OPENED), "facts_seal": "of 1.2.1"},
    "and the seal is gone": {"labels": "", "facts": facts_text(OPENED), "facts_seal": None},
    "and the seal is one of another key": {
        "labels": "",
        "facts": facts_text(OPENED),
        "facts_seal": FactsSeal(b"x" * 32).of(facts_text(OPENED), ""),
    },
}
"""What a study that is labelled restricted is made to say."""


@pytest.fixture(params=TAMPERED.values(), ids=TAMPERED)
def world(request, tmp_path):
    """Two studies, of which a radiologist might see the first; the second one's row was tampered with."""
    world = World(tmp_path, index=IndexEngine.open(tmp_path / "index.sqlite", seal=FactsSeal(KEY)))
    world.keep(image(1), image(2))
    world.label("1.2.2", "restricted")
    assert world.reader.study_facts("1.2.2").labels == {"restricted"}
    changed = dict(request.param)
    with world.index.writing() as connection:
        if changed.get("facts_seal") == "of 1.2.1":
            found = connection.execute(text("SELECT facts_seal FROM study WHERE study_uid = '1.2.1'"))
            changed["facts_seal"] = found.scalar_one()
        columns = ", ".join(f"{name} = :{name}" for name in changed)
        connection.execute(text(f"UPDATE study SET {columns} WHERE study_uid = '1.2.2'"), changed)
    yield world
    world.close()


def asked(world, operation, study=""):
    identifier = image()
    identifier.clear()
    identifier.QueryRetrieveLevel, identifier.StudyInstanceUID = "STUDY", study
    sop_class = FIND if operation == Field.C_FIND_RQ else GET
    context = AcceptedContext(1, sop_class, EXPLICIT_LITTLE)
    takes = AcceptedContext(5, CT, EXPLICIT_LITTLE, scu_role=False, scp_role=True)
    channel = MemoryChannel(world.admit(node("radiologist"), person("radiologist")), context, takes)
    if operation == Field.C_FIND_RQ:
        service = QueryService(world.reader, world.pep, world.trail, world.repository)
        provider = QueryProvider(service, "STRONGROOM", Limits())
    else:
        provider = get_provider(world)
    provider.handle(channel, context, request(operation, sop_class), MemoryData(encoded(identifier, EXPLICIT_LITTLE)))
    return channel.sent


def test_a_query_leaves_the_study_out_and_tells_an_officer(world):
    found = [decoded(message.data).StudyInstanceUID for message in asked(world, Field.C_FIND_RQ) if message.data]
    assert found == ["1.2.1"]
    (alert,) = [event for event in world.trail.events if isinstance(event, SecurityAlert)]
    assert alert.study_uid == "1.2.2"


def test_a_retrieval_gives_nothing_of_it_and_tells_an_officer(world):
    *stores, final = asked(world, Field.C_GET_RQ, "1.2.2")
    assert all(message.data is None for message in stores) and final.status != 0
    (alert,) = [event for event in world.trail.events if isinstance(event, SecurityAlert)]
    assert (alert.alert, alert.study_uid) == (Alert.OBJECT_SECURITY_ATTRIBUTES_CHANGED.value, "1.2.2")
    assert any(isinstance(event, AccessRefused) for event in world.trail.events)


def test_nothing_is_granted_by_it(world):
    administrator = world.admit(node("radiologist"), person("radiologist"))
    with pytest.raises(AccessDenied, match="not what this archive wrote"):
        world.pep.delete(administrator, world.reader.study_facts("1.2.2"))


def test_a_later_change_of_labels_does_not_vouch_for_it(world):
    with world.index.writing() as connection:
        label(connection, "1.2.2", "research", present=True)
        label(connection, "1.2.1", "research", present=True)
    assert not world.reader.study_facts("1.2.2").vouched and world.reader.study_facts("1.2.1").vouched


def test_a_seal_is_of_one_study_and_of_what_it_says():
    seal = FactsSeal(KEY)
    facts, labels = facts_text(OPENED), labels_text({"restricted"})
    mac = seal.of(facts, labels)
    assert seal.holds(facts, labels, mac)
    assert not seal.holds(facts, "", mac) and not seal.holds(facts + " ", labels, mac)
    assert not seal.holds(facts, labels, None) and not FactsSeal(b"x" * 32).holds(facts, labels, mac)


def test_what_is_not_vouched_for_is_not_written_into_the_ledger_as_what_a_study_said(tmp_path):
    store = ObjectStore(tmp_path)
    repository = store.start()
    try:
        put(repository, "1.1")
        put(repository, "1.2")
        gone = take(repository, "1.1")
        engine = next(part for part in store._open if isinstance(part, IndexEngine))
        with engine.writing() as connection:
            connection.execute(text("UPDATE study SET facts = replace(facts, 'P1', 'P2')"))
        assert not IndexReader(engine).study_facts("1.2.3").vouched
        with pytest.raises(IndexFault, match="not what this archive wrote"):
            repository.record("erased", facts_naming("1.2.3", gone), {})
        assert repository.read_only is None
        repository.rebuild()
        repository.record("erased", facts_naming("1.2.3", gone), {})
        assert repository.reader.study_facts("1.2.3").vouched
    finally:
        store.stop()
