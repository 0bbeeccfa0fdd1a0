"""Our signatures before DCMTK's dcmsign, and dcmsign's before us, on real objects.

dcmsign 3.6.7 drops what follows a 16 KiB boundary of its MAC stream inside a sequence within a sequence. Where it does,
its own signature is not one (PS3.3 C.12.1.1.3.1.2), our verifier says so, and it cannot judge ours.
"""

import shutil
from pathlib import Path

import pytest

from storage.errors import MalformedDataSet
from storage.integrity.trust import SignerTrust, Trust
from storage.integrity.verifier import verify_signatures
from storage.transfer_syntax import transfer_syntax
from tests.simulators.dcmsign import DCMSIGN, dcmsign, key_files
from tests.simulators.dicom_files import packaged, read, valid
from tests.simulators.encoding import inspect, part10, signed, signing_key
from tests.simulators.shared_material import shared

PIXELS = 0x7FE00010
NOBODY = Trust()

pytestmark = pytest.mark.skipif(not Path(DCMSIGN).exists(), reason="dcmsign is not installed")


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    return key_files(tmp_path_factory.mktemp("dcmsign"))


def objects(material):
    files = (valid(file) for path in material if (file := read(path)) is not None)
    return [file for file in files if file is not None and whole(file)]


def whole(file):
    """False for files that pydicom reads although they are cut off or in another encoding than they say."""
    try:
        inspect(file.data, transfer_syntax(file.syntax))
    except MalformedDataSet:
        return False
    return True


def judge(file, keys, folder):
    """Compare both ways; what is wrong, as text."""
    key, certificate = keys
    syntax = transfer_syntax(file.syntax)
    after, _ = signed(file.data, syntax)
    ours, plain, theirs = folder / "ours.dcm", folder / "plain.dcm", folder / "theirs.dcm"
    ours.write_bytes(part10(syntax, after, file.sop_class, file.instance))
    plain.write_bytes(part10(syntax, file.data, file.sop_class, file.instance))
    theirs.unlink(missing_ok=True)
    found = inspect(file.data, syntax)
    (*_, mine) = verify_signatures(lambda: [after], syntax, NOBODY)
    if not mine.valid:
        return f"ours is not valid to us: {mine.reason}"
    by_dcmsign = dcmsign("+s", key, certificate, "+m2", plain, theirs)
    made = read(theirs) if by_dcmsign.returncode == 0 else None
    if made is None or not syntax.explicit:
        return None
    (*_, report) = verify_signatures(lambda: [made.data], transfer_syntax(made.syntax), NOBODY)
    if not report.valid:
        return None
    verified = dcmsign("--verify", "+cf", certificate, ours)
    if verified.returncode != 0:
        return f"dcmsign refuses ours: {verified.stderr[-300:]}"
    pixels_not_ob = {left.tag for left in found.uncovered} & {PIXELS}
    if set(report.signed_tags) - pixels_not_ob != set(found.signed_tags):
        return f"dcmsign signs {sorted(set(report.signed_tags) ^ set(found.signed_tags))} differently"
    return None


def wrong(files, keys, folder):
    return {file.path.name: fault for file in files if (fault := judge(file, keys, folder)) is not None}


def test_packaged_objects_are_signed_as_dcmsign_signs_them(keys, tmp_path):
    files = objects(packaged())
    assert len(files) > 40
    assert wrong(files, keys, tmp_path) == {}


def test_corpus_objects_are_signed_as_dcmsign_signs_them(keys, tmp_path):
    files = objects(sorted(shared("corpus").iterdir()))
    assert len(files) > 300
    assert wrong(files, keys, tmp_path) == {}


def test_a_flipped_pixel_is_found_by_dcmsign(keys, tmp_path):
    file = next(file for file in objects(packaged()) if file.path.name == "CT_small.dcm")
    syntax = transfer_syntax(file.syntax)
    after = bytearray(signed(file.data, syntax)[0])
    after[after.index(b"\xe0\x7f\x10\x00OW") + 100] ^= 1
    path = tmp_path / "flipped.dcm"
    path.write_bytes(part10(syntax, bytes(after), file.sop_class, file.instance))
    assert dcmsign("--verify", "+cf", keys[1], path).returncode == 101


@pytest.mark.parametrize("lengths", ["+e", "-e"])
def test_our_signature_joins_one_by_dcmsign_and_both_verify(keys, tmp_path, lengths):
    key, certificate = keys
    file = next(file for file in objects(packaged()) if file.path.name == "CT_small.dcm")
    plain, first, both = tmp_path / "plain.dcm", tmp_path / "first.dcm", tmp_path / "both.dcm"
    shutil.copy(file.path, plain)
    assert dcmsign("+s", key, certificate, "+m2", "+sp", "1", lengths, plain, first).returncode == 0
    made = read(first)
    syntax = transfer_syntax(made.syntax)
    after, signature = signed(made.data, syntax)
    assert signature.mac_id == 1
    both.write_bytes(part10(syntax, after, file.sop_class, file.instance))
    assert dcmsign("--verify", "+cf", certificate, both).returncode == 0
    reports = verify_signatures(lambda: [after], syntax, NOBODY)
    assert [report.valid for report in reports] == [True, True]


def test_an_item_signed_by_dcmsign_stays_signed_inside_ours(keys, tmp_path):
    key, certificate = keys
    file = next(file for file in objects(packaged()) if file.path.name == "test-SR.dcm")
    inner, both = tmp_path / "inner.dcm", tmp_path / "both.dcm"
    assert dcmsign("+si", key, certificate, "ContentSequence[0]", "+m2", file.path, inner).returncode == 0
    made = read(inner)
    syntax = transfer_syntax(made.syntax)
    after, _ = signed(made.data, syntax)
    both.write_bytes(part10(syntax, after, file.sop_class, file.instance))
    assert dcmsign("--verify", "+cf", certificate, both).returncode == 0
    reports = verify_signatures(lambda: [after], syntax, NOBODY)
    assert [(report.path, report.valid) for report in reports] == [(((0x0040A730, 0),), True), ((), True)]


def test_a_key_that_is_not_under_the_given_authority_is_refused_by_both(keys, tmp_path):
    file = next(file for file in objects(packaged()) if file.path.name == "CT_small.dcm")
    syntax = transfer_syntax(file.syntax)
    after, _ = signed(file.data, syntax, name="modality")
    path = tmp_path / "modality.dcm"
    path.write_bytes(part10(syntax, after, file.sop_class, file.instance))
    assert dcmsign("--verify", "+cf", keys[1], path).returncode == 101
    trust = Trust(frozenset({signing_key().fingerprint}), (signing_key().certificate,))
    (report,) = verify_signatures(lambda: [after], syntax, trust)
    assert report.trust is SignerTrust.UNKNOWN
