"""Opening the keyring that the settings name."""

from archive.home import Home, check_secret
from archive.settings import Settings, load_settings
from storage.crypto.keyring import Keyring


def load_keyring(home: Home, settings: Settings | None = None) -> Keyring:
    """The keyring of a home.

    Raises:
        SettingsInvalid: the settings cannot be read.
        HomeInvalid: the keyring is not there.
        SecretExposed: others can read it.
        KeyringInvalid: it is none.
    """
    path = home.inside((settings or load_settings(home.settings)).keys.keyring)
    check_secret(path)
    return Keyring.load(path)
