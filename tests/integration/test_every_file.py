"""Every valid file comes back byte for byte; every other one gets a coded answer and leaves nothing behind.

"Byte for byte" is judged on received bytes: our signature is cut out of what came back at the two places where it was
spliced in, by a reader that shares no code with the archive, and the rest has to be what was sent.
"""

import io
import shutil
import zlib
from collections import defaultdict

import pydicom
import pytest

from storage.transfer_syntax import transfer_syntax
from tests.simulators.dicom_files import packaged, read, valid
from tests.simulators.running_archive import RunningArchive
from tests.simulators.scu import IMPLICIT, STUDY_GET, Aborted, Message, identifier
from tests.simulators.shared_material import shared

SOP_UID, SERIES_UID, STUDY_UID = 0x00080018, 0x0020000E, 0x0020000D


def one_home_for_each_copy(files):
    """Files that share a UID go to different homes."""
    homes = defaultdict(dict)
    for file in files:
        number = next(n for n in range(1000) if file.instance not in homes[n])
        homes[number][file.instance] = file
    return [list(home.values()) for _, home in sorted(homes.items())]


def cut_out(data, original):
    """True if ``data`` is ``original`` with bytes added in at most two places (a length field may differ at each)."""
    added = len(data) - len(original)
    start = next((n for n in range(len(original)) if data[n] != original[n]), len(original))
    end = next((n for n in range(len(original)) if data[-1 - n] != original[-1 - n]), len(original))
    if start + end >= len(original):
        return True
    if added <= 0:
        return False
    # Between the two splices lies a run that is the same in both, shifted by what the first one added.
    middle = original[start : len(original) - end]
    return data.find(middle, start, len(data) - end) >= 0 or data.find(middle[4:], start, len(data) - end) >= 0


def store(archive, file):
    contexts = [(file.sop_class, [file.syntax])]
    with archive.requestor("CT1", contexts=contexts) as modality:
        if not modality.accepted:
            return None
        return modality.store(file.sop_class, file.instance, file.data)


def fetch(archive, alice, file, keys):
    contexts = [(STUDY_GET, [IMPLICIT]), (file.sop_class, [file.syntax])]
    with archive.requestor("WS1", user=alice, contexts=contexts, scp_roles=(file.sop_class,)) as workstation:
        objects, responses = workstation.get(STUDY_GET, keys)
    assert (len(objects), responses[-1].status) == (1, 0), (file.path.name, responses[-1])
    return objects[0].data


def uids_of(file):
    """Study and series UID, by pydicom."""
    data_set = pydicom.filereader.read_dataset(
        io.BytesIO(file.inflated()),
        not transfer_syntax(file.syntax).explicit,
        transfer_syntax(file.syntax).little_endian,
        stop_when=lambda tag, vr, length: tag > SERIES_UID,
        specific_tags=[STUDY_UID, SERIES_UID],
    )
    return str(data_set.StudyInstanceUID), str(data_set.SeriesInstanceUID)


@pytest.fixture
def material(request):
    if request.param == "packaged":
        return packaged()
    return sorted(path for path in shared("corpus").iterdir() if path.name != "MANIFEST.tsv")


@pytest.mark.timeout(900)
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("material", ["packaged", "corpus"], indirect=True)
def test_valid_files_come_back_byte_for_byte_and_others_leave_nothing(material, tmp_path):
    template = RunningArchive(tmp_path / "template")
    template.folder.mkdir()
    template.init()
    template.node("CT1", "modality")
    template.node("WS1", "radiologist")
    alice = template.person("alice", "radiologist")
    readable = [file for path in material if (file := read(path)) is not None]
    good = [file for candidate in readable if (file := valid(candidate)) is not None]
    bad = [file for file in readable if valid(file) is None]
    assert len(good) > 100
    for number, files in enumerate(one_home_for_each_copy(good)):
        folder = tmp_path / str(number)
        shutil.copytree(template.folder, folder)
        archive = RunningArchive(folder)
        settings = archive.home / "strongroom.toml"
        settings.write_text(settings.read_text().replace(str(template.port), str(archive.port)))
        with archive.serving():
            for file in files:
                answer = store(archive, file)
                assert answer is not None, f"{file.path.name}: context refused"
                assert answer.status == 0, f"{file.path.name}: {answer.status:04X} {answer.fields.get(0x902)}"
            if number == 0:
                nothing_is_left_by(archive, bad)
            for file in files:
                study, series = uids_of(file)
                keys = identifier("IMAGE", {STUDY_UID: study, SERIES_UID: series, SOP_UID: file.instance})
                data, original = fetch(archive, alice, file, keys), file.data
                if transfer_syntax(file.syntax).deflated:
                    data, original = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data), file.inflated()
                assert cut_out(data, original), file.path.name
        archive.must("verify", "--full")


def nothing_is_left_by(archive, files):
    blobs = archive.paths()["blobs"]
    before = sum(path.is_file() for path in blobs.rglob("*"))
    kept = 0
    for file in files:
        try:
            answer = store(archive, file)
        except (Aborted, OSError, LookupError) as error:
            raise AssertionError(f"{file.path.name}: {error!r}") from error
        assert answer is None or isinstance(answer, Message)
        if answer is not None:
            kept += answer.status == 0
    after = sum(path.is_file() for path in blobs.rglob("*"))
    assert after - before <= kept
