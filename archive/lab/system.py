"""What lab servers want of the machine: programs that its packages bring, and ports that nobody has."""

import shutil
import socket
from typing import Final

PACKAGES: Final = {
    "slapd": "slapd",
    "slapadd": "slapd",
    "ldapmodify": "ldap-utils",
    "krb5kdc": "krb5-kdc",
    "kdb5_util": "krb5-kdc",
    "kadmin.local": "krb5-admin-server",
}
"""Every program that a lab server starts, and the Debian package that brings it."""
_SYSTEM_FOLDERS: Final = "/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin"


def program(name: str) -> str:
    """Where a program is, also where it is not on the path of an ordinary user.

    Raises:
        FileNotFoundError: it is not installed; the message says which package brings it.
    """
    path = shutil.which(name) or shutil.which(name, path=_SYSTEM_FOLDERS)
    if path is None:
        raise FileNotFoundError(f"{name} is not installed: it comes with the Debian package {PACKAGES[name]}")
    return path


def free_port() -> int:
    """A port of 127.0.0.1 that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port
