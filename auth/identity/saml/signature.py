"""From an element that came with a signature to the element that was signed. Only the latter is ever read.

The signature has one reference, to the element it stands in, and two transforms, enveloped signature and exclusive
canonicalization; it is made with SHA-2 by a key of the issuer. What says so in the document is compared with this list,
never followed; KeyInfo is taken off unread. This room does not rely on the shape that `document` checks.
"""

import logging
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from signxml.algorithms import DigestAlgorithm, SignatureMethod
from signxml.exceptions import InvalidDigest, InvalidSignature
from signxml.verifier import SignatureConfiguration, XMLVerifier

from auth.errors import AuthenticationFailed
from auth.identity.saml.markup import DS, EXCLUSIVE, Element, alone, children, parsed
from auth.identity.saml.metadata import CurrentKeys

ENVELOPED: Final = "http://www.w3.org/2000/09/xmldsig#enveloped-signature"
RSA_METHODS: Final = frozenset({SignatureMethod.RSA_SHA256, SignatureMethod.RSA_SHA384, SignatureMethod.RSA_SHA512})
ECDSA_METHODS: Final = frozenset(
    {SignatureMethod.ECDSA_SHA256, SignatureMethod.ECDSA_SHA384, SignatureMethod.ECDSA_SHA512}
)
DIGESTS: Final = frozenset({DigestAlgorithm.SHA256, DigestAlgorithm.SHA384, DigestAlgorithm.SHA512})
_METHOD_NAMES: Final = {method.value: method for method in RSA_METHODS | ECDSA_METHODS}
_DIGEST_NAMES: Final = frozenset(digest.value for digest in DIGESTS)

# At level DEBUG, signxml logs what it verifies: a credential.
logging.getLogger("signxml").setLevel(logging.INFO)


def is_signed(element: Element) -> bool:
    """Whether a signature stands directly in the element."""
    return bool(children(element, f"{DS}Signature"))


def signed(element: Element, keys: CurrentKeys) -> Element:
    """The element, parsed again from the bytes that its own signature covers.

    Raises:
        AuthenticationFailed: not signed, not signed as it must be, changed since, or signed by somebody else.
    """
    # 1 One signature, directly inside.
    signatures = children(element, f"{DS}Signature")
    if not signatures:
        raise AuthenticationFailed("the assertion is not signed")
    if len(signatures) > 1:
        raise AuthenticationFailed("more than one signature of one element")
    # 2 It says what a signature here must say, and nothing else.
    method = check_profile(signatures[0], element)
    # 3 It verifies, and 4 what it covers is this very element.
    covered = parsed(_verified(element, keys, method))
    if covered.tag != element.tag or covered.get("ID") != element.get("ID") or is_signed(covered):
        raise AuthenticationFailed("the signature is of another element")
    return covered


def check_profile(signature: Element, element: Element) -> SignatureMethod:
    """Refuse a signature that is not of the one form taken here (SAML core 5.4, narrowed); the method that it names."""
    # 1 Signature: SignedInfo, SignatureValue, and perhaps a KeyInfo, which nobody reads. No Object.
    names = [child.tag for child in signature]
    if names not in (
        [f"{DS}SignedInfo", f"{DS}SignatureValue"],
        [f"{DS}SignedInfo", f"{DS}SignatureValue", f"{DS}KeyInfo"],
    ):
        raise AuthenticationFailed("the signature has parts that are not taken")
    # 2 SignedInfo: one reference.
    signed_info = signature[0]
    if len(children(signed_info, f"{DS}Reference")) != 1:
        raise AuthenticationFailed("the signature has not one reference")
    if [child.tag for child in signed_info] != [
        f"{DS}CanonicalizationMethod",
        f"{DS}SignatureMethod",
        f"{DS}Reference",
    ]:
        raise AuthenticationFailed("the signature has parts that are not taken")
    canonicalization, method, reference = signed_info
    # 3 To the element that it stands in (SAML core 5.4.2).
    identifier = element.get("ID")
    if not identifier or reference.get("URI") != f"#{identifier}":
        raise AuthenticationFailed("the signature refers to something else")
    # 4 Canonicalization is exclusive, without comments (5.4.3).
    if canonicalization.get("Algorithm") != EXCLUSIVE or not _only_prefixes(canonicalization):
        raise AuthenticationFailed("the canonicalization is not taken")
    # 5 SHA-2 with RSA or ECDSA: never HMAC, never SHA-1.
    if method.get("Algorithm") not in _METHOD_NAMES or len(method):
        raise AuthenticationFailed("the signature method is not taken")
    # 6 The two transforms (5.4.4), in their order.
    if [child.tag for child in reference] != [f"{DS}Transforms", f"{DS}DigestMethod", f"{DS}DigestValue"]:
        raise AuthenticationFailed("the signature has parts that are not taken")
    transforms, digest, _ = reference
    if [transform.get("Algorithm") for transform in transforms] != [ENVELOPED, EXCLUSIVE]:
        raise AuthenticationFailed("the transforms are not taken")
    enveloped, exclusive = transforms
    if len(enveloped) or not _only_prefixes(exclusive):
        raise AuthenticationFailed("the transforms are not taken")
    # 7 The digest.
    if digest.get("Algorithm") not in _DIGEST_NAMES or len(digest):
        raise AuthenticationFailed("the digest method is not taken")
    return _METHOD_NAMES[method.get("Algorithm")]


def _only_prefixes(method: Element) -> bool:
    """Whether an exclusive canonicalization has no parameter but a list of prefixes."""
    return len(method) == 0 or [child.tag for child in method] == [f"{{{EXCLUSIVE}}}InclusiveNamespaces"]


def _verified(element: Element, keys: CurrentKeys, method: SignatureMethod) -> bytes:
    """The canonical bytes that the element's signature covers, under one of the issuer's keys that are valid now."""
    copy = parsed(alone(element))
    for signature in children(copy, f"{DS}Signature"):
        for key_info in children(signature, f"{DS}KeyInfo"):
            signature.remove(key_info)
    configuration = SignatureConfiguration(
        require_x509=True,
        location="./",
        expect_references=1,
        signature_methods=frozenset({method}),
        digest_algorithms=DIGESTS,
        verification_time=keys.moment,
    )
    for certificate in keys.certificates:
        if not _fits(certificate, method):
            continue
        try:
            result = XMLVerifier().verify(copy, x509_cert=certificate, expect_config=configuration, id_attribute="ID")
        except InvalidDigest:
            raise AuthenticationFailed("what was signed has been changed") from None
        except InvalidSignature:
            continue
        except Exception as error:
            # Malformed in a way that is not listed above; the error's text may quote the document, and is not told.
            raise AuthenticationFailed(f"the signature cannot be verified ({type(error).__name__})") from error
        if isinstance(result, list):
            raise AuthenticationFailed("the signature has not one reference")
        return result.signed_data
    raise AuthenticationFailed("the signature is not by a key of the issuer")


def _fits(certificate: x509.Certificate, method: SignatureMethod) -> bool:
    kind = rsa.RSAPublicKey if method in RSA_METHODS else ec.EllipticCurvePublicKey
    return isinstance(certificate.public_key(), kind)
