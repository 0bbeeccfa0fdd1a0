"""What a token is: a JWS in compact form (RFC 7515 7.1), and whether its signature holds. Nothing of its claims.

The order is the provider's; each function is one or a few of its numbered steps.
"""

from dataclasses import dataclass, field
from typing import Final

import jwt

from auth.errors import AuthenticationFailed
from auth.identity.jwt.config import SAME_ALGORITHM
from auth.identity.jwt.keys import VerificationKey
from auth.identity.jwt.strict import JsonObject, Malformed, base64url, json_object

MAX_TOKEN_BYTES: Final = 16_384
"""A User Identity item could carry 65,529 (PS3.7 D.3.3.7); tokens of people are a tenth of this."""
MAX_KEY_ID_LENGTH: Final = 256
"""Characters."""
_TYPES: Final = frozenset({"jwt", "at+jwt", "application/jwt", "application/at+jwt"})
"""``typ`` of an identity or access token (RFC 7519 5.1, RFC 9068 2.1). Logout tokens, proofs and events are others."""


@dataclass(frozen=True, slots=True)
class CompactToken:
    """A token in its parts. Of these nothing is believed before `signed_payload`."""

    header: JsonObject = field(repr=False)
    payload: bytes = field(repr=False)
    signing_input: bytes = field(repr=False)
    """What the signature covers: header and payload as they were sent."""
    compact: bytes = field(repr=False)


def take_apart(compact: bytes) -> CompactToken:
    """The parts of a token, each spelled in the one way there is.

    Raises:
        AuthenticationFailed: it is no token.
    """
    # 1 Its size, before anything is made of it.
    if len(compact) > MAX_TOKEN_BYTES:
        raise AuthenticationFailed(f"the token is longer than {MAX_TOKEN_BYTES} bytes")
    # 2 Three parts (RFC 7515 7.1). Five are an encrypted token (RFC 7516), for which nobody here has a key.
    parts = compact.split(b".")
    if len(parts) == 5:
        raise AuthenticationFailed("the token is encrypted")
    if len(parts) != 3:
        raise AuthenticationFailed("a token has three parts")
    # 3 Base64url, and a header that is a JSON object.
    decoded = []
    for name, part in zip(("header", "payload", "signature"), parts, strict=True):
        try:
            decoded.append(base64url(part))
        except Malformed as error:
            raise AuthenticationFailed(f"the token's {name} is refused: {error}") from None
    try:
        header = json_object(decoded[0])
    except Malformed as error:
        raise AuthenticationFailed(f"the token's header is refused: {error}") from None
    return CompactToken(header, decoded[1], compact.rpartition(b".")[0], compact)


def key_id(header: JsonObject, algorithms: frozenset[str]) -> str:
    """The key that a header names. What it says of where to find one (``jku jwk x5u x5c``) is not read at all.

    Raises:
        AuthenticationFailed: the header asks for what we do not do, or names no key.
    """
    # 5a The kind of token (RFC 8725 3.11).
    kind = header.get("typ", "JWT")
    if not isinstance(kind, str) or kind.lower() not in _TYPES:
        raise AuthenticationFailed("the token is of another type")
    # 5b No extension is understood here: none may be critical (RFC 7515 4.1.11), no payload unencoded (RFC 7797).
    if "crit" in header:
        raise AuthenticationFailed("the token has critical extensions")
    if "b64" in header:
        raise AuthenticationFailed("the token says how its payload is encoded")
    # 5c An algorithm that is accepted. Which of them it has to be, the key says.
    algorithm = header.get("alg")
    if not isinstance(algorithm, str) or SAME_ALGORITHM.get(algorithm, algorithm) not in algorithms:
        raise AuthenticationFailed("the token's algorithm is not accepted")
    # 5d A key id: it is looked up among those of the issuer, and is neither a path nor a query.
    name = header.get("kid")
    if name is None:
        raise AuthenticationFailed("the token names no key")
    if not isinstance(name, str) or not 0 < len(name) <= MAX_KEY_ID_LENGTH:
        raise AuthenticationFailed("the token's key id is no name")
    return name


def signed_payload(token: CompactToken, key: VerificationKey) -> bytes:
    """The payload that the key signed.

    Raises:
        AuthenticationFailed: it did not, or that could not be found out.
    """
    # 7a The algorithm is the key's (RFC 8725 3.1): the header may only agree.
    names = [key.algorithm, *(newer for newer, name in SAME_ALGORITHM.items() if name == key.algorithm)]
    if token.header.get("alg") not in names:
        raise AuthenticationFailed("the token's algorithm is not its key's")
    # 7b The signature, by a verifier that knows this one algorithm.
    verifier = jwt.PyJWS(algorithms=[key.algorithm], options={"enforce_minimum_key_length": True})
    for newer in names[1:]:
        verifier.register_algorithm(newer, verifier.get_algorithm_by_name(key.algorithm))
    try:
        verified = verifier.decode_complete(token.compact, key.public, algorithms=names)
    except jwt.InvalidSignatureError:
        raise AuthenticationFailed("the signature is not its key's") from None
    except Exception as error:  # noqa: BLE001  (a check that fails is a check not passed; its text may quote the token)
        raise AuthenticationFailed(f"the signature cannot be checked ({type(error).__name__})") from None
    # 7c What was verified is what we read.
    if not isinstance(verified, dict) or verified.get("payload") != token.payload:
        raise AuthenticationFailed("the signature is of another payload")
    return token.payload
