"""Certificates and keys as files of the operator's: read to be registered, written when issued."""

import base64
import os
from collections.abc import Mapping
from pathlib import Path

from archive.errors import UsageInvalid

_FILES = ("key.pem", "cert.pem", "ca.pem")


def read_certificate_base64(path: Path) -> str:
    """The first certificate of a PEM or DER file, as a request carries it.

    Raises:
        AuthorityError: it cannot be read, or holds no certificate.
    """
    from auth.node.pem import read_certificate

    return base64.b64encode(read_certificate(path)).decode("ascii")


def check_room(folder: Path) -> None:
    """See that key and certificates can be written to a folder, before anything is issued.

    Raises:
        UsageInvalid: they cannot, or one is there already.
    """
    for name in _FILES:
        if os.path.lexists(folder / name):
            raise UsageInvalid(f"{folder / name} is already there: name another folder, nothing is overwritten")
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise UsageInvalid(f"{folder} cannot be made ({error.strerror}): name a folder that you may write") from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UsageInvalid(f"{folder} cannot be written: name a folder that you may write")


def write(folder: Path, material: Mapping[str, str], remedy: str) -> None:
    """Write what was issued, the key for the owner alone.

    Raises:
        UsageInvalid: it could not be written and is lost; ``remedy`` is the command line that gives another.
    """
    from auth.errors import AuthorityError
    from auth.node.pem import write_exclusively

    contents = {name: (material[name].encode("ascii"), 0o600 if name == "key.pem" else 0o644) for name in _FILES}
    try:
        write_exclusively(folder, contents)
    except AuthorityError as error:
        raise UsageInvalid(f"{error}; what was issued is registered and its key is lost: run `{remedy}`") from None
