"""Objects without a patient (PS3.4 U, X, BB, GG): found and fetched in models of their own, and in no other."""

import pytest

from archive.audit.events import AccessRefused
from archive.dimse.channel import AcceptedContext
from archive.dimse.contexts import ContextNegotiation
from archive.dimse.query import QueryProvider
from archive.dimse.storage import StorageProvider
from archive.services.query import QueryService
from archive.services.store import StoreService
from archive.upper_layer.commands import Field
from archive.upper_layer.limits import Limits
from archive.upper_layer.negotiation import ProposedContext
from storage import non_patient
from storage.transfer_syntax import EXPLICIT_LITTLE
from tests.simulators import definitions
from tests.simulators.definitions import asking, hanging_protocol, implant, palette
from tests.simulators.memory_archive import CT, NoNotes, World, decoded, encoded, image
from tests.simulators.memory_channel import MemoryChannel, MemoryData, request
from tests.simulators.retrieving import get_provider
from tests.simulators.subjects import node, person

STUDY_FIND, STUDY_GET = "1.2.840.10008.5.1.4.1.2.2.1", "1.2.840.10008.5.1.4.1.2.2.3"


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path)
    world.keep(image(1), hanging_protocol(1), hanging_protocol(2), palette(1), palette(2), implant(1))
    yield world
    world.close()


def channel(world, role="administrator", *contexts):
    return MemoryChannel(world.admit(node(role), person(role)), *contexts)


def find(world, sop_class, role="administrator", **keys):
    context = AcceptedContext(1, sop_class, EXPLICIT_LITTLE)
    asked = channel(world, role, context)
    provider = QueryProvider(QueryService(world.reader, world.pep, world.trail, world.repository), "US", Limits())
    provider.handle(asked, context, request(Field.C_FIND_RQ, sop_class), MemoryData(encoded(asking(**keys))))
    *pending, final = asked.sent
    return [decoded(answer.data) for answer in pending], [answer.status for answer in pending], final.status


@pytest.mark.parametrize(
    ("sop_class", "keys", "uids"),
    [
        (definitions.HANGING_FIND, {}, ["1.2.826.38.1", "1.2.826.38.2"]),
        (definitions.HANGING_FIND, {"HangingProtocolName": "CHEST 2"}, ["1.2.826.38.2"]),
        (definitions.HANGING_FIND, {"HangingProtocolName": "*1"}, ["1.2.826.38.1"]),
        (definitions.HANGING_FIND, {"HangingProtocolCreationDateTime": "2027-"}, []),
        (definitions.HANGING_FIND, {"SOPInstanceUID": "1.2.826.38.2\\1.2.826.39.1"}, ["1.2.826.38.2"]),
        (definitions.PALETTE_FIND, {"ContentLabel": "HOT_1"}, ["1.2.826.39.1"]),
        (definitions.PALETTE_FIND, {"ContentCreatorName": "muller*"}, ["1.2.826.39.1", "1.2.826.39.2"]),
        (definitions.IMPLANT_FIND, {"Manufacturer": "STEMS*"}, ["1.2.826.43.1"]),
        (definitions.IMPLANT_FIND, {"Manufacturer": "OTHERS"}, []),
    ],
)
def test_each_model_finds_its_own_objects_by_their_attributes(world, sop_class, keys, uids):
    found, statuses, final = find(world, sop_class, **{"SOPInstanceUID": "", **keys})
    assert ([answer.SOPInstanceUID for answer in found], final) == (uids, 0)
    assert all("QueryRetrieveLevel" not in answer and answer.RetrieveAETitle == "US" for answer in found)
    assert set(statuses) <= {0xFF00}


def test_a_sequence_is_matched_and_returned_and_a_key_of_a_study_is_not(world):
    keys = asking(Modality="DX")
    found, statuses, _ = find(
        world, definitions.HANGING_FIND, SOPInstanceUID="1.2.826.38.1", HangingProtocolDefinitionSequence=[keys]
    )
    assert found[0].HangingProtocolDefinitionSequence[0].Modality == "DX" and statuses == [0xFF00]
    found, statuses, _ = find(world, definitions.HANGING_FIND, SOPInstanceUID="", PatientID="P1", StudyInstanceUID="")
    assert len(found) == 2 and set(statuses) == {0xFF01}
    assert all("PatientID" not in answer and "StudyInstanceUID" not in answer for answer in found)


@pytest.mark.parametrize(
    "keys",
    [
        {"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": ""},
        {"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": definitions.PALETTE},
        {"QueryRetrieveLevel": "SERIES", "StudyInstanceUID": definitions.PALETTE, "SeriesInstanceUID": ""},
    ],
)
def test_no_query_for_studies_finds_one_whoever_asks(world, keys):
    for role in ("radiologist", "administrator"):
        found, _, _ = find(world, STUDY_FIND, role, **keys)
        assert {answer.StudyInstanceUID for answer in found} <= {"1.2.1"}


@pytest.mark.parametrize("role", ["radiologist", "researcher", "physician", "modality", "service"])
def test_only_administrators_find_them(world, role):
    found, _, final = find(world, definitions.HANGING_FIND, role, SOPInstanceUID="")
    assert (found, final) == ([], 0x0124)
    (event,) = world.trail.events
    assert isinstance(event, AccessRefused) and event.action == "ReadNonPatient"


def get(world, sop_class, storage, role="administrator", **keys):
    context = AcceptedContext(1, sop_class, EXPLICIT_LITTLE)
    asked = channel(world, role, context, AcceptedContext(3, storage, EXPLICIT_LITTLE, scp_role=True))
    incoming = MemoryData(encoded(asking(**keys)))
    get_provider(world).handle(asked, context, request(Field.C_GET_RQ, sop_class), incoming)
    return [sent.data for sent in asked.of(Field.C_STORE_RQ)], asked.last


def test_they_are_fetched_by_their_uids_byte_for_byte_and_told(world):
    objects, final = get(world, definitions.PALETTE_GET, definitions.PALETTE, SOPInstanceUID="1.2.826.39.2")
    assert objects == [encoded(palette(2))] and final.status == 0
    assert world.trail.kinds() == ["transfer-begun", "instances-transferred"]
    (study,) = world.trail.events[1].studies
    assert (study.study_uid, study.patient_id) == (definitions.PALETTE, "")


@pytest.mark.parametrize("keys", [{}, {"SOPInstanceUID": ""}, {"ContentLabel": "HOT_1"}])
def test_a_retrieval_without_their_uids_is_a900(world, keys):
    objects, final = get(world, definitions.PALETTE_GET, definitions.PALETTE, **keys)
    assert (objects, final.status) == ([], 0xA900)


def test_a_retrieval_of_studies_has_none_of_them(world):
    keys = {"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": definitions.PALETTE}
    objects, final = get(world, STUDY_GET, definitions.PALETTE, "radiologist", **keys)
    assert (objects, final.status) == ([], 0)


def store(world, dataset, role="administrator"):
    sop_class = str(dataset.SOPClassUID)
    context = AcceptedContext(1, sop_class, EXPLICIT_LITTLE)
    asked = channel(world, role, context)
    command = request(Field.C_STORE_RQ, sop_class, affected_sop_instance_uid=str(dataset.SOPInstanceUID))
    service = StoreService(world.repository, world.pep, world.trail, world.masked, NoNotes())
    StorageProvider(service, Limits()).handle(asked, context, command, MemoryData(encoded(dataset)))
    return asked.last.status


def test_an_administrator_stores_them_and_a_modality_does_not(world):
    assert store(world, palette(3)) == 0
    assert find(world, definitions.PALETTE_FIND, SOPInstanceUID="1.2.826.39.3")[0]
    assert store(world, palette(4), "modality") == 0x0124
    assert store(world, image(5), "administrator") == 0x0124


def test_one_that_names_a_study_and_a_study_that_names_their_class_are_refused(world):
    assert store(world, palette(5, StudyInstanceUID="1.2.1")) == 0xA900
    assert store(world, image(6, StudyInstanceUID=definitions.PALETTE), "modality") == 0xA900


@pytest.mark.parametrize("model", non_patient.MODELS, ids=lambda model: model.name)
def test_every_model_is_accepted_with_its_storage(model):
    for uid in (model.find, model.move, model.get, *model.classes):
        assert ContextNegotiation().result(ProposedContext(1, uid, (EXPLICIT_LITTLE,))).result == 0
    assert CT not in model.classes
