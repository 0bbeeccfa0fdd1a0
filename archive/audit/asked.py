"""What a query asked for, read from its identifier, which the trail keeps as the bytes that came (PS3.15 A.5.3.10)."""

import base64
import binascii
import warnings
from collections.abc import Mapping
from io import BytesIO
from typing import Any, Final

_IMPLICIT_LITTLE: Final = "1.2.840.10008.1.2"
_EXPLICIT_BIG: Final = "1.2.840.10008.1.2.2"
_LEVEL: Final = "QueryRetrieveLevel"
_MAX_SHOWN: Final = 8
_MAX_CHARACTERS: Final = 64


def bytes_asked(facts: Mapping[str, Any]) -> bytes:
    """The identifier of a query; empty where there is none."""
    try:
        return base64.b64decode(facts.get("identifier", ""), validate=True)
    except (binascii.Error, TypeError, ValueError):
        return b""


def keys_asked(facts: Mapping[str, Any]) -> dict[str, tuple[str, ...]] | None:
    """Every key of a query that had a value, by keyword or tag; None where the identifier cannot be read."""
    # Heavy, and needed where somebody reads of queries only.
    from pydicom.filereader import read_dataset

    syntax = facts.get("transfer_syntax", _IMPLICIT_LITTLE)
    keys: dict[str, tuple[str, ...]] = {}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for element in read_dataset(
                BytesIO(bytes_asked(facts)), syntax == _IMPLICIT_LITTLE, syntax != _EXPLICIT_BIG
            ):
                values = element.value if element.VM > 1 else [element.value]
                if element.VR != "SQ" and element.value not in (None, "", b""):
                    keys[element.keyword or str(element.tag)] = tuple(map(str, values))
    except Exception:  # noqa: BLE001  (a peer's bytes, and a library that raises what it likes: they are not readable)
        return None
    return keys


def asked_in_words(facts: Mapping[str, Any]) -> str:
    """The query on part of a line, such as ``STUDY with PatientID=P1``."""
    keys = keys_asked(facts)
    if keys is None:
        return "what cannot be read"
    level = " ".join(keys.pop(_LEVEL, ()))
    keys.pop("SpecificCharacterSet", None)
    shown = [f"{name}={'/'.join(values)[:_MAX_CHARACTERS]}" for name, values in list(keys.items())[:_MAX_SHOWN]]
    more = f" and {len(keys) - _MAX_SHOWN} more" if len(keys) > _MAX_SHOWN else ""
    return f"{level or 'objects'} with {', '.join(shown)}{more}" if shown else f"every {level or 'object'}"
