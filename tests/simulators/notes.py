"""Key object documents as an IOCM Change Requester sends them (PS3.3 A.35.4), made with pydicom."""

from collections.abc import Iterable

from pydicom import Dataset
from pydicom.sequence import Sequence

KEY_OBJECT = "1.2.840.10008.5.1.4.1.1.88.59"


def code(value: str, scheme: str = "DCM", meaning: str = "a title") -> Dataset:
    """One item of a code sequence."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def key_objects(
    title: str, objects: Iterable[Dataset], *, uid: str = "1.9.1", study: str = "1.9", scheme: str = "DCM"
) -> Dataset:
    """A document of a title that references objects."""
    document = Dataset()
    document.SOPClassUID, document.SOPInstanceUID = KEY_OBJECT, uid
    document.StudyInstanceUID, document.SeriesInstanceUID = study, f"{study}.77"
    document.PatientID, document.PatientName, document.Modality = "P1", "NAME^1", "KO"
    document.ValueType = "CONTAINER"
    document.ConceptNameCodeSequence = Sequence([code(title, scheme)])
    studies: dict[str, dict[str, list[Dataset]]] = {}
    for one in objects:
        studies.setdefault(one.StudyInstanceUID, {}).setdefault(one.SeriesInstanceUID, []).append(one)
    document.CurrentRequestedProcedureEvidenceSequence = Sequence(
        [_study(uid, series) for uid, series in studies.items()]
    )
    return document


def _study(uid: str, series: dict[str, list[Dataset]]) -> Dataset:
    item = Dataset()
    item.StudyInstanceUID = uid
    item.ReferencedSeriesSequence = Sequence([_series(one, objects) for one, objects in series.items()])
    return item


def _series(uid: str, objects: list[Dataset]) -> Dataset:
    item = Dataset()
    item.SeriesInstanceUID = uid
    references = []
    for one in objects:
        reference = Dataset()
        reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = one.SOPClassUID, one.SOPInstanceUID
        references.append(reference)
    item.ReferencedSOPSequence = Sequence(references)
    return item
