"""Objects that leave in another transfer syntax: the same elements, and signatures only where they are still valid."""

import struct
import warnings
import zlib
from datetime import UTC, datetime
from io import BytesIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import Dataset, dcmread

from storage.converted_object import ConvertedObject
from storage.identifiers import uid
from storage.index.predicate import EVERYTHING
from storage.instance import DeclaredInstance
from storage.integrity.reencoding import NoOtherForm, reencoded
from storage.integrity.trust import SignerTrust, Trust
from storage.integrity.value_representation import swapped
from storage.integrity.verifier import verify_signatures
from storage.transfer_syntax import (
    DEFLATED_LITTLE,
    EXPLICIT_BIG,
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    transfer_syntax,
    ways_out,
)
from tests.simulators.dicom_files import packaged, read, valid
from tests.simulators.encoding import (
    BIG,
    EXPLICIT,
    IMPLICIT,
    JPEG,
    element,
    item,
    open_item,
    open_sequence,
    sequence,
    signed,
    signing_key,
    small,
)
from tests.simulators.memory_archive import encoded
from tests.simulators.object_store import ObjectStore, signer

NATIVE = (EXPLICIT_LITTLE, IMPLICIT_LITTLE, EXPLICIT_BIG, DEFLATED_LITTLE)
MOMENT = datetime.now(UTC)
"""The test key's certificate is valid around the present."""
SIGNATURES = (0x4FFE0001, 0xFFFAFFFA)


class Original:
    """An object that is at hand."""

    sop_class_uid, sop_instance_uid = uid("1.2.840.10008.5.1.4.1.1.2"), uid("1.2.3")
    closed = False

    def __init__(self, data, syntax, signed_tags=()):
        self._data = data
        self.transfer_syntax, self.signed_tags = syntax.uid, signed_tags

    def chunks(self):
        return iter([self._data])

    def close(self):
        self.closed = True


def in_another(data, source, target, signed_tags=()):
    original = Original(data, source, signed_tags)
    try:
        with ConvertedObject(original, target.uid, signer(), MOMENT) as outgoing:
            return b"".join(outgoing.chunks())
    finally:
        assert original.closed


def parsed(data, syntax_uid):
    """As pydicom reads it; it has its own idea of every encoding."""
    meta = Dataset()
    meta.TransferSyntaxUID = syntax_uid
    return dcmread(BytesIO(b"\0" * 128 + b"DICM" + encoded(meta) + data), force=True)


def flat(dataset, path=()):
    """Every element but group lengths and signatures; words that pydicom leaves as bytes as they are little endian."""
    for each in dataset:
        if each.tag.element == 0 or each.tag in SIGNATURES:
            continue
        if each.VR == "SQ":
            for number, inner in enumerate(each.value):
                yield from flat(inner, (*path, int(each.tag), number))
            yield (*path, int(each.tag), len(each.value)), None
        else:
            value = each.value if each.VR in ("OB", "OW", "UN") else str(each.value)
            if each.VR == "OW" and value and not dataset.is_little_endian:
                value = swapped(value, 2)
            yield (*path, int(each.tag)), value


def the_native_files():
    found = []
    for path in packaged():
        file = read(path)
        file = file and valid(file)
        if file and file.syntax in NATIVE and path.stat().st_size < 150_000:
            found.append(file)
    return found


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """Real files of every native syntax in a store, by the file they came from."""
    world = ObjectStore(tmp_path_factory.mktemp("store"))
    repository = world.start()
    files, seen = {}, set()
    for file in the_native_files():
        if file.instance in seen:
            continue
        seen.add(file.instance)
        intake = repository.begin(DeclaredInstance(uid(file.sop_class), uid(file.instance), file.syntax))
        intake.write(file.data)
        repository.commit(repository.seal(intake.finish(), {}), {})
        files[file.instance] = file
    stored = {one.key.sop_instance_uid: one for one in repository.reader.instances(EVERYTHING, EVERYTHING)}
    yield repository, [(files[instance], stored[instance]) for instance in files]
    world.stop()


def test_real_files_say_the_same_in_every_native_syntax_and_our_signature_holds(kept):
    repository, pairs = kept
    trust = Trust()
    assert {file.syntax for file, _ in pairs} == set(NATIVE) and len(pairs) > 10
    for file, stored in pairs:
        for target in ways_out(file.syntax):
            with repository.open(stored, target) as outgoing:
                data = b"".join(outgoing.chunks())
                assert outgoing.transfer_syntax == target
            ours, *_ = verify_signatures(lambda data=data: [data], transfer_syntax(target), trust)[::-1]
            assert ours.valid, (file.path.name, target, ours.reason)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                before, after = dict(flat(parsed(file.data, file.syntax))), dict(flat(parsed(data, target)))
            if IMPLICIT_LITTLE in (file.syntax, target):
                # Private elements have no VR without one being said, so pydicom shows their bytes.
                private = [key for key in before if key[-1] >> 16 & 1 or any(part >> 16 & 1 for part in key)]
                assert before.keys() == after.keys() or private
                for key in private:
                    before.pop(key, None), after.pop(key, None)
            assert before == after, (file.path.name, target)


def test_there_and_back_is_where_it_was(kept):
    repository, pairs = kept
    for file, stored in pairs:
        if file.syntax != EXPLICIT_LITTLE:
            continue
        with repository.open(stored) as outgoing:
            normal = b"".join(reencoded(outgoing.chunks(), EXPLICIT, EXPLICIT))
        for target in (EXPLICIT_BIG, DEFLATED_LITTLE):
            with repository.open(stored, target) as outgoing:
                data = b"".join(outgoing.chunks())
            if target == DEFLATED_LITTLE:
                inflate = zlib.decompressobj(-zlib.MAX_WBITS)
                assert inflate.decompress(data) == normal and len(data) % 2 == 0
            else:
                assert b"".join(reencoded([data], BIG, EXPLICIT)) == normal


def test_nested_sequences_of_any_length_become_delimited_ones_without_group_lengths():
    inner = sequence(0x00081140, item(element(0x00081150, b"UI", b"1.2\0")))
    data = small(
        element(0x00400000, b"UL", struct.pack("<L", 40)),
        open_sequence(0x00400100, open_item(inner), item(inner, element(0x00400000, b"UL", bytes(4)))),
    )
    out = in_another(data, EXPLICIT, IMPLICIT)
    there = dict(flat(parsed(data, EXPLICIT_LITTLE)))
    assert dict(flat(parsed(out, IMPLICIT_LITTLE))) == there
    assert b"\x10\x00\x00\x00" not in out and b"\x40\x00\x00\x00" not in out


@pytest.mark.parametrize(
    ("vr", "value"),
    [
        (b"OW", bytes(range(250)) * 60),
        (b"OF", b"abcd" * 3000 + b"ef"),
        (b"UL", b"\1\2\3\4" * 2),
        (b"OB", bytes(range(250)) * 60),
        (b"UN", b"\1\2\3\4"),
        (b"AT", b"\x10\x00\x20\x00"),
    ],
    ids=["OW in pieces", "OF in pieces, a word cut off", "UL", "OB", "UN", "AT"],
)
def test_byte_order_turns_words_and_nothing_else(vr, value):
    data = small(element(0x00110010, b"LO", b"US"), element(0x00111001, vr, value))
    big = b"".join(reencoded([data[:5], data[5:]], EXPLICIT, BIG))
    word = {b"OW": 2, b"OF": 4, b"UL": 4, b"AT": 2}.get(vr, 1)
    whole = len(value) - len(value) % word
    turned = b"".join(value[at : at + word][::-1] for at in range(0, whole, word)) + value[whole:]
    assert big.endswith(turned)
    assert b"".join(reencoded([big], BIG, EXPLICIT)) == data


def test_what_a_sequence_of_unknown_vr_holds_is_told_as_what_it_is():
    """PS3.5 6.2.2 note 2: within UN of undefined length all is implicit VR little endian."""
    inner = struct.pack("<HHL", 0x0028, 0x0010, 2) + struct.pack("<H", 512)
    held = struct.pack("<HHL", 0xFFFE, 0xE000, len(inner)) + inner
    data = small(element(0x00111010, b"UN", length=0xFFFFFFFF) + held + struct.pack("<HHL", 0xFFFE, 0xE0DD, 0))
    for target, order in ((BIG, ">"), (EXPLICIT, "<")):
        out = b"".join(reencoded([data], EXPLICIT, target))
        assert struct.pack(order + "HH2sHH", 0x0028, 0x0010, b"US", 2, 512) in out


@pytest.mark.parametrize("target", [IMPLICIT_LITTLE, EXPLICIT_BIG, DEFLATED_LITTLE])
def test_encapsulated_pixel_data_under_a_native_syntax_has_no_other_form(target):
    fragment = struct.pack("<HHL", 0xFFFE, 0xE000, 4) + b"\1\2\3\4"
    data = small(element(0x7FE00010, b"OB", length=0xFFFFFFFF) + fragment + struct.pack("<HHL", 0xFFFE, 0xE0DD, 0))
    with pytest.raises(NoOtherForm):
        in_another(data, EXPLICIT, transfer_syntax(target))


@pytest.mark.parametrize(("source", "target"), [(JPEG, EXPLICIT), (EXPLICIT, JPEG)])
def test_compression_is_neither_undone_nor_done(source, target):
    with pytest.raises(NoOtherForm):
        in_another(small(), source, target)


@pytest.mark.parametrize(
    "misleading", [element(0x00400275, b"LO", b"text"), sequence(0x00400007, item(element(0x00080100, b"SH", b"A ")))]
)
def test_an_element_that_would_be_read_as_something_else_has_no_implicit_form(misleading):
    with pytest.raises(NoOtherForm):
        in_another(small(misleading), EXPLICIT, IMPLICIT)


class TestSignatures:
    """PS3.15 A.2: kept where they are valid, left out where they are not, and ours made again."""

    KNOWN = element(0x00200010, b"SH", b"1 ")
    PRIVATE = element(0x00210010, b"LO", b"ACME") + element(0x00211001, b"FD", struct.pack("<d", 1.5))

    def reports(self, data, syntax):
        return verify_signatures(lambda: [data], syntax, Trust(archive=frozenset({signing_key().fingerprint})))

    @pytest.mark.parametrize("target", [BIG, transfer_syntax(DEFLATED_LITTLE), IMPLICIT])
    def test_somebody_elses_signature_is_kept_where_every_vr_is(self, target):
        data, _ = signed(small(self.KNOWN))
        out = in_another(data, EXPLICIT, target)
        (report,) = self.reports(out, target)
        assert report.valid and report.trust is SignerTrust.ARCHIVE

    def test_one_that_covers_an_element_without_a_vr_is_left_out(self):
        data, _ = signed(small(self.KNOWN, self.PRIVATE))
        out = in_another(data, EXPLICIT, IMPLICIT)
        assert self.reports(out, IMPLICIT) == () and b"\xfe\x4f\x01\x00" not in out
        assert dict(flat(parsed(out, IMPLICIT_LITTLE)))[(0x00211001,)] == struct.pack("<d", 1.5)
        (report,) = self.reports(in_another(data, EXPLICIT, BIG), BIG)
        assert report.valid

    def test_ours_is_made_again_where_it_would_not_be_valid(self):
        data, _ = signed(small(self.KNOWN, self.PRIVATE))
        out = in_another(data, EXPLICIT, IMPLICIT, signed_tags=(0x00200010, 0x00211001))
        (report,) = self.reports(out, IMPLICIT)
        assert report.valid and 0x00211001 not in report.signed_tags and 0x00200010 in report.signed_tags

    def test_only_the_one_that_covers_it_goes(self):
        first, _ = signed(small(self.KNOWN))
        # Signed before the private element came: that signature says nothing of it.
        at = first.index(b"\xfe\x4f\x01\x00SQ")
        both, _ = signed(first[:at] + self.PRIVATE + first[at:])
        assert len(self.reports(both, EXPLICIT)) == 2
        out = in_another(both, EXPLICIT, IMPLICIT)
        (report,) = self.reports(out, IMPLICIT)
        assert report.valid and 0x00211001 in {left.tag for left in report.uncovered}


words = st.sampled_from([b"US", b"SS", b"UL", b"OW", b"OB", b"UN", b"LO", b"FD", b"SQ"])


@st.composite
def elements(draw, depth=0):
    """Private elements with explicit VRs, nested at will."""
    parts = []
    for number in range(draw(st.integers(0, 4))):
        vr = draw(words)
        tag = 0x00111000 + number
        if vr == b"SQ":
            items = [item(*draw(elements(depth + 1))) for _ in range(draw(st.integers(0, 2)))] if depth < 3 else []
            parts.append(draw(st.sampled_from([sequence, open_sequence]))(tag, *items))
        else:
            value = draw(st.binary(max_size=6))
            unit = {b"US": 2, b"SS": 2, b"UL": 4, b"OW": 2, b"FD": 8}.get(vr, 2)
            parts.append(element(tag, vr, (value * unit)[: len(value) // unit * unit * 1]))
    return parts


@settings(max_examples=60, deadline=None)
@given(elements(), st.lists(st.integers(1, 40), max_size=6))
def test_any_data_set_in_any_pieces_comes_back_from_big_endian(parts, cuts):
    data = small(*parts)
    pieces, at = [], 0
    for cut in cuts:
        pieces.append(data[at : at + cut])
        at += cut
    normal = b"".join(reencoded([data], EXPLICIT, EXPLICIT))
    big = b"".join(reencoded([*pieces, data[at:]], EXPLICIT, BIG))
    assert b"".join(reencoded([big], BIG, EXPLICIT)) == normal
    assert b"".join(reencoded([normal], EXPLICIT, EXPLICIT)) == normal
