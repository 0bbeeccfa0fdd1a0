"""Finding the data set in a file (PS3.10 7.1)."""

import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archive.cli.part10 import locate
from storage.errors import MalformedDataSet
from tests.simulators.dicom_files import packaged


def element(tag, vr, value):
    if vr in (b"OB", b"UN"):
        return struct.pack("<HH2sHI", tag >> 16, tag & 0xFFFF, vr, 0, len(value)) + value
    return struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr, len(value)) + value


def file(path, *meta, body=b"\x08\0\x16\0UI\x02\x001\0"):
    path.write_bytes(bytes(128) + b"DICM" + b"".join(meta) + body)
    return path


SYNTAX = element(0x00020010, b"UI", b"1.2.840.10008.1.2.1\0")


def test_the_data_set_begins_behind_group_2(tmp_path):
    version = element(0x00020001, b"OB", b"\0\1")
    place = locate(file(tmp_path / "f", element(0x00020000, b"UL", b"\0\0\0\0"), version, SYNTAX))
    assert place.transfer_syntax == "1.2.840.10008.1.2.1"
    assert (tmp_path / "f").read_bytes()[place.offset :].startswith(b"\x08\0\x16\0")


def test_a_wrong_group_length_is_not_believed(tmp_path):
    place = locate(file(tmp_path / "f", element(0x00020000, b"UL", b"\xff\xff\0\0"), SYNTAX))
    assert (tmp_path / "f").read_bytes()[place.offset :].startswith(b"\x08\0\x16\0")


@pytest.mark.parametrize(
    ("head", "syntax"),
    [(b"\x08\0\x16\0UI\x02\x001\0", "1.2.840.10008.1.2.1"), (b"\x08\0\x16\0\x02\0\0\x001\0", "1.2.840.10008.1.2")],
)
def test_a_data_set_without_meta_information_is_told_by_its_first_element(tmp_path, head, syntax):
    (tmp_path / "f").write_bytes(head)
    place = locate(tmp_path / "f")
    assert (place.offset, place.transfer_syntax) == (0, syntax)


@pytest.mark.parametrize("data", [b"", b"DICM", bytes(128) + b"DICM", bytes(128) + b"DICM\2\0\x10\0UI\xff\xff1"])
def test_what_is_no_dicom_file_is_refused(tmp_path, data):
    (tmp_path / "f").write_bytes(data)
    with pytest.raises(MalformedDataSet):
        locate(tmp_path / "f")


def test_every_packaged_file_with_meta_information_is_located():
    located = 0
    for path in packaged():
        with contextlib.suppress(MalformedDataSet):
            place = locate(path)
            located += place.offset > 0
            assert place.offset <= path.stat().st_size
    assert located > 20


@given(st.binary(max_size=300))
def test_no_bytes_do_more_than_be_refused(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "any"
    for prefix in (b"", bytes(128) + b"DICM"):
        path.write_bytes(prefix + data)
        with contextlib.suppress(MalformedDataSet):
            assert locate(path).offset <= len(prefix + data)
