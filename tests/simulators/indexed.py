"""Objects as the index is told of them, without bytes, disk or signatures behind them."""

from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256

from pydicom.datadict import dictionary_VR, tag_for_keyword

from storage.identifiers import ObjectId, Uid
from storage.index.columns import WANTED
from storage.index.rows import rows_of
from storage.index.writer import IndexEntry
from storage.instance import DeclaredInstance, Element, Inspection, InstanceRows

CT = Uid("1.2.840.10008.5.1.4.1.1.2")
EXPLICIT = "1.2.840.10008.1.2.1"


def inspection(values: Mapping[int, bytes]) -> Inspection:
    """What the inspection of a data set with these values would say."""
    return Inspection(
        values={tag: (b"UN", value) for tag, value in values.items()},
        canonical_digest=sha256(repr(sorted(values.items())).encode()).digest(),
        signed_tags=(),
        uncovered=(),
        signature_values=(),
        length=100,
        seal=None,
    )


def rows(instance: str = "1.2.3", study: str = "1.2.1", series: str = "1.2.2", **values: str) -> InstanceRows:
    """The rows of an object with these UIDs and values (by keyword), in UTF-8."""
    elements = {0x00080005: b"ISO_IR 192"}
    others: dict[int, Element] = {}
    named = {"StudyInstanceUID": study, "SeriesInstanceUID": series, "SOPInstanceUID": instance, "SOPClassUID": CT}
    for keyword, value in {**named, **values}.items():
        tag = tag_for_keyword(keyword)
        if tag in WANTED:
            elements[tag] = value.encode()
        else:
            others[tag] = (dictionary_VR(tag).encode(), value.encode())
    sop_class = Uid(values.get("SOPClassUID", CT))
    seen = replace(inspection(elements), others=others)
    return rows_of(seen, DeclaredInstance(sop_class, Uid(instance), EXPLICIT))


def entry(instance: str = "1.2.3", study: str = "1.2.1", series: str = "1.2.2", **values: str) -> IndexEntry:
    """A committed object with these UIDs and values."""
    digest = sha256(instance.encode()).digest()
    return IndexEntry(
        rows=rows(instance, study, series, **values),
        object_id=ObjectId(digest.hex()[:32]),
        address=digest,
        canonical_digest=sha256(digest).digest(),
        signatures=frozenset({sha256(b"ours" + digest).digest()}),
        size=1000,
        ledger_sequence=1,
    )
