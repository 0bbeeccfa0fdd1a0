"""C-FIND on the wire: pending and final statuses (PS3.4 C.4.1.1.4), what a response holds, hidden keys, cancel."""

import base64
from dataclasses import replace

import pytest
from pydicom import Dataset

from archive.audit.events import AccessRefused, QueryPerformed, SecurityAlert
from archive.dimse.channel import AcceptedContext
from archive.dimse.query import QueryProvider
from archive.errors import LimitExceeded
from archive.services.query import QueryService
from archive.upper_layer.commands import Field
from archive.upper_layer.limits import Limits
from storage.index.predicate import EVERYTHING
from storage.index.state import begin_rebuild
from storage.transfer_syntax import EXPLICIT_LITTLE, IMPLICIT_LITTLE
from tests.simulators.memory_archive import POLICIES, World, decoded, encoded, image
from tests.simulators.memory_channel import MemoryChannel, MemoryData, request
from tests.simulators.subjects import node, person

STUDY_ROOT, PATIENT_ROOT = "1.2.840.10008.5.1.4.1.2.2.1", "1.2.840.10008.5.1.4.1.2.1.1"
CONTEXT = AcceptedContext(3, STUDY_ROOT, EXPLICIT_LITTLE)


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path)
    world.keep(
        *(image(1, 1, number, PatientName="DOE^JOHN") for number in (1, 2)),
        image(2, PatientName="MÜLLER^JÜRGEN", SpecificCharacterSet="ISO_IR 192"),
        image(3, Modality="MR"),
    )
    world.label("1.2.2", "research")
    world.label("1.2.3", "restricted")
    yield world
    world.close()


@pytest.fixture
def provider(world):
    return QueryProvider(QueryService(world.reader, world.pep, world.trail, world.repository), "STRONGROOM", Limits())


@pytest.fixture
def radiologist(world):
    return MemoryChannel(world.admit(node("radiologist"), person("radiologist")), CONTEXT)


@pytest.fixture
def researcher(world):
    return MemoryChannel(world.admit(node("researcher"), person("researcher", name="rita")), CONTEXT)


LIMITED = '@id("p") @results("2") @keys("PatientID,StudyDate") permit (principal in Role::"r", action, resource);'


@pytest.fixture
def limited(tmp_path, world):
    folder = tmp_path / "limited"
    folder.mkdir()
    (folder / "schema.cedarschema").write_bytes((POLICIES / "schema.cedarschema").read_bytes())
    (folder / "one.cedar").write_text(LIMITED)
    world.pep._engine.reload(folder)
    return MemoryChannel(world.admit(node("r"), person("r")), CONTEXT)


@pytest.mark.parametrize("keys", [{}, {"PatientID": ""}, {"PatientID": "*"}, {"PatientName": "DOE^JOHN"}])
def test_a_query_that_gives_no_key_a_value_that_it_has_to_is_refused(world, provider, limited, keys):
    found, final, _ = find(provider, limited, StudyInstanceUID="", **keys)
    assert found == [] and final.status == 0xC012
    assert isinstance(world.trail.events[-1], AccessRefused)


def test_a_query_ends_with_a700_after_as_many_matches_as_the_policy_allows(provider, limited):
    found, final, _ = find(provider, limited, StudyInstanceUID="", StudyDate="20000101-")
    assert len(found) == 2 and final.status == 0xA700
    limited.sent.clear()
    found, final, _ = find(provider, limited, StudyInstanceUID="", PatientID="P1")
    assert len(found) == 1 and final.status == 0


def find(provider, channel, context=CONTEXT, data=None, **keys):
    dataset = image()
    dataset.clear()
    for keyword, value in ({"QueryRetrieveLevel": "STUDY"} | keys).items():
        setattr(dataset, keyword, value)
    identifier = encoded(dataset, context.transfer_syntax) if data is None else data
    before = len(channel.sent)
    provider.handle(channel, context, request(Field.C_FIND_RQ, context.abstract_syntax), MemoryData(identifier))
    *pending, final = channel.sent[before:]
    assert all(message.status in (0xFF00, 0xFF01) and message.data for message in pending)
    assert final.data is None and final.status not in (0xFF00, 0xFF01)
    return [decoded(message.data, context.transfer_syntax) for message in pending], final, pending


def test_matches_are_pending_ff00_and_the_end_is_0000(provider, radiologist):
    found, final, pending = find(provider, radiologist, StudyInstanceUID="", PatientName="", StudyDate="")
    assert [answer.StudyInstanceUID for answer in found] == ["1.2.2", "1.2.1"]
    assert {message.status for message in pending} == {0xFF00} and final.status == 0x0000
    assert {message.command.message_id_being_responded_to for message in pending} == {7}


def test_no_match_is_one_success(provider, radiologist):
    found, final, _ = find(provider, radiologist, StudyInstanceUID="9.9")
    assert found == [] and final.status == 0x0000


def test_a_response_holds_what_was_asked_and_no_more(provider, radiologist):
    (answer,), _, _ = find(provider, radiologist, StudyInstanceUID="1.2.1", PatientID="", StudyDescription="")
    assert sorted(element.keyword for element in answer) == [
        "PatientID",
        "QueryRetrieveLevel",
        "RetrieveAETitle",
        "StudyDescription",
        "StudyInstanceUID",
    ]
    assert answer.RetrieveAETitle == "STRONGROOM" and answer["StudyDescription"].is_empty


def test_names_beyond_ascii_are_answered_in_utf8(provider, radiologist):
    (answer,), _, _ = find(provider, radiologist, StudyInstanceUID="1.2.2", PatientName="")
    assert answer.SpecificCharacterSet == "ISO_IR 192" and answer.PatientName == "MÜLLER^JÜRGEN"


@pytest.mark.parametrize(
    "keys", [{"ImageComments": ""}, {"InstitutionalDepartmentTypeCodeSequence": []}, {"RetrieveAETitle": "OTHER"}]
)
def test_an_optional_key_that_is_not_matched_makes_pending_ff01(provider, radiologist, keys):
    found, final, pending = find(provider, radiologist, StudyInstanceUID="1.2.1", **keys)
    assert len(found) == 1 and pending[0].status == 0xFF01 and final.status == 0x0000
    assert found[0].RetrieveAETitle == "STRONGROOM" and "ImageComments" not in found[0]


def test_a_restricted_study_is_not_there(provider, radiologist):
    found, final, _ = find(provider, radiologist, StudyInstanceUID="1.2.3")
    assert found == [] and final.status == 0x0000


@pytest.mark.parametrize("name", ["MÜLLER*", "?*", "*^*", "**", "MÜLLER^JÜRGEN", "NOBODY"])
def test_a_hidden_key_with_a_value_is_one_fixed_failure_whatever_would_match(world, provider, researcher, name):
    found, final, _ = find(
        provider, researcher, StudyInstanceUID="", PatientName=name, SpecificCharacterSet="ISO_IR 192"
    )
    assert found == [] and final.status == 0xC011
    assert final.command.error_comment == "a key of the identifier may not be matched on"
    (event,) = world.trail.events
    assert isinstance(event, AccessRefused) and "LLER" not in event.reason


@pytest.mark.parametrize("name", ["", "*"])
def test_a_hidden_key_without_a_value_is_answered_empty(provider, researcher, name):
    (answer,), final, pending = find(
        provider, researcher, StudyInstanceUID="", PatientName=name, PatientAddress="", PatientID=""
    )
    assert answer.StudyInstanceUID == "1.2.2" and answer.PatientID == "P2"
    assert answer["PatientName"].is_empty and answer["PatientAddress"].is_empty
    assert (pending[0].status, final.status) == (0xFF00, 0x0000)


def test_a_node_alone_queries_nothing(world, provider):
    channel = MemoryChannel(world.admit(node("radiologist")), CONTEXT)
    found, final, _ = find(provider, channel, StudyInstanceUID="")
    assert found == [] and final.status == 0x0124
    assert world.trail.kinds() == ["access-refused"]


@pytest.mark.parametrize(
    "keys",
    [
        {"QueryRetrieveLevel": "PATIENT"},
        {"QueryRetrieveLevel": "SERIES"},
        {"QueryRetrieveLevel": "FRAME"},
        {"QueryRetrieveLevel": "IMAGE", "StudyInstanceUID": "1.2.1\\1.2.2", "SeriesInstanceUID": "1.2.1.1"},
        {"StudyDate": "yesterday"},
    ],
)
def test_an_identifier_that_breaks_the_model_is_a900(world, provider, radiologist, keys):
    data = encoded(_plain(keys))
    found, final, _ = find(provider, radiologist, data=data)
    assert found == [] and final.status == 0xA900
    (event,) = world.trail.events
    assert isinstance(event, QueryPerformed) and event.outcome.value == 4


def _plain(keys):
    dataset = image()
    dataset.clear()
    for keyword, value in ({"QueryRetrieveLevel": "STUDY"} | keys).items():
        dataset.add_new(keyword, "LO", value)
    return dataset


def test_bytes_that_are_no_identifier_are_c000_and_told_as_they_came(world, provider, radiologist):
    found, final, _ = find(provider, radiologist, data=b"\x08\x00")
    assert found == [] and final.status == 0xC000
    (event,) = world.trail.events
    assert base64.b64decode(event.identifier) == b"\x08\x00"


def test_a_query_without_an_identifier_is_a900(provider, radiologist):
    provider.handle(radiologist, CONTEXT, request(Field.C_FIND_RQ, STUDY_ROOT, data_set=False), None)
    assert radiologist.last.status == 0xA900


def test_an_identifier_over_the_budget_ends_the_association(world, radiologist):
    provider = QueryProvider(
        QueryService(world.reader, world.pep, world.trail, world.repository), "S", Limits(identifier_bytes=64)
    )
    with pytest.raises(LimitExceeded):
        find(provider, radiologist, StudyInstanceUID="", PatientName="x" * 64)


def test_a_query_is_told_as_it_was_asked_before_the_first_row(world, provider, radiologist):
    find(provider, radiologist, StudyInstanceUID="1.2.1")
    (event,) = world.trail.events
    assert isinstance(event, QueryPerformed) and event.actor.person == "alice"
    assert decoded(base64.b64decode(event.identifier)).StudyInstanceUID == "1.2.1"
    assert (event.sop_class_uid, event.transfer_syntax) == (STUDY_ROOT, EXPLICIT_LITTLE)


def test_no_row_leaves_when_the_audit_cannot_be_written(world, provider, radiologist):
    world.trail.broken = True
    found, final, _ = find(provider, radiologist, StudyInstanceUID="")
    assert found == [] and final.status == 0xA700


def test_an_index_being_rebuilt_is_a700(world, provider, radiologist):
    with world.index.writing() as connection:
        begin_rebuild(connection)
    found, final, _ = find(provider, radiologist, StudyInstanceUID="")
    assert found == [] and final.status == 0xA700 and world.trail.kinds() == ["query-performed"]


def test_a_cancelled_query_ends_with_fe00(world, provider, radiologist):
    world.keep(*(image(study) for study in range(100, 350)))
    radiologist.cancel_after = 1
    found, final, _ = find(provider, radiologist, StudyInstanceUID="")
    assert final.status == 0xFE00 and 0 < len(found) < 252


def test_patient_root_and_implicit_vr_are_answered_alike(provider, radiologist):
    context = AcceptedContext(5, PATIENT_ROOT, IMPLICIT_LITTLE)
    found, final, _ = find(provider, radiologist, context, QueryRetrieveLevel="PATIENT", PatientID="P*", PatientName="")
    assert [answer.PatientID for answer in found] == ["P1", "P2"] and final.status == 0x0000


def test_image_level_answers_numbers_in_their_own_vr(world, provider, radiologist):
    world.keep(image(4, Rows=512))
    (answer,), _, _ = find(
        provider,
        radiologist,
        QueryRetrieveLevel="IMAGE",
        StudyInstanceUID="1.2.4",
        SeriesInstanceUID="1.2.4.1",
        SOPInstanceUID="",
        Rows=512,
    )
    assert answer.Rows == 512 and answer.SOPInstanceUID == "1.2.4.1.1"


def test_a_row_that_the_scope_lets_through_and_cedar_denies_is_left_out_and_alarms(world, radiologist):
    class Leaky:
        """An enforcement point whose condition forgets the policy."""

        def query(self, session, sop_class):
            return replace(world.pep.query(session, sop_class), scope=EVERYTHING, seal=_seal())

        redecide_all = staticmethod(world.pep.redecide_all)

    provider = QueryProvider(QueryService(world.reader, Leaky(), world.trail, world.repository), "STRONGROOM", Limits())
    found, final, _ = find(provider, radiologist, StudyInstanceUID="")
    assert {answer.StudyInstanceUID for answer in found} == {"1.2.1", "1.2.2"} and final.status == 0x0000
    assert [e.study_uid for e in world.trail.events if isinstance(e, SecurityAlert)] == ["1.2.3"]


def test_pages_after_the_first_are_sampled_and_a_disagreement_clears_the_page(world, radiologist):
    world.keep(*(image(study) for study in range(100, 900)))
    calls = []

    class Turning:
        """Cedar changes its mind after the first page."""

        query = staticmethod(world.pep.query)

        def redecide_all(self, grant, studies):
            calls.append(len(studies))
            return [len(calls) == 1] * len(studies)

    provider = QueryProvider(
        QueryService(world.reader, Turning(), world.trail, world.repository), "STRONGROOM", Limits()
    )
    found, _, _ = find(provider, radiologist, StudyInstanceUID="")
    assert len(found) == 500 and calls == [500, 4, 302]


def _seal():
    from archive.enforcement import grant

    return grant._SEAL


def code(value=None, meaning=None):
    item = Dataset()
    for keyword, text in (("CodeValue", value), ("CodeMeaning", meaning)):
        if text is not None:
            setattr(item, keyword, text)
    return item


def test_a_sequence_is_matched_and_answered_item_by_item(world, provider, radiologist):
    world.keep(
        image(7, ProcedureCodeSequence=[code("A", "first"), code("B", "second")]),
        image(8, ProcedureCodeSequence=[code("C", "third")]),
    )
    keys = {"StudyDate": "20070101-", "ProcedureCodeSequence": [code("B", "")]}
    found, final, pending = find(provider, radiologist, **keys)
    assert final.status == 0x0000 and {message.status for message in pending} == {0xFF00}
    ((item,),) = [answer.ProcedureCodeSequence for answer in found]
    assert (item.CodeValue, item.CodeMeaning) == ("B", "second")
    found, _, _ = find(provider, radiologist, StudyInstanceUID="1.2.7", ProcedureCodeSequence=[])
    assert [item.CodeValue for item in found[0].ProcedureCodeSequence] == ["A", "B"]


def test_elements_of_each_level_are_those_of_its_first_object(world, provider, radiologist):
    world.keep(
        image(7, 1, 1, PatientComments="first", RequestAttributesSequence=[code("R")], ImageComments="one"),
        image(7, 1, 2, PatientComments="second", ImageComments="two"),
    )
    found, _, _ = find(provider, radiologist, StudyInstanceUID="1.2.7", PatientComments="")
    assert [answer.PatientComments for answer in found] == ["first"]
    keys = {"StudyInstanceUID": "1.2.7", "SeriesInstanceUID": "1.2.7.1", "ImageComments": "t*"}
    found, _, _ = find(provider, radiologist, QueryRetrieveLevel="IMAGE", **keys)
    assert [answer.ImageComments for answer in found] == ["two"]
    del keys["ImageComments"]
    found, _, _ = find(
        provider, radiologist, QueryRetrieveLevel="SERIES", **keys, RequestAttributesSequence=[code("R")]
    )
    assert len(found) == 1


def test_a_value_too_large_for_the_index_is_read_from_its_object(world, provider, radiologist):
    text = "Größe " * 20_000
    world.keep(
        image(7, SpecificCharacterSet="ISO_IR 192", TextValue=text, PatientComments="short"),
        image(8, PatientComments="short", ProcedureCodeSequence=[code("A")] * 9000),
    )
    keys = {"StudyInstanceUID": "1.2.7", "SeriesInstanceUID": "1.2.7.1", "TextValue": ""}
    found, final, _ = find(provider, radiologist, QueryRetrieveLevel="IMAGE", **keys)
    assert final.status == 0x0000 and [answer.TextValue for answer in found] == [text.strip()]
    asked = {"StudyInstanceUID": "1.2.8", "PatientComments": "", "ProcedureCodeSequence": []}
    ((answer,), _, _) = find(provider, radiologist, context=AcceptedContext(3, STUDY_ROOT, IMPLICIT_LITTLE), **asked)
    assert answer.PatientComments == "short" and len(answer.ProcedureCodeSequence) == 9000
    assert world.repository.open_objects == 0


def test_a_value_of_an_object_that_is_damaged_fails_the_query(world, provider, radiologist):
    world.keep(image(7, ProcedureCodeSequence=[code("A")] * 9000))
    world.repository.damaged = frozenset({"1.2.7.1.1"})
    found, final, _ = find(provider, radiologist, StudyInstanceUID="1.2.7", ProcedureCodeSequence=[])
    assert found == [] and final.status == 0xC001


@pytest.mark.parametrize("value", ["ROE", None])
def test_a_hidden_attribute_is_neither_matched_nor_shown_inside_a_sequence(world, provider, researcher, value):
    inner = Dataset()
    inner.PatientName = "ROE^JANE"
    world.keep(image(2, 2, 1, OriginalAttributesSequence=[inner], PatientComments="ROE^JANE was here"))
    asked = Dataset()
    asked.PatientName = value or ""
    keys = {"StudyInstanceUID": "1.2.2", "PatientComments": ""}
    found, final, pending = find(provider, researcher, ReferencedStudySequence=[asked], **keys)
    if value:
        assert found == [] and final.status == 0xC011
    else:
        assert pending[0].status == 0xFF01 and final.status == 0x0000
        assert "PatientComments" not in found[0] and "ReferencedStudySequence" not in found[0]


def test_what_was_agreed_on_changes_how_a_query_is_matched(provider, radiologist):
    agreed = AcceptedContext(3, STUDY_ROOT, EXPLICIT_LITTLE, extended=b"\x01\x00\x01")
    keys = {"QueryRetrieveLevel": "SERIES", "PatientName": "jürgen mül", "SeriesInstanceUID": ""}
    found, final, _ = find(provider, radiologist, context=agreed, SpecificCharacterSet="ISO_IR 100", **keys)
    assert final.status == 0x0000 and [answer.SeriesInstanceUID for answer in found] == ["1.2.2.1"]
    assert found[0].PatientName == "MÜLLER^JÜRGEN" and found[0].SpecificCharacterSet == "ISO_IR 100"
    found, final, _ = find(provider, radiologist, SpecificCharacterSet="ISO_IR 100", **keys)
    assert found == [] and final.status == 0xA900
