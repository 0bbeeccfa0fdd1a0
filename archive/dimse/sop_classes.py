"""The SOP classes that this archive is an SCP of (PS3.4 A, B.5, C.6), by UID. Tables only."""

from typing import Final

from pydicom.uid import UID_dictionary
from pynetdicom import AllStoragePresentationContexts

from storage.index.matching import QueryModel

VERIFICATION: Final = "1.2.840.10008.1.1"
STORAGE_COMMITMENT: Final = "1.2.840.10008.1.20.1"

FIND: Final = {
    "1.2.840.10008.5.1.4.1.2.1.1": QueryModel.PATIENT_ROOT,
    "1.2.840.10008.5.1.4.1.2.2.1": QueryModel.STUDY_ROOT,
}
GET: Final = {
    "1.2.840.10008.5.1.4.1.2.1.3": QueryModel.PATIENT_ROOT,
    "1.2.840.10008.5.1.4.1.2.2.3": QueryModel.STUDY_ROOT,
}
MOVE: Final = {
    "1.2.840.10008.5.1.4.1.2.1.2": QueryModel.PATIENT_ROOT,
    "1.2.840.10008.5.1.4.1.2.2.2": QueryModel.STUDY_ROOT,
}

_ROOT: Final = "1.2.840.10008.5.1.4.1.1."
# Composite objects outside the patient, study and series hierarchy (PS3.4 GG); they have no study to be filed under.
_NON_PATIENT: Final = ("1.2.840.10008.5.1.4.1.1.200.", "1.2.840.10008.5.1.4.1.1.201.")


def _retired_storage_classes() -> set[str]:
    """Storage SOP classes of PS3.6 Table A-1 that are retired; what old modalities made is kept all the same."""
    return {
        uid
        for uid, (name, kind, info, retired, _) in UID_dictionary.items()
        if kind == "SOP Class" and uid.startswith(_ROOT) and "Storage" in name and retired and not info
    }


STORAGE: Final = frozenset(
    uid
    for uid in {str(context.abstract_syntax) for context in AllStoragePresentationContexts} | _retired_storage_classes()
    if not uid.startswith(_NON_PATIENT)
)

MESSAGES: Final = frozenset({VERIFICATION, STORAGE_COMMITMENT, *FIND, *GET, *MOVE})
"""Those whose data sets are messages and not objects: any native syntax will do."""
