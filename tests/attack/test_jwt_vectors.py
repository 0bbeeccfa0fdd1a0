"""Attacks on signatures that others collected: Project Wycheproof, and the examples of RFC 7520.

Judged is what comes before the claims, which theirs are none of: shape, key, algorithm, signature. Out of scope, and
refused here whatever the vectors say, because we take signatures of public keys only:

* MACs (HS256, HS384, HS512): who can check one can make one;
* encrypted tokens (JWE) and JSON serialization, which Bearer tokens do not have (RFC 6750, RFC 7515 7.1);
* a header whose algorithm is not that of its key: Wycheproof takes PS384 by a key for PS256, RFC 8725 3.1 does not;
* keys for ``ES521``, which is no algorithm (RFC 7518 3.1 has ES512).
"""

import json
from dataclasses import dataclass
from functools import cache

import pytest

from auth.errors import AuthenticationFailed
from auth.identity.jwt.config import ALGORITHMS
from auth.identity.jwt.keys import read_key_set
from auth.identity.jwt.token import key_id, signed_payload, take_apart
from tests.simulators.shared_material import shared

WYCHEPROOF = {"json_web_signature_test": 401, "json_web_crypto_test": 83, "json_web_key_test": 26}
COOKBOOK = ("jws", "curve25519", "jwe", "rfc7797")
REFUSED_THOUGH_VALID = {
    "json_web_signature_test": {
        346: "the token's algorithm is not its key's",
        350: "the token's algorithm is not its key's",
        347: "the token's key is refused: its algorithm does not go with its kind",
        351: "the token's key is refused: its algorithm does not go with its kind",
    }
}


@dataclass(frozen=True)
class Vector:
    number: int
    comment: str
    keys: bytes
    token: bytes
    valid: bool
    in_scope: bool


@cache
def wycheproof(name):
    document = json.loads(shared("vectors", "wycheproof-jose", f"{name}.json").read_text())
    return tuple(_vector(group, test) for group in document["testGroups"] for test in group["tests"])


def _vector(group, test):
    keys = group.get("public") or group["private"]
    keys = keys if "keys" in keys else {"keys": [keys]}
    data = test.get("jws", test.get("jwe"))
    text = data if isinstance(data, str) else json.dumps(data)
    return Vector(
        test["tcId"],
        test["comment"],
        json.dumps(keys).encode(),
        text.encode(),
        test["result"] == "valid",
        all(key["kty"] != "oct" for key in keys["keys"]) and "jws" in test,
    )


def verdict(vector):
    """None: accepted; else why not."""
    try:
        taken = take_apart(vector.token)
        signed_payload(taken, read_key_set(vector.keys, ALGORITHMS).named(key_id(taken.header, ALGORITHMS)))
    except AuthenticationFailed as refused:
        return refused.reason
    return None


@pytest.mark.parametrize("name", WYCHEPROOF)
def test_wycheproof_every_verdict_on_a_signature_is_ours(name):
    vectors = wycheproof(name)
    assert len(vectors) == WYCHEPROOF[name]
    exceptions = REFUSED_THOUGH_VALID.get(name, {})
    wrong = {
        vector.number: (vector.comment, vector.valid, said)
        for vector in vectors
        if vector.in_scope
        and (said := verdict(vector)) != exceptions.get(vector.number)
        and (said is None) != vector.valid
    }
    assert wrong == {}
    assert {v.number for v in vectors if v.in_scope and v.valid and verdict(v) is not None} == set(exceptions)


@pytest.mark.parametrize("name", WYCHEPROOF)
def test_wycheproof_macs_and_encryption_are_refused_good_or_bad(name):
    reasons = {verdict(vector) for vector in wycheproof(name) if not vector.in_scope}
    assert None not in reasons
    assert "the key set is refused: it publishes a symmetric key" in reasons


def test_wycheproof_keys_are_refused_for_their_own_reasons():
    said = {vector.number: verdict(vector) for vector in wycheproof("json_web_key_test")}
    refused = "the token's key is refused: "
    assert said[6] == refused + "it is not for signatures"
    assert said[7] == refused + "it comes from a broken key generator (CVE-2017-15361)"
    assert said[8] == refused + "it is RSA of fewer than 2048 or more than 8192 bits"
    assert said[9] == refused + "its RSA exponent is not sound"
    assert said[19] == said[20] == said[23] == said[24] == refused + "its algorithm does not go with its kind"
    assert said[22] == refused + "its numbers are not sound"


def _cookbook():
    root = shared("vectors", "jose-cookbook")
    return [path for folder in COOKBOOK for path in sorted((root / folder).glob("*.json"))]


def test_the_examples_of_rfc_7520_and_8037_by_public_keys_are_accepted_and_all_others_refused():
    accepted = set()
    for path in _cookbook():
        example = json.loads(path.read_text())
        token, key = example.get("output", {}).get("compact"), example["input"].get("key")
        if token is None or not isinstance(key, dict):
            continue
        # As it would be published: the public part alone, and with a name (the one of RFC 8037 has none).
        secret = {"d", "p", "q", "dp", "dq", "qi"}
        keys = {"keys": [{"kid": "unnamed"} | {name: key[name] for name in key.keys() - secret}]}
        algorithms = frozenset({example["input"]["alg"]}) & ALGORITHMS or ALGORITHMS
        try:
            taken = take_apart(token.encode())
            named = key_id({"kid": "unnamed"} | taken.header, algorithms)
            said = signed_payload(taken, read_key_set(json.dumps(keys).encode(), algorithms).named(named))
        except AuthenticationFailed:
            continue
        assert said.decode() == example["input"]["payload"]
        accepted.add(path.stem)
    assert accepted == {"4_1.rsa_v15_signature", "4_2.rsa-pss_signature", "4_3.ecdsa_signature", "jws"}


def test_the_private_keys_of_rfc_7520_are_refused_as_published_ones():
    for path in sorted(shared("vectors", "jose-cookbook", "jwk").glob("*.json")):
        key = json.loads(path.read_text())
        secret = key["kty"] == "oct" or "d" in key
        try:
            keys = read_key_set(json.dumps({"keys": [key]}).encode(), ALGORITHMS)
        except AuthenticationFailed as refused:
            assert secret
            assert refused.reason.startswith("the key set is refused: it publishes a ")
        else:
            assert not secret
            assert set(keys.usable) == {key["kid"]}
