"""A token of SoftHSM2 (PKCS #11) in a folder of its own."""

import subprocess
from pathlib import Path

import pytest

MODULE = Path("/usr/lib/softhsm/libsofthsm2.so")
PIN = "135790"


class SoftToken:
    """One token. Whoever opens it needs `environment`."""

    def __init__(self, folder: Path, label: str = "strongroom") -> None:
        if not MODULE.exists():
            pytest.skip("the Debian package softhsm2 is not installed")
        pytest.importorskip("pkcs11", reason="the Python package python-pkcs11 is not installed")
        folder.mkdir()
        (folder / "tokens").mkdir()
        configuration = folder / "softhsm2.conf"
        configuration.write_text(f"directories.tokendir = {folder / 'tokens'}\nobjectstore.backend = file\n")
        self.environment = {"SOFTHSM2_CONF": str(configuration)}
        self.pin = folder / "pin"
        self.pin.write_text(PIN + "\n")
        self.pin.chmod(0o600)
        command = ["softhsm2-util", "--init-token", "--free", "--label", label, "--pin", PIN, "--so-pin", "24680"]
        subprocess.run(command, env=self.environment, check=True, capture_output=True, timeout=30)
        self.uri = f"pkcs11:token={label}?module-path={MODULE}&pin-source={self.pin}"
