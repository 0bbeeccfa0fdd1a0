"""What becomes of an object by its signatures: the worst decides, and each setting means what it says (PS3.15 A.2)."""

from itertools import product

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from archive.errors import SettingsInvalid
from archive.home import Home
from archive.settings import ACTIONS, SignatureSettings, parse_settings
from archive.signatures.local import LocalProfile, local_profiles, order_of, tag_of
from archive.signatures.receipt import Action, ReceiptPolicy
from storage.integrity.profiles import Profile
from storage.integrity.signing import SignatureOrder
from storage.integrity.trust import Trust
from storage.integrity.verifier import verify_signatures
from tests.simulators.encoding import EXPLICIT, element, signing_key, small
from tests.simulators.signed_objects import signed_by, verified


def judged(reports, required=None, **settings):
    return ReceiptPolicy(SignatureSettings(**settings), required, Trust).judge(reports)


@pytest.fixture(scope="module")
def reports():
    """A report of each kind that matters."""
    after, _ = signed_by(small())
    (valid,) = verified(after)
    (invalid,) = verified(after.replace(b"Roe^Jane", b"Roe^Joan"))
    (unknown,) = verify_signatures(lambda: [after], EXPLICIT, Trust())
    private = element(0x00090010, b"LO", b"NOBODYS ") + element(0x00091001, b"LO", b"scanner ")
    lost = signed_by(private)[0].replace(b"\x09\x00\x01\x10LO\x08\x00", b"\x09\x00\x01\x10UN\0\0\x08\0\0\0")
    (open_,) = verified(lost)
    return {"valid": valid, "invalid": invalid, "unknown": unknown, "indeterminate": open_}


@pytest.mark.parametrize(("kind", "action"), list(product(("invalid", "unknown", "indeterminate"), ACTIONS)))
def test_each_kind_has_its_own_setting(reports, kind, action):
    judgement = judged([reports["valid"], reports[kind]], **{kind: action})
    assert judgement.action is Action[action.upper()]
    assert bool(judgement.words) == (action != "accept")


def test_the_gravest_finding_decides_and_all_are_named(reports):
    judgement = judged(list(reports.values()), invalid="flag", unknown="refuse", indeterminate="quarantine")
    assert judgement.action is Action.REFUSE
    assert judgement.words.count("the signature of the whole object is") == 3


def test_valid_and_no_signatures_are_accepted_by_default(reports):
    assert judged([reports["valid"]]).action is Action.ACCEPT
    assert judged([]).action is Action.ACCEPT
    assert judged([reports["invalid"]]).action is Action.FLAG


def test_a_required_profile_wants_signer_elements_and_purpose(tmp_path):
    certificate = tmp_path / "signer.pem"
    certificate.write_bytes(signing_key().certificate.public_bytes(Encoding.PEM))
    required = LocalProfile("released", elements=("PatientName",), purpose="13", certificate=certificate)

    def becomes(name="signer", tags=(0x00100010,), purpose="13"):
        order = SignatureOrder(tags=frozenset(tags), purpose=purpose)
        return judged(
            verified(signed_by(small(), name, order)[0], "signer", "other"), required, missing="refuse"
        ).action

    assert becomes() is Action.ACCEPT
    assert becomes(name="other") is Action.REFUSE
    assert becomes(tags=(0x00080018,)) is Action.REFUSE, "the wrong subset"
    assert becomes(purpose="1") is Action.REFUSE
    assert judged([], required, missing="refuse").action is Action.REFUSE, "the signature was stripped"
    assert judged([], required, missing="accept").words == ""


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[signatures]\ninvalid = "ignore"', "signatures.invalid must be one of accept, flag"),
        ('[signatures]\nrequire = "x"', "signatures.require names 'x'"),
        ('[[signature]]\nname = "x"\nprofile = "best"', "profile 'best'"),
        ('[[signature]]\nname = "x"\nelements = ["PatientNam"]', "'PatientNam' is no element"),
        ('[[signature]]\nname = "x"\npurpose = "19"', "purpose '19'"),
        ('[[signature]]\nname = "x"\nalgorithm = "MD5"', "algorithm 'MD5'"),
        ('[[signature]]\nname = "x"\n[[signature]]\nname = "x"', "two sections"),
        ("[[signature]]\n", "lacks name"),
        ('[[signature]]\nname = "x"\ncolour = "red"', "unknown key 'colour'"),
    ],
)
def test_settings_that_make_no_sense_name_their_key(tmp_path, text, words):
    with pytest.raises(SettingsInvalid, match=words):
        local_profiles(Home(tmp_path), parse_settings(text))


def test_a_local_profile_is_read_as_it_is_written(tmp_path):
    text = '[[signature]]\nname = "a"\nprofile = "authorization"\nelements = ["PatientID", "0008,0060", "(0010,0010)"]'
    (one,) = local_profiles(Home(tmp_path), parse_settings(text)).values()
    wanted = frozenset({0x00100020, 0x00080060, 0x00100010})
    assert one.order == SignatureOrder(Profile.AUTHORIZATION, tags=wanted)
    assert order_of("base", (), "", "SHA512").tags is None
    assert tag_of("00100010") == tag_of("PatientName") == 0x00100010
