"""User identity type 4: a SAML 2.0 assertion, as IHE XUA (ITI-40) profiles it, believed of configured issuers.

Bytes pass through four rooms, and each refuses by itself what it is there for:

    markup       bytes -> elements; no document type, entity, comment or processing instruction ever reaches the parser
    document     elements -> one assertion at one of two places, within bounds
    signature    an element -> the same element, parsed again from the bytes that the issuer's key signed
    statement    the signed assertion -> who, until when, what is said of them; nothing unsigned is read from here on

`metadata` says which keys are the issuer's, `attributes` what the issuer's words mean here, `provider` keeps the order.
"""

from auth.identity.saml.metadata import IssuerKeys
from auth.identity.saml.provider import Saml, SamlConfig, default_audience

__all__ = ["IssuerKeys", "Saml", "SamlConfig", "default_audience"]
