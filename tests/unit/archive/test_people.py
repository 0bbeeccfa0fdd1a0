"""Identity providers put together from the settings: what contradicts itself does not start."""

import pytest

from archive.errors import SettingsInvalid
from archive.home import Home
from archive.lab.jwt_issuer import JwtIssuer
from archive.people import People, Surroundings
from archive.settings import parse_settings
from auth.errors import ProviderMisconfigured
from storage.clock import now
from tests.simulators.presented import PresentedInMemory
from tests.simulators.records import MemoryUsers


@pytest.fixture
def issuer(tmp_path):
    return JwtIssuer(tmp_path / "issuer", audience="urn:dicom:ae:STRONGROOM")


def people(tmp_path, text):
    around = Surroundings(Home.at(tmp_path), "STRONGROOM", MemoryUsers(), PresentedInMemory(), now)
    return People(parse_settings(text), around)


def section(issuer, name="one", realm="example", **more):
    lines = {"name": name, "realm": realm, "issuer": issuer.name, "jwks": str(issuer.jwks_file)} | more
    return "[[jwt]]\n" + "".join(f'{key} = "{value}"\n' for key, value in lines.items())


def test_without_providers_there_are_names_and_passcodes(tmp_path):
    with people(tmp_path, "") as made:
        assert made.chain.identity_types == {1, 2}


def test_a_type_is_verified_where_a_provider_is_configured_and_the_type_is_not_switched_off(tmp_path, issuer):
    with people(tmp_path, section(issuer)) as made:
        assert made.chain.identity_types == {1, 2, 5}
    with people(tmp_path, "[identity]\ntypes = [2]\n" + section(issuer)) as made:
        assert made.chain.identity_types == {2}


@pytest.mark.parametrize(
    ("second", "named"),
    [
        ({"name": "one", "realm": "other"}, "one name"),
        ({"name": "local", "realm": "other"}, "one name"),
        ({"name": "two", "realm": "example"}, "the realm 'example'"),
    ],
)
def test_providers_that_could_be_taken_for_each_other_do_not_start(tmp_path, issuer, second, named):
    with pytest.raises(SettingsInvalid, match=named):
        people(tmp_path, section(issuer) + section(issuer, **second))


def test_an_audience_is_ours_unless_another_is_named(tmp_path, issuer):
    with people(tmp_path, section(issuer, audience="urn:x")) as made:
        assert made.chain.identity_types == {1, 2, 5}


@pytest.mark.parametrize("more", [{"jwks": "absent.json"}, {"discovery": "https://127.0.0.1/"}])
def test_a_provider_without_usable_keys_does_not_start(tmp_path, issuer, more):
    with pytest.raises(ProviderMisconfigured):
        people(tmp_path, section(issuer, **more))


@pytest.mark.parametrize("keys", ["", 'certificates = ["a.pem"]\nmetadata = "b.xml"\n'])
def test_an_issuer_of_assertions_has_certificates_or_metadata(tmp_path, keys):
    with pytest.raises(SettingsInvalid, match="either certificates or metadata"):
        people(tmp_path, f'[[saml]]\nname = "a"\nrealm = "b"\nissuer = "c"\n{keys}')
