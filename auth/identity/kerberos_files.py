"""What a Kerberos service keeps on disk: its keytab, its replay cache, and the settings of its library.

All of it is told to the library by the environment of the workers (`kerberos_pool`), and nothing of the machine's own
Kerberos settings is read.
"""

import os
from pathlib import Path

from auth.errors import ProviderMisconfigured

_OTHERS = 0o077


def check_keytab(keytab: Path) -> None:
    """Refuse a keytab that cannot be read, or that others than its owner can.

    Raises:
        ProviderMisconfigured: it is so.
    """
    try:
        mode = keytab.stat().st_mode
        with keytab.open("rb") as file:
            file.read(1)
    except OSError as error:
        raise ProviderMisconfigured(f"the Kerberos keytab {keytab} cannot be read ({error.strerror})") from None
    if mode & _OTHERS:
        raise ProviderMisconfigured(f"{keytab} can be read by others: run `chmod 600 {keytab}`")


def library_environment(keytab: Path, replay_cache: Path, clock_skew_seconds: int) -> dict[str, str]:
    """The whole environment of a worker, with the files that it names made where they are not there.

    Raises:
        ProviderMisconfigured: the replay cache, or the settings beside it, cannot be written.
    """
    settings = replay_cache.with_name(f"{replay_cache.name}.conf")
    fresh = settings.with_name(f"{settings.name}.{os.getpid()}")
    try:
        replay_cache.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        replay_cache.touch(mode=0o600)
        fresh.write_text(_library_settings(clock_skew_seconds))
        fresh.replace(settings)
    except OSError as error:
        raise ProviderMisconfigured(
            f"the Kerberos replay cache {replay_cache} cannot be written ({error.strerror})"
        ) from None
    environment = {
        "KRB5_CONFIG": str(settings.absolute()),
        "KRB5_KTNAME": f"FILE:{keytab.absolute()}",
        # Named in full: by default it would be a temporary file, and `none:` would take a token any number of times.
        "KRB5RCACHENAME": f"file2:{replay_cache.absolute()}",
        # Kerberos 5 alone: mechanisms that the machine has besides are not loaded.
        "GSS_MECH_CONFIG": os.devnull,
        "LC_ALL": "C",
    }
    if "LD_LIBRARY_PATH" in os.environ:
        environment["LD_LIBRARY_PATH"] = os.environ["LD_LIBRARY_PATH"]
    return environment


def _library_settings(clock_skew_seconds: int) -> str:
    """A krb5.conf for a service that never calls out: no name service, AES alone (RFC 3962, RFC 8009)."""
    return f"""\
[libdefaults]
  clockskew = {clock_skew_seconds}
  dns_canonicalize_hostname = false
  dns_lookup_kdc = false
  dns_lookup_realm = false
  rdns = false
  permitted_enctypes = aes256-sha2 aes128-sha2 aes256-sha1 aes128-sha1
"""
