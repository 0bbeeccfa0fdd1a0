"""A check of every digital signature in a data set, at any level (PS3.3 C.12.1.1.3, PS3.15 C.1).

1. Read once and find the signatures with the MAC parameters that they name (same MAC ID, same level).
2. Check the parameters: syntax, algorithm, an ascending list of elements that may be signed.
3. Read again and calculate each MAC over the listed elements, then the item's own.
4. Check the signature value with the key of the certificate, and that the certificate was valid at the time given.
5. Say what is known of the signer, and which elements beside the listed ones the signature says nothing about.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from storage.errors import DataSetLimitExceeded
from storage.instance import Uncovered
from storage.integrity.element_events import Consumer, StreamLimits
from storage.integrity.element_stream import ElementStream
from storage.integrity.explicit_little import ExplicitLittle
from storage.integrity.inflate import Inflater
from storage.integrity.mac import DIGITAL_SIGNATURES, MAC_PARAMETERS, signable
from storage.integrity.mac_walk import MacWalk, Path, Target
from storage.integrity.signed_item import (
    CERTIFICATE,
    MAC_ALGORITHM,
    MAC_ID,
    SIGNATURE,
    SIGNATURE_UID,
    WEAK,
    SignatureFault,
    SignedItem,
    SignerTrust,
    Trust,
)
from storage.transfer_syntax import TransferSyntax

if TYPE_CHECKING:
    from hashlib import _Hash

__all__ = ["SignatureReport", "SignerTrust", "Trust", "verify_signatures"]

Chunks = Callable[[], Iterable[bytes | memoryview]]
"""Begins to read the data set anew each time it is called."""

_NOT_IN_THE_MAC: Final = frozenset({CERTIFICATE, SIGNATURE, 0x04000305, 0x04000310})
"""PS3.3 C.12.1.1.3.1.2: certificate, signature and certified timestamp."""

_SEQUENCES: Final = (MAC_PARAMETERS, DIGITAL_SIGNATURES)
_KEPT: Final = 8 * 1024 * 1024
"""Bytes of all signatures that are held at once."""


@dataclass(frozen=True, slots=True)
class SignatureReport:
    """One signature and what came of checking it."""

    path: Path
    """Which item it signs: (sequence tag, item number from 0), outermost first; empty for the data set itself."""
    uid: str
    mac_algorithm: str
    weak: bool
    """The algorithm is one that no longer resists forgery."""
    signer: str
    """Subject of the certificate (RFC 4514), empty if it cannot be read."""
    certificate: bytes
    """As it stands, DER."""
    moment: datetime | None
    trust: SignerTrust
    valid: bool
    """The signature is right, whoever signed; read it together with ``trust``."""
    reason: str
    """Why it is not valid; empty if it is."""
    signed_tags: tuple[int, ...]
    uncovered: tuple[Uncovered, ...]
    """Elements at its level that it says nothing about; empty if the MAC could not be calculated."""
    value_digest: bytes
    """SHA-256 of the signature value, comparable with `Inspection.signature_values`."""


def verify_signatures(
    chunks: Chunks, syntax: TransferSyntax, trust: Trust, limits: StreamLimits | None = None
) -> tuple[SignatureReport, ...]:
    """Check every signature of a data set as it is kept, deflated if so; it is read twice if it has any.

    Raises:
        MalformedDataSet: it is not a data set in its transfer syntax.
        DataSetLimitExceeded: it crosses one of the limits.
    """
    limits = limits or StreamLimits()
    finder = _Finder(limits)
    _read(chunks, syntax, finder, limits)
    found = finder.signatures()
    if not found:
        return ()
    checks = [_Check(item) for item in found]
    checker = _Checker(checks)
    _read(chunks, syntax, checker, limits)
    return tuple(check.report(trust) for check in checks)


def _read(chunks: Chunks, syntax: TransferSyntax, consumer: Consumer, limits: StreamLimits) -> None:
    big = not syntax.little_endian
    stream = ElementStream(syntax, ExplicitLittle(consumer, big), limits)
    inflater = Inflater(limits) if syntax.deflated else None
    for chunk in chunks():
        if inflater is None:
            stream.feed(chunk)
            continue
        for inflated in inflater.feed(chunk):
            stream.feed(inflated)
    if inflater is not None:
        inflater.finish()
    stream.finish()


class _Finder(MacWalk):
    """The first reading: every signature item and every MAC parameters item, with their values."""

    def __init__(self, limits: StreamLimits) -> None:
        self._limits = limits
        self._found: list[tuple[SignedItem, Target]] = []
        self._fields: dict[Path, dict[int, bytes]] = {}
        """Values of the items of signature sequences."""
        self._parameters: list[Path] = []
        self._kept = 0
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
        return [target]

    def value(self, path: Path, tag: int, value: bytes) -> None:
        """Keep what stands in the item of a signature sequence."""
        if path and path[-1][0] in _SEQUENCES:
            self._keep(len(value))
            self._fields[path][tag] = value

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
        self._reason = ""
        try:
            self._hash = item.hash()
        except SignatureFault as fault:
            self._reason = str(fault)
        else:
            self.target = Target(frozenset(item.tags).__contains__, self._update, self._restate)

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

    def report(self, trust: Trust) -> SignatureReport:
        """The verdict, once the second reading is done."""
        item = self.item
        reason = self._reason or (self.target.fault if self.target is not None else "")
        signer, moment, known = "", None, SignerTrust.UNKNOWN
        try:
            certificate = item.certificate()
            signer = certificate.subject.rfc4514_string()
            moment = item.moment()
            known = trust.of(certificate, moment)
            if not reason:
                item.check(self._macs(), certificate, moment)
        except SignatureFault as fault:
            reason = reason or str(fault)
        algorithm = item.text(MAC_ALGORITHM)
        return SignatureReport(
            path=item.path,
            uid=item.text(SIGNATURE_UID),
            mac_algorithm=algorithm,
            weak=algorithm in WEAK,
            signer=signer,
            certificate=item.fields.get(CERTIFICATE, b""),
            moment=moment,
            trust=known,
            valid=not reason,
            reason=reason,
            signed_tags=item.tags,
            uncovered=tuple(self.target.uncovered) if self.target is not None else (),
            value_digest=sha256(item.fields.get(SIGNATURE, b"")).digest(),
        )


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
