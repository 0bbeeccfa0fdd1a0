"""A check of every digital signature in a data set, at any level (PS3.3 C.12.1.1.3, PS3.15 C.1).

1. Read once and find the signatures with the MAC parameters that they name (same MAC ID, same level).
2. Check the parameters: syntax, algorithm, an ascending list of elements that may be signed.
3. Read again and calculate each MAC over the listed elements, then the item's own. Elements that came without a VR
   get the one that a dictionary knows (`private_dictionary`); a check that then fails proves nothing.
4. Check the signature value with the key of the certificate, and that the certificate was valid at the time given.
5. Check the certified timestamp (CMS_TSP), which bounds that time from above.
6. Say what is known of the signer at that time (`trust`), which profiles the signature keeps to (`profiles`), and which
   elements beside the listed ones it says nothing about.
"""

from datetime import datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from cryptography import x509

from storage.errors import DataSetLimitExceeded
from storage.integrity.element_events import StreamLimits
from storage.integrity.explicit_little import ExplicitLittle
from storage.integrity.mac import DIGITAL_SIGNATURES, MAC_PARAMETERS, signable
from storage.integrity.mac_walk import MacWalk, Path, Target
from storage.integrity.private_dictionary import KnownRepresentations
from storage.integrity.profiles import VERIFICATION_FLAG, Claim, kept
from storage.integrity.reading import Chunks, read
from storage.integrity.signature_report import SignatureReport, is_weak, kind_of_key, verdict_of
from storage.integrity.signed_item import (
    CERTIFICATE,
    MAC_ALGORITHM,
    MAC_ID,
    PURPOSE,
    SIGNATURE,
    SIGNATURE_UID,
    TIMESTAMP,
    TIMESTAMP_TYPE,
    WEAK,
    SignatureFault,
    SignedItem,
    Verdict,
)
from storage.integrity.timestamp import Stamp
from storage.integrity.trust import SignerTrust, Standing, Trust
from storage.transfer_syntax import TransferSyntax

if TYPE_CHECKING:
    from hashlib import _Hash

__all__ = ["SignatureReport", "SignerTrust", "Trust", "Verdict", "verify_signatures"]

_CLOCKS_DIFFER: Final = timedelta(minutes=5)
"""So much later than its stamp may a signature say it was made."""
_NOT_IN_THE_MAC: Final = frozenset({CERTIFICATE, SIGNATURE, TIMESTAMP_TYPE, TIMESTAMP})
"""PS3.3 C.12.1.1.3.1.2: certificate, signature and certified timestamp."""

_GUESSED: Final = "it covers an element whose VR was lost, and does not fit with the one that the dictionary has"
_CODE_VALUE: Final = 0x00080100
_CODE_SCHEME: Final = 0x00080102
_SEQUENCES: Final = (MAC_PARAMETERS, DIGITAL_SIGNATURES)
_KEPT: Final = 8 * 1024 * 1024
"""Bytes of all signatures that are held at once."""


def verify_signatures(
    chunks: Chunks, syntax: TransferSyntax, trust: Trust, limits: StreamLimits | None = None
) -> tuple[SignatureReport, ...]:
    """Check every signature of a data set as it is kept, deflated if so; it is read twice if it has any.

    Raises:
        MalformedDataSet: it is not a data set in its transfer syntax.
        DataSetLimitExceeded: it crosses one of the limits.
    """
    limits = limits or StreamLimits()
    big = not syntax.little_endian
    finder = _Finder(limits)
    read(chunks, syntax, ExplicitLittle(finder, big), limits)
    found = finder.signatures()
    if not found:
        return ()
    checks = [_Check(item) for item in found]
    known = KnownRepresentations(_Checker(checks))
    read(chunks, syntax, ExplicitLittle(known, big), limits)
    return tuple(check.report(trust, known, verified=finder.verified) for check in checks)


class _Finder(MacWalk):
    """The first reading: every signature item and every MAC parameters item, with their values."""

    def __init__(self, limits: StreamLimits) -> None:
        self._limits = limits
        self._found: list[tuple[SignedItem, Target]] = []
        self._fields: dict[Path, dict[int, bytes]] = {}
        """Values of the items of signature sequences."""
        self._parameters: list[Path] = []
        self._kept = 0
        self._signatures: dict[Path, SignedItem] = {}
        self.verified = False
        """Verification Flag (0040,A493) is VERIFIED."""
        self._large: tuple[dict[int, bytes], int, int, bytearray] | None = None
        super().__init__()

    def arrive(self, path: Path) -> list[Target]:
        """An item of a signature sequence is kept; that of a signature also as it goes into the MAC."""
        if not path or path[-1][0] not in _SEQUENCES:
            return []
        if len(self._fields) >= 2 * self._limits.signatures:
            raise DataSetLimitExceeded(f"more than {self._limits.signatures} signatures")
        self._fields[path] = {}
        if path[-1][0] == MAC_PARAMETERS:
            self._parameters.append(path)
            return []
        item = SignedItem(path[:-1], self._fields[path])

        def extend(data: bytes | memoryview) -> None:
            self._keep(len(data))
            item.tail.extend(data)

        target = Target(lambda tag: signable(tag) and tag not in _NOT_IN_THE_MAC, extend)
        self._found.append((item, target))
        self._signatures[path] = item
        return [target]

    def value(self, path: Path, tag: int, value: bytes) -> None:
        """Keep what stands in the item of a signature sequence."""
        if path and path[-1][0] in _SEQUENCES:
            self._keep(len(value))
            self._fields[path][tag] = value
        elif len(path) > 1 and path[-1][0] == PURPOSE and path[:-1] in self._signatures:
            item, text = self._signatures[path[:-1]], value.decode("latin-1").strip(" \0")
            if tag == _CODE_VALUE:
                item.purpose_code = text
            elif tag == _CODE_SCHEME:
                item.purpose_scheme = text
        elif tag == VERIFICATION_FLAG and not path:
            self.verified = value.strip(b" ") == b"VERIFIED"

    def large(self, path: Path, tag: int, length: int) -> None:
        """Keep it as it comes."""
        self._large = None
        if path and path[-1][0] in _SEQUENCES:
            self._keep(length)
            self._large = (self._fields[path], tag, length, bytearray())

    def piece(self, data: memoryview) -> None:
        """A piece of a large value, kept if it is one of ours."""
        super().piece(data)
        if self._large is None:
            return
        fields, tag, length, so_far = self._large
        so_far += data
        if len(so_far) == length:
            fields[tag] = bytes(so_far)
            self._large = None

    def _keep(self, length: int) -> None:
        self._kept += length
        if self._kept > _KEPT:
            raise DataSetLimitExceeded("signatures")

    def signatures(self) -> list[SignedItem]:
        """Every signature with the parameters that it names; without, where they are missing or not the only ones."""
        parameters: dict[tuple[Path, bytes], list[dict[int, bytes]]] = {}
        for path in self._parameters:
            fields = self._fields[path]
            parameters.setdefault((path[:-1], fields.get(MAC_ID, b"")), []).append(fields)
        for item, target in self._found:
            named = parameters.get((item.path, item.fields.get(MAC_ID, b"")), [])
            if len(named) == 1 and not target.fault:
                item.parameters = named[0]
        return [item for item, _ in self._found]


class _Check:
    """One signature between the two readings.

    It is right if it is right over the values as they were sent, or over the values with their padding as due (PS3.5
    6.2): dcmsign and this archive sign the latter, and only over-padded values tell the two apart.
    """

    def __init__(self, item: SignedItem) -> None:
        self.item = item
        self.target: Target | None = None
        self._hash: _Hash | None = None
        self._due: _Hash | None = None
        """The MAC with the padding as due, from where it differs."""
        self._fault: SignatureFault | None = None
        self._seen: set[int] = set()
        self._tags = frozenset(item.tags)
        try:
            self._hash = item.hash()
        except SignatureFault as fault:
            self._fault = fault
        else:
            self.target = Target(self._wants, self._update, self._restate)

    def _wants(self, tag: int) -> bool:
        if tag in self._tags:
            self._seen.add(tag)
            return True
        return False

    def _update(self, data: bytes | memoryview) -> None:
        for running in (self._hash, self._due):
            if running is not None:
                running.update(data)

    def _restate(self, sent: bytes, due: bytes) -> None:
        if self._hash is not None:
            if self._due is None:
                self._due = self._hash.copy()
            self._hash.update(sent)
            self._due.update(due)

    def _macs(self) -> list[bytes]:
        """The finished MACs, any of which may be the one that was signed."""
        self._update(bytes(self.item.tail))
        return [running.digest() for running in (self._due, self._hash) if running is not None]

    def report(self, trust: Trust, known: KnownRepresentations, *, verified: bool) -> SignatureReport:
        """The verdict, once the second reading is done."""
        item = self.item
        uncovered = tuple(self.target.uncovered) if self.target is not None else ()
        fault, certificate, moment = self._fault, None, None
        stamp, stamp_fault = None, ""
        standing = Standing(SignerTrust.UNKNOWN)
        try:
            certificate = item.certificate()
            moment = item.moment()
            stamp, stamp_fault = item.stamp(trust.stamps)
            proven = stamp is not None and _spans(certificate, stamp.time)
            standing = trust.standing(certificate, stamp.time if proven and stamp else moment, proven=proven)
            if fault is None:
                self._checked(known, certificate, moment, stamp)
        except SignatureFault as found:
            fault = fault or found
        key = kind_of_key(certificate)
        weak = item.text(MAC_ALGORITHM) in WEAK or is_weak(certificate) or standing.weak
        verdict, reason = verdict_of(fault, standing, weak=weak)
        claim = Claim(
            top_level=not item.path,
            rsa=key.startswith("RSA"),
            listed=self._tags,
            present=frozenset(self._seen) | {left.tag for left in uncovered},
            purpose=item.purpose,
            verified=verified,
        )
        return SignatureReport(
            path=item.path,
            uid=item.text(SIGNATURE_UID),
            mac_algorithm=item.text(MAC_ALGORITHM),
            weak=weak,
            signer=certificate.subject.rfc4514_string() if certificate is not None else "",
            certificate=item.fields.get(CERTIFICATE, b""),
            key=key,
            moment=moment,
            stamp=stamp,
            stamp_fault=stamp_fault,
            purpose=item.purpose,
            profiles=kept(claim) if fault is None else (),
            trust=standing.trust,
            verdict=verdict,
            valid=fault is None,
            reason=reason,
            signed_tags=item.tags,
            missing=tuple(tag for tag in item.tags if tag not in self._seen) if self.target is not None else (),
            uncovered=uncovered,
            value=item.fields.get(SIGNATURE, b""),
            value_digest=sha256(item.fields.get(SIGNATURE, b"")).digest(),
        )

    def _checked(
        self, known: KnownRepresentations, certificate: x509.Certificate, moment: datetime, stamp: Stamp | None
    ) -> None:
        """Steps 4 and 5. Raises `SignatureFault`."""
        item = self.item
        if self.target is not None and self.target.fault:
            raise SignatureFault(self.target.fault, Verdict.INDETERMINATE)
        try:
            item.check(self._macs(), certificate, moment)
        except SignatureFault as fault:
            if fault.verdict is Verdict.INVALID and known.covers_guesses(item.path, self._tags):
                raise SignatureFault(_GUESSED, Verdict.INDETERMINATE) from None
            raise
        if stamp is not None and moment > stamp.time + _CLOCKS_DIFFER:
            raise SignatureFault("it says it was made after its certified timestamp")


def _spans(certificate: x509.Certificate, moment: datetime) -> bool:
    return certificate.not_valid_before_utc <= moment <= certificate.not_valid_after_utc


class _Checker(MacWalk):
    """The second reading: every MAC at once."""

    def __init__(self, checks: list[_Check]) -> None:
        self._targets: dict[Path, list[Target]] = {}
        for check in checks:
            if check.target is not None:
                self._targets.setdefault(check.item.path, []).append(check.target)
        super().__init__()

    def arrive(self, path: Path) -> list[Target]:
        """The signatures of this item."""
        return self._targets.get(path, [])
