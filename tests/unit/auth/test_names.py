"""Names that could be two names, or more than a name, are refused (PS3.7 D.3.3.7.1: UTF-8)."""

import unicodedata
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auth.errors import RecordInvalid
from auth.names import checked_attributes, checked_roles, checked_title, checked_username, username_from_wire


@pytest.mark.parametrize(
    "name",
    [
        "",
        " ",
        " anna",
        "anna ",
        "a!b",
        "!",
        "anna\0",
        "an\0na",
        "anna\n",
        "an\tna",
        "an\x7fna",
        "an\x85na",
        "an\u200bna",
        "an\u202ena",
        "an\u2028na",
        "an\u00a0na",
        "\ufeffanna",
        "a" * 65,
        "\ud800",
        "\ue000",
    ],
)
def test_name_is_refused(name):
    with pytest.raises(RecordInvalid):
        checked_username(name)


@pytest.mark.parametrize(
    "name", ["anna", "Dr. Anna Süß", "山田太郎", "anna@example.org", "EXAMPLE\\anna", "a" * 64, "x"]
)
def test_name_is_taken(name):
    assert checked_username(name) == name


def test_two_spellings_of_one_name_are_one_name():
    assert checked_username("Su\u0308ß") == checked_username("S\u00fcß")


def test_case_is_kept():
    assert checked_username("Anna") != checked_username("anna")


@pytest.mark.parametrize(
    "value",
    [b"", b"\xff", b"anna\xff", b"\xc0\x80", b"\xed\xa0\x80", b"a\0b", b"anna\0", b"a" * 65, b"a" * 65_000, b"a!"],
)
def test_primary_field_is_refused(value):
    with pytest.raises(RecordInvalid):
        username_from_wire(value)


@given(st.binary(max_size=300))
def test_primary_field_of_any_bytes_is_a_clean_name_or_refused(value):
    with suppress(RecordInvalid):
        name = username_from_wire(value)
        assert 0 < len(name) <= 64
        assert name == unicodedata.normalize("NFC", name) == checked_username(name)
        assert name.isprintable()
        assert "!" not in name


@given(st.text(max_size=80))
def test_checking_twice_is_checking_once(text):
    with suppress(RecordInvalid):
        name = checked_username(text)
        assert checked_username(name) == name


@given(st.text(max_size=20))
def test_ae_title_is_printable_ascii_or_refused(text):
    try:
        title = checked_title(text)
    except RecordInvalid:
        legal = 0 < len(text) <= 16 and text == text.strip(" ") and all(" " <= c <= "~" and c != "\\" for c in text)
        assert not legal
    else:
        assert title == text
        assert 0 < len(title) <= 16


def test_unknown_role_is_refused_where_the_roles_are_known():
    known = frozenset({"modality", "service"})
    assert checked_roles(["service", "service"], known) == {"service"}
    with pytest.raises(RecordInvalid, match="there are modality, service"):
        checked_roles(["radiologist"], known)


@pytest.mark.parametrize("role", ["", "A", "a b", "a,b", "a\n", "ä", "1a", "a" * 33, 'a"', "-a"])
def test_malformed_role_is_refused(role):
    with pytest.raises(RecordInvalid):
        checked_roles([role])


@pytest.mark.parametrize(
    "attributes",
    [
        {"A": "x"},
        {"": "x"},
        {"a b": "x"},
        {"a": ""},
        {"a": "x" * 257},
        {"a": "x\ny"},
        {"a": "\0"},
        {f"a{i}": "x" for i in range(33)},
    ],
)
def test_malformed_attribute_is_refused(attributes):
    with pytest.raises(RecordInvalid):
        checked_attributes(attributes)


def test_attributes_are_copied_and_read_only():
    given_by_caller = {"physician_name": "Müller^Jörg"}
    kept = checked_attributes(given_by_caller)
    given_by_caller["physician_name"] = "Other"
    assert kept == {"physician_name": "Müller^Jörg"}
    with pytest.raises(TypeError):
        kept["physician_name"] = "Other"  # type: ignore[index]
