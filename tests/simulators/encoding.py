"""Data sets written element by element, right or wrong on order; and keys to sign them with."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from struct import pack

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from storage.instance import Inspection
from storage.integrity.inspection import DataSetInspector
from storage.integrity.signature import MadeSignature, Signer
from storage.integrity.splice import outgoing
from storage.transfer_syntax import TransferSyntax, transfer_syntax

IMPLICIT, EXPLICIT = transfer_syntax("1.2.840.10008.1.2"), transfer_syntax("1.2.840.10008.1.2.1")
BIG, DEFLATED = transfer_syntax("1.2.840.10008.1.2.2"), transfer_syntax("1.2.840.10008.1.2.1.99")
JPEG = transfer_syntax("1.2.840.10008.1.2.4.50")

UNDEFINED = 0xFFFFFFFF
LONG = b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split()
MOMENT = datetime(2026, 11, 22, 12, 30, 15, 250000, tzinfo=UTC)


def element(tag: int, vr: bytes, value: bytes = b"", *, length: int | None = None, big: bool = False) -> bytes:
    """An element with explicit VR; ``length`` may lie."""
    order = ">" if big else "<"
    length = len(value) if length is None else length
    if vr in LONG:
        return pack(order + "HH2sHI", tag >> 16, tag & 0xFFFF, vr, 0, length) + value
    return pack(order + "HH2sH", tag >> 16, tag & 0xFFFF, vr, length) + value


def implicit(tag: int, value: bytes = b"", *, length: int | None = None) -> bytes:
    """An element with implicit VR; ``length`` may lie."""
    return pack("<HHI", tag >> 16, tag & 0xFFFF, len(value) if length is None else length) + value


def item(*content: bytes, length: int | None = None) -> bytes:
    """An item of defined length, which may lie."""
    body = b"".join(content)
    return implicit(0xFFFEE000, body, length=length)


def open_item(*content: bytes) -> bytes:
    """An item with a delimiter."""
    return implicit(0xFFFEE000, length=UNDEFINED) + b"".join(content) + implicit(0xFFFEE00D)


def sequence(tag: int, *items: bytes, vr: bytes = b"SQ") -> bytes:
    """A sequence of defined length."""
    return element(tag, vr, b"".join(items))


def open_sequence(tag: int, *items: bytes, vr: bytes = b"SQ") -> bytes:
    """A sequence with a delimiter."""
    return element(tag, vr, length=UNDEFINED) + b"".join(items) + implicit(0xFFFEE0DD)


def small(*more: bytes) -> bytes:
    """A data set with a UID and a name; ``more`` follows."""
    return element(0x00080018, b"UI", b"1.2.3.4\0") + element(0x00100010, b"PN", b"Roe^Jane") + b"".join(more)


def inspect(
    data: bytes,
    syntax: TransferSyntax = EXPLICIT,
    *,
    step: int = 1 << 18,
    wanted: frozenset[int] = frozenset(),
    limits=None,
) -> Inspection:
    """What the inspector says of a whole data set fed in pieces."""
    inspector = DataSetInspector(syntax, wanted, limits)
    for start in range(0, len(data), step):
        inspector.feed(memoryview(data)[start : start + step])
    return inspector.finish()


@dataclass(frozen=True)
class SigningKey:
    """A self-signed signer, which is its own authority."""

    key: rsa.RSAPrivateKey
    certificate: x509.Certificate

    @property
    def signer(self) -> Signer:
        return Signer(self.key, self.certificate.public_bytes(serialization.Encoding.DER))

    @property
    def fingerprint(self) -> bytes:
        return self.certificate.fingerprint(hashes.SHA256())


def signing_key(name: str = "signer") -> SigningKey:
    """One key for each name in a test process; keys are slow to make."""
    return _made(name)


@cache
def _made(name: str) -> SigningKey:
    key = rsa.generate_private_key(65537, 2048)
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(MOMENT - timedelta(days=1000))
        .not_valid_after(MOMENT + timedelta(days=1000))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    return SigningKey(key, certificate)


def signed(data: bytes, syntax: TransferSyntax = EXPLICIT, *, name: str = "signer") -> tuple[bytes, MadeSignature]:
    """The data set with a signature spliced in."""
    made = signing_key(name).signer.sign(inspect(data, syntax), syntax, MOMENT)
    return b"".join(outgoing([data], syntax, made.splices)), made


def part10(syntax: TransferSyntax, data: bytes, sop_class: str, instance: str) -> bytes:
    """A DICOM file (PS3.10 7.1)."""

    def text(tag: int, value: str) -> bytes:
        raw = value.encode()
        return element(tag, b"UI", raw + b"\0" * (len(raw) & 1))

    meta = (
        element(0x00020001, b"OB", b"\0\1")
        + text(0x00020002, sop_class)
        + text(0x00020003, instance)
        + text(0x00020010, syntax.uid)
        + text(0x00020012, "1.2.3")
    )
    return bytes(128) + b"DICM" + element(0x00020000, b"UL", pack("<I", len(meta))) + meta + data
