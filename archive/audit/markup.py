"""Elements of an audit message: whatever a text holds, the XML stays well formed and says that something was there."""

import base64
import re
from typing import Any, Final
from xml.etree.ElementTree import Element, SubElement

from archive.audit.codes import Code

_ILLEGAL: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 cannot carry, escaped or not."""


def element(name: str, **attributes: Any) -> Element:
    """An element with those of the attributes that are not None."""
    return Element(name, {key: clean(str(value)) for key, value in attributes.items() if value is not None})


def coded(name: str, code: Code) -> Element:
    """A coded value: csd-code, codeSystemName and originalText are all three mandatory (A.5.1.1)."""
    return Element(
        name,
        {"csd-code": clean(code.value), "codeSystemName": clean(code.scheme), "originalText": clean(code.meaning)},
    )


def text_in(parent: Element, name: str, text: str) -> None:
    """A child that holds nothing but text."""
    SubElement(parent, name).text = clean(text)


def detail(kind: str, value: str) -> Element:
    """A ParticipantObjectDetail; its value is base64 whatever it says (A.5.1.1)."""
    encoded = base64.b64encode(clean(value).encode("utf-8")).decode("ascii")
    return element("ParticipantObjectDetail", type=kind, value=encoded)


def clean(text: str) -> str:
    """The text with a replacement character for each that XML cannot carry."""
    return _ILLEGAL.sub("\N{REPLACEMENT CHARACTER}", text)
