"""A throw-away Kerberos realm for trying and testing: MIT krb5kdc on loopback, as an ordinary user, in one folder.

Nothing outside the folder is read or written: the realm has its own krb5.conf, database, stash and log.
"""

import subprocess
from pathlib import Path

from archive.lab.kerberos_client import LabTicket, request_ticket
from archive.lab.server_process import ServerProcess
from archive.lab.system import free_port, program

REALM = "STRONGROOM.LAB"
MASTER_PASSCODE = "of the throw-away realm's database"
COMMAND_SECONDS = 30.0


class LabKdc:
    """One realm. Not thread-safe; whoever starts it stops it."""

    def __init__(self, folder: Path, realm: str = REALM) -> None:
        """``folder``: new or empty. ``realm``: by convention in capitals."""
        self.folder = folder
        self.realm = realm
        self.port = 0
        self._server: ServerProcess | None = None

    @property
    def config(self) -> Path:
        """The krb5.conf by which clients find the realm (KRB5_CONFIG)."""
        return self.folder / "krb5.conf"

    def start(self) -> None:
        """Make the realm, and serve it on a free port of 127.0.0.1.

        Raises:
            FileNotFoundError: a program is not installed; the message says which package brings it.
            RuntimeError: the realm cannot be made, or the server does not come up.
        """
        krb5kdc = program("krb5kdc")
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.port = free_port()
        self.config.write_text(self._client_settings())
        (self.folder / "kdc.conf").write_text(self._server_settings())
        self._run("kdb5_util", "create", "-s", "-r", self.realm, "-P", MASTER_PASSCODE)
        command = [krb5kdc, "-n", "-r", self.realm]
        self._server = ServerProcess(command, self.port, self.folder / "kdc.out", environment=self._environment())

    def stop(self) -> None:
        """End the server; harmless when it does not run."""
        if self._server is not None:
            self._server.stop()
            self._server = None

    def add_principal(self, name: str, passcode: str) -> None:
        """Make a principal with a passcode; ``name`` without a realm is one of this realm."""
        self._run("kadmin.local", "-r", self.realm, "addprinc", "-pw", passcode, name)

    def keytab(self, service: str) -> Path:
        """A keytab with a fresh key of a service, written as ``dicom@host``; a former keytab of it is void.

        The service's principal is made at the first call.
        """
        principal = service.replace("@", "/")
        path = self.folder / f"{principal.replace('/', '-')}.keytab"
        path.unlink(missing_ok=True)
        if f"{principal}@{self.realm}" not in self._run("kadmin.local", "-r", self.realm, "listprincs").split():
            self._run("kadmin.local", "-r", self.realm, "addprinc", "-randkey", principal)
        self._run("kadmin.local", "-r", self.realm, "ktadd", "-k", str(path), principal)
        path.chmod(0o600)
        return path

    def ticket(
        self, name: str, passcode: str, service: str, *, mutual: bool = True, lifetime_seconds: int | None = None
    ) -> LabTicket:
        """Sign in, and get what proves it to a service written as ``dicom@host``.

        Args:
            name: a principal, with or without this realm.
            passcode: the principal's.
            service: whom the ticket is for.
            mutual: the service shall prove itself too.
            lifetime_seconds: of the ticket; None: as long as the realm grants.

        Raises:
            KerberosClientError: the realm refuses.
        """
        principal = name if "@" in name else f"{name}@{self.realm}"
        server = f"{service.replace('@', '/')}@{self.realm}"
        return request_ticket(
            self.config, principal, passcode, server, mutual=mutual, lifetime_seconds=lifetime_seconds
        )

    def _client_settings(self) -> str:
        return f"""\
[libdefaults]
  default_realm = {self.realm}
  dns_lookup_kdc = false
  dns_lookup_realm = false
  dns_canonicalize_hostname = false
  rdns = false
  udp_preference_limit = 1
  default_ccache_name = FILE:{self.folder}/credentials
  default_keytab_name = FILE:{self.folder}/none.keytab
[realms]
  {self.realm} = {{
    kdc = 127.0.0.1:{self.port}
  }}
"""

    def _server_settings(self) -> str:
        return f"""\
[kdcdefaults]
  kdc_listen = 127.0.0.1:{self.port}
  kdc_tcp_listen = 127.0.0.1:{self.port}
[realms]
  {self.realm} = {{
    database_name = {self.folder}/principal
    key_stash_file = {self.folder}/stash
    acl_file = {self.folder}/kadm5.acl
    max_life = 10h
    max_renewable_life = 1d
    supported_enctypes = aes256-cts-hmac-sha384-192:normal aes256-cts-hmac-sha1-96:normal
  }}
[logging]
  kdc = FILE:{self.folder}/kdc.log
  admin_server = FILE:{self.folder}/kadmin.log
"""

    def _environment(self) -> dict[str, str]:
        return {
            "KRB5_CONFIG": str(self.config),
            "KRB5_KDC_PROFILE": str(self.folder / "kdc.conf"),
            "KRB5RCACHENAME": f"file2:{self.folder}/kdc.rcache",
            "LC_ALL": "C",
        }

    def _run(self, name: str, *arguments: str) -> str:
        done = subprocess.run(  # noqa: S603  (a program of the system, no shell)
            [program(name), *arguments],
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )
        # kadmin.local tells some of its failures on stderr alone and still ends with 0.
        if done.returncode or "while" in done.stderr:
            raise RuntimeError(f"{name}: {done.stderr.strip()}")
        return done.stdout
