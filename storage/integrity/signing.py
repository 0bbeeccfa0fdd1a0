"""Signatures of every kind that PS3.15 C.1 to C.4 name, over any elements of a data set or of one of its items.

1. Read the data set and find out what there is at the level to be signed, and where its signatures stand or would.
2. Settle the list: what was asked for, and what the profile mandates, of what may be signed (PS3.3 C.12.1.1.3.1.1).
3. Read again and calculate the MAC over the list, then over the new item itself (C.12.1.1.3.1.2).
4. Sign it, have the signature stamped if asked, and tell the new items as splices.

What is signed already stays as it is: a further signature neither covers signature sequences nor moves them.
"""

import hashlib
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Protocol

from cryptography.hazmat.primitives.asymmetric import ec

from storage.crypto.signing_key import SHA2, SigningKey, sign_digest
from storage.errors import SignatureNotPossible
from storage.identifiers import new_uid
from storage.integrity.element_events import StreamLimits
from storage.integrity.explicit_little import ExplicitLittle
from storage.integrity.mac import DIGITAL_SIGNATURES, MAC_PARAMETERS
from storage.integrity.mac_walk import MacWalk, Path, Target
from storage.integrity.profiles import VERIFICATION, Claim, Profile, breaches, to_be_signed
from storage.integrity.reading import DEFAULT_LIMITS, Chunks, Several, read
from storage.integrity.signature import (
    MadeSignature,
    free_mac_id,
    identity_fields,
    parameter_fields,
    signature_fields,
)
from storage.integrity.signature_places import SignaturePlaces
from storage.integrity.signature_writer import additions, mac_bytes, padded
from storage.integrity.survey import Survey
from storage.transfer_syntax import TransferSyntax


@dataclass(frozen=True, slots=True)
class SignatureOrder:
    """What a signature is to be."""

    profile: Profile = Profile.BASE
    path: Path = ()
    """Which item is signed: (sequence tag, item number from 0), outermost first; empty for the data set itself."""
    tags: frozenset[int] | None = None
    """Elements to be signed beside those that the profile mandates; None: every one that may be."""
    algorithm: str = "SHA256"
    """MAC Algorithm (0400,0015): SHA256, SHA384 or SHA512."""
    purpose: str = ""
    """Code of CID 7007 (`profiles.PURPOSES`); empty for none."""


class Stamping(Protocol):
    """A time stamping authority (RFC 3161)."""

    def token(self, data: bytes) -> bytes:
        """A TimeStampToken over ``data``, DER, verified."""


class ObjectSigner:
    """Signs whole data sets with one key."""

    def __init__(self, key: SigningKey, certificate_der: bytes, stamping: Stamping | None = None) -> None:
        """Take the key, its own X.509 certificate, and who stamps what it signs (PS3.15 C.1: CMS_TSP), if anybody."""
        self._key = key
        self._certificate = certificate_der
        self._stamping = stamping

    def sign(
        self,
        chunks: Chunks,
        syntax: TransferSyntax,
        order: SignatureOrder,
        moment: datetime,
        limits: StreamLimits = DEFAULT_LIMITS,
    ) -> MadeSignature:
        """Make the signature that was ordered. ``moment``: when it is made, aware.

        Raises:
            SignatureNotPossible: there is no such item or element, it may not be signed, or the profile forbids it.
            MalformedDataSet, DataSetLimitExceeded: the data set is none, or has no room for another signature.
        """
        places = SignaturePlaces(syntax, order.path)
        survey = Survey(order.path)
        length = read(chunks, syntax, Several(places, ExplicitLittle(survey, not syntax.little_endian)), limits)
        places.finish(length)
        level = places.level
        if level is None:
            raise SignatureNotPossible("there is no such item in the data set")
        tags = self._listed(order, survey)
        purpose = VERIFICATION if order.profile is Profile.VERIFIED_REPORT else order.purpose
        mac_id, uid = free_mac_id(level.mac_ids), new_uid()
        identity = identity_fields(mac_id, uid, moment, purpose)
        mac = _Mac(order.path, frozenset(tags), order.algorithm)
        read(chunks, syntax, ExplicitLittle(mac, not syntax.little_endian), limits)
        value = sign_digest(self._key, mac.digest(mac_bytes(identity)), order.algorithm)
        stamp = self._stamping.token(value) if self._stamping is not None else None
        items = {
            MAC_PARAMETERS: parameter_fields(mac_id, syntax.mac_syntax, order.algorithm, tags),
            DIGITAL_SIGNATURES: signature_fields(identity, self._certificate, value, stamp),
        }
        return MadeSignature(
            splices=additions(items, level.points, level.encoding, level.enclosing),
            uid=uid,
            value_digest=sha256(padded(b"OB", value)).digest(),
            mac_id=mac_id,
            signed_tags=tags,
        )

    def _listed(self, order: SignatureOrder, survey: Survey) -> tuple[int, ...]:
        """The list of elements, and every rule that can be checked before signing."""
        if order.algorithm not in SHA2:
            raise SignatureNotPossible(f"new signatures are made with {', '.join(SHA2)}, and not with others")
        if order.tags is None:
            chosen: frozenset[int] = frozenset(survey.signable)
        else:
            chosen = order.tags
            refused = sorted(chosen - frozenset(survey.signable))
            if refused:
                reasons = {left.tag: left.reason for left in survey.unsignable}
                words = [f"({tag >> 16:04X},{tag & 0xFFFF:04X}): {reasons.get(tag, 'not there')}" for tag in refused]
                raise SignatureNotPossible("; ".join(words))
        tags = to_be_signed(order.profile, chosen, survey.signable)
        if not tags:
            raise SignatureNotPossible("nothing there may be signed")
        present = frozenset(survey.signable) | {left.tag for left in survey.unsignable}
        purpose = VERIFICATION if order.profile is Profile.VERIFIED_REPORT else order.purpose
        claim = Claim(
            top_level=not order.path,
            rsa=not isinstance(self._key, ec.EllipticCurvePrivateKey),
            listed=frozenset(tags),
            present=present,
            purpose=purpose,
            verified=survey.verified,
        )
        broken = breaches(order.profile, claim)
        if broken:
            raise SignatureNotPossible(f"profile {order.profile.value}: {'; '.join(broken)}")
        return tags


class _Mac(MacWalk):
    """The MAC over some elements of one level, values with the padding that is due."""

    def __init__(self, path: Path, tags: frozenset[int], algorithm: str) -> None:
        self._path = path
        running = hashlib.new(algorithm.lower())
        self._hash = running
        self._target = Target(tags.__contains__, running.update, lambda sent, due: running.update(due))
        super().__init__()

    def arrive(self, path: Path) -> list[Target]:
        """The stream of the one level."""
        return [self._target] if path == self._path else []

    def digest(self, tail: bytes) -> bytes:
        """The finished MAC; ``tail`` is the signature's own item."""
        self._hash.update(tail)
        return self._hash.digest()
