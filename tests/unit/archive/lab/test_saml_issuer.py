"""The throw-away identity provider: its folder, and who may read its key."""

import stat

from lxml import etree

from archive.lab.saml_issuer import SamlIssuer, Wishes


def test_key_is_for_its_owner_alone_and_is_used_again(tmp_path):
    first = SamlIssuer(tmp_path / "idp")
    assert stat.S_IMODE(first.key_file.stat().st_mode) == 0o600
    assert SamlIssuer(tmp_path / "idp").certificate == first.certificate


def test_each_assertion_has_an_identifier_of_its_own(tmp_path):
    lab = SamlIssuer(tmp_path)
    identifiers = {etree.fromstring(lab.assertion("alice", Wishes())).get("ID") for _ in range(3)}
    assert len(identifiers) == 3


def test_what_an_assertion_says_is_escaped(tmp_path):
    lab = SamlIssuer(tmp_path, issuer="https://idp.example/?a=1&b=<2>")
    wishes = Wishes(audience="a&b", display_name="<b>", attributes={'"n"': "&"}, roles=('"&<',))
    root = etree.fromstring(lab.assertion("a<b&c", wishes))
    saml = "{urn:oasis:names:tc:SAML:2.0:assertion}"
    assert root.findtext(f"{saml}Issuer") == lab.issuer
    assert root.findtext(f".//{saml}NameID") == "a<b&c"
    assert etree.fromstring(lab.metadata()).get("entityID") == lab.issuer
