"""What a signed assertion says, checked point by point (SAML core 2.3 to 2.7, as XUA profiles it). Pure.

Here: an element that `signature` returned. Never here: anything that was not signed.
"""

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from auth.errors import AuthenticationFailed
from auth.identity.saml.document import ASSERTION, issuer_of
from auth.identity.saml.markup import SAML, Element, children, collapsed, content, instant
from auth.identity.steps import checked

BEARER: Final = "urn:oasis:names:tc:SAML:2.0:cm:bearer"
TRANSIENT: Final = "urn:oasis:names:tc:SAML:2.0:nameid-format:transient"

_IDENTIFIER: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,255}")
_PARTS: Final = frozenset(
    f"{SAML}{name}"
    for name in (
        "Issuer",
        "Subject",
        "Conditions",
        "Advice",
        "AuthnStatement",
        "AttributeStatement",
        "AuthzDecisionStatement",
    )
)
_CONDITIONS: Final = frozenset(f"{SAML}{name}" for name in ("AudienceRestriction", "OneTimeUse", "ProxyRestriction"))


@dataclass(frozen=True, slots=True)
class Demands:
    """What an assertion must say to be good here, now."""

    issuer: str
    audience: str
    recipient: str
    """Where it must have been meant to be sent; empty: that is not asked."""
    skew: timedelta
    """How far the issuer's clock and ours may be apart."""
    longest: timedelta
    """How far ahead its end may lie."""
    moment: datetime


@dataclass(frozen=True, slots=True)
class Statement:
    """What was found in order."""

    identifier: str
    name_id: str | None
    """The subject as NameID; None where it is a pseudonym for this one time."""
    ends: datetime
    """When it is no longer taken, the clock skew included."""
    session_ends: datetime | None
    once: bool
    """The issuer demands that it be used once."""


def examined(assertion: Element, demands: Demands) -> Statement:
    """What the assertion states.

    Raises:
        AuthenticationFailed: the first point that it does not meet.
    """
    # 1 It is an assertion of version 2.0, with an identifier, of parts that SAML defines (2.3.3).
    if assertion.tag != ASSERTION or assertion.get("Version") != "2.0":
        raise AuthenticationFailed("the assertion is not of version 2.0")
    identifier = assertion.get("ID") or ""
    if _IDENTIFIER.fullmatch(identifier) is None:
        raise AuthenticationFailed("the assertion has no proper ID")
    if any(part.tag not in _PARTS for part in assertion):
        raise AuthenticationFailed("the assertion has a part that is not understood")
    checked("it is of version 2.0, with an ID, of parts that SAML defines")
    # 2 Of the configured issuer (2.2.5), and not from the future.
    if issuer_of(assertion) != demands.issuer:
        raise AuthenticationFailed("the assertion is by another issuer")
    issued = _time(assertion, "IssueInstant")
    if issued is None or issued - demands.moment > demands.skew:
        raise AuthenticationFailed("the assertion is from the future, or not dated")
    checked("it is by the issuer, and not from the future")
    # 3 Now, for us, under conditions that are all understood (2.5).
    ends, once = _conditions(assertion, demands)
    checked("it is valid now, and for us")
    # 4 About one subject, whom the bearer may claim to be (2.4).
    name_id = _subject(assertion, demands)
    checked("its subject is confirmed for the bearer")
    # 5 Who signed in there, in a session that lasts (2.7.2).
    session_ends = _session_end(assertion, demands)
    checked("the person has signed in there, and that session lasts")
    return Statement(identifier, name_id, ends, session_ends, once)


def _conditions(assertion: Element, demands: Demands) -> tuple[datetime, bool]:
    """When the assertion ends, and whether it is for one use."""
    found = children(assertion, f"{SAML}Conditions")
    if len(found) != 1:
        raise AuthenticationFailed("the assertion has no conditions, or several")
    conditions = found[0]
    begin, end = _time(conditions, "NotBefore"), _time(conditions, "NotOnOrAfter")
    if end is None:
        raise AuthenticationFailed("the conditions have no end")
    if begin is not None and begin >= end:
        raise AuthenticationFailed("the conditions end before they begin")
    if begin is not None and begin - demands.moment > demands.skew:
        raise AuthenticationFailed("the assertion is not yet valid")
    if demands.moment - end >= demands.skew:
        raise AuthenticationFailed("the assertion has expired")
    if end - demands.moment > demands.longest:
        raise AuthenticationFailed("the assertion is valid for too long")
    # A condition that is not understood makes the assertion's validity indeterminate (2.5.1).
    if any(condition.tag not in _CONDITIONS for condition in conditions):
        raise AuthenticationFailed("a condition is not understood")
    # Each restriction must name us; inside one, any of its audiences may (2.5.1.4).
    restrictions = children(conditions, f"{SAML}AudienceRestriction")
    if not restrictions:
        raise AuthenticationFailed("the assertion is not restricted to an audience")
    for restriction in restrictions:
        if demands.audience not in _audiences(restriction):
            raise AuthenticationFailed("the assertion is for another audience")
    return end + demands.skew, bool(children(conditions, f"{SAML}OneTimeUse"))


def _audiences(restriction: Element) -> list[str]:
    return [collapsed(content(audience) or "") for audience in children(restriction, f"{SAML}Audience")]


def _subject(assertion: Element, demands: Demands) -> str | None:
    """The NameID, exactly as it stands; None for a pseudonym of one time."""
    subjects = children(assertion, f"{SAML}Subject")
    if len(subjects) != 1:
        raise AuthenticationFailed("the assertion has no subject, or several")
    names = children(subjects[0], f"{SAML}NameID")
    confirmations = children(subjects[0], f"{SAML}SubjectConfirmation")
    if len(names) != 1 or len(names) + len(confirmations) != len(subjects[0]):
        raise AuthenticationFailed("the subject has not one NameID")
    name = content(names[0])
    if not name:
        raise AuthenticationFailed("the NameID is empty, or not text")
    _confirmed(confirmations, demands)
    return None if names[0].get("Format") == TRANSIENT else name


def _confirmed(confirmations: list[Element], demands: Demands) -> None:
    """One confirmation by bearer is met (2.4.1.2; XUA: bearer must, holder-of-key may be supported).

    InResponseTo is not looked at, since we asked nobody; nor Address, which names where the person's browser was.
    """
    if not confirmations:
        raise AuthenticationFailed("the subject has no confirmation")
    bearers = [confirmation for confirmation in confirmations if confirmation.get("Method") == BEARER]
    if not bearers:
        raise AuthenticationFailed("the subject is not confirmed by bearer")
    failures = [_failure(bearer, demands) for bearer in bearers]
    if None not in failures:
        raise AuthenticationFailed(failures[0] or "")


def _failure(bearer: Element, demands: Demands) -> str | None:
    """Why a confirmation is not met; None: it is."""
    found = children(bearer, f"{SAML}SubjectConfirmationData")
    if len(found) > 1:
        return "the confirmation has several sets of data"
    if not found:
        return "the confirmation is for another recipient" if demands.recipient else None
    data = found[0]
    begin, end = _time(data, "NotBefore"), _time(data, "NotOnOrAfter")
    if begin is not None and begin - demands.moment > demands.skew:
        return "the confirmation is not yet valid"
    if end is not None and demands.moment - end >= demands.skew:
        return "the confirmation has expired"
    if demands.recipient and data.get("Recipient") != demands.recipient:
        return "the confirmation is for another recipient"
    return None


def _session_end(assertion: Element, demands: Demands) -> datetime | None:
    """When the first of the sessions ends. To that, no clock skew is added: it is an end, not a time of transport."""
    statements = children(assertion, f"{SAML}AuthnStatement")
    if not statements:
        raise AuthenticationFailed("the assertion states no authentication")
    ends = []
    for statement in statements:
        authenticated, end = _time(statement, "AuthnInstant"), _time(statement, "SessionNotOnOrAfter")
        if authenticated is None or authenticated - demands.moment > demands.skew:
            raise AuthenticationFailed("the authentication is from the future, or not dated")
        if len(children(statement, f"{SAML}AuthnContext")) != 1:
            raise AuthenticationFailed("the authentication has no context")
        if end is not None and demands.moment >= end:
            raise AuthenticationFailed("the session has ended")
        ends.append(end)
    return min((end for end in ends if end is not None), default=None)


def _time(element: Element, name: str) -> datetime | None:
    """A time in an attribute; None where there is none."""
    text = element.get(name)
    if text is None:
        return None
    found = instant(text)
    if found is None:
        raise AuthenticationFailed(f"{name} is not a time in UTC")
    return found
