"""The eight signature wrapping shapes (Somorovsky et al., "On Breaking SAML", 2012), of an assertion and of a response.

In each, Alice's signed assertion is somewhere, and another about Mallory, which nobody signed, is where a careless
reader looks. ``same_id``: the unsigned one borrows the identifier of the signed one.
"""

import copy

from lxml import etree

from tests.simulators.saml_documents import DSIG, good, handmade, issuer, unsigned

SAML = "{urn:oasis:names:tc:SAML:2.0:assertion}"
PROTOCOL = "{urn:oasis:names:tc:SAML:2.0:protocol}"
DS = f"{{{DSIG}}}"
SHAPES = range(1, 9)


def _copy(element):
    return copy.deepcopy(element)


def _without_signature(element):
    bare = _copy(element)
    bare.remove(bare.find(f"{DS}Signature"))
    return bare


def _evil(original, same_id):
    evil = _without_signature(original)
    if not same_id:
        evil.set("ID", "_evil")
    for name in evil.iter(f"{SAML}NameID"):
        name.text = "mallory"
    return evil


def _in_signature(signature, tag, inside):
    holder = etree.SubElement(signature, f"{DS}{tag}")
    holder.append(inside)
    return signature


def bare(shape, *, same_id=False):
    """A wrapped bare assertion."""
    original = etree.fromstring(good())
    evil, plain = _evil(original, same_id), _without_signature(original)
    signature = _copy(original.find(f"{DS}Signature"))
    match shape:
        case 1:  # the original is inside the signature, which is inside the evil one
            signature.append(plain)
            evil.insert(1, signature)
        case 2:  # the original and a detached signature stand inside the evil one
            evil.insert(1, plain)
            evil.insert(2, signature)
        case 3:  # the original comes first inside the evil one
            evil.insert(0, original)
        case 4:  # the original comes last inside the evil one
            evil.append(original)
        case 5:  # the evil one carries the signature, the original comes last without it
            evil.insert(1, signature)
            evil.append(plain)
        case 6:  # the original hides in the signature's KeyInfo
            signature.find(f"{DS}KeyInfo").append(plain)
            evil.insert(1, signature)
        case 7:  # the original hides where any element may stand
            advice = etree.Element(f"{SAML}Advice")
            advice.append(original)
            evil.insert(3, advice)
        case 8:  # the original is an Object of the signature
            evil.insert(1, _in_signature(signature, "Object", plain))
    return etree.tostring(evil)


def in_response(shape, *, same_id=False):
    """A wrapped response: shapes 1 and 2 of a signed response, the others of a signed assertion inside one."""
    if shape in (1, 2):
        return _signed_response(shape, same_id=same_id)
    response = etree.fromstring(good(response=True))
    original = response.find(f"{SAML}Assertion")
    response.remove(original)
    evil, plain = _evil(original, same_id), _without_signature(original)
    signature = _copy(original.find(f"{DS}Signature"))
    match shape:
        case 3:
            response.extend([evil, original])
        case 4:
            evil.append(original)
            response.append(evil)
        case 5:
            evil.insert(1, signature)
            response.extend([evil, plain])
        case 6:
            signature.append(plain)
            evil.insert(1, signature)
            response.append(evil)
        case 7:
            extensions = etree.Element(f"{PROTOCOL}Extensions")
            extensions.append(evil)
            response.insert(1, extensions)
            response.append(original)
        case 8:
            evil.insert(1, _in_signature(signature, "Object", plain))
            response.append(evil)
    return etree.tostring(response)


def _signed_response(shape, *, same_id):
    original = etree.fromstring(handmade(issuer().in_response(unsigned())))
    evil, plain = _evil(original, same_id), _without_signature(original)
    signature = _copy(original.find(f"{DS}Signature"))
    if shape == 1:
        signature.append(plain)
        evil.insert(1, signature)
    else:
        evil.insert(1, plain)
        evil.insert(2, signature)
    return etree.tostring(evil)
