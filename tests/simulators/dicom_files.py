"""Real DICOM files: which there are, which of them an archive has to take, and their data sets' bytes as they stand.

Whether a file is valid is decided here with pydicom alone, so that the product's own tokenizer is judged by another.
"""

import io
import warnings
import zlib
from dataclasses import dataclass, replace
from pathlib import Path

from pydicom.data import get_testdata_files
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.filereader import _read_file_meta_info, data_element_generator, read_preamble
from pynetdicom.presentation import AllStoragePresentationContexts

from storage.errors import InvalidIdentifier
from storage.identifiers import uid
from storage.transfer_syntax import supported, transfer_syntax

STORAGE_CLASSES = frozenset(str(context.abstract_syntax) for context in AllStoragePresentationContexts)


_CLIPPED = frozenset({"fuzz__cat23__TC1157_sq_item_huge_len.dcm"})
"""An item longer than its file, which pydicom clips without a word."""
_IDENTITY = (0x00080016, 0x00080018, 0x0020000D, 0x0020000E)


@dataclass(frozen=True)
class DicomFile:
    """One Part 10 file, split at the end of its File Meta Information."""

    path: Path
    sop_class: str
    instance: str
    syntax: str
    data: bytes
    """The data set as it stands in the file."""

    def inflated(self) -> bytes:
        """The data set, inflated if it is deflated."""
        if not transfer_syntax(self.syntax).deflated:
            return self.data
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(self.data)


def packaged() -> list[Path]:
    """The files that pydicom's own package brings (nothing is downloaded)."""
    return sorted(Path(name) for name in get_testdata_files() if Path(name).is_file())


def read(path: Path) -> DicomFile | None:
    """The file, None where its File Meta Information cannot be read or names no standard class and syntax."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            stream = io.BytesIO(path.read_bytes())
            read_preamble(stream, False)
            meta = _read_file_meta_info(stream)
            offset = stream.tell()
            sop_class, instance = str(meta.MediaStorageSOPClassUID), str(meta.MediaStorageSOPInstanceUID)
            syntax = str(meta.TransferSyntaxUID)
        except Exception:
            return None
    if sop_class not in STORAGE_CLASSES or syntax not in supported():
        return None
    return DicomFile(path, sop_class, instance, syntax, stream.getvalue()[offset:])


def _legal(text: str) -> bool:
    try:
        uid(text)
    except InvalidIdentifier:
        return False
    return True


def _whole(found: RawDataElement | DataElement, *, explicit: bool) -> bool:
    """What pydicom forgives silently: a value cut short, implicit VR under an explicit syntax, broken fragments."""
    if not isinstance(found, RawDataElement):
        items = found.value if found.VR == "SQ" else []
        return all(list(item.keys()) == sorted(item.keys()) and _items_whole(item, explicit=explicit) for item in items)
    if explicit and found.VR is None:
        return False
    if found.length != 0xFFFFFFFF:
        return len(found.value or b"") == found.length
    return _fragments_whole(found.value)


def _fragments_whole(value: bytes) -> bool:
    offset = 0
    while offset < len(value):
        if value[offset : offset + 4] != b"\xfe\xff\x00\xe0":
            return False
        length = int.from_bytes(value[offset + 4 : offset + 8], "little")
        offset += 8 + length
        if length % 2:
            return False
    return offset == len(value)


def _items_whole(item: Dataset, *, explicit: bool) -> bool:
    return all(_whole(found, explicit=explicit) for found in item._dict.values())


def valid(file: DicomFile) -> DicomFile | None:
    """The file as its data set names it, if an archive has to take it, else None.

    Ascending tags, even lengths, and legal Study, Series and SOP UIDs. Senders announce an object by its data set, so a
    File Meta Information that disagrees is no fault of the object.
    """
    if file.path.name in _CLIPPED:
        return None
    syntax = transfer_syntax(file.syntax)
    values: dict[int, str] = {}
    last = -1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            stream = io.BytesIO(file.inflated())
            for found in data_element_generator(stream, not syntax.explicit, syntax.little_endian):
                tag = int(found.tag)
                length = getattr(found, "length", 0)
                if tag <= last or tag >> 16 < 8 or (length not in (0xFFFFFFFF, None) and length % 2):
                    return None
                last = tag
                if not _whole(found, explicit=syntax.explicit):
                    return None
                if tag in _IDENTITY:
                    values[tag] = bytes(found.value or b"").removesuffix(b"\0").decode("ascii")
        except Exception:
            return None
    if stream.tell() != len(stream.getvalue()) or not all(_legal(values.get(tag, "")) for tag in _IDENTITY):
        return None
    if values[0x00080016] not in STORAGE_CLASSES:
        return None
    return replace(file, sop_class=values[0x00080016], instance=values[0x00080018])
