"""Where the data set begins in a file, and how it is encoded (PS3.10 7.1). Bounded; nothing else is read."""

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from storage.errors import MalformedDataSet

_PREAMBLE: Final = 128
_LONG_FORM: Final = frozenset({b"OB", b"OW", b"OF", b"OD", b"OL", b"OV", b"SQ", b"UN", b"UT", b"UC", b"UR"})
_TRANSFER_SYNTAX: Final = 0x00020010
_MAX_META: Final = 65_536
_EXPLICIT, _IMPLICIT = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"


@dataclass(frozen=True, slots=True)
class DataSetPlace:
    """The data set inside a file."""

    offset: int
    transfer_syntax: str


def locate(path: Path) -> DataSetPlace:
    """Find the data set of a DICOM file; of one without meta information, by what its first element looks like.

    Raises:
        MalformedDataSet: not a DICOM file.
        OSError: it cannot be read.
    """
    with path.open("rb") as stream:
        head = stream.read(_PREAMBLE + 4 + _MAX_META)
    if head[_PREAMBLE : _PREAMBLE + 4] == b"DICM":
        return _behind_meta(head, path)
    if len(head) < 8:
        raise MalformedDataSet(f"{path} is not a DICOM file")
    # Objects that came over the wire and were written as they were: PS3.5 7.1 tells the two native encodings apart.
    return DataSetPlace(0, _EXPLICIT if head[4:6].isalpha() and head[4:6].isupper() else _IMPLICIT)


def _behind_meta(head: bytes, path: Path) -> DataSetPlace:
    offset, syntax = _PREAMBLE + 4, ""
    while offset + 8 <= len(head):
        group, element = struct.unpack_from("<HH", head, offset)
        if group != 0x0002:
            break
        vr = head[offset + 4 : offset + 6]
        if vr in _LONG_FORM:
            start = offset + 12
            length = struct.unpack_from("<I", head, offset + 8)[0] if start <= len(head) else _MAX_META
        else:
            start = offset + 8
            (length,) = struct.unpack_from("<H", head, offset + 6)
        if start + length > len(head):
            break
        if group << 16 | element == _TRANSFER_SYNTAX:
            syntax = head[start : start + length].rstrip(b"\0 ").decode("ascii", "replace")
        offset = start + length
    if not syntax:
        raise MalformedDataSet(f"{path} names no transfer syntax in its meta information")
    return DataSetPlace(offset, syntax)
