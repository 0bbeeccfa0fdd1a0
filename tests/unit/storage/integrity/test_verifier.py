"""What a verifier refuses, and whom it knows (PS3.3 C.12.1.1.3, PS3.15 C.1)."""

from datetime import timedelta
from struct import pack

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from storage.errors import DataSetLimitExceeded
from storage.integrity.signature import Signer
from storage.integrity.trust import SignerTrust, Trust
from storage.integrity.verifier import Verdict, verify_signatures
from storage.transfer_syntax import transfer_syntax
from tests.simulators.dicom_files import read
from tests.simulators.encoding import (
    EXPLICIT,
    MOMENT,
    element,
    inspect,
    item,
    sequence,
    signed,
    signing_key,
    small,
)
from tests.simulators.shared_material import shared

DATA = small(element(0x00200010, b"SH", b"1 "))


def verify(data, trust=None, syntax=EXPLICIT):
    return verify_signatures(lambda: [data], syntax, trust or Trust(archive=frozenset({signing_key().fingerprint})))


def test_an_unsigned_data_set_has_no_reports():
    assert verify(DATA) == ()


def test_a_changed_value_is_found():
    after, _ = signed(DATA)
    (report,) = verify(after.replace(b"Roe^Jane", b"Roe^Joan"))
    assert not report.valid
    assert report.reason.startswith("the signed elements are not what was signed")
    assert report.verdict is Verdict.INVALID
    assert report.trust is SignerTrust.ARCHIVE


def test_an_element_added_later_is_reported_as_not_covered():
    after, _ = signed(DATA)
    added = element(0x00204000, b"LT", b"new ")
    at = after.index(b"\xfe\x4f\x01\x00SQ")
    (report,) = verify(after[:at] + added + after[at:])
    assert report.valid
    assert [left.tag for left in report.uncovered] == [0x00204000]


def test_an_element_taken_away_is_found():
    after, _ = signed(DATA)
    (report,) = verify(after.replace(element(0x00200010, b"SH", b"1 "), b""))
    assert not report.valid


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        pytest.param(b"SHA256", b"SHA999", "unknown MAC algorithm", id="algorithm"),
        pytest.param(b"SHA256", b"SHA1  ", "the signed elements are not what was signed", id="another algorithm"),
        pytest.param(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.2\0", "explicit VR little endian", id="syntax"),
        pytest.param(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.9.9.9\0", "unknown MAC calculation", id="no syntax"),
        pytest.param(b"X509_1993_SIG ", b"X509_1999_SIG ", "unknown certificate type", id="certificate type"),
        pytest.param(b"\x08\x00\x18\x00\x10\x00", b"\x08\x00\x00\x00\x10\x00", "may not be signed", id="group length"),
        pytest.param(
            b"\x08\x00\x18\x00\x10\x00\x10\x00", b"\x10\x00\x10\x00\x08\x00\x18\x00", "not ascending", id="order"
        ),
        pytest.param(b"20261122123015", b"2026112212301x", "time cannot be read", id="no time"),
        pytest.param(b"+0000", b"+00x0", "time cannot be read", id="no offset"),
        pytest.param(
            b"\x00\x04\x05\x00US\x02\x00\x00\x00\x00\x04\x10\x00",
            b"\x00\x04\x05\x00US\x02\x00\x07\x00\x00\x04\x10\x00",
            "MAC parameters are missing",
            id="parameters",
        ),
    ],
)
def test_a_signature_that_breaks_a_rule_is_refused_with_the_rule(old, new, reason):
    after, _ = signed(DATA)
    assert old in after
    (report,) = verify(after.replace(old, new, 1))
    assert not report.valid
    assert reason in report.reason


def test_two_parameters_with_one_mac_id_are_refused():
    after, made = signed(DATA)
    inserted = made.splices[0].inserted
    parameters = inserted[12:]
    (report,) = verify(after.replace(inserted, sequence(0x4FFE0001, parameters, parameters)))
    assert not report.valid


def test_a_signature_with_nothing_in_it_is_refused_not_raised():
    (report,) = verify(small(sequence(0x4FFE0001, item()), sequence(0xFFFAFFFA, item())))
    assert not report.valid
    assert (report.uid, report.signer, report.signed_tags, report.moment) == ("", "", (), None)


def test_more_signatures_than_the_limit_are_refused():
    with pytest.raises(DataSetLimitExceeded):
        verify(small(sequence(0xFFFAFFFA, *[item()] * 600)))


def certificate(subject, key, issuer, issuer_key, *, authority=False, lifetime=timedelta(days=1000)):
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, subject)]))
        .issuer_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(MOMENT - lifetime)
        .not_valid_after(MOMENT + lifetime)
    )
    if authority:
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    return builder.sign(issuer_key, hashes.SHA256())


def test_a_signer_is_known_by_its_own_certificate_or_its_direct_issuer_only():
    root_key, ca_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    key = rsa.generate_private_key(65537, 2048)
    root = certificate("root", root_key, "root", root_key, authority=True)
    authority = certificate("authority", ca_key, "root", root_key, authority=True)
    leaf = certificate("leaf", key, "authority", ca_key)
    no_authority = certificate("authority", ca_key, "root", root_key)
    found = inspect(DATA)
    made = Signer(key, leaf.public_bytes(serialization.Encoding.DER)).sign(found, EXPLICIT, MOMENT)
    first, second = (splice.inserted for splice in made.splices)
    after = DATA + first + second

    def trust_of(*authorities, archive=frozenset()):
        (report,) = verify(after, Trust(archive, authorities))
        assert report.valid
        assert report.signer == "CN=leaf"
        return report.trust

    assert trust_of() is SignerTrust.UNKNOWN
    assert trust_of(root) is SignerTrust.UNKNOWN
    assert trust_of(no_authority) is SignerTrust.UNKNOWN
    assert trust_of(authority) is SignerTrust.TRUSTED
    assert trust_of(leaf) is SignerTrust.TRUSTED
    assert trust_of(authority, archive=frozenset({leaf.fingerprint(hashes.SHA256())})) is SignerTrust.ARCHIVE


def test_item_level_signatures_are_checked_at_their_own_level():
    content = element(0x00080100, b"SH", b"T-D1") + element(0x00080102, b"SH", b"SRT ")
    inner, _ = signed(content)
    data = small(sequence(0x00321064, item(content), item(inner)))
    (report,) = verify(data)
    assert report.path == ((0x00321064, 1),)
    assert report.valid, report.reason
    (report,) = verify(data[: data.rindex(b"T-D1")] + b"T-D2" + data[data.rindex(b"T-D1") + 4 :])
    assert not report.valid
    outer, _ = signed(data)
    assert [report.path for report in verify(outer)] == [((0x00321064, 1),), ()]
    assert all(report.valid for report in verify(outer))


def test_a_long_list_of_signed_elements_is_read_whole():
    many = b"".join(element(0x00090010 + n, b"LO", pack("<H", n)) for n in range(0xF0)) + b"".join(
        element(0x00091000 + n, b"US", pack("<H", n)) for n in range(2000)
    )
    after, _ = signed(many)
    (report,) = verify(after)
    assert report.valid, report.reason
    assert len(report.signed_tags) == 2240


@pytest.mark.parametrize(
    ("name", "algorithm", "valid"),
    [
        ("ct_md5", "MD5", True),
        ("ct_sha1", "SHA1", True),
        ("ct_ripemd160", "RIPEMD160", True),
        ("ct_sha256", "SHA256", True),
        ("ct_sha384", "SHA384", True),
        ("ct_sha512", "SHA512", True),
        ("ct_creator_sha256", "SHA256", True),
        ("ct_two_signatures", "SHA512", True),
        ("ct_tampered", "SHA256", False),
        ("sr_item", "SHA256", True),
        ("sr_two_tags", "SHA256", True),
    ],
)
def test_every_algorithm_of_the_base_profile_is_read(name, algorithm, valid):
    folder = shared("vectors", "dicom-signed")
    signer = x509.load_pem_x509_certificate((folder / "signer.crt").read_bytes())
    file = read(folder / f"{name}.dcm")
    report = verify(file.data, Trust(authorities=(signer,)), transfer_syntax(file.syntax))[-1]
    assert (report.mac_algorithm, report.valid) == (algorithm, valid)
    assert report.weak == (algorithm in {"MD5", "SHA1", "RIPEMD160"})
    assert report.trust is SignerTrust.TRUSTED
