"""Objects that belong to no patient: hanging protocols, colour palettes, implant templates (PS3.3 A.44, A.58, A.61)."""

import struct

from pydicom import Dataset

HANGING_PROTOCOL, HANGING_FIND, HANGING_MOVE, HANGING_GET = (f"1.2.840.10008.5.1.4.38.{n}" for n in (1, 2, 3, 4))
PALETTE, PALETTE_FIND, PALETTE_MOVE, PALETTE_GET = (f"1.2.840.10008.5.1.4.39.{n}" for n in (1, 2, 3, 4))
IMPLANT, IMPLANT_FIND = "1.2.840.10008.5.1.4.43.1", "1.2.840.10008.5.1.4.43.2"


def hanging_protocol(number: int = 1, **attributes: object) -> Dataset:
    """How to hang two views of a chest."""
    dataset = _object(HANGING_PROTOCOL, f"1.2.826.38.{number}")
    dataset.HangingProtocolName = f"CHEST {number}"
    dataset.HangingProtocolDescription = "PA and lateral"
    dataset.HangingProtocolLevel = "SITE"
    dataset.HangingProtocolCreator = "ADMIN"
    dataset.HangingProtocolCreationDateTime = "20260101120000"
    definition = Dataset()
    definition.Modality, definition.Laterality = "DX", ""
    dataset.HangingProtocolDefinitionSequence = [definition]
    dataset.NumberOfPriorsReferenced = 1
    return _with(dataset, attributes)


def palette(number: int = 1, **attributes: object) -> Dataset:
    """Two hundred and fifty-six colours."""
    dataset = _object(PALETTE, f"1.2.826.39.{number}")
    dataset.ContentLabel, dataset.ContentDescription = f"HOT_{number}", "black to white over red"
    dataset.ContentCreatorName = "Müller^Jörg"
    for colour in ("Red", "Green", "Blue"):
        table = struct.pack("<256H", *(level * 257 for level in range(256)))
        setattr(dataset, f"{colour}PaletteColorLookupTableDescriptor", [256, 0, 16])
        setattr(dataset, f"{colour}PaletteColorLookupTableData", table)
    dataset.PaletteColorLookupTableUID = f"1.2.826.40.{number}"
    return _with(dataset, attributes)


def implant(number: int = 1, **attributes: object) -> Dataset:
    """A hip stem."""
    dataset = _object(IMPLANT, f"1.2.826.43.{number}")
    dataset.Manufacturer, dataset.ImplantName, dataset.ImplantPartNumber = "STEMS INC", "STEM", f"S-{number}"
    return _with(dataset, attributes)


def asking(**values: object) -> Dataset:
    """A query's identifier, which has no level."""
    return _with(Dataset(), values)


def _object(sop_class: str, uid: str) -> Dataset:
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SOPClassUID, dataset.SOPInstanceUID = sop_class, uid
    return dataset


def _with(dataset: Dataset, attributes: dict[str, object]) -> Dataset:
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    return dataset
