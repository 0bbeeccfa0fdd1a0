"""The settings file: what it says is what is used, and what is not understood is an error that names it."""

import dataclasses
import itertools
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archive.errors import SettingsInvalid
from archive.settings import MAX_SETTINGS_BYTES, Settings, is_ae_title, load_settings, parse_settings

SHIPPED = Path(__file__).resolve().parents[3] / "config" / "strongroom.toml"


def test_the_shipped_file_says_the_defaults():
    assert load_settings(SHIPPED) == Settings()


def test_the_shipped_file_names_every_key_there_is_and_comments_it():
    table = tomllib.loads(SHIPPED.read_text())
    for section in dataclasses.fields(Settings):
        if section.name in ("providers", "audit", "signature"):
            continue  # shown as comments
        keys = {field.name for field in dataclasses.fields(section.type)}
        assert set(table[section.name]) == keys, section.name
    lines = SHIPPED.read_text().splitlines()
    for above, line in itertools.pairwise(lines):
        if " = " in line and not line.startswith("#"):
            assert above.startswith("#"), f"no comment above {line}"


def test_an_empty_file_is_the_defaults():
    assert parse_settings("") == Settings()


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[listen]\nprot = 1", "unknown key 'prot' in [listen]"),
        ("[lisen]\nport = 1", "unknown section ['lisen']"),
        ("listen = 3", "listen is a section"),
        ("[saml]\nname = 'x'", "write [[saml]]"),
        ("jwt = [1]", "write [[jwt]]"),
        ("[listen]\nport = 'x'", "listen.port must be a whole number"),
        ("[listen]\nport = true", "listen.port must be a whole number"),
        ("[listen]\nport = 65536", "listen.port is 65536"),
        ("[listen]\nport = -1", "listen.port is -1"),
        ("[listen]\nhost = 'a b'", "listen.host"),
        ("[listen]\nhost = ''", "listen.host"),
        ("[listen]\nplain = 'yes'", "listen.plain"),
        ("[listen]\nplain = true", "listen.plain must be a text"),
        ("[listen]\nplain = 'insecure'\nplain_port = 2762", "must differ"),
        ("[listen]\ndrain_seconds = nan", "listen.drain_seconds"),
        ("[limits]\nassociations = 0", "limits.associations is 0"),
        ("[limits]\nhandshake_seconds = inf", "limits.handshake_seconds"),
        ("[limits]\npdu_bytes = 100", "limits.pdu_bytes"),
        ("[limits]\npresentation_contexts = 129", "limits.presentation_contexts"),
        ("[archive]\nae_title = 'SEVENTEEN_LETTERS'", "archive.ae_title"),
        ("[archive]\nae_title = 'BACK\\SLASH'", "archive.ae_title"),
        ("[archive]\nae_title = ' PADDED'", "archive.ae_title"),
        ("[identity]\ntypes = [1, 9]", "identity.types"),
        ("[identity]\ntypes = ['1']", "identity.types must be a list of whole numbers"),
        ("[identity]\ntypes = 2", "identity.types must be a list"),
        ("[storage]\nsop_classes = [1]", "storage.sop_classes must be a list of texts"),
        ("[identity]\nwithout_tls = 'please'", "identity.without_tls"),
        ("[policy]\ndirectory = ''", "policy.directory must be a path"),
        ('[policy]\ndirectory = "a\\u0000b"', "policy.directory"),
        ("[log]\nlevel = 'loud'", "log.level"),
        ("[log]\nlevel = 'info'\nlevel = 'info'", "not TOML"),
        ("[log", "not TOML"),
    ],
)
def test_what_is_not_understood_is_named(text, named):
    with pytest.raises(SettingsInvalid) as refused:
        parse_settings(text)
    assert named in str(refused.value)


def test_values_arrive_with_the_types_of_the_settings():
    settings = parse_settings(
        "[listen]\ndrain_seconds = 3\nplain = 'insecure'\n[identity]\ntypes = [2]\n[keys]\nkeyring = '/media/key'\n"
    )
    assert settings.listen.drain_seconds == 3.0 and isinstance(settings.listen.drain_seconds, float)
    assert settings.listen.plain == "insecure"
    assert settings.identity.types == (2,)
    assert settings.keys.keyring == Path("/media/key")


def test_a_file_that_is_missing_not_text_or_endless_is_an_error(tmp_path):
    with pytest.raises(SettingsInvalid, match="cannot be read"):
        load_settings(tmp_path / "none.toml")
    path = tmp_path / "strongroom.toml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(SettingsInvalid, match="UTF-8"):
        load_settings(path)
    path.write_bytes(b"#" * (MAX_SETTINGS_BYTES + 1))
    with pytest.raises(SettingsInvalid, match="larger than"):
        load_settings(path)


def test_an_error_in_a_file_names_the_file(tmp_path):
    path = tmp_path / "strongroom.toml"
    path.write_text("[listen]\nprot = 1\n")
    with pytest.raises(SettingsInvalid, match=r"strongroom\.toml: unknown key"):
        load_settings(path)


@given(st.text(max_size=200))
def test_no_text_does_more_than_be_refused(text):
    try:
        assert isinstance(parse_settings(text), Settings)
    except SettingsInvalid as error:
        assert str(error)


@given(st.text(max_size=20))
def test_an_ae_title_is_what_ps3_5_6_2_says(text):
    expected = (
        0 < len(text) <= 16
        and all(" " <= character <= "~" and character != "\\" for character in text)
        and text == text.strip()
    )
    assert is_ae_title(text) == expected
