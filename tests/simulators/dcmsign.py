"""DCMTK's dcmsign, with the test signer's key as files."""

import subprocess
from pathlib import Path

from cryptography.hazmat.primitives import serialization

from tests.simulators.encoding import signing_key

DCMSIGN = "/usr/bin/dcmsign"


def key_files(folder: Path) -> tuple[Path, Path]:
    """PEM files of the test signer: key, certificate."""
    made = signing_key()
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    key.write_bytes(
        made.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    certificate.write_bytes(made.certificate.public_bytes(serialization.Encoding.PEM))
    return key, certificate


def dcmsign(*words: object) -> subprocess.CompletedProcess[str]:
    """Run it; whatever comes of it."""
    return subprocess.run([DCMSIGN, *map(str, words)], capture_output=True, errors="replace", check=False, timeout=120)
