"""What a verified token says (RFC 7519 4.1): whether it holds here and now, and who it is about. Pure."""

import hashlib
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from auth.errors import AuthenticationFailed, RecordInvalid
from auth.identity.jwt.config import JwtConfig
from auth.identity.jwt.strict import JsonObject
from auth.names import MAX_ATTRIBUTE_LENGTH, checked_attributes, external_name
from auth.principal import Principal

MAX_TOKEN_ID_LENGTH: Final = 1024
"""Characters of ``jti``."""
_LAST_SECOND: Final = 253_370_764_800
"""The first of 9999. A NumericDate in milliseconds, as some issuers write it, is past this."""
_USUAL_ATTRIBUTES: Final = (
    ("name", "display_name"),
    ("extensions.ihe_iua.subject_name", "display_name"),
    ("extensions.ihe_iua.subject_organization", "organization"),
    ("extensions.ihe_iua.purpose_of_use", "purpose_of_use"),
)
"""Claims with a meaning of their own (OpenID Connect Core 5.1, IHE IUA 3.71.6.1.1), where settings map nothing else."""


def valid_until(claims: JsonObject, config: JwtConfig, now: datetime) -> datetime:
    """The moment from which the token is not accepted any more, if it is now.

    Raises:
        AuthenticationFailed: it is for somebody else, or for another time.
    """
    # 8 It is for us (4.1.3).
    audience = claims.get("aud")
    audiences = [audience] if isinstance(audience, str) else audience
    if audiences is None or audiences == [] or audiences == [""]:
        raise AuthenticationFailed("the token has no audience")
    if not isinstance(audiences, list) or not all(isinstance(one, str) for one in audiences):
        raise AuthenticationFailed("the token's audience is no list of names")
    if config.audience not in audiences:
        raise AuthenticationFailed("the token is for another audience")
    # 9 It is in force (4.1.4 to 4.1.6).
    leeway = timedelta(seconds=config.leeway_seconds)
    ends, begins = _moment(claims, "exp"), _moment(claims, "iat")
    if now >= ends + leeway:
        raise AuthenticationFailed("the token has expired")
    if begins > now + leeway:
        raise AuthenticationFailed("the token was issued in the future")
    if "nbf" in claims and _moment(claims, "nbf") > now + leeway:
        raise AuthenticationFailed("the token is not valid yet")
    # 10 It was made for a while, not for ever.
    if ends <= begins:
        raise AuthenticationFailed("the token ended before it was issued")
    if ends - begins > timedelta(seconds=config.max_lifetime_seconds):
        raise AuthenticationFailed("the token is valid for too long")
    return ends + leeway


def _moment(claims: JsonObject, name: str) -> datetime:
    """A NumericDate (RFC 7519 2) in whole seconds. Fractions are legal and refused: nobody needs them here."""
    if name not in claims:
        raise AuthenticationFailed(f"the token has no `{name}`")
    value = claims[name]
    if type(value) is not int or not 0 <= value <= _LAST_SECOND:
        raise AuthenticationFailed(f"the token's `{name}` is no time in whole seconds")
    return datetime.fromtimestamp(value, UTC)


def person_name(claims: JsonObject, config: JwtConfig) -> str:
    """The person's name here: subject and realm. The realm follows the last ``@`` and has none itself.

    Raises:
        AuthenticationFailed: the token names nobody, or in a way that two people could share.
    """
    # 11 One spelling: what normalization changes would be another subject to its issuer, and the same one here.
    subject = claim(claims, config.subject)
    if subject is None:
        raise AuthenticationFailed("the token names nobody")
    try:
        if not isinstance(subject, str) or external_name(subject) != subject:
            raise AuthenticationFailed("the token's subject is no name")
        return external_name(f"{subject}@{config.realm}")
    except RecordInvalid:
        raise AuthenticationFailed("the token's subject is no name") from None


def person(claims: JsonObject, config: JwtConfig) -> Principal:
    """Who it is, with the roles and attributes that the settings read from the claims.

    Raises:
        AuthenticationFailed: a claim that the settings name is not what it should be.
    """
    name = person_name(claims, config)
    # 12 Roles: what the settings map, and nothing else.
    given = _texts(claim(claims, config.role_claim))
    if given is None:
        raise AuthenticationFailed("the token's roles are no list of names", claimed=name)
    if config.role_claim.rpartition(".")[2] == "scope":
        given = [word for text in given for word in text.split(" ")]
    roles = frozenset(config.roles[one] for one in given if one in config.roles)
    # 13 Attributes: a mapped claim that cannot be read is refused; a usual one is left out.
    attributes = dict(_legible(claims, _unmapped(config.attributes.values())))
    for path, attribute in config.attributes.items():
        if claim(claims, path) is None:
            continue
        legible = dict(_legible(claims, ((path, attribute),)))
        if not legible:
            raise AuthenticationFailed(f"the token's claim for `{attribute}` is no text", claimed=name)
        attributes |= legible
    return Principal(name, roles, checked_attributes(attributes))


def token_id(claims: JsonObject, signing_input: bytes) -> str:
    """What tells this token from the issuer's others: its ``jti`` (4.1.7), or what its signature covers.

    Never the signature, which the bearer can write differently: (r, n - s) is as good as (r, s) in ECDSA.

    Raises:
        AuthenticationFailed: it has a ``jti`` that is none.
    """
    if "jti" not in claims:
        return "signed:" + hashlib.sha256(signing_input).hexdigest()
    name = claims["jti"]
    if not isinstance(name, str) or not 0 < len(name) <= MAX_TOKEN_ID_LENGTH:
        raise AuthenticationFailed("the token's id is no text")
    return "jti:" + hashlib.sha256(name.encode("utf-8")).hexdigest()


def claim(claims: JsonObject, path: str) -> Any:
    """The claim of exactly this name (names may hold dots), else the one at the dotted path; None if there is none."""
    if path in claims:
        return claims[path]
    found: Any = claims
    for step in path.split("."):
        found = found.get(step) if isinstance(found, Mapping) else None
    return found


def _texts(value: Any) -> list[str] | None:
    """The texts of a claim: one, a list, or codes of codings (IHE IUA: FHIR Coding); None: it is something else."""
    texts: list[str] = []
    for one in value if isinstance(value, list) else [] if value is None else [value]:
        text = one.get("code") if isinstance(one, Mapping) else one
        if not isinstance(text, str):
            return None
        texts.append(text)
    return texts


def _unmapped(mapped: Iterable[str]) -> Iterable[tuple[str, str]]:
    """The usual claims for attributes that the settings leave alone; the first of two is read last, and stays."""
    taken = frozenset(mapped)
    return ((path, attribute) for path, attribute in reversed(_USUAL_ATTRIBUTES) if attribute not in taken)


def _legible(claims: JsonObject, wanted: Iterable[tuple[str, str]]) -> Iterable[tuple[str, str]]:
    for path, attribute in wanted:
        texts = _texts(claim(claims, path))
        if texts is None or len(texts) != 1 or len(texts[0]) > MAX_ATTRIBUTE_LENGTH:
            continue
        try:
            yield from checked_attributes({attribute: texts[0]}).items()
        except RecordInvalid:
            continue
