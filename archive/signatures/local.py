"""Local signature profiles: sections ``[[signature]]`` of the settings say who signs which elements, and what for.

They serve twice: `strongroom signature create --as NAME` signs so, and `signatures.require` wants objects signed so.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.serialization import Encoding
from pydicom.datadict import tag_for_keyword

from archive.errors import SettingsInvalid
from archive.home import Home
from archive.sections import configured
from archive.settings import Settings
from auth.node.pem import read_certificates
from storage.crypto.signing_key import SHA2
from storage.integrity.profiles import PURPOSES, Profile
from storage.integrity.signature_report import SignatureReport
from storage.integrity.signed_item import Verdict
from storage.integrity.signing import SignatureOrder

_TAG: Final = re.compile(r"\(?([0-9A-Fa-f]{4}),?([0-9A-Fa-f]{4})\)?")
_RELIED_ON: Final = frozenset({Verdict.VALID, Verdict.WEAK})


@dataclass(frozen=True, slots=True)
class LocalProfile:
    """Section ``[[signature]]``."""

    name: str
    profile: str = "base"
    """One of `storage.integrity.profiles.Profile`."""
    elements: tuple[str, ...] = ()
    """Keywords or tags (gggg,eeee) to be signed beside what the profile mandates; none: all that may be."""
    purpose: str = ""
    """Code of CID 7007."""
    algorithm: str = "SHA256"
    certificate: Path | None = None
    """PEM: the signer; none: whoever is trusted."""
    key: Path | None = None
    """PEM: its key, where signatures are made here."""

    @property
    def order(self) -> SignatureOrder:
        """What a signature is to be. Raises `SettingsInvalid`."""
        return order_of(self.profile, self.elements, self.purpose, self.algorithm)

    def kept_by(self, report: SignatureReport) -> bool:
        """Whether a signature is one of these."""
        order = self.order
        if report.path or report.verdict not in _RELIED_ON or order.profile not in report.profiles:
            return False
        if self.purpose and report.purpose != self.purpose:
            return False
        present = frozenset(report.signed_tags) | {left.tag for left in report.uncovered}
        wanted = order.tags if order.tags is not None else frozenset()
        if (wanted & present) - frozenset(report.signed_tags):
            return False
        if self.certificate is None:
            return True
        return report.certificate.startswith(read_certificates(self.certificate)[0].public_bytes(Encoding.DER))


def local_profiles(home: Home, settings: Settings) -> dict[str, LocalProfile]:
    """The profiles of the settings, by name.

    Raises:
        SettingsInvalid: one is not what a profile may be, or a name is there twice.
    """
    found: dict[str, LocalProfile] = {}
    for table in settings.signature:
        one = configured(LocalProfile, "signature", table, home)
        if one.name in found:
            raise SettingsInvalid(f"two sections [[signature]] are called {one.name!r:.40}: name one anew")
        _ = one.order
        found[one.name] = one
    required = settings.signatures.require
    if required and required not in found:
        raise SettingsInvalid(f"signatures.require names {required!r:.40}: write a section [[signature]] of that name")
    return found


def order_of(profile: str, elements: tuple[str, ...], purpose: str, algorithm: str) -> SignatureOrder:
    """A signature as settings or a command line ask for it. Raises `SettingsInvalid`."""
    known = {one.value: one for one in Profile}
    if profile not in known:
        raise SettingsInvalid(f"profile {profile!r:.40}: it must be one of {', '.join(known)}")
    if purpose and purpose not in PURPOSES:
        raise SettingsInvalid(f"purpose {purpose!r:.40}: it must be a code of CID 7007, 1 to {len(PURPOSES)}")
    if algorithm not in SHA2:
        raise SettingsInvalid(f"algorithm {algorithm!r:.40}: it must be one of {', '.join(SHA2)}")
    tags = frozenset(map(tag_of, elements)) if elements else None
    return SignatureOrder(known[profile], tags=tags, algorithm=algorithm, purpose=purpose)


def tag_of(text: str) -> int:
    """A tag from a keyword or from its digits. Raises `SettingsInvalid`."""
    match = _TAG.fullmatch(text)
    if match is not None:
        return int(match[1] + match[2], 16)
    found = tag_for_keyword(text)
    if found is None:
        raise SettingsInvalid(f"{text!r:.40} is no element: write a keyword like PatientID, or a tag like 0010,0020")
    return int(found)
