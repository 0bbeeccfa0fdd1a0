"""Keys: their file, who may read it, and what is wrapped under them."""

import json
import stat

import pytest

from storage.crypto.keyring import Keyring, wrapped_length
from storage.errors import IntegrityFault, KeyringExposed, KeyringInvalid, KeyUnavailable


@pytest.fixture
def path(tmp_path):
    return tmp_path / "keyring.json"


def test_a_keyring_is_read_back(path):
    made = Keyring.create(path)
    read = Keyring.load(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert (read.address_key, read.ledger_key, read.audit_key) == (made.address_key, made.ledger_key, made.audit_key)
    assert read.unwrap(made.current_id, made.wrap(made.current_id, b"secret", b"context"), b"context") == b"secret"


def test_all_keys_differ(path):
    fields = json.loads(Keyring.create(path) and path.read_text())
    keys = [
        *fields["key_encryption_keys"].values(),
        *(fields[f"{name}_key"] for name in ("address", "ledger", "audit")),
    ]
    assert len(set(keys)) == 4 and all(len(bytes.fromhex(key)) == 32 for key in keys)


def test_a_keyring_is_never_replaced(path):
    Keyring.create(path)
    before = path.read_bytes()
    with pytest.raises(KeyringInvalid):
        Keyring.create(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o610, 0o666])
def test_a_keyring_that_others_reach_is_refused(path, mode):
    Keyring.create(path)
    path.chmod(mode)
    with pytest.raises(KeyringExposed):
        Keyring.load(path)


def test_what_is_no_keyring_is_refused(path):
    Keyring.create(path)
    good = json.loads(path.read_text())
    short = {**good, "ledger_key": good["ledger_key"][:-2]}
    bad = [
        {},
        [],
        {**good, "format": "strongroom keyring 2"},
        {**good, "extra": 1},
        {key: value for key, value in good.items() if key != "audit_key"},
        short,
        {**good, "ledger_key": 5},
        {**good, "ledger_key": "x" * 64},
        {**good, "current": "00" * 16},
        {**good, "key_encryption_keys": {}},
        {**good, "key_encryption_keys": []},
    ]
    for fields in bad:
        path.write_text(json.dumps(fields))
        with pytest.raises(KeyringInvalid):
            Keyring.load(path)
    path.write_bytes(b"\xff{")
    with pytest.raises(KeyringInvalid):
        Keyring.load(path)


def test_a_missing_keyring_and_a_folder_are_refused(tmp_path):
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(KeyringInvalid):
            Keyring.load(path)


def test_a_wrapped_secret_opens_only_unchanged_in_its_context_under_its_key(path, tmp_path):
    keyring, other = Keyring.create(path), Keyring.create(tmp_path / "other")
    wrapped = keyring.wrap(keyring.current_id, b"secret", b"context")
    assert len(wrapped) == wrapped_length(6)
    with pytest.raises(IntegrityFault):
        keyring.unwrap(keyring.current_id, wrapped, b"another")
    with pytest.raises(IntegrityFault):
        keyring.unwrap(keyring.current_id, wrapped[:-1] + bytes([wrapped[-1] ^ 1]), b"context")
    with pytest.raises(IntegrityFault):
        keyring.unwrap(keyring.current_id, b"", b"context")
    with pytest.raises(KeyUnavailable):
        other.unwrap(keyring.current_id, wrapped, b"context")


def test_a_keyring_does_not_print_its_keys(path):
    keyring = Keyring.create(path)
    secret = json.loads(path.read_text())["ledger_key"]
    assert secret not in repr(keyring) and str(keyring.ledger_key) not in repr(keyring)


def test_a_rotated_keyring_wraps_under_the_new_key_and_still_unwraps_the_old(tmp_path):
    path = tmp_path / "keyring.json"
    keyring = Keyring.create(path)
    first = keyring.current_id
    before = keyring.wrap(first, b"secret", b"context")
    second = keyring.rotate(path)
    after = keyring.wrap(second, b"secret", b"context")
    read = Keyring.load(path)
    assert (read.current_id, read.wrapping_ids) == (second, (first, second))
    for known in (keyring, read):
        assert known.unwrap(first, before, b"context") == known.unwrap(second, after, b"context") == b"secret"
    with pytest.raises(IntegrityFault):
        read.unwrap(first, after, b"context")


def test_a_keyring_is_not_rotated_over_another_ones_file(tmp_path):
    keyring = Keyring.create(tmp_path / "mine.json")
    Keyring.create(tmp_path / "other.json")
    with pytest.raises(KeyringInvalid, match="not the keyring"):
        keyring.rotate(tmp_path / "other.json")
    assert len(keyring.wrapping_ids) == 1
