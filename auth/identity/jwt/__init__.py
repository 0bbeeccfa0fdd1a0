"""Type 5, JSON Web Tokens (RFC 7519), verified as RFC 8725 advises.

Here: what a token is (`token`), what it may say (`claims`), whose keys count (`keys`, `sources`, `https`), and the
provider. Never here: making a token, or believing anything of one before its signature held, its issuer's name
excepted, which only tells whose token it is. PyJWT is ``import jwt``, this package ``auth.identity.jwt``.
"""
