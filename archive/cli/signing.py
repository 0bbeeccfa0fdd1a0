"""What ``strongroom signature create`` does: who signs, what, and the new file."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.serialization import Encoding

from archive.cli.part10 import DataSetPlace, locate
from archive.cli.signature import chunks_of
from archive.errors import SettingsInvalid, UsageInvalid
from archive.home import Home
from archive.settings import load_settings
from archive.signatures.local import local_profiles, order_of, tag_of
from archive.timestamp_authority import TimestampAuthority
from auth.node.pem import read_certificates, read_private_key
from storage.integrity.mac_walk import Path as ItemPath
from storage.integrity.signature import MadeSignature
from storage.integrity.signing import ObjectSigner, SignatureOrder, Stamping
from storage.integrity.splice import outgoing
from storage.transfer_syntax import transfer_syntax

_STEP: Final = re.compile(r"(.+?)\[([0-9]{1,9})\]")


@dataclass(frozen=True, slots=True)
class Choice:
    """What the operator asks for."""

    profile: str
    elements: tuple[str, ...]
    item: str
    algorithm: str
    purpose: str
    key: Path | None
    certificate: Path | None
    local: str
    """Name of a local profile, which says all but the item."""
    timestamp: bool


def signed_file(file: Path, out: Path, choice: Choice, home: Home | None) -> MadeSignature:
    """Sign a file into a new one.

    Raises:
        UsageInvalid: something is missing, or makes no sense together.
        SettingsInvalid: the home's settings have no such profile or authority.
        StorageError, AuthError: it cannot be signed so, or not with this key.
        OSError: a file cannot be read or written.
    """
    order, key_path, certificate_path = _ordered(choice, home)
    certificate = read_certificates(certificate_path)[0]
    key = read_private_key(key_path)
    if key.public_key() != certificate.public_key():
        raise UsageInvalid(f"{key_path} is not the key of {certificate_path}: name a pair")
    signer = ObjectSigner(key, certificate.public_bytes(Encoding.DER), _stamping(choice, home))
    place = locate(file)
    syntax = transfer_syntax(place.transfer_syntax)
    chunks = chunks_of(file, place)
    made = signer.sign(chunks, syntax, order, datetime.now(UTC))
    with out.open("xb") as stream:
        stream.write(_head(file, place))
        for piece in outgoing(chunks(), syntax, made.splices):
            stream.write(piece)
    return made


def _ordered(choice: Choice, home: Home | None) -> tuple[SignatureOrder, Path, Path]:
    path = _item(choice.item)
    if choice.local:
        if home is None:
            raise UsageInvalid("--as names a profile of a home's settings: add --home HOME")
        profiles = local_profiles(home, load_settings(home.settings))
        if choice.local not in profiles:
            raise UsageInvalid(f"the settings have no [[signature]] called {choice.local!r:.40}: see strongroom.toml")
        one = profiles[choice.local]
        order, key, certificate = one.order, choice.key or one.key, choice.certificate or one.certificate
    else:
        order = order_of(choice.profile, choice.elements, choice.purpose, choice.algorithm)
        key, certificate = choice.key, choice.certificate
    if key is None or certificate is None:
        raise UsageInvalid("nobody is named who signs: add --key PEM --certificate PEM")
    return SignatureOrder(order.profile, path, order.tags, order.algorithm, order.purpose), key, certificate


def _stamping(choice: Choice, home: Home | None) -> Stamping | None:
    if not choice.timestamp:
        return None
    if home is None:
        raise UsageInvalid("--timestamp asks the authority of a home's settings: add --home HOME")
    chosen = load_settings(home.settings).trail
    if not chosen.timestamp_url:
        raise SettingsInvalid("trail.timestamp_url names no authority: write its URL")
    ca = home.inside(Path(chosen.timestamp_ca))
    return TimestampAuthority(chosen.timestamp_url, ca, seconds=chosen.timestamp_seconds)


def _item(text: str) -> ItemPath:
    """``Sequence[0].Sequence[1]`` as a path."""
    steps = []
    for step in text.split(".") if text else ():
        match = _STEP.fullmatch(step)
        if match is None:
            raise UsageInvalid(f"{text!r:.60} is no item: write one like ContentSequence[0]")
        steps.append((tag_of(match[1]), int(match[2])))
    return tuple(steps)


def _head(file: Path, place: DataSetPlace) -> bytes:
    """Preamble and File Meta Information, as they are."""
    with file.open("rb") as stream:
        return stream.read(place.offset)
