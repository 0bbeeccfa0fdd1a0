"""Reading passcodes and attributes from the command line."""

import io

import pytest
from argon2 import PasswordHasher

from archive.cli import user
from archive.errors import UsageInvalid
from auth.errors import RecordInvalid


@pytest.mark.parametrize(
    ("data", "passcode"), [(b"a b", b"a b"), (b"a b\n", b"a b"), (b"a\n\n", b"a\n"), (b"\xc3\xa4\r\n", b"\xc3\xa4\r")]
)
def test_a_passcode_file_drops_one_trailing_newline_and_nothing_else(tmp_path, data, passcode):
    (tmp_path / "f").write_bytes(data)
    hashed = user._hashed(str(tmp_path / "f"))
    assert PasswordHasher().verify(hashed, passcode)


def test_a_passcode_may_come_from_standard_input(monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"secret\n")))
    assert PasswordHasher().verify(user._hashed("-"), b"secret")


@pytest.mark.parametrize(("data", "error"), [(b"", RecordInvalid), (b"\n", RecordInvalid), (b"x" * 5000, UsageInvalid)])
def test_a_passcode_that_is_none_is_refused(tmp_path, data, error):
    (tmp_path / "f").write_bytes(data)
    with pytest.raises(error):
        user._hashed(str(tmp_path / "f"))


def test_without_a_terminal_nothing_is_asked(monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"secret\n")))
    with pytest.raises(UsageInvalid, match="--passcode-file"):
        user._hashed(None)


def test_attributes_are_names_with_values_each_once():
    assert user._attributes(["a=b=c", "d="]) == {"a": "b=c", "d": ""}
    for wrong in (["a"], ["a=1", "a=2"]):
        with pytest.raises(UsageInvalid):
            user._attributes(wrong)
