"""Tokens as no library would make them: every byte of header, claims and signature is the test's to choose.

Signed by `cryptography` itself, so that neither PyJWT nor joserfc is on both sides of a test.
"""

import base64
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from auth.credential import JsonWebToken, Secret
from auth.identity.jwt.provider import Jwt, JwtConfig
from auth.ports import PresentedTokens, UserStore
from tests.simulators.presented import PresentedInMemory
from tests.simulators.records import MemoryUsers

NOW = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)
SECONDS = int(NOW.timestamp())
ISSUER, AUDIENCE, REALM = "https://idp.hospital.example", "urn:dicom:ae:STRONGROOM", "hospital.example"
HASHES = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}

Sign = Callable[[bytes], bytes]


def private_key(kind: str = "ES256", number: int = 1) -> Any:
    """A key for an algorithm; another ``number`` is another key."""
    return _made(kind, number)


@cache
def _made(kind: str, number: int) -> Any:
    """Keys are slow to make: each is made once in a test process."""
    match kind[:2]:
        case "RS" | "PS":
            return rsa.generate_private_key(public_exponent=65_537, key_size=2048)
        case "ES":
            curve = {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1(), "ES512": ec.SECP521R1()}[kind]
            return ec.generate_private_key(curve)
        case _:
            return ed25519.Ed25519PrivateKey.generate()


def signer(algorithm: str = "ES256", key: Any = None) -> Sign:
    """What signs with an algorithm (RFC 7518 3.3 to 3.5, RFC 8037), by default with the first key for it."""
    key = key or private_key(algorithm)
    digest = HASHES.get(algorithm[2:])
    match algorithm[:2]:
        case "RS":
            return lambda data: key.sign(data, padding.PKCS1v15(), digest)
        case "PS":
            return lambda data: key.sign(data, padding.PSS(padding.MGF1(digest), digest.digest_size), digest)
        case "ES":
            return lambda data: raw_ecdsa(*decode_dss_signature(key.sign(data, ec.ECDSA(digest))), key.curve.key_size)
        case _:
            return lambda data: key.sign(data)


def raw_ecdsa(r: int, s: int, bits: int = 256) -> bytes:
    """R and S side by side (RFC 7518 3.4)."""
    size = (bits + 7) // 8
    return r.to_bytes(size, "big") + s.to_bytes(size, "big")


def encoded(data: bytes) -> bytes:
    """Base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def jwk(algorithm: str = "ES256", key: Any = None, **changes: Any) -> dict[str, Any]:
    """A public key as it is published; a change to None removes a member."""
    public = (key or private_key(algorithm)).public_key()
    members: dict[str, Any] = {"kid": algorithm, "alg": algorithm, "use": "sig"}
    match public:
        case rsa.RSAPublicKey():
            numbers = public.public_numbers()
            members |= {"kty": "RSA", "n": number(numbers.n), "e": number(numbers.e)}
        case ec.EllipticCurvePublicKey():
            point, size = public.public_numbers(), (public.key_size + 7) // 8
            curve = {256: "P-256", 384: "P-384", 521: "P-521"}[public.key_size]
            members |= {"kty": "EC", "crv": curve, "x": number(point.x, size), "y": number(point.y, size)}
        case _:
            members |= {"kty": "OKP", "crv": "Ed25519", "x": encoded(public.public_bytes_raw()).decode()}
    return {name: value for name, value in (members | changes).items() if value is not None}


def number(value: int, size: int | None = None) -> str:
    """An unsigned number as JOSE writes it (RFC 7518 2, Base64urlUInt)."""
    return encoded(value.to_bytes(size or (value.bit_length() + 7) // 8, "big")).decode()


def jwks(*members: Mapping[str, Any]) -> bytes:
    """A key set; without members, one with a key for each kind."""
    chosen = members or tuple(jwk(algorithm) for algorithm in ("ES256", "RS256", "PS256", "EdDSA"))
    return json.dumps({"keys": chosen}).encode()


def claims(**changes: Any) -> dict[str, Any]:
    """What a good token says at `NOW`; a change to None removes a claim."""
    said = {"iss": ISSUER, "sub": "anna", "aud": AUDIENCE, "iat": SECONDS - 10, "exp": SECONDS + 300}
    return {name: value for name, value in (said | changes).items() if value is not None}


def header(algorithm: str = "ES256", **changes: Any) -> dict[str, Any]:
    """The header of a good token; a change to None removes a parameter."""
    said = {"typ": "JWT", "alg": algorithm, "kid": algorithm}
    return {name: value for name, value in (said | changes).items() if value is not None}


def compact(head: Mapping[str, Any] | bytes, payload: Mapping[str, Any] | bytes, sign: Sign) -> bytes:
    """A token of these two, as JSON or as the bytes they are, with what signs over them."""
    parts = [part if isinstance(part, bytes) else json.dumps(part).encode() for part in (head, payload)]
    signing_input = b".".join(encoded(part) for part in parts)
    return signing_input + b"." + encoded(sign(signing_input))


def token(algorithm: str = "ES256", **changes: Any) -> bytes:
    """A good token with what a test changes of its claims."""
    return compact(header(algorithm), claims(**changes), signer(algorithm))


def credential(data: bytes) -> JsonWebToken:
    """A token as it comes from association negotiation."""
    return JsonWebToken(Secret(data))


def provider(
    folder: Path,
    keys: bytes | None = None,
    *,
    users: UserStore | None = None,
    presented: PresentedTokens | None = None,
    clock: Callable[[], datetime] = lambda: NOW,
    **settings: Any,
) -> Jwt:
    """A provider at `NOW` with its keys in a file, and what a test changes of its settings."""
    path = folder / "jwks.json"
    path.write_bytes(jwks() if keys is None else keys)
    values = {"name": "idp", "realm": REALM, "issuer": ISSUER, "audience": AUDIENCE, "jwks": path} | settings
    return Jwt(JwtConfig(**values), users or MemoryUsers(), presented or PresentedInMemory(clock=clock), clock)
