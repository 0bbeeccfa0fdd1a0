"""The archive's keys in one file: 0600, JSON, 32 random bytes each."""

from pathlib import Path


class Keyring:
    """Keys in memory."""

    audit_key: bytes
    address_key: bytes
    ledger_key: bytes

    @classmethod
    def create(cls, path: Path) -> "Keyring":
        """Make a keyring where there is none. Raises `KeyringInvalid` if there is one or it cannot be written."""
        raise NotImplementedError

    @classmethod
    def load(cls, path: Path) -> "Keyring":
        """Read a keyring. Raises `KeyringInvalid`, `KeyringExposed`."""
        raise NotImplementedError
