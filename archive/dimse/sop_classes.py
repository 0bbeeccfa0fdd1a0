"""The SOP classes that this archive is an SCP of (PS3.4 A, B.5, C.6, GG.3), by UID: tables."""

from collections.abc import Collection, Mapping
from typing import Final

from pydicom.uid import UID_dictionary
from pynetdicom import AllStoragePresentationContexts

from archive.errors import SettingsInvalid
from storage import non_patient
from storage.errors import InvalidIdentifier
from storage.identifiers import uid
from storage.index.matching import QueryModel
from storage.index.planning import InformationModel

VERIFICATION: Final = "1.2.840.10008.1.1"
STORAGE_COMMITMENT: Final = "1.2.840.10008.1.20.1"

_PATIENT_ROOT: Final = "1.2.840.10008.5.1.4.1.2.1"
_STUDY_ROOT: Final = "1.2.840.10008.5.1.4.1.2.2"
HIERARCHICAL_FIND: Final = frozenset({f"{_PATIENT_ROOT}.1", f"{_STUDY_ROOT}.1"})
"""Queries with levels, and with extended negotiation (PS3.4 C.5.1.1)."""
HIERARCHICAL_RETRIEVE: Final = frozenset(f"{root}.{kind}" for root in (_PATIENT_ROOT, _STUDY_ROOT) for kind in (2, 3))
"""Retrievals with levels, likewise (PS3.4 C.5.2.1, C.5.3.1)."""

FIND: Final[Mapping[str, InformationModel]] = {
    f"{_PATIENT_ROOT}.1": QueryModel.PATIENT_ROOT,
    f"{_STUDY_ROOT}.1": QueryModel.STUDY_ROOT,
    **{model.find: model for model in non_patient.MODELS},
}
GET: Final[Mapping[str, InformationModel]] = {
    f"{_PATIENT_ROOT}.3": QueryModel.PATIENT_ROOT,
    f"{_STUDY_ROOT}.3": QueryModel.STUDY_ROOT,
    **{model.get: model for model in non_patient.MODELS},
}
MOVE: Final[Mapping[str, InformationModel]] = {
    f"{_PATIENT_ROOT}.2": QueryModel.PATIENT_ROOT,
    f"{_STUDY_ROOT}.2": QueryModel.STUDY_ROOT,
    **{model.move: model for model in non_patient.MODELS},
}

_ROOT: Final = "1.2.840.10008.5.1.4.1.1."


def _retired_storage_classes() -> set[str]:
    """Storage SOP classes of PS3.6 Table A-1 that are retired; what old modalities made is kept all the same."""
    return {
        uid
        for uid, (name, kind, info, retired, _) in UID_dictionary.items()
        if kind == "SOP Class" and uid.startswith(_ROOT) and "Storage" in name and retired and not info
    }


STORAGE: Final = (
    frozenset(str(context.abstract_syntax) for context in AllStoragePresentationContexts)
    | _retired_storage_classes()
    | non_patient.CLASSES
)

MESSAGES: Final = frozenset({VERIFICATION, STORAGE_COMMITMENT, *FIND, *GET, *MOVE})
"""Those whose data sets are messages and not objects: any native syntax will do."""


def storage_classes(more: Collection[str]) -> frozenset[str]:
    """What is stored, with SOP classes besides that an operator names: private ones, or those of other standards.

    Raises:
        SettingsInvalid: one of them is no UID, or no SOP class of objects as far as PS3.6 knows it.
    """
    for text in more:
        try:
            known = UID_dictionary.get(uid(text))
        except InvalidIdentifier:
            raise SettingsInvalid(f"storage.sop_classes: {text!r:.70} is not a UID") from None
        if text in MESSAGES or (known is not None and (known[1] != "SOP Class" or "Storage" not in known[0])):
            raise SettingsInvalid(f"storage.sop_classes: {text} is no SOP class of objects: take it out of the list")
    return STORAGE | frozenset(more)
