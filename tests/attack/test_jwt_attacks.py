"""D16: tokens that must not be believed, each refused for its own reason (RFC 7515, 7519, 8725)."""

import hashlib
import hmac
import json
import socket
import threading
import time
from datetime import timedelta

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from auth.errors import AuthenticationFailed, ProviderMisconfigured, ProviderUnavailable, TokenReplayed
from auth.identity.breaker import Breaker
from auth.identity.chain import NOT_MINE, Vouched
from auth.identity.guard import Guarded
from tests.simulators.presented import PresentedInMemory
from tests.simulators.records import MemoryUsers, node_identity, user_record
from tests.simulators.tokens import (
    AUDIENCE,
    HASHES,
    ISSUER,
    NOW,
    SECONDS,
    claims,
    compact,
    credential,
    encoded,
    header,
    jwk,
    jwks,
    number,
    private_key,
    provider,
    raw_ecdsa,
    signer,
    token,
)

NODE, OTHER = node_identity("CT1", fingerprint="11" * 32), node_identity("MR1", fingerprint="22" * 32)
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


@pytest.fixture
def idp(tmp_path):
    return provider(tmp_path)


def refusal(idp, data, node=NODE):
    """Why a token is refused; the test fails if it is not."""
    with pytest.raises(AuthenticationFailed) as refused:
        idp.verify(credential(data), node)
    assert data.decode("latin-1") not in str(refused.value) or not data
    return refused.value.reason


def with_header(**changes):
    return compact(header(**changes), claims(), signer())


# -- algorithms and keys --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["none", "None", "NONE", "nOnE", ""])
def test_a_token_without_a_signature_is_refused(idp, name):
    assert refusal(idp, compact(header(alg=name), claims(), lambda _: b"")) == "the token's algorithm is not accepted"


@pytest.mark.parametrize("hashed", ["HS256", "HS384", "HS512"])
@pytest.mark.parametrize("kind", ["RS256", "ES256"])
@pytest.mark.parametrize("spelling", ["pem", "der", "jwk"])
def test_a_mac_keyed_with_the_public_key_is_refused(idp, hashed, kind, spelling):
    public = private_key(kind).public_key()
    secret = {
        "pem": public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        "der": public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        "jwk": json.dumps(jwk(kind)).encode(),
    }[spelling]
    digest = {"HS256": hashlib.sha256, "HS384": hashlib.sha384, "HS512": hashlib.sha512}[hashed]
    forged = compact(header(alg=hashed, kid=kind), claims(), lambda data: hmac.digest(secret, data, digest))
    assert refusal(idp, forged) == "the token's algorithm is not accepted"


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("RS256", "PS256"),
        ("PS256", "RS256"),
        ("RS256", "RS512"),
        ("ES256", "ES384"),
        ("ES256", "EdDSA"),
        ("EdDSA", "RS256"),
    ],
)
def test_the_algorithm_is_the_keys_and_not_the_headers(idp, key, said):
    # Signed as the header says, where that key can: only the swap is wrong.
    sign = signer(said, private_key(key)) if key[:1] + said[:1] in ("RP", "PR", "RR") else signer(key)
    forged = compact(header(alg=said, kid=key), claims(), sign)
    assert refusal(idp, forged) == "the token's algorithm is not its key's"


def test_an_algorithm_that_the_operator_did_not_list_is_refused(tmp_path):
    only = provider(tmp_path, algorithms=frozenset({"RS256"}))
    assert refusal(only, token()) == "the token's algorithm is not accepted"
    assert refusal(only, compact(header("RS256", kid="ES256"), claims(), signer("RS256"))) == (
        "the token's key is refused: its algorithm is not accepted"
    )


@pytest.mark.parametrize(
    "algorithm", [None, 5, ["ES256"], {"ES256": 1}, True, "es256", " ES256", "ES256K", "ES256\x00"]
)
def test_an_algorithm_that_is_none_is_refused(idp, algorithm):
    assert refusal(idp, with_header(alg=algorithm)) == "the token's algorithm is not accepted"


@pytest.mark.parametrize(
    "name",
    [
        "unknown",
        "es256",
        "ES256 ",
        "ES256\x00",
        "../../../../dev/null",
        "/dev/null",
        "' OR '1'='1",
        "x'; DROP TABLE keys; --",
        "*",
        "http://127.0.0.1/keys",
        "\u2028",
    ],
)
def test_a_key_id_that_is_not_the_issuers_is_refused(idp, name):
    empty_key = compact(header("HS256", alg="ES256", kid=name), claims(), signer())
    assert refusal(idp, empty_key) == "the token's key is not one of its issuer's"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        (None, "the token names no key"),
        ("", "the token's key id is no name"),
        (7, "the token's key id is no name"),
        (["ES256"], "the token's key id is no name"),
        ({"ES256": 1}, "the token's key id is no name"),
        ("x" * 257, "the token's key id is no name"),
    ],
)
def test_a_token_that_names_no_key_is_refused(idp, name, reason):
    assert refusal(idp, with_header(kid=name)) == reason


def test_a_key_id_that_two_keys_have_is_refused(tmp_path):
    twice = jwks(jwk(), jwk(key=private_key("ES256", 2)), jwk("RS256"))
    assert refusal(provider(tmp_path, twice), token()) == "the token's key is refused: another key has the same id"
    assert isinstance(provider(tmp_path, twice).verify(credential(token("RS256")), NODE), Vouched)


@pytest.mark.parametrize("parameter", ["jwk", "jku", "x5u", "x5c"])
def test_a_key_that_the_token_brings_along_is_never_used_nor_fetched(idp, parameter):
    mallory = private_key("ES256", 666)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.05)
        url = f"https://127.0.0.1:{listener.getsockname()[1]}/keys"
        brought = {"jwk": jwk(key=mallory), "jku": url, "x5u": url, "x5c": ["TU0="]}[parameter]
        forged = compact(header() | {parameter: brought}, claims(), signer(key=mallory))
        assert refusal(idp, forged) == "the signature is not its key's"
        with pytest.raises(TimeoutError):
            listener.accept()


def test_a_key_rotated_out_of_the_file_verifies_nothing(tmp_path):
    idp = provider(tmp_path)
    assert isinstance(idp.verify(credential(token()), NODE), Vouched)
    (tmp_path / "jwks.json").write_bytes(jwks(jwk(key=private_key("ES256", 2), kid="next")))
    assert refusal(idp, token(jti="other")) == "the token's key is not one of its issuer's"
    (tmp_path / "jwks.json").write_bytes(b"{")
    assert refusal(idp, token(jti="third")) == "the key set is refused: it is not JSON"
    (tmp_path / "jwks.json").unlink()
    with pytest.raises(ProviderUnavailable, match="the key file cannot be read"):
        idp.verify(credential(token(jti="fourth")), NODE)


# -- keys that nobody should believe --------------------------------------------------------------------------------

RSA_NUMBERS = private_key("RS256").public_key().public_numbers()


@pytest.mark.parametrize(
    ("member", "reason"),
    [
        (
            jwk("RS256", kid="ES256", n=number(RSA_NUMBERS.n >> 1024)),
            "it is RSA of fewer than 2048 or more than 8192 bits",
        ),
        (jwk("RS256", kid="ES256", n=number(1 << 16_383 | 1)), "it is RSA of fewer than 2048 or more than 8192 bits"),
        (jwk("RS256", kid="ES256", e=number(1)), "its RSA exponent is not sound"),
        (jwk("RS256", kid="ES256", e=number(3)), "its RSA exponent is not sound"),
        (jwk("RS256", kid="ES256", e=number(65_538)), "its RSA exponent is not sound"),
        (jwk("RS256", kid="ES256", e=number(RSA_NUMBERS.n - 2)), "its RSA exponent is not sound"),
        (
            jwk("RS256", kid="ES256", n=number(pow(65_537, 160))),
            "it comes from a broken key generator (CVE-2017-15361)",
        ),
        (jwk(y=number(1, 32)), "its numbers are not sound"),
        (jwk(x=number(0, 32), y=number(0, 32)), "its numbers are not sound"),
        (jwk(x=jwk()["x"] + "="), "its numbers are not sound"),
        (jwk(x=" " + jwk()["x"]), "its numbers are not sound"),
        (jwk(x=None), "its numbers are not sound"),
        (jwk(x=5), "its numbers are not sound"),
        (jwk(x=jwk("ES384")["x"]), "its numbers are not sound"),
        (jwk("EdDSA", kid="ES256", x=number(1, 31)), "its numbers are not sound"),
        (jwk(crv="P-384"), "its algorithm does not go with its kind"),
        (jwk("ES384", kid="ES256", alg="ES256"), "its algorithm does not go with its kind"),
        (jwk(kty="RSA"), "its algorithm does not go with its kind"),
        (jwk(alg="HS256"), "its algorithm does not go with its kind"),
        (jwk(alg="none"), "its algorithm does not go with its kind"),
        (jwk(alg="ECDH-ES"), "its algorithm does not go with its kind"),
        (jwk(crv="secp256k1"), "its kind or curve is not supported"),
        (jwk("EdDSA", kid="ES256", crv="X25519"), "its kind or curve is not supported"),
        (jwk(kty="AKP"), "its kind or curve is not supported"),
        (jwk(crv=["P-256"]), "its kind or curve is not supported"),
        (jwk(use="enc"), "it is not for signatures"),
        (jwk(use=7), "it is not for signatures"),
        (jwk(key_ops=["encrypt"]), "it is not for verifying"),
        (jwk(key_ops="verify"), "it is not for verifying"),
    ],
)
def test_an_unfit_key_verifies_nothing(tmp_path, member, reason):
    assert refusal(provider(tmp_path, jwks(member)), token()) == f"the token's key is refused: {reason}"


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (jwks(jwk(), {"kty": "oct", "k": "c2VjcmV0", "kid": "s"}), "it publishes a symmetric key"),
        (jwks(jwk(), jwk("RS256", d="AQAB")), "it publishes a private key"),
        (jwks(jwk(), jwk("EdDSA", d="AQAB", use="enc")), "it publishes a private key"),
        (jwks(*[jwk(kid=str(i)) for i in range(101)]), "it has more than 100 keys"),
        (b'{"keys": {}}', "it has no list of keys"),
        (b'{"keys": [5]}', "it has no list of keys"),
        (b"{}", "it has no list of keys"),
        (b"[]", "it is not a JSON object"),
        (b"", "it is not JSON"),
        (b'{"keys": [], "keys": []}', "a name is in it twice"),
        (b'{"keys": [{"kid": "a", "kid": "b"}]}', "a name is in it twice"),
        (b"[" * 100_000, "it has too many parts"),
        (b"\xff\xfe", "it is not UTF-8"),
    ],
)
def test_a_key_set_that_proves_nothing_is_refused_when_it_is_loaded(tmp_path, document, reason):
    with pytest.raises(ProviderMisconfigured) as refused:
        provider(tmp_path, document)
    assert str(refused.value) == f"idp: the key set is refused: {reason}"


def test_a_key_file_beyond_all_measure_is_refused(tmp_path):
    with pytest.raises(ProviderMisconfigured, match="the key file is larger than 262144 bytes"):
        provider(tmp_path, b" " * 262_145)


# -- the shape of a token -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda t: b"", "a token has three parts"),
        (lambda t: b".", "a token has three parts"),
        (lambda t: t.rpartition(b".")[0], "a token has three parts"),
        (lambda t: t + b".", "a token has three parts"),
        (lambda t: t + b".e30", "a token has three parts"),
        (lambda t: b"e30.e30.e30.e30.e30", "the token is encrypted"),
        (lambda t: t + b".e30.e30", "the token is encrypted"),
        (lambda t: json.dumps({"payload": "e30", "signatures": []}).encode(), "a token has three parts"),
        (lambda t: b"..", "the token's header is refused: it is not JSON"),
        (lambda t: t + b"=", "the token's signature is refused: it is not base64url"),
        (lambda t: t + b"==", "the token's signature is refused: it is not base64url"),
        (lambda t: t + b"\n", "the token's signature is refused: it is not base64url"),
        (lambda t: t + b"\x00", "the token's signature is refused: it is not base64url"),
        (lambda t: b" " + t, "the token's header is refused: it is not base64url"),
        (lambda t: b"Bearer " + t, "the token's header is refused: it is not base64url"),
        (lambda t: b"\xef\xbb\xbf" + t, "the token's header is refused: it is not base64url"),
        (lambda t: t.replace(b".", b"\n.", 1), "the token's header is refused: it is not base64url"),
        (lambda t: t.replace(b".", b".\r\n", 1), "the token's payload is refused: it is not base64url"),
        (lambda t: t.replace(b".", b".?", 1), "the token's payload is refused: it is not base64url"),
        (lambda t: t.rpartition(b".")[0] + b".+/+/", "the token's signature is refused: it is not base64url"),
        (lambda t: t[:-1] + bytes([t[-1] + 1]), "the token's signature is refused: it is base64url with stray bits"),
        (lambda t: t.rpartition(b".")[0] + b".AAAAA", "the token's signature is refused: it is not base64url"),
        (lambda t: t.rpartition(b".")[0] + b".", "the signature is not its key's"),
        (lambda t: t + b"A" * 16_384, "the token is longer than 16384 bytes"),
        (lambda t: t + b"A" * 65_529, "the token is longer than 16384 bytes"),
    ],
)
def test_another_spelling_of_a_token_is_none(idp, change, reason):
    assert refusal(idp, change(token())) == reason


@pytest.mark.parametrize(
    ("head", "reason"),
    [
        (b'{"alg":"none","alg":"ES256","kid":"ES256"}', "a name is in it twice"),
        (b'{"alg":"ES256","kid":"mine","kid":"ES256"}', "a name is in it twice"),
        (b'{"alg":"ES256","kid":"ES256","x":{"a":1,"\\u0061":2}}', "a name is in it twice"),
        (b'{"alg":"ES256","kid":"ES256","x":NaN}', "a number in it is none"),
        (b'{"alg":"ES256","kid":"ES256","x":1e400}', "a number in it is too large"),
        (b'{"alg":"ES256","kid":"ES256","x":"\\ud800"}', "it is not UTF-8"),
        (b'{"alg":"ES256","kid":"ES256"}{}', "it is not JSON"),
        (b"\xef\xbb\xbf{}", "it is not JSON"),
        (b"{'alg':'ES256'}", "it is not JSON"),
        (b'{"alg":"ES256",}', "it is not JSON"),
        (b'"ES256"', "it is not a JSON object"),
        (b"[]", "it is not a JSON object"),
        (b"null", "it is not a JSON object"),
        (b"\xff", "it is not UTF-8"),
        ('{"alg":"ES256"}'.encode("utf-16"), "it is not UTF-8"),
        (b'{"x":' + b"[" * 5000 + b"]" * 5000, "it has too many parts"),
        (b'{"x":' + b"9" * 9000 + b"}", "it is not JSON"),
    ],
)
def test_a_header_that_can_be_read_in_two_ways_is_refused(idp, head, reason):
    assert refusal(idp, compact(head, claims(), signer())) == f"the token's header is refused: {reason}"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"crit": ["exp"]}, "the token has critical extensions"),
        ({"crit": []}, "the token has critical extensions"),
        ({"crit": ["b64"], "b64": False}, "the token has critical extensions"),
        ({"crit": ["b64"], "b64": True}, "the token has critical extensions"),
        ({"crit": "x"}, "the token has critical extensions"),
        ({"b64": False}, "the token says how its payload is encoded"),
        ({"b64": True}, "the token says how its payload is encoded"),
        ({"typ": "logout+jwt"}, "the token is of another type"),
        ({"typ": "secevent+jwt"}, "the token is of another type"),
        ({"typ": "dpop+jwt"}, "the token is of another type"),
        ({"typ": "JWE"}, "the token is of another type"),
        ({"typ": 5}, "the token is of another type"),
    ],
)
def test_a_header_that_asks_for_more_is_refused(idp, changes, reason):
    assert refusal(idp, with_header(**changes)) == reason


def test_an_unencoded_payload_is_refused(idp):
    head = {**header(), "b64": False, "crit": ["b64"]}
    assert refusal(idp, encoded(json.dumps(head).encode()) + b'.{"sub":"anna"}.AAAA') == (
        "the token's payload is refused: it is not base64url"
    )


# -- the signature --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("r", [0, 1, P256_ORDER - 1, P256_ORDER])
@pytest.mark.parametrize("s", [0, 1, P256_ORDER - 1, P256_ORDER])
def test_an_ecdsa_signature_of_special_numbers_is_refused(idp, r, s):
    assert refusal(idp, compact(header(), claims(), lambda _: raw_ecdsa(r, s))) == "the signature is not its key's"


@pytest.mark.parametrize(
    "change",
    [
        lambda signature: b"",
        lambda signature: signature[:-1],
        lambda signature: signature + b"\x00",
        lambda signature: b"\x00" + signature[:32] + b"\x00" + signature[32:],
        lambda signature: signature[32:] + signature[:32],
        lambda signature: signature[:-1] + bytes([signature[-1] ^ 1]),
        lambda signature: bytes(64),
    ],
)
@pytest.mark.parametrize("algorithm", ["ES256", "RS256", "PS256", "EdDSA"])
def test_a_changed_signature_is_refused(idp, algorithm, change):
    sign = signer(algorithm)
    forged = compact(header(algorithm), claims(), lambda data: change(sign(data)))
    assert refusal(idp, forged) == "the signature is not its key's"


def test_an_ecdsa_signature_in_der_is_refused(idp):
    forged = compact(header(), claims(), lambda data: private_key().sign(data, ec.ECDSA(HASHES["256"])))
    assert refusal(idp, forged) == "the signature is not its key's"


@pytest.mark.parametrize("algorithm", ["ES256", "RS256", "PS256", "EdDSA"])
def test_changed_claims_and_other_peoples_signatures_are_refused(idp, algorithm):
    head, _, signature = token(algorithm).split(b".")
    changed = head + b"." + encoded(json.dumps(claims(sub="root")).encode()) + b"." + signature
    assert refusal(idp, changed) == "the signature is not its key's"
    strangers = compact(header(algorithm), claims(), signer(algorithm, private_key(algorithm, 2)))
    assert refusal(idp, strangers) == "the signature is not its key's"


def test_an_ecdsa_signature_written_differently_is_still_the_same_token(tmp_path):
    """(r, n - s) verifies as (r, s) does: who changes it has a token of another spelling, and not a fresh one."""
    presented = PresentedInMemory(clock=lambda: NOW)
    idp = provider(tmp_path, presented=presented)
    data = token(jti=None)
    signing_input = data.rpartition(b".")[0]
    r, s = decode_dss_signature(private_key().sign(signing_input, ec.ECDSA(HASHES["256"])))
    low, high = (signing_input + b"." + encoded(raw_ecdsa(r, value)) for value in (s, P256_ORDER - s))
    assert isinstance(idp.verify(credential(low), NODE), Vouched)
    assert refusal(idp, high, OTHER) == "the token was first presented by another node"
    assert refusal(idp, data, OTHER) == "the token was first presented by another node"
    assert len(presented.presented) == 1


# -- time -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"exp": SECONDS - 30}, "the token has expired"),
        ({"exp": 0, "iat": 0}, "the token has expired"),
        ({"iat": SECONDS + 31}, "the token was issued in the future"),
        ({"nbf": SECONDS + 31}, "the token is not valid yet"),
        ({"iat": SECONDS - 10, "exp": SECONDS - 10}, "the token ended before it was issued"),
        ({"iat": SECONDS - 10, "exp": SECONDS - 20}, "the token ended before it was issued"),
        ({"exp": SECONDS + 43_200}, "the token is valid for too long"),
        ({"iat": SECONDS - 43_201 + 300}, "the token is valid for too long"),
        ({"exp": 253_370_764_800}, "the token is valid for too long"),
        ({"exp": None}, "the token has no `exp`"),
        ({"iat": None}, "the token has no `iat`"),
    ],
)
def test_a_token_of_another_time_is_refused(idp, changes, reason):
    assert refusal(idp, token(**changes)) == reason


NO_TIMES = [
    b'"1900000000"',
    b"true",
    b"false",
    b"null",
    b"[]",
    b"{}",
    b"-1",
    b"1900000000.0",
    b"1900000000.5",
    b"1.9e9",
    b"253370764801",
    b"1900000000000",
    b"1" + b"0" * 400,
]


@pytest.mark.parametrize("name", ["exp", "iat", "nbf"])
@pytest.mark.parametrize("value", NO_TIMES)
def test_a_time_that_is_no_whole_number_is_refused(idp, name, value):
    said = json.dumps(claims() | {"nbf": SECONDS, name: "?"}).encode().replace(b'"?"', value)
    assert refusal(idp, compact(header(), said, signer())) == f"the token's `{name}` is no time in whole seconds"


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"NaN", "a number in it is none"),
        (b"Infinity", "a number in it is none"),
        (b"-Infinity", "a number in it is none"),
        (b"1e400", "a number in it is too large"),
        (b"-1e400", "a number in it is too large"),
        (b"9" * 5000, "it is not JSON"),
        (b"0x7fffffff", "it is not JSON"),
        (b"01900000000", "it is not JSON"),
        (b'1900000000,"exp":1900000001', "a name is in it twice"),
    ],
)
def test_a_time_that_is_no_number_of_json_is_refused(idp, value, reason):
    said = json.dumps(claims(exp="?")).encode().replace(b'"?"', value)
    assert refusal(idp, compact(header(), said, signer())) == f"the token's claims are refused: {reason}"


def test_the_last_moment_counts_the_leeway_and_no_more(tmp_path):
    moment = [NOW]
    idp = provider(tmp_path, clock=lambda: moment[0])
    vouched = idp.verify(credential(token()), NODE)
    assert vouched.valid_until == NOW + timedelta(seconds=330)
    moment[0] = vouched.valid_until - timedelta(microseconds=1)
    assert isinstance(idp.verify(credential(token()), NODE), Vouched)
    moment[0] = vouched.valid_until
    assert refusal(idp, token()) == "the token has expired"


# -- for whom, from whom, about whom --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("audience", "reason"),
    [
        (None, "the token has no audience"),
        ("", "the token has no audience"),
        ([], "the token has no audience"),
        ([""], "the token has no audience"),
        ("urn:dicom:ae:OTHER", "the token is for another audience"),
        ("urn:dicom:ae:strongroom", "the token is for another audience"),
        (AUDIENCE + " ", "the token is for another audience"),
        (AUDIENCE + "2", "the token is for another audience"),
        (AUDIENCE[:-1], "the token is for another audience"),
        (f"{AUDIENCE} other", "the token is for another audience"),
        (["a", "b"], "the token is for another audience"),
        ([AUDIENCE, 5], "the token's audience is no list of names"),
        ([[AUDIENCE]], "the token's audience is no list of names"),
        ({AUDIENCE: 1}, "the token's audience is no list of names"),
        (5, "the token's audience is no list of names"),
        (True, "the token's audience is no list of names"),
    ],
)
def test_a_token_for_somebody_else_is_refused(idp, audience, reason):
    assert refusal(idp, token(aud=audience)) == reason


@pytest.mark.parametrize("issuer", [ISSUER + "/", ISSUER.upper(), "https://evil.example", ""])
def test_a_token_of_another_issuer_is_not_this_providers(idp, issuer):
    assert idp.verify(credential(token(iss=issuer)), NODE) is NOT_MINE


@pytest.mark.parametrize("issuer", [None, 5, [ISSUER], {ISSUER: 1}, True])
def test_a_token_that_names_no_issuer_is_refused(idp, issuer):
    assert refusal(idp, token(iss=issuer)) == "the token names no issuer"


@pytest.mark.parametrize(
    ("subject", "reason"),
    [
        (None, "the token names nobody"),
        ("", "the token's subject is no name"),
        (" ", "the token's subject is no name"),
        ("anna ", "the token's subject is no name"),
        (" anna", "the token's subject is no name"),
        (7, "the token's subject is no name"),
        (True, "the token's subject is no name"),
        (["anna"], "the token's subject is no name"),
        ({"name": "anna"}, "the token's subject is no name"),
        ("anna\x00", "the token's subject is no name"),
        ("anna\nroot", "the token's subject is no name"),
        ("anna\u202etoor", "the token's subject is no name"),
        ("an\u200bna", "the token's subject is no name"),
        ("anna!root", "the token's subject is no name"),
        ("Ame\u0301lie", "the token's subject is no name"),
        ("x" * 256, "the token's subject is no name"),
    ],
)
def test_a_token_that_names_nobody_is_refused(idp, subject, reason):
    assert refusal(idp, token(sub=subject)) == reason


def test_half_a_character_is_no_subject(idp):
    said = json.dumps(claims(sub="\ud83d")).encode()
    assert refusal(idp, compact(header(), said, signer())) == "the token's claims are refused: it is not UTF-8"


@pytest.mark.parametrize("subject", ["admin@local", "root@other.example", "@", "anna@hospital.example"])
def test_a_subject_with_an_at_sign_is_nobody_of_another_realm(idp, subject):
    vouched = idp.verify(credential(token(sub=subject)), NODE)
    assert vouched.principal.name == f"{subject}@hospital.example"


@pytest.mark.parametrize("jti", ["", 5, "x" * 1025, ["a"], True, {"a": 1}])
def test_an_id_that_is_none_is_refused(idp, jti):
    assert refusal(idp, token(jti=jti)) == "the token's id is no text"


@pytest.mark.parametrize("roles", [5, True, {"a": 1}, [["radiologist"]], [None], [{"code": 5}]])
def test_roles_that_are_no_names_are_refused(idp, roles):
    assert refusal(idp, token(roles=roles)) == "the token's roles are no list of names"


def test_a_user_who_is_disabled_here_is_refused_whatever_the_issuer_says(tmp_path):
    users = MemoryUsers(user_record("anna@hospital.example", enabled=False))
    assert refusal(provider(tmp_path, users=users), token()) == "the user is disabled"


# -- replay ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("jti", [None, "id-1"])
def test_a_token_replayed_by_another_node_is_refused(idp, jti):
    data = token(jti=jti)
    assert isinstance(idp.verify(credential(data), NODE), Vouched)
    with pytest.raises(TokenReplayed, match="first presented by another node"):
        idp.verify(credential(data), OTHER)
    assert isinstance(idp.verify(credential(data), NODE), Vouched)


def test_a_plain_node_cannot_repeat_the_token_of_one_with_a_certificate(idp):
    data = token()
    assert isinstance(idp.verify(credential(data), NODE), Vouched)
    with pytest.raises(TokenReplayed):
        idp.verify(credential(data), node_identity("CT1"))


def test_a_token_for_a_single_use_presented_twice_is_refused(tmp_path):
    idp = provider(tmp_path, single_use=True)
    data = token()
    assert isinstance(idp.verify(credential(data), NODE), Vouched)
    with pytest.raises(TokenReplayed, match="presented before, and is good for one time"):
        idp.verify(credential(data), NODE)


@pytest.mark.parametrize("changes", [{"aud": "x"}, {"exp": SECONDS - 60}, {"roles": 5}, {"sub": ""}])
def test_a_token_that_is_refused_is_not_spent(tmp_path, changes):
    presented = PresentedInMemory(clock=lambda: NOW)
    refusal(provider(tmp_path, presented=presented), token(jti="id-1", **changes))
    assert presented.presented == {}


# -- when parts of us fail ------------------------------------------------------------------------------------------


class Broken:
    """Raises whatever is asked of it."""

    def __getattr__(self, name):
        def fails(*_, **__):
            raise RuntimeError("broken")

        return fails


@pytest.mark.parametrize("answer", [None, True, {}, {"payload": b"{}"}, {"payload": None}, b"payload", 1])
def test_nonsense_of_the_library_is_no_verification(idp, monkeypatch, answer):
    monkeypatch.setattr(jwt.PyJWS, "decode_complete", lambda *_, **__: answer)
    assert refusal(idp, token()) == "the signature is of another payload"


@pytest.mark.parametrize(
    "error", [ValueError, KeyError, RecursionError, MemoryError, jwt.InvalidKeyError, AttributeError]
)
def test_whatever_the_library_raises_is_no_verification(idp, monkeypatch, error):
    def fails(*_, **__):
        raise error("secret text")

    monkeypatch.setattr(jwt.PyJWS, "decode_complete", fails)
    assert refusal(idp, token()) == f"the signature cannot be checked ({error.__name__})"


def test_a_library_that_hangs_lets_nobody_in_and_holds_nobody_past_the_deadline(idp, monkeypatch):
    released = threading.Event()
    monkeypatch.setattr(jwt.PyJWS, "decode_complete", lambda *_, **__: released.wait(30))
    guarded = Guarded(idp, deadline_seconds=0.3, concurrent=2, breaker=Breaker())
    begun = time.monotonic()
    try:
        with pytest.raises(ProviderUnavailable, match="did not answer in time"):
            guarded.verify(credential(token()), NODE)
        assert time.monotonic() - begun < 1.3
    finally:
        released.set()
        guarded.close()


def test_a_memory_of_presented_tokens_that_fails_lets_nobody_in(tmp_path):
    with pytest.raises(RuntimeError):
        provider(tmp_path, presented=Broken()).verify(credential(token()), NODE)


@pytest.mark.parametrize("answer", [None, True, "first", 0])
def test_a_memory_of_presented_tokens_that_answers_nonsense_lets_nobody_in(tmp_path, answer):
    class Nonsense:
        def present(self, *_, **__):
            return answer

    with pytest.raises(TokenReplayed):
        provider(tmp_path, presented=Nonsense()).verify(credential(token()), NODE)


def test_records_that_cannot_be_read_let_nobody_in(tmp_path):
    with pytest.raises(RuntimeError):
        provider(tmp_path, users=Broken()).verify(credential(token()), NODE)


# -- any bytes ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def standing(tmp_path_factory):
    return provider(tmp_path_factory.mktemp("idp"))


def judged(idp, data):
    """What comes of any bytes: a refusal with a reason of ours, or not ours to judge. Nothing else."""
    try:
        return idp.verify(credential(data), NODE)
    except AuthenticationFailed as refused:
        assert refused.reason.isascii()
        return refused.reason


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=300))
def test_any_bytes_are_refused(standing, data):
    assert isinstance(judged(standing, data), str)


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from(["typ", "alg", "kid", "crit", "b64", "jwk", "x5c", "cty", "zip", "enc"]), value=JSON)
def test_any_header_parameter_is_refused_or_ignored(standing, name, value):
    # A signature by nobody: whatever the header says, there is nobody to let in.
    assert isinstance(judged(standing, compact({**header(), name: value}, claims(), lambda _: bytes(64))), str)


@settings(deadline=None, max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from(["iss", "sub", "aud", "exp", "iat", "nbf"]), value=JSON)
def test_any_value_of_a_claim_that_counts_is_refused(standing, name, value):
    answer = judged(standing, compact(header(), {**claims(), name: value}, signer()))
    if isinstance(answer, Vouched):
        assert (name == "sub" and isinstance(value, str) and value) or (name in ("iat", "nbf") and type(value) is int)
    else:
        assert answer is NOT_MINE if name == "iss" and isinstance(value, str) else isinstance(answer, str)


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(0, 10_000), flip=st.integers(1, 255))
def test_a_good_token_with_one_changed_byte_is_refused(standing, place, flip):
    data = bytearray(token("EdDSA"))
    data[place % len(data)] ^= flip
    # A changed issuer is another provider's to judge; whatever else it was, it is refused.
    assert judged(standing, bytes(data)) is NOT_MINE or isinstance(judged(standing, bytes(data)), str)
