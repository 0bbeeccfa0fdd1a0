"""The archive's keys in one file of their owner's alone; every key is 32 random bytes with one purpose.

- *key-encryption keys* (KEK), each with an id, of which one is current: wrap the data key of each object;
- the *address key*: addresses of objects are keyed, so a copied store does not tell who holds a known image;
- the *ledger key*: authenticates the ledger's records and encrypts their provenance;
- the *audit key*: the same for the audit trail.

Losing the file loses every object. Its format is in docs/on-disk-format.md.
"""

import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from storage import disk
from storage.errors import IntegrityFault, KeyringExposed, KeyringInvalid, KeyUnavailable

FORMAT: Final = "strongroom keyring 1"
KEY_BYTES: Final = 32
KEY_ID_BYTES: Final = 16
NONCE_BYTES: Final = 12
TAG_BYTES: Final = 16
_OTHERS: Final = 0o077
_PURPOSES: Final = ("address_key", "ledger_key", "audit_key")
_MAX_FILE_BYTES: Final = 1024 * 1024


class Keyring:
    """Keys in memory. Never printed: the representation names none of them."""

    __slots__ = ("_wrapping", "address_key", "audit_key", "current_id", "ledger_key")

    def __init__(self, current_id: bytes, wrapping: Mapping[bytes, bytes], purposes: Mapping[str, bytes]) -> None:
        """``wrapping``: key-encryption keys by id; ``purposes``: the other keys by name."""
        self.current_id = current_id
        """Which key-encryption key wraps new data keys."""
        self._wrapping = {key_id: AESGCM(key) for key_id, key in wrapping.items()}
        self.address_key = purposes["address_key"]
        self.ledger_key = purposes["ledger_key"]
        self.audit_key = purposes["audit_key"]

    def __repr__(self) -> str:
        return f"<Keyring of {len(self._wrapping)}>"

    @classmethod
    def create(cls, path: Path) -> "Keyring":
        """Make fresh keys and their file, whose folder must exist.

        Raises:
            KeyringInvalid: there is a file already, or it cannot be written.
        """
        current = os.urandom(KEY_ID_BYTES).hex()
        fields = {
            "format": FORMAT,
            "current": current,
            "key_encryption_keys": {current: os.urandom(KEY_BYTES).hex()},
            **{purpose: os.urandom(KEY_BYTES).hex() for purpose in _PURPOSES},
        }
        try:
            disk.create_exclusive(path, json.dumps(fields, indent=2).encode("ascii") + b"\n")
        except FileExistsError:
            raise KeyringInvalid(f"{path} is there already; a keyring is never replaced") from None
        except OSError as error:
            raise KeyringInvalid(f"{path} cannot be written: {error.strerror}") from error
        return _parsed(path, fields)

    @classmethod
    def load(cls, path: Path) -> "Keyring":
        """Read the file.

        Raises:
            KeyringInvalid: it is not there, cannot be read, or is not a keyring.
            KeyringExposed: its mode grants something to group or others.
        """
        return _parsed(path, _fields(path))

    @property
    def wrapping_ids(self) -> tuple[bytes, ...]:
        """Every key-encryption key by its id, the oldest first."""
        return tuple(self._wrapping)

    def rotate(self, path: Path) -> bytes:
        """Make a fresh key-encryption key current, in the file first; those before still unwrap. Returns its id.

        Raises:
            KeyringInvalid, KeyringExposed: the file is not this keyring's, or cannot be replaced.
        """
        fields, key_id, key = _fields(path), os.urandom(KEY_ID_BYTES), os.urandom(KEY_BYTES)
        if set(_parsed(path, fields).wrapping_ids) != set(self._wrapping):
            raise KeyringInvalid(f"{path} is not the keyring that was loaded from it")
        fields["key_encryption_keys"][key_id.hex()] = key.hex()
        fields["current"] = key_id.hex()
        _replace(path, fields)
        self._wrapping = {**self._wrapping, key_id: AESGCM(key)}
        self.current_id = key_id
        return key_id

    def wrap(self, key_id: bytes, secret: bytes, context: bytes) -> bytes:
        """Encrypt a secret under a key of ours, bound to ``context``: nonce (12) ‖ AES-256-GCM ciphertext and tag."""
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._wrapping[key_id].encrypt(nonce, secret, context)

    def unwrap(self, key_id: bytes, wrapped: bytes, context: bytes) -> bytes:
        """The inverse of `wrap`.

        Raises:
            KeyUnavailable: no such key is here.
            IntegrityFault: it is not what was wrapped, or not in this context.
        """
        key = self._wrapping.get(key_id)
        if key is None:
            raise KeyUnavailable(f"key {key_id.hex()} is not in the keyring")
        try:
            return key.decrypt(wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], context)
        except (InvalidTag, ValueError):
            raise IntegrityFault("a wrapped key is not what was wrapped") from None


def wrapped_length(length: int) -> int:
    """Bytes that `Keyring.wrap` makes of ``length`` bytes."""
    return NONCE_BYTES + length + TAG_BYTES


def _fields(path: Path) -> Any:
    """What the file says. Raises as `Keyring.load`."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        with os.fdopen(file, "rb") as opened:
            mode = os.fstat(file).st_mode
            if not stat.S_ISREG(mode):
                raise KeyringInvalid(f"{path} is not a file")
            if mode & _OTHERS:
                raise KeyringExposed(f"{path} can be read or written by others: run `chmod 600 {path}`")
            data = opened.read(_MAX_FILE_BYTES)
    except OSError as error:
        raise KeyringInvalid(f"{path} cannot be read: {error.strerror}") from error
    try:
        return json.loads(data)
    except ValueError:
        raise KeyringInvalid(f"{path} is not a keyring") from None


def _replace(path: Path, fields: Mapping[str, Any]) -> None:
    """Write the file anew, as a whole or not at all."""
    try:
        disk.overwrite(path, json.dumps(fields, indent=2).encode("ascii") + b"\n")
    except OSError as error:
        raise KeyringInvalid(f"{path} cannot be written: {error.strerror}") from error


def _parsed(path: Path, fields: Any) -> Keyring:
    expected = {"format", "current", "key_encryption_keys", *_PURPOSES}
    if not isinstance(fields, dict) or fields.get("format") != FORMAT or set(fields) != expected:
        raise KeyringInvalid(f"{path} is not a keyring that this release reads")
    try:
        wrapping = {
            _bytes(key_id, KEY_ID_BYTES): _bytes(key, KEY_BYTES)
            for key_id, key in fields["key_encryption_keys"].items()
        }
        current = _bytes(fields["current"], KEY_ID_BYTES)
        purposes = {purpose: _bytes(fields[purpose], KEY_BYTES) for purpose in _PURPOSES}
    except (ValueError, TypeError, AttributeError):
        raise KeyringInvalid(f"{path} holds something that is not a key") from None
    if current not in wrapping:
        raise KeyringInvalid(f"{path} lacks its current key")
    return Keyring(current, wrapping, purposes)


def _bytes(text: str, length: int) -> bytes:
    data = bytes.fromhex(text)
    if len(data) != length:
        raise ValueError
    return data
