"""Names in every character set of PS3.3 C.12.1.1.2 are found and returned, whatever set the client asks in."""

from pathlib import Path

import pydicom
import pytest
from pydicom import Dataset
from pydicom.data import get_charset_files

from archive.dimse.channel import AcceptedContext
from archive.dimse.query import QueryProvider
from archive.services.query import QueryService
from archive.upper_layer.commands import Field
from archive.upper_layer.limits import Limits
from storage.instance import DeclaredInstance
from storage.transfer_syntax import EXPLICIT_LITTLE, IMPLICIT_LITTLE
from tests.simulators.memory_archive import World, decoded, encoded
from tests.simulators.memory_channel import MemoryChannel, MemoryData, request
from tests.simulators.shared_material import shared
from tests.simulators.subjects import node, person

STUDY_ROOT = "1.2.840.10008.5.1.4.1.2.2.1"
CONTEXT = AcceptedContext(3, STUDY_ROOT, IMPLICIT_LITTLE)
FILES = {Path(path).stem: Path(path) for path in get_charset_files("*.dcm") if "SQEncoding" not in path}
"""Those with a name at their top level; the others have it in a sequence, with a character set of its own there."""
ASKED_IN = ("ISO_IR 192", "GB18030", "ISO_IR 100", "\\ISO 2022 IR 87", "\\ISO 2022 IR 149", "")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    world = World(tmp_path_factory.mktemp("names"))
    yield world
    world.close()


def keep(world, path, name=None):
    """A file's own bytes, and only its UIDs made our own."""
    name = str(pydicom.dcmread(path).PatientName) if name is None else name
    raw = pydicom.dcmread(path)
    uid = f"1.2.{int.from_bytes(path.stem[-12:].encode())}"
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
        setattr(raw, keyword, uid)
    raw.SOPClassUID = raw.get("SOPClassUID") or "1.2.840.10008.5.1.4.1.1.7"
    data = encoded(raw, EXPLICIT_LITTLE)
    intake = world.repository.begin(DeclaredInstance(raw.SOPClassUID, uid, EXPLICIT_LITTLE))
    intake.write(data)
    world.repository.commit_all([world.repository.seal(intake.finish(), {})])
    return uid, name


def found(world, character_set, **keys):
    service = QueryService(world.reader, world.pep, world.trail, world.repository)
    provider = QueryProvider(service, "STRONGROOM", Limits())
    channel = MemoryChannel(world.admit(node("radiologist"), person("radiologist")), CONTEXT)
    dataset = Dataset()
    if character_set:
        dataset.SpecificCharacterSet = character_set.split("\\") if "\\" in character_set else character_set
    for keyword, value in {"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": "", **keys}.items():
        setattr(dataset, keyword, value)
    asked = MemoryData(encoded(dataset, IMPLICIT_LITTLE))
    provider.handle(channel, CONTEXT, request(Field.C_FIND_RQ, STUDY_ROOT), asked)
    *pending, final = channel.sent
    assert final.status == 0x0000
    return [decoded(message.data, IMPLICIT_LITTLE) for message in pending]


def check(world, path, name=None):
    uid, name = keep(world, path, name)
    groups = [group.strip() for group in name.split("=") if group.strip()]
    # By the whole name and by each of its groups, in a set that holds everything.
    for key in (name, *(f"{group}*" for group in groups)):
        answers = {answer.StudyInstanceUID: answer for answer in found(world, "ISO_IR 192", PatientName=key)}
        assert str(answers[uid].PatientName) == name
    # And returned to clients that speak other sets, whether or not these hold the name.
    for character_set in ASKED_IN:
        (answer,) = found(world, character_set, StudyInstanceUID=uid, PatientName="")
        assert str(answer.PatientName) == name, character_set


@pytest.mark.parametrize("file", sorted(FILES))
def test_a_name_is_found_and_returned(world, file):
    check(world, FILES[file])


@pytest.mark.parametrize("file", ["chrSQEncoding", "chrSQEncoding1"])
def test_a_name_in_a_sequence_is_read_in_the_character_set_of_its_item(world, file):
    (path,) = get_charset_files(f"{file}.dcm")
    item = pydicom.dcmread(path)[0x00321064][0]
    name = str(item.PatientName)
    keep(world, Path(path), "")
    asked = Dataset()
    asked.PatientName = name
    answers = found(world, "ISO_IR 192", RequestedProcedureCodeSequence=[asked])
    names = [str(inner.PatientName) for answer in answers for inner in answer.RequestedProcedureCodeSequence]
    assert name in names and "山田" in name


def test_a_name_in_gb2312_is_found_and_returned(world):
    check(
        world,
        shared("corpus", "fo-dicom__Tests_FO-DICOM.Tests_Test_Data_charset_chrGB2312.dcm"),
        "Zhang^XiaoDong=张^小东",
    )
