"""Type 5 (PS3.7 D.3.3.7): tokens of a configured issuer make people, with what its claims and our records say."""

import hashlib
import json
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
from joserfc import jwk as jose_keys
from joserfc import jwt as jose

from auth.credential import Secret, UsernamePasscode
from auth.errors import AuthenticationFailed, ProviderMisconfigured, TokenReplayed
from auth.identity.chain import NOT_MINE, Chain, Vouched
from auth.identity.jwt.provider import Jwt, JwtConfig
from auth.identity.jwt.token import take_apart
from auth.identity.steps import followed
from tests.simulators.presented import PresentedInMemory
from tests.simulators.records import MemoryUsers, node_identity, user_record
from tests.simulators.tokens import (
    AUDIENCE,
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
    private_key,
    provider,
    signer,
    token,
)

NODE = node_identity()
ALL = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")


@pytest.fixture
def idp(tmp_path):
    return provider(tmp_path, jwks(*map(jwk, ALL)), roles={"radiologists": "radiologist", "admins": "administrator"})


def person(idp, **changes):
    return idp.verify(credential(token(**changes)), NODE).principal


@pytest.mark.parametrize("algorithm", ALL)
def test_a_token_by_each_algorithm_is_a_person_until_it_ends(idp, algorithm):
    vouched = idp.verify(credential(token(algorithm)), NODE)
    assert vouched.principal.name == "anna@hospital.example"
    assert vouched.valid_until == NOW + timedelta(seconds=330)


def test_the_positive_response_is_empty_and_never_the_token(idp):
    assert idp.verify(credential(token()), NODE).server_response == b""


@pytest.mark.filterwarnings("ignore:EdDSA is deprecated")
@pytest.mark.parametrize("algorithm", [*ALL, "Ed25519"])
def test_tokens_and_keys_made_by_joserfc_are_accepted(tmp_path, algorithm):
    kind = {"RS": "RSA", "PS": "RSA", "ES": "EC", "Ed": "OKP"}[algorithm[:2]]
    size = {"RSA": 2048, "OKP": "Ed25519", "EC": {"2": "P-256", "3": "P-384", "5": "P-521"}.get(algorithm[2])}[kind]
    key = jose_keys.JWKRegistry.generate_key(kind, size, {"use": "sig", "alg": algorithm}, auto_kid=True)
    keys = json.dumps(jose_keys.KeySet([key]).as_dict(private=False)).encode()
    made = jose.encode({"alg": algorithm, "kid": key.kid}, claims(), key, algorithms=[algorithm])
    assert provider(tmp_path, keys).verify(credential(made.encode()), NODE).principal.name == "anna@hospital.example"


@pytest.mark.parametrize("published", ["EdDSA", "Ed25519", None])
@pytest.mark.parametrize("said", ["EdDSA", "Ed25519"])
def test_the_newer_name_of_an_algorithm_means_the_same(tmp_path, published, said):
    idp = provider(tmp_path, jwks(jwk("EdDSA", alg=published)))
    data = compact(header("EdDSA", alg=said), claims(), signer("EdDSA"))
    assert isinstance(idp.verify(credential(data), NODE), Vouched)


def test_a_key_that_says_no_algorithm_has_the_usual_one_of_its_kind(tmp_path):
    bare = [jwk(kind, alg=None, use=None) for kind in ("RS256", "ES384", "EdDSA")]
    idp = provider(tmp_path, jwks(*bare))
    for kind in ("RS256", "ES384", "EdDSA"):
        assert isinstance(idp.verify(credential(token(kind)), NODE), Vouched)


def test_of_the_six_algorithms_of_an_rsa_key_it_has_the_only_accepted_one(tmp_path):
    idp = provider(tmp_path, jwks(jwk("PS512", alg=None)), algorithms=frozenset({"PS512", "ES256"}))
    assert isinstance(idp.verify(credential(token("PS512")), NODE), Vouched)
    several = provider(tmp_path, jwks(jwk("PS512", alg=None)), algorithms=frozenset({"PS512", "RS256"}))
    with pytest.raises(AuthenticationFailed, match="the token's algorithm is not its key's"):
        several.verify(credential(token("PS512")), NODE)


def test_keys_for_other_purposes_in_the_set_do_no_harm(tmp_path):
    keys = jwks(
        jwk("RS256", kid="ES256", use="enc", alg="RSA-OAEP"),
        jwk(kid=None),
        {"kty": "AKP"},
        {"kty": 5, "kid": "x"},
        jwk(),
    )
    assert isinstance(provider(tmp_path, keys).verify(credential(token()), NODE), Vouched)


@pytest.mark.parametrize("kind", ["JWT", "jwt", "at+jwt", "application/at+jwt", None])
def test_identity_and_access_tokens_are_accepted(idp, kind):
    assert isinstance(idp.verify(credential(compact(header(typ=kind), claims(), signer())), NODE), Vouched)


def test_parameters_that_mean_nothing_here_are_ignored(idp):
    data = compact(
        header(x5t="AAAA", jku="https://evil.example/", cty="x"), claims(unknown={"a": [1.5, None]}), signer()
    )
    assert isinstance(idp.verify(credential(data), NODE), Vouched)


@pytest.mark.parametrize("audience", [AUDIENCE, [AUDIENCE], ["other", AUDIENCE]])
def test_one_of_the_audiences_is_ours(idp, audience):
    assert person(idp, aud=audience).name == "anna@hospital.example"


@pytest.mark.parametrize(
    "changes", [{"iat": SECONDS + 30}, {"nbf": SECONDS + 30}, {"exp": SECONDS - 29, "iat": SECONDS - 60}]
)
def test_clocks_may_differ_by_the_leeway(idp, changes):
    assert isinstance(idp.verify(credential(token(**changes)), NODE), Vouched)


# -- roles and attributes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("claim", "said", "roles"),
    [
        ("roles", {"roles": ["radiologists", "unmapped", "administrator"]}, {"radiologist"}),
        ("roles", {"roles": "admins"}, {"administrator"}),
        ("roles", {"roles": "radiologists admins"}, set()),
        ("roles", {"roles": []}, set()),
        ("roles", {}, set()),
        ("roles", {"roles": None}, set()),
        ("realm_access.roles", {"realm_access": {"roles": ["radiologists", "x"]}}, {"radiologist"}),
        ("realm_access.roles", {"realm_access": {}}, set()),
        ("realm_access.roles", {"realm_access": ["radiologists"]}, set()),
        ("https://hospital.example/roles", {"https://hospital.example/roles": ["admins"]}, {"administrator"}),
        ("a.b", {"a.b": ["admins"], "a": {"b": ["radiologists"]}}, {"administrator"}),
        ("scope", {"scope": "openid radiologists"}, {"radiologist"}),
        ("iua.subject_role", {"iua": {"subject_role": [{"system": "s", "code": "admins"}]}}, {"administrator"}),
    ],
)
def test_roles_are_what_the_settings_make_of_a_claim(tmp_path, claim, said, roles):
    mapping = {"radiologists": "radiologist", "admins": "administrator"}
    assert person(provider(tmp_path, role_claim=claim, roles=mapping), **said).roles == roles


def test_attributes_have_their_usual_claims_and_those_of_the_settings(tmp_path):
    iua = {
        "subject_name": "Dr. A. Arzt",
        "subject_organization": "City",
        "purpose_of_use": [{"system": "s", "code": "TREAT"}],
    }
    idp = provider(tmp_path, attributes={"fhir.practitioner": "physician_name", "department": "organization"})
    said = {"extensions": {"ihe_iua": iua}, "fhir": {"practitioner": "ARZT^ANNA"}, "department": "Radiology"}
    assert person(idp, **said).attributes == {
        "display_name": "Dr. A. Arzt",
        "organization": "Radiology",
        "purpose_of_use": "TREAT",
        "physician_name": "ARZT^ANNA",
    }
    assert person(idp, **said, name="Anna Arzt").attributes["display_name"] == "Anna Arzt"


@pytest.mark.parametrize("value", [5, True, {}, ["a", "b"], "", "x" * 257, "a\x00b", "\u202eanna"])
def test_a_claim_that_is_no_text_is_left_out_where_usual_and_refused_where_mapped(tmp_path, value):
    assert person(provider(tmp_path), name=value).attributes == {}
    idp = provider(tmp_path, attributes={"name": "physician_name"})
    with pytest.raises(AuthenticationFailed, match="the token's claim for `physician_name` is no text"):
        person(idp, name=value)


def test_the_subject_may_be_another_claim(tmp_path):
    idp = provider(tmp_path, subject="preferred_username")
    assert person(idp, preferred_username="anna.arzt", sub="4711").name == "anna.arzt@hospital.example"
    with pytest.raises(AuthenticationFailed, match="the token names nobody"):
        person(idp)


def test_the_audit_of_a_refusal_has_the_claimed_name_where_it_is_legible(idp):
    for changes, claimed in (({"aud": "x"}, "anna@hospital.example"), ({"aud": "x", "sub": "a\nb"}, None)):
        with pytest.raises(AuthenticationFailed) as refused:
            person(idp, **changes)
        assert refused.value.claimed == claimed


# -- local records, and running associations ------------------------------------------------------------------------


def test_a_local_record_adds_roles_and_takes_them_away_again(tmp_path):
    name = "anna@hospital.example"
    users = MemoryUsers(user_record(name, ("administrator",)))
    idp = provider(tmp_path, users=users, roles={"r": "radiologist", "a": "administrator"})
    admitted = person(idp, roles=["r"])
    assert admitted.roles == {"radiologist", "administrator"}
    assert idp.still(admitted).roles == {"radiologist", "administrator"}
    users.users[name] = user_record(name)
    assert idp.still(admitted).roles == {"radiologist"}
    users.users[name] = user_record(name, enabled=False)
    assert idp.still(admitted) is None
    del users.users[name]
    assert idp.still(admitted).roles == {"radiologist"}


def test_a_newer_token_with_fewer_roles_narrows_a_running_association(idp):
    admitted = person(idp, roles=["radiologists", "admins"])
    person(idp, roles=["radiologists"], jti="newer", exp=SECONDS + 60)
    assert idp.still(admitted).roles == {"radiologist"}


def test_a_running_association_ends_with_its_token(tmp_path):
    moment = [NOW]
    idp = provider(tmp_path, clock=lambda: moment[0])
    vouched = idp.verify(credential(token()), NODE)
    moment[0] = vouched.valid_until - timedelta(seconds=1)
    assert idp.still(vouched.principal) == vouched.principal
    moment[0] = vouched.valid_until
    assert idp.still(vouched.principal) is None


def test_nobody_whom_the_provider_never_saw_is_still_there(tmp_path):
    admitted = person(provider(tmp_path))
    assert provider(tmp_path).still(admitted) is None


# -- presentation ---------------------------------------------------------------------------------------------------


def test_a_token_is_remembered_until_it_ends_under_its_id_or_its_content(tmp_path):
    presented = PresentedInMemory(clock=lambda: NOW)
    idp = provider(tmp_path, presented=presented)
    for _ in range(2):
        idp.verify(credential(token(jti="id-1")), NODE)
        idp.verify(credential(token("EdDSA")), NODE)
    assert [until for _, until in presented.presented.values()] == [NOW + timedelta(seconds=330)] * 2
    assert {issuer for issuer, _ in presented.presented} == {ISSUER}
    assert {name.partition(":")[0] for _, name in presented.presented} == {"jti", "signed"}


def test_a_token_cannot_take_the_identity_of_another_by_its_jti(tmp_path):
    first = token()
    digest = hashlib.sha256(first.rpartition(b".")[0]).hexdigest()
    presented = PresentedInMemory(clock=lambda: NOW)
    idp = provider(tmp_path, presented=presented)
    idp.verify(credential(first), NODE)
    idp.verify(credential(token(jti=digest)), NODE)
    idp.verify(credential(token(jti=f"signed:{digest}")), NODE)
    assert len(presented.presented) == 3


def test_of_sixteen_threads_with_one_single_use_token_one_is_let_in(tmp_path):
    idp, data = provider(tmp_path, single_use=True), credential(token())

    def attempt(_):
        try:
            return idp.verify(data, NODE)
        except TokenReplayed:
            return None

    with ThreadPoolExecutor(16) as threads:
        assert sum(answer is not None for answer in threads.map(attempt, range(16))) == 1


# -- in the chain ---------------------------------------------------------------------------------------------------


def test_other_credentials_are_not_this_providers(idp):
    assert idp.identity_types == {5}
    assert idp.verify(UsernamePasscode("anna", Secret(b"x")), NODE) is NOT_MINE


def test_whose_a_token_is_can_be_told_without_asking_anybody(idp):
    assert idp.is_mine(credential(compact(header(), claims(), lambda _: b"forged")))
    assert not idp.is_mine(credential(token(iss="https://other.example")))
    assert not idp.is_mine(UsernamePasscode("anna", Secret(b"x")))
    # What names no issuer is refused with its reason, not passed on.
    assert idp.is_mine(credential(b"malformed"))
    assert idp.is_mine(credential(token(iss=None)))


def test_whoever_follows_is_told_what_held_until_something_did_not(tmp_path):
    idp = provider(tmp_path, single_use=True, roles={"r": "radiologist"})
    with followed() as steps:
        idp.verify(credential(token(roles=["r"])), NODE)
    assert steps == [
        "it is a token, and says that https://idp.hospital.example issued it",
        "its header asks for nothing special, and names a key that the issuer publishes",
        "that key signed it, by the key's own algorithm, ES256",
        "it is for urn:dicom:ae:STRONGROOM, in force, and accepted until 2026-03-02 08:05:30 UTC",
        "its claims give the roles radiologist",
        "no local record shuts the person out",
        "it was not presented elsewhere before, nor more often than it may be",
    ]
    for held, changes in ((3, {"aud": "x"}), (4, {"roles": 5}), (0, {"iss": "https://other.example"})):
        with followed() as steps, suppress(AuthenticationFailed):
            idp.verify(credential(token(**changes)), NODE)
        assert len(steps) == held


def test_of_several_issuers_the_one_that_the_token_names_judges_it(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    stranger = jwks(jwk(key=private_key("ES256", 2)))
    first = provider(tmp_path / "a", stranger, name="first", issuer="https://first.example", realm="first.example")
    chain = Chain([first, provider(tmp_path / "b", name="second", realm="second.example")])
    vouched, by = chain.verify(credential(token()), NODE, claimed=None)
    assert (vouched.principal.name, by) == ("anna@second.example", "second")
    with pytest.raises(AuthenticationFailed, match="the signature is not its key's"):
        chain.verify(credential(token(iss="https://first.example")), NODE, claimed=None)
    with pytest.raises(AuthenticationFailed, match="nobody vouches for this name"):
        chain.verify(credential(token(iss="https://third.example")), NODE, claimed=None)


def test_the_real_clock_is_the_default_one(tmp_path):
    provider(tmp_path)
    now = int(time.time())
    idp = Jwt(JwtConfig("idp", "r", ISSUER, AUDIENCE, jwks=tmp_path / "jwks.json"), MemoryUsers(), PresentedInMemory())
    vouched = idp.verify(credential(token(iat=now, exp=now + 60)), NODE)
    assert vouched.valid_until == datetime.fromtimestamp(now + 90, UTC)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"jwks": None}, "in a file .* or discovered"),
        ({"discovery": "https://idp.example/"}, "in a file .* or discovered"),
        ({"issuer": ""}, "needs an issuer, an audience, a subject, a realm"),
        ({"audience": ""}, "needs an issuer, an audience, a subject, a realm"),
        ({"subject": ""}, "needs an issuer, an audience, a subject, a realm"),
        ({"realm": ""}, "a realm without `@`"),
        ({"realm": "a@b"}, "a realm without `@`"),
        ({"realm": "a\u0301"}, "a realm without `@`"),
        ({"realm": "a!b"}, "a realm without `@`"),
        ({"algorithms": frozenset()}, "algorithms are some of ES256"),
        ({"algorithms": frozenset({"HS256"})}, "algorithms are some of ES256"),
        ({"algorithms": frozenset({"RS256", "none"})}, "algorithms are some of ES256"),
        ({"leeway_seconds": -1.0}, "leeway_seconds is 0 to 600"),
        ({"leeway_seconds": float("nan")}, "leeway_seconds is 0 to 600"),
        ({"deadline_seconds": 0.0}, "times are above 0"),
        ({"key_cache_seconds": float("inf")}, "times are above 0"),
        ({"max_lifetime_seconds": float("nan")}, "times are above 0"),
        ({"roles": {"x": "No Role"}}, "a role is a lower-case word"),
    ],
)
def test_settings_that_make_no_sense_are_told_at_the_start(tmp_path, changes, message):
    with pytest.raises(ProviderMisconfigured, match=message):
        provider(tmp_path, **changes)


def test_a_token_never_shows_in_what_is_printed(idp):
    data = token()
    assert data.decode() not in repr(take_apart(data)) + repr(credential(data))
    assert encoded(json.dumps(claims()).encode()).decode() not in repr(take_apart(data))
