"""Objects without a patient and a study (PS3.4 GG): their SOP classes, and the services that find them. Tables only.

Colour palettes, hanging protocols, implant templates, defined procedure protocols and their approvals, and inventories
stand in no hierarchy. Here each is filed under its SOP class, in the place of a study, and under its own UID in that of
a series: so ledger, index, checker and rebuild know of one kind of object only. No other object is filed under these
UIDs (`storage.index.rows`), and no query for studies reaches them (`archive.enforcement.pep`).
"""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class NonPatientModel:
    """One information model of a single level (PS3.4 U.6, X.6, BB.6, HH.6, II.6, KK.6)."""

    name: str
    classes: tuple[str, ...]
    """The storage SOP classes whose objects it knows."""
    find: str
    move: str
    get: str


def _model(name: str, root: str, first: int, *classes: str) -> NonPatientModel:
    """A model whose services have UIDs in a row, as all of them have."""
    find, move, get = (f"{root}.{number}" for number in range(first, first + 3))
    return NonPatientModel(name, classes, find, move, get)


_DICOM: Final = "1.2.840.10008.5.1.4"
_CT_PROTOCOL, _APPROVAL, _XA_PROTOCOL = (f"{_DICOM}.1.1.200.{number}" for number in (1, 3, 7))

MODELS: Final = (
    _model("Hanging Protocol", f"{_DICOM}.38", 2, f"{_DICOM}.38.1"),
    _model("Color Palette", f"{_DICOM}.39", 2, f"{_DICOM}.39.1"),
    _model("Generic Implant Template", f"{_DICOM}.43", 2, f"{_DICOM}.43.1"),
    _model("Implant Assembly Template", f"{_DICOM}.44", 2, f"{_DICOM}.44.1"),
    _model("Implant Template Group", f"{_DICOM}.45", 2, f"{_DICOM}.45.1"),
    _model("Defined Procedure Protocol", f"{_DICOM}.20", 1, _CT_PROTOCOL, _XA_PROTOCOL),
    _model("Protocol Approval", f"{_DICOM}.1.1.200", 4, _APPROVAL),
    _model("Inventory", f"{_DICOM}.1.1.201", 2, f"{_DICOM}.1.1.201.1"),
)

CLASSES: Final = frozenset(uid for model in MODELS for uid in model.classes)
"""Non-Patient Object Storage SOP classes (PS3.4 Table GG.3-1)."""
SERVICES: Final = frozenset(uid for model in MODELS for uid in (model.find, model.move, model.get))
"""SOP classes of queries and retrievals of these objects."""
