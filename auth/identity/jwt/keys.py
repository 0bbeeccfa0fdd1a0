"""An issuer's published keys (RFC 7517, 7518 6, 8037) and which of them may verify what. Pure: bytes in, keys out.

A set that publishes a secret is refused as a whole, because its issuer's tokens prove nothing. A key that is unfit is
refused by itself and its reason kept, so that the audit can say why a token by it was not believed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from auth.errors import AuthenticationFailed, ProviderUnavailable
from auth.identity.jwt.config import SAME_ALGORITHM
from auth.identity.jwt.strict import JsonObject, Malformed, base64url, json_object

MAX_KEYS: Final = 100
MIN_RSA_BITS: Final = 2048
MAX_RSA_BITS: Final = 8192
"""Checking a signature by a larger key takes time that whoever presents tokens could make us spend."""

_SECRET_MEMBERS: Final = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"})
_CURVES: Final = {"P-256": "ES256", "P-384": "ES384", "P-521": "ES512"}
_RSA_ALGORITHMS: Final = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})
_SMALL_PRIMES: Final = (
    *(3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97),
    *(101, 103, 107, 109, 113, 127, 131, 137, 139, 149, 151, 157, 163, 167),
)

PublicKey = RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey


@dataclass(frozen=True, slots=True)
class VerificationKey:
    """A public key and the one algorithm that it verifies."""

    algorithm: str
    public: PublicKey


@dataclass(frozen=True, slots=True)
class KeySet:
    """Keys by id, and why others are not among them."""

    usable: Mapping[str, VerificationKey] = field(default_factory=dict)
    unfit: Mapping[str, str] = field(default_factory=dict)

    def __contains__(self, key_id: str) -> bool:
        return key_id in self.usable or key_id in self.unfit

    def named(self, key_id: str) -> VerificationKey:
        """The key of exactly this id.

        Raises:
            AuthenticationFailed: there is none, or it is unfit.
        """
        if key_id in self.usable:
            return self.usable[key_id]
        if key_id in self.unfit:
            raise AuthenticationFailed(f"the token's key is refused: {self.unfit[key_id]}")
        raise AuthenticationFailed("the token's key is not one of its issuer's")


class _Unfit(Exception):
    """Why a key verifies nothing here."""


def read_key_set(data: bytes, algorithms: frozenset[str]) -> KeySet:
    """The keys of a JWK Set (RFC 7517 5).

    Args:
        data: the document.
        algorithms: those that the operator accepts.

    Raises:
        ProviderUnavailable: it is none, or it publishes a secret.
    """
    # 1 A set of a sensible size.
    try:
        members = json_object(data).get("keys")
    except Malformed as error:
        raise ProviderUnavailable(f"the key set is refused: {error}") from None
    if not isinstance(members, list) or not all(isinstance(member, dict) for member in members):
        raise ProviderUnavailable("the key set is refused: it has no list of keys")
    if len(members) > MAX_KEYS:
        raise ProviderUnavailable(f"the key set is refused: it has more than {MAX_KEYS} keys")
    # 2 Nothing in it is secret.
    for member in members:
        if member.get("kty") == "oct":
            raise ProviderUnavailable("the key set is refused: it publishes a symmetric key")
        if not _SECRET_MEMBERS.isdisjoint(member):
            raise ProviderUnavailable("the key set is refused: it publishes a private key")
    # 3 Keys that can be named (4.5), each examined by itself; two fit ones of one id are none.
    fit: dict[str, list[VerificationKey]] = {}
    unfit: dict[str, str] = {}
    for member in members:
        if not isinstance(name := member.get("kid"), str):
            continue
        try:
            key = _verification_key(member, algorithms)
        except _Unfit as error:
            unfit[name] = str(error)
        else:
            fit.setdefault(name, []).append(key)
    unfit |= {name: "another key has the same id" for name, keys in fit.items() if len(keys) > 1}
    return KeySet({name: keys[0] for name, keys in fit.items() if len(keys) == 1}, unfit)


def _verification_key(member: JsonObject, algorithms: frozenset[str]) -> VerificationKey:
    # 4 It is for verifying signatures (RFC 7517 4.2, 4.3).
    if member.get("use", "sig") != "sig":
        raise _Unfit("it is not for signatures")
    operations = member.get("key_ops", ["verify"])
    if not isinstance(operations, list) or "verify" not in operations:
        raise _Unfit("it is not for verifying")
    # 5 One algorithm: what it says (4.4), which must be possible for its kind, or what its kind says.
    possible = _possible_algorithms(member)
    algorithm = member["alg"] if "alg" in member else _usual(possible & algorithms)
    if not isinstance(algorithm, str) or (algorithm := SAME_ALGORITHM.get(algorithm, algorithm)) not in possible:
        raise _Unfit("its algorithm does not go with its kind")
    if algorithm not in algorithms:
        raise _Unfit("its algorithm is not accepted")
    # 6 Sound numbers.
    match member["kty"]:
        case "RSA":
            public = _rsa(member, algorithm)
        case "EC":
            public = _constructed(member, ("crv", "x", "y"), algorithm)
        case _:
            public = _constructed(member, ("crv", "x"), algorithm)
    return VerificationKey(algorithm, public)


def _possible_algorithms(member: JsonObject) -> frozenset[str]:
    curve = member.get("crv")
    match member.get("kty"):
        case "RSA":
            return _RSA_ALGORITHMS
        case "EC" if isinstance(curve, str) and curve in _CURVES:
            return frozenset({_CURVES[curve]})
        case "OKP" if curve == "Ed25519":
            return frozenset({"EdDSA"})
        case _:
            raise _Unfit("its kind or curve is not supported")


def _usual(possible: frozenset[str]) -> str:
    """A curve has one algorithm. An RSA key has six: the only one accepted, or RS256 as in OpenID Connect Core 15.1."""
    if len(possible) == 1:
        return next(iter(possible))
    return "RS256"


def _rsa(member: JsonObject, algorithm: str) -> PublicKey:
    modulus, exponent = (int.from_bytes(_decoded(member, name), "big") for name in ("n", "e"))
    if not MIN_RSA_BITS <= modulus.bit_length() <= MAX_RSA_BITS:
        raise _Unfit(f"it is RSA of fewer than {MIN_RSA_BITS} or more than {MAX_RSA_BITS} bits")
    # FIPS 186-5 A.1.1: odd, above 2^16; no one uses an exponent of more than 32 bits.
    if not (65_537 <= exponent < 2**32 and exponent % 2):
        raise _Unfit("its RSA exponent is not sound")
    if _is_roca(modulus):
        raise _Unfit("it comes from a broken key generator (CVE-2017-15361)")
    return _constructed(member, ("n", "e"), algorithm)


def _is_roca(modulus: int) -> bool:
    """Whether a modulus is a power of 65537 modulo every small prime, as those of one maker of smart cards were.

    Of other moduli about one in 2^30 is.
    """
    return all(modulus % prime in {pow(65_537, power, prime) for power in range(prime)} for prime in _SMALL_PRIMES)


def _constructed(member: JsonObject, names: tuple[str, ...], algorithm: str) -> PublicKey:
    """The key of these members alone; a point that is not on its curve makes none."""
    for name in names:
        if name != "crv":
            _decoded(member, name)
    public: dict[str, Any] = {name: member[name] for name in ("kty", *names)}
    try:
        key = jwt.PyJWK(public, algorithm).key
    except Exception:  # noqa: BLE001  (whatever the library says of it, it is no key)
        _not_sound()
    if not isinstance(key, RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey):
        _not_sound()
    return key


def _decoded(member: JsonObject, name: str) -> bytes:
    value = member.get(name)
    try:
        return base64url(value.encode("ascii")) if isinstance(value, str) else _not_sound()
    except ValueError:
        _not_sound()


def _not_sound() -> NoReturn:
    raise _Unfit("its numbers are not sound")
