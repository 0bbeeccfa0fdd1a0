"""What a mask leaves of a data set: at every level, in every encoding, and what it refuses to let out."""

import warnings
from collections.abc import Iterator
from io import BytesIO

import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from storage.confidentiality.mask import Mask
from storage.confidentiality.masked_object import MaskedObject
from storage.confidentiality.masking import masked
from storage.errors import CannotBeMasked
from storage.identifiers import ObjectId, Uid
from storage.instance import InstanceKey, StoredInstance, StudyFacts
from storage.integrity.splice import deflated
from storage.integrity.trust import Trust
from storage.integrity.verifier import verify_signatures
from storage.transfer_syntax import TransferSyntax, transfer_syntax
from tests.simulators.dicom_files import packaged, read, valid
from tests.simulators.encoding import (
    BIG,
    DEFLATED,
    EXPLICIT,
    IMPLICIT,
    JPEG,
    MOMENT,
    element,
    item,
    open_item,
    open_sequence,
    sequence,
    signing_key,
)
from tests.simulators.memory_archive import CT, encoded, image

NAME, BIRTH, REFERRING = 0x00100010, 0x00100030, 0x00080090
MASK = Mask(frozenset({NAME, BIRTH}), b"k" * 32)
SECRET = b"SECRET"


def through(data: bytes, syntax: TransferSyntax = EXPLICIT, mask: Mask = MASK, step: int = 7) -> bytes:
    return b"".join(masked((data[at : at + step] for at in range(0, len(data), step)), syntax, mask))


def parsed(data: bytes, syntax: TransferSyntax = EXPLICIT) -> Dataset:
    return pydicom.filereader.read_dataset(BytesIO(data), not syntax.explicit, syntax.little_endian)


def nested() -> Dataset:
    """A name at the top, in a sequence, in a sequence of that, in private elements and in a private sequence."""
    top = image(PatientName="SECRET^TOP", PatientBirthDate="19700101", StudyDescription="kept")
    inner, innermost = Dataset(), Dataset()
    innermost.PatientName = "SECRET^INNERMOST"
    innermost.CodeValue = "kept"
    inner.PatientName = "SECRET^INNER"
    inner.ReferencedSOPInstanceUID = "1.2.3.4"
    inner.ReferencedImageSequence = [innermost]
    top.ReferencedStudySequence = [inner, Dataset()]
    private = top.private_block(0x0011, "SECRET CREATOR", create=True)
    private.add_new(0x01, "LO", "SECRET^PRIVATE")
    hidden = Dataset()
    hidden.PatientName = "SECRET^PRIVATE"
    private.add_new(0x02, "SQ", [hidden])
    top.add_new(0x60003000, "OW", b"SECRET overlay  ")
    return top


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG], ids=["explicit", "implicit", "big endian"])
@pytest.mark.parametrize("step", [1, 13, 100_000])
def test_hidden_attributes_are_gone_at_every_level_and_private_elements_altogether(
    syntax: TransferSyntax, step: int
) -> None:
    out = through(encoded(nested(), syntax.uid), syntax, step=step)
    assert SECRET not in out and b"19700101" not in out
    left = parsed(out, syntax)
    assert left.PatientName == "" and left.PatientBirthDate == "" and left.StudyDescription == "kept"
    assert left.ReferencedStudySequence[0].PatientName == ""
    assert left.ReferencedStudySequence[0].ReferencedImageSequence[0].CodeValue == "kept"
    assert len(left.ReferencedStudySequence) == 2
    assert not [tag for tag in left.keys() if tag.is_private or tag.group == 0x6000]  # noqa: SIM118


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG], ids=["explicit", "implicit", "big endian"])
def test_masked_object_is_another_and_says_that_it_was_masked(syntax: TransferSyntax) -> None:
    original = nested()
    left = parsed(through(encoded(original, syntax.uid), syntax), syntax)
    assert left.SOPInstanceUID == MASK.renamed(original.SOPInstanceUID) != original.SOPInstanceUID
    assert left.ReferencedStudySequence[0].ReferencedSOPInstanceUID == MASK.renamed("1.2.3.4")
    assert left.StudyInstanceUID == original.StudyInstanceUID
    assert left.PatientIdentityRemoved == "YES"
    assert {"PatientName", "PatientBirthDate"} <= {
        word for line in left.DeidentificationMethod for word in line.split()
    }
    assert left.DeidentificationMethodCodeSequence[0].CodingSchemeDesignator == "99STRONGROOM"
    assert left.LongitudinalTemporalInformationModified == "REMOVED"


def test_markers_that_were_there_are_replaced() -> None:
    was = image(
        PatientIdentityRemoved="NO", DeidentificationMethod="by hand", LongitudinalTemporalInformationModified=""
    )
    left = parsed(through(encoded(was)))
    assert left.PatientIdentityRemoved == "YES" and "by hand" not in left.DeidentificationMethod


def test_hidden_sequence_is_emptied_whole() -> None:
    was = nested()
    left = parsed(through(encoded(was), mask=Mask(frozenset({0x00081110}), b"k")))
    assert "ReferencedStudySequence" in left and not left.ReferencedStudySequence
    assert left.PatientName == "SECRET^TOP"


def test_hidden_uid_is_replaced_wherever_it_stands() -> None:
    mask = Mask(frozenset({0x00200052}), b"k")
    left = parsed(through(encoded(image(FrameOfReferenceUID="1.2.3")), mask=mask))
    assert left.FrameOfReferenceUID == mask.renamed("1.2.3")


def test_same_original_and_mask_have_the_same_uid_others_another() -> None:
    again, other = Mask(MASK.hidden, MASK.key), Mask(MASK.hidden | {REFERRING}, MASK.key)
    assert MASK.renamed("1.2") == again.renamed("1.2")
    assert (
        len({MASK.renamed("1.2"), MASK.renamed("1.3"), other.renamed("1.2"), Mask(MASK.hidden, b"x").renamed("1.2")})
        == 4
    )


@pytest.mark.parametrize(
    "content",
    [
        open_sequence(0x00081110, open_item(element(NAME, b"PN", b"SECRET"))),
        sequence(0x00081110, item(element(NAME, b"PN", b"SECRET"))),
        element(0x00081110, b"UN", item(element(NAME, b"PN", b"SECRET"))),
        element(0x00080002, b"UN", b"SECRET"),
        element(0x00090010, b"LO", b"SECRET"),
        element(0x04000561, b"SQ", item(element(NAME, b"PN", b"SECRET"))),
        element(0x0400_0500, b"SQ", item(element(0x04000520, b"OB", b"SECRET"))),
        element(0x5000_3000, b"OW", b"SECRET"),
        element(0xFFFC_FFFC, b"OB", b"SECRET"),
        element(0x4FFE_0001, b"SQ", item(element(0x04000015, b"CS", b"SECRET"))),
        element(0xFFFA_FFFA, b"SQ", item(element(0x04000120, b"OB", b"SECRET"))),
    ],
)
def test_no_hiding_place_is_left(content: bytes) -> None:
    assert SECRET not in through(content)


def test_unknown_sequence_is_read_as_implicit_whatever_is_around_it() -> None:
    was = nested()
    implicit = encoded(was, IMPLICIT.uid)
    at = implicit.index(b"\x08\x00\x10\x11")
    value = implicit[at + 8 : at + 8 + int.from_bytes(implicit[at + 4 : at + 8], "little")]
    held = element(0x00081110, b"UN", length=0xFFFFFFFF) + value + bytes.fromhex("fe ff dd e0 00 00 00 00")
    out = through(held)
    assert SECRET not in out and b"kept" in out


@pytest.mark.parametrize(
    "content",
    [
        element(0x00280301, b"CS", b"YES "),
        element(0x00420011, b"OB", b"%PDF"),
        sequence(0x0040A730, item(element(0x0040A123, b"PN", b"SECRET"))),
    ],
)
def test_what_no_mask_reaches_does_not_leave(content: bytes) -> None:
    with pytest.raises(CannotBeMasked):
        through(content)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_nothing_hidden_survives_in_any_nesting(data: st.DataObject) -> None:
    def level(depth: int) -> Dataset:
        made = Dataset()
        for keyword in data.draw(
            st.sets(st.sampled_from(["PatientName", "PatientBirthDate", "StudyID", "Manufacturer"]))
        ):
            setattr(
                made,
                keyword,
                "19700101" if keyword == "PatientBirthDate" else "SECRET" if "Name" in keyword else "kept",
            )
        if depth < 4:
            for keyword in data.draw(
                st.sets(st.sampled_from(["ReferencedStudySequence", "RequestAttributesSequence"]))
            ):
                setattr(made, keyword, [level(depth + 1) for _ in range(data.draw(st.integers(0, 2)))])
        return made

    syntax = data.draw(st.sampled_from([EXPLICIT, IMPLICIT, BIG]))
    was = level(0)
    out = through(encoded(was, syntax.uid), syntax, step=data.draw(st.integers(1, 64)))
    assert SECRET not in out and b"19700101" not in out
    assert out.count(b"kept") == encoded(was, syntax.uid).count(b"kept")


class Original:
    """What the repository opens."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.closed = 0

    def chunks(self) -> Iterator[bytes]:
        yield self.data

    def close(self) -> None:
        self.closed += 1


def stored(instance: str, syntax: TransferSyntax, size: int) -> StoredInstance:
    key = InstanceKey(Uid("1.2"), Uid("1.2.3"), Uid(instance), Uid(CT))
    return StoredInstance(key, ObjectId("0" * 32), b"", syntax.uid, size, StudyFacts(study_uid="1.2"))


@pytest.mark.parametrize("size", [1, 1 << 30], ids=["kept", "made twice"])
@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG, DEFLATED, JPEG], ids=lambda syntax: syntax.uid)
def test_masked_object_is_signed_anew_and_nothing_of_the_old_signature_is_left(
    syntax: TransferSyntax, size: int
) -> None:
    was = nested()
    if syntax is JPEG:
        data = encoded(was, EXPLICIT.uid) + bytes.fromhex("e07f1000 4f42 0000 ffffffff feff00e0 00000000 feff00e0")
        data += (5000).to_bytes(4, "little") + b"p" * 5000 + bytes.fromhex("feffdde0 00000000")
    else:
        data = encoded(was, EXPLICIT.uid if syntax is DEFLATED else syntax.uid)
    original = Original(b"".join(deflated([data])) if syntax is DEFLATED else data)
    key = signing_key()
    with MaskedObject(original, stored(was.SOPInstanceUID, syntax, size), MASK, key.signer, MOMENT) as opened:
        out = b"".join(opened.chunks())
        assert opened.length == len(out)
        assert opened.sop_instance_uid == MASK.renamed(was.SOPInstanceUID)
    assert original.closed == 1
    assert SECRET not in out
    (found,) = verify_signatures(lambda: [out], syntax, Trust(frozenset({key.fingerprint})))
    assert found.valid, found


def test_every_real_file_is_masked_and_stays_readable_or_is_refused_for_what_it_holds() -> None:
    mask = Mask(frozenset({NAME, BIRTH, REFERRING, 0x00080080}), b"k")
    masked_files = 0
    for file in filter(None, map(read, packaged())):
        if valid(file) is None:
            continue
        syntax = EXPLICIT if file.syntax == DEFLATED.uid else transfer_syntax(file.syntax)
        try:
            out = through(file.inflated(), syntax, mask, step=1 << 16)
        except CannotBeMasked:
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            was, left = parsed(file.inflated(), syntax), parsed(out, syntax)
            for element_, value in ((left[tag], left[tag].value) for tag in mask.hidden if tag in left):
                assert not value, element_.keyword
            assert left.get("PixelData") == was.get("PixelData")
            assert left.SOPInstanceUID == mask.renamed(was.SOPInstanceUID)
        masked_files += 1
    assert masked_files > 40
