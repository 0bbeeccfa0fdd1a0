"""Whose signatures count here, as the settings say."""

from pathlib import Path

from archive.errors import SettingsInvalid
from archive.home import Home
from archive.settings import Settings
from archive.signing_keys import fingerprints
from auth.node.pem import read_certificates
from storage.integrity.timestamp import StampVerifier
from storage.integrity.trust import Trust, read_revocations


def trust_of(home: Home, settings: Settings, own: tuple[bytes, ...]) -> Trust:
    """What `[signatures]` trusts, and our own signers (DER of their certificates).

    Raises:
        SettingsInvalid: a file that is named there cannot be read, or holds something else.
        AuthError: the certificates cannot be read.
    """
    chosen = settings.signatures
    stamps = chosen.timestamp_ca or settings.trail.timestamp_ca
    return Trust(
        archive=fingerprints(own),
        authorities=tuple(read_certificates(home.inside(Path(chosen.trust)))) if chosen.trust else (),
        revocations=revocations([home.inside(Path(chosen.revoked))] if chosen.revoked else []),
        stamps=stamp_verifier(home.inside(Path(stamps))) if stamps else None,
    )


def revocations(paths: list[Path]) -> tuple:  # type: ignore[type-arg]
    """Revocation lists of files. Raises `SettingsInvalid`."""
    try:
        return read_revocations(paths)
    except (OSError, ValueError) as error:
        names = ", ".join(map(str, paths))
        raise SettingsInvalid(f"{names}: {error}: name revocation lists (PEM or DER)") from None


def stamp_verifier(path: Path) -> StampVerifier:
    """Whose time stamps count. Raises `SettingsInvalid`."""
    try:
        return StampVerifier.trusting(path)
    except (OSError, ValueError):
        raise SettingsInvalid(f"{path} cannot be read, or holds no certificate (PEM)") from None
