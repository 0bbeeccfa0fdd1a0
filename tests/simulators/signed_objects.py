"""Data sets signed in every way, and what the verifier says of them, for tests that need no archive."""

import zlib
from functools import cache

from cryptography.hazmat.primitives import serialization

from storage.integrity.signature import MadeSignature
from storage.integrity.signature_report import SignatureReport
from storage.integrity.signing import ObjectSigner, SignatureOrder
from storage.integrity.splice import outgoing
from storage.integrity.trust import Trust
from storage.integrity.verifier import verify_signatures
from storage.transfer_syntax import TransferSyntax
from tests.simulators.encoding import EXPLICIT, MOMENT, element, item, sequence, signing_key


@cache
def object_signer(name: str = "signer") -> ObjectSigner:
    """A signer with the key of that name."""
    made = signing_key(name)
    return ObjectSigner(made.key, made.certificate.public_bytes(serialization.Encoding.DER))


def signed_by(
    data: bytes, name: str = "signer", order: SignatureOrder | None = None, *, syntax: TransferSyntax = EXPLICIT
) -> tuple[bytes, MadeSignature]:
    """The data set with one more signature."""
    made = object_signer(name).sign(lambda: [data], syntax, order or SignatureOrder(), MOMENT)
    return b"".join(outgoing([data], syntax, made.splices)), made


def verified(data: bytes, *names: str, syntax: TransferSyntax = EXPLICIT) -> tuple[SignatureReport, ...]:
    """What the verifier says, trusting the signers of these names."""
    trust = Trust(authorities=tuple(signing_key(name).certificate for name in names or ("signer",)))
    return verify_signatures(lambda: [data], syntax, trust)


def deflated(data: bytes) -> bytes:
    """A deflated data set (PS3.5 A.5)."""
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    packed = packer.compress(data) + packer.flush()
    return packed + b"\0" * (len(packed) & 1)


def report_data_set(*, verified: bool) -> bytes:
    """A structured report (PS3.3 A.35.1), small."""
    code = (
        element(0x00080100, b"SH", b"121060")
        + element(0x00080102, b"SH", b"DCM ")
        + element(0x00080104, b"LO", b"History ")
    )
    content = (
        element(0x0040A040, b"CS", b"TEXT") + sequence(0x0040A043, item(code)) + element(0x0040A160, b"UT", b"none")
    )
    observer = (
        element(0x0040A027, b"LO", b"Ward")
        + element(0x0040A030, b"DT", b"20261122")
        + element(0x0040A075, b"PN", b"Doe ")
    )
    return b"".join(
        (
            element(0x00080016, b"UI", b"1.2.840.10008.5.1.4.1.1.88.11\0"),
            element(0x00080018, b"UI", b"1.2.3.4\0"),
            element(0x00080070, b"LO", b"Maker "),
            element(0x0020000D, b"UI", b"1.2.3\0"),
            element(0x0020000E, b"UI", b"1.2.3.1\0"),
            element(0x0040A040, b"CS", b"CONTAINER "),
            sequence(0x0040A043, item(code)),
            element(0x0040A050, b"CS", b"SEPARATE"),
            sequence(0x0040A073, item(observer)) if verified else b"",
            element(0x0040A491, b"CS", b"COMPLETE"),
            element(0x0040A493, b"CS", b"VERIFIED" if verified else b"UNVERIFIED"),
            sequence(0x0040A730, item(content)),
        )
    )
