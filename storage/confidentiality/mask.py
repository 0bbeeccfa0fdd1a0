"""What is hidden in an object that goes out to somebody who may not see all of it. Values only.

A masked object is another object (PS3.15 E.1.1): it has a SOP Instance UID of its own, always the same for the same
original and mask, and says of itself that it was masked.
"""

import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

from pydicom.datadict import dictionary_VR, keyword_for_tag
from pydicom.dataset import Dataset

from storage.identifiers import Uid

SCHEME: Final = "99STRONGROOM"
_TEMPORAL: Final = frozenset({"DA", "DT", "TM"})
_UUID_BYTES: Final = 16
_MAX_METHOD: Final = 64
"""Characters of one value of De-identification Method (0012,0063), an LO."""


@dataclass(frozen=True, slots=True)
class Mask:
    """Attributes to hide, at every level of nesting, and what new UIDs are made from."""

    hidden: frozenset[int]
    key: bytes = field(repr=False)

    def renamed(self, uid: str) -> Uid:
        """The UID that stands for another one under this mask: a UUID made from both by HMAC-SHA-256 (PS3.5 B.2)."""
        tags = b"".join(tag.to_bytes(4, "big") for tag in sorted(self.hidden))
        digest = hmac.digest(self.key, tags + b"\0" + uid.encode("ascii", "replace"), "sha256")
        return Uid(f"2.25.{UUID(bytes=digest[:_UUID_BYTES], version=4).int}")

    def renamed_all(self, value: bytes) -> bytes:
        """A value of UIDs, each replaced, padded (PS3.5 9.1)."""
        uids = value.decode("ascii", "replace").strip("\0 ").split("\\")
        text = "\\".join(self.renamed(uid) if uid else "" for uid in uids).encode("ascii")
        return text + b"\0" * (len(text) % 2)

    def markers(self) -> Dataset:
        """What a masked object says of itself (PS3.15 E.1.1 step 7, PS3.3 C.7.1.1, C.12.1)."""
        said = Dataset()
        said.PatientIdentityRemoved = "YES"
        said.DeidentificationMethod = method_lines(sorted(_name(tag) for tag in self.hidden))
        code = Dataset()
        code.CodeValue = "POLICY-MASK"
        code.CodingSchemeDesignator = SCHEME
        code.CodeMeaning = "Attributes hidden by access policy"
        said.DeidentificationMethodCodeSequence = [code]
        temporal = any(_vr(tag) in _TEMPORAL for tag in self.hidden)
        said.LongitudinalTemporalInformationModified = "REMOVED" if temporal else "UNMODIFIED"
        return said


def method_lines(names: Sequence[str]) -> list[str]:
    """De-identification Method: what was done, in values of at most 64 characters."""
    lines = ["Emptied by access policy at every level, private elements removed:"]
    for name in names:
        if len(lines) > 1 and len(lines[-1]) + len(name) + 1 <= _MAX_METHOD:
            lines[-1] += f" {name}"
        else:
            lines.append(name[:_MAX_METHOD])
    return [line[:_MAX_METHOD] for line in lines]


def _name(tag: int) -> str:
    return keyword_for_tag(tag) or f"({tag >> 16:04X},{tag & 0xFFFF:04X})"


def _vr(tag: int) -> str:
    try:
        return str(dictionary_VR(tag))
    except KeyError:
        return ""
