"""Signature profiles (PS3.15 C.1 to C.4) and purposes (PS3.16 CID 7007): what each has signed, and who keeps to which.

Pure rules over lists of tags; who may use a profile (a device, a physician) is for policy and settings to say.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from storage.integrity.profile_modules import MODULES

PURPOSE_SCHEME: Final = "ASTM-sigpurpose"
PURPOSES: Final[Mapping[str, str]] = {
    str(code): f"{words} Signature"
    for code, words in enumerate(
        (
            "Author's",
            "Coauthor's",
            "Co-participant's",
            "Transcriptionist/Recorder",
            "Verification",
            "Validation",
            "Consent",
            "Signature Witness",
            "Event Witness",
            "Identity Witness",
            "Consent Witness",
            "Interpreter",
            "Review",
            "Source",
            "Addendum",
            "Modification",
            "Administrative (Error/Edit)",
            "Timestamp",
        ),
        1,
    )
}
"""Code -> meaning of CID 7007 Signature Purpose."""
AUTHOR: Final = "1"
VERIFICATION: Final = "5"

SOP_CLASS_UID: Final = 0x00080016
SOP_INSTANCE_UID: Final = 0x00080018
STUDY_UID: Final = 0x0020000D
SERIES_UID: Final = 0x0020000E
VERIFICATION_FLAG: Final = 0x0040A493
_CREATION: Final = frozenset({0x00080012, 0x00080013})
_OBSERVATION_TIME: Final = 0x0040A032
_VERIFYING: Final = frozenset({0x0040A030, 0x0040A073})
_REFERENCES: Final = frozenset({0x0040A360, 0x0040A375, 0x0040A385})


class Profile(Enum):
    """A profile that a signature keeps to."""

    NONE = "none"
    """No profile: what DICOM lets be signed, with any key and list."""
    BASE = "base"
    """PS3.15 C.1: RSA with PKCS#1 v1.5, one of six digests."""
    CREATOR = "creator"
    """PS3.15 C.2: by the device that made the object."""
    AUTHORIZATION = "authorization"
    """PS3.15 C.3: by the person who approved it; covers at least what C.3 names, and what they could see."""
    REPORT = "sr"
    """PS3.15 C.4: over a structured report or key object note."""
    VERIFIED_REPORT = "sr-verification"
    """PS3.15 C.4: the one signature that attests its verification."""


def _of(*names: str) -> frozenset[int]:
    return frozenset().union(*(MODULES[name] for name in names))


_NOT_THE_PERSONS: Final = ("general equipment", "tractography results")
"""Modules that C.2 names and C.3 does not."""
_IDENTITY: Final = frozenset({SOP_CLASS_UID, SOP_INSTANCE_UID, STUDY_UID, SERIES_UID})
_CREATOR: Final = _of(*MODULES) | _IDENTITY | _CREATION
_AUTHORIZATION: Final = _of(*(name for name in MODULES if name not in _NOT_THE_PERSONS)) | _IDENTITY
_REPORT: Final = (
    _of("general equipment", "sr document content")
    | _REFERENCES
    | {SOP_CLASS_UID, STUDY_UID, SERIES_UID, _OBSERVATION_TIME}
) - _VERIFYING
_VERIFIED: Final = _REPORT | _VERIFYING | {SOP_INSTANCE_UID, VERIFICATION_FLAG}

_COVERED: Final[Mapping[Profile, frozenset[int]]] = {
    Profile.NONE: frozenset(),
    Profile.BASE: frozenset(),
    Profile.CREATOR: _CREATOR,
    Profile.AUTHORIZATION: _AUTHORIZATION,
    Profile.REPORT: _REPORT,
    Profile.VERIFIED_REPORT: _VERIFIED,
}
_NEVER_ABSENT: Final[Mapping[Profile, frozenset[int]]] = {
    Profile.NONE: frozenset(),
    Profile.BASE: frozenset(),
    Profile.CREATOR: _IDENTITY,
    Profile.AUTHORIZATION: _IDENTITY,
    Profile.REPORT: frozenset({SOP_CLASS_UID, STUDY_UID, SERIES_UID}),
    Profile.VERIFIED_REPORT: _IDENTITY | {VERIFICATION_FLAG},
}
_IMAGES: Final = frozenset({Profile.CREATOR, Profile.AUTHORIZATION})
_REPORTS: Final = frozenset({Profile.REPORT, Profile.VERIFIED_REPORT})


def mandated(profile: Profile, tag: int) -> bool:
    """Whether the profile has an element with this tag signed where it is present at the top level."""
    if tag in _COVERED[profile]:
        return True
    # Overlay Plane and Curve: repeating groups of even number (PS3.3 C.9.2, retired C.10.2).
    return (
        profile in _IMAGES and tag >> 24 in (0x50, 0x60) and tag >> 16 <= (tag >> 24 << 8) + 0x1E and not tag >> 16 & 1
    )


@dataclass(frozen=True, slots=True)
class Claim:
    """What of a signature decides which profiles it keeps to."""

    top_level: bool
    rsa: bool
    """Its key is RSA."""
    listed: frozenset[int]
    """Data Elements Signed."""
    present: frozenset[int]
    """Every element at its level but the signature sequences."""
    purpose: str
    """Code of its purpose; empty if none is said."""
    verified: bool
    """Verification Flag (0040,A493) is VERIFIED."""


def breaches(profile: Profile, claim: Claim) -> tuple[str, ...]:
    """In words, each rule of the profile that the signature breaks; empty if it keeps to it."""
    if profile is Profile.NONE:
        return ()
    found: list[str] = []
    if not claim.rsa:
        found.append("its key is not RSA (PS3.15 C.1)")
    if profile is Profile.BASE:
        return tuple(found)
    if not claim.top_level:
        found.append("it signs an item, and the profile is for whole objects")
    absent = sorted(_NEVER_ABSENT[profile] - claim.present)
    left_out = sorted(tag for tag in claim.present - claim.listed if mandated(profile, tag))
    found += [f"{words} {_in_words(tags)}" for words, tags in (("lacks", absent), ("does not cover", left_out)) if tags]
    if profile in _REPORTS and not claim.purpose:
        found.append("it states no purpose (PS3.15 C.4)")
    if profile is Profile.VERIFIED_REPORT:
        if claim.purpose != VERIFICATION:
            found.append("its purpose is not Verification Signature (PS3.15 C.4)")
        if not claim.verified:
            found.append("the report is not VERIFIED (PS3.15 C.4)")
    return tuple(found)


def kept(claim: Claim) -> tuple[Profile, ...]:
    """Every profile that the signature keeps to, the plainest first."""
    return tuple(profile for profile in Profile if profile is not Profile.NONE and not breaches(profile, claim))


def to_be_signed(profile: Profile, chosen: Iterable[int], signable: Iterable[int]) -> tuple[int, ...]:
    """The list of a new signature: what was chosen and what the profile mandates, of what may be signed."""
    wanted = frozenset(chosen)
    return tuple(sorted(tag for tag in signable if tag in wanted or mandated(profile, tag)))


def _in_words(tags: Iterable[int]) -> str:
    return ", ".join(f"({tag >> 16:04X},{tag & 0xFFFF:04X})" for tag in tags)
