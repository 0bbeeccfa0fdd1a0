"""What an accepted assertion is answered (PS3.7 D.3.3.7.2; docs/decisions/identity-responses.md)."""

import secrets
from datetime import UTC, datetime
from typing import Final
from xml.sax.saxutils import escape

from auth.identity.saml.document import SUCCESS

_RESPONSE: Final = (
    '<samlp:Response xmlns:samlp="urn:oasis:names:tc:SAML:2.0:protocol" ID="{identifier}" Version="2.0"'
    ' IssueInstant="{moment}"><saml:Issuer xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion">{issuer}</saml:Issuer>'
    '<samlp:Status><samlp:StatusCode Value="{status}"/></samlp:Status></samlp:Response>'
)


def positive_response(issuer: str, moment: datetime) -> bytes:
    """A SAML Response of ours that says Success and holds nothing of the caller's."""
    return _RESPONSE.format(
        identifier=f"_{secrets.token_hex(16)}",
        moment=moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        issuer=escape(issuer),
        status=SUCCESS,
    ).encode()
