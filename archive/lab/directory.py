"""A throw-away directory for trying and testing: OpenLDAP's slapd on loopback, as an ordinary user, in one folder.

It has people (inetOrgPerson) below ``ou=people`` and groups (groupOfNames, and memberOf on the people) below
``ou=groups``; a service account that may search but read no passcode; and TLS, without which it takes no passcode.
"""

import base64
import re
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from archive.lab.server_process import ServerProcess
from archive.lab.system import free_port, program
from archive.lab.tls import make_tls
from auth.credential import Secret
from auth.identity.passcode import hash_passcode

SUFFIX: Final = "dc=strongroom,dc=lab"
COMMAND_SECONDS: Final = 30.0
_ADMINISTRATOR: Final = f"cn=administrator,{SUFFIX}"
_SERVICE: Final = f"cn=archive,{SUFFIX}"
_PASSCODE: Final = "of the throw-away directory"
"""Of the administrator and of the service account."""
_PLAIN_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}", re.ASCII)
"""Names here stand in distinguished names, where others would need escaping."""


class LabDirectory:
    """One directory. Not thread-safe; whoever starts it stops it. What was added outlives a stop."""

    host: Final = "127.0.0.1"
    base: Final = f"ou=people,{SUFFIX}"
    group_base: Final = f"ou=groups,{SUFFIX}"
    bind_dn: Final = _SERVICE
    bind_passcode: Final = _PASSCODE

    def __init__(self, folder: Path) -> None:
        """``folder``: new, empty, or that of a former one."""
        self.folder = folder
        self.ldaps_port = 0
        self.starttls_port = 0
        self._server: ServerProcess | None = None

    @property
    def ca(self) -> Path:
        """PEM of the authority that vouches for the directory."""
        return self.folder / "ca.pem"

    @property
    def log(self) -> Path:
        """What slapd says: a line for each connection, operation and result."""
        return self.folder / "slapd.log"

    def start(self) -> None:
        """Make the directory unless it is made, and serve it on two free ports of 127.0.0.1 (the former, if any).

        Raises:
            FileNotFoundError: a program is not installed; the message says which package brings it.
            RuntimeError: the directory cannot be made, or the server does not come up.
        """
        slapd = program("slapd")
        config = self.folder / "slapd.conf"
        if not config.exists():
            self._make(config)
        self.ldaps_port = self.ldaps_port or free_port()
        self.starttls_port = self.starttls_port or free_port()
        addresses = f"ldaps://{self.host}:{self.ldaps_port} ldap://{self.host}:{self.starttls_port}"
        command = [slapd, "-f", str(config), "-h", addresses, "-d", "stats"]
        self._server = ServerProcess(command, self.ldaps_port, self.log)

    def stop(self) -> None:
        """End the server; harmless when it does not run."""
        if self._server is not None:
            self._server.stop()
            self._server = None

    def dn_of(self, name: str) -> str:
        """The distinguished name of a person of this name."""
        return f"uid={_plain(name)},{self.base}"

    def add_person(self, name: str, passcode: str, groups: Iterable[str] = (), **attributes: str) -> str:
        """A person in these groups, which are made as needed; returns the distinguished name.

        Args:
            name: the ``uid``; lower-case letters, digits, dots, hyphens.
            passcode: kept as an argon2id hash.
            groups: names of groups (``cn``).
            attributes: more of inetOrgPerson's, such as ``displayName``.
        """
        given = {"sn": name, "cn": name, "displayName": name.title(), **attributes}
        lines = [f"dn: {self.dn_of(name)}", "changetype: add", "objectClass: inetOrgPerson", f"uid: {name}"]
        lines += [_line(attribute, value) for attribute, value in given.items()]
        lines += [_line("userPassword", "{ARGON2}" + hash_passcode(Secret(passcode.encode())))]
        self.change("\n".join(lines))
        for group in groups:
            self.add_to_group(name, group)
        return self.dn_of(name)

    def remove_person(self, name: str) -> None:
        """Delete a person's entry."""
        self.change(f"dn: {self.dn_of(name)}\nchangetype: delete")

    def add_to_group(self, name: str, group: str) -> None:
        """Make the person a member; a group is made with its first member."""
        head = f"dn: cn={_plain(group)},{self.group_base}"
        try:
            self.change(f"{head}\nchangetype: modify\nadd: member\nmember: {self.dn_of(name)}")
        except RuntimeError:
            # A groupOfNames has a member at all times (RFC 4519 3.5): the service account, which is nobody.
            members = f"member: {_SERVICE}\nmember: {self.dn_of(name)}"
            self.change(f"{head}\nchangetype: add\nobjectClass: groupOfNames\ncn: {group}\n{members}")

    def remove_from_group(self, name: str, group: str) -> None:
        """End a membership."""
        head = f"dn: cn={_plain(group)},{self.group_base}\nchangetype: modify"
        self.change(f"{head}\ndelete: member\nmember: {self.dn_of(name)}")

    def change(self, ldif: str) -> None:
        """Apply change records (RFC 2849) as the administrator.

        Raises:
            RuntimeError: the directory does not accept them.
        """
        server = f"ldaps://{self.host}:{self.ldaps_port}"
        passcode = str(self.folder / "administrator")
        # -M: an entry that is a referral is changed itself.
        self._run(["ldapmodify", "-M", "-x", "-H", server, "-D", _ADMINISTRATOR, "-y", passcode], ldif + "\n")

    def _make(self, config: Path) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        (self.folder / "db").mkdir(mode=0o700)
        make_tls(self.folder, self.host)
        (self.folder / "administrator").write_text(_PASSCODE)
        (self.folder / "administrator").chmod(0o600)
        config.write_text(self._settings())
        try:
            self._run(["slapadd", "-f", str(config)], _FIRST_ENTRIES + _service_account())
        except BaseException:
            config.unlink()
            raise

    def _settings(self) -> str:
        hashed = "{ARGON2}" + hash_passcode(Secret(_PASSCODE.encode()))
        return f"""\
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
moduleload memberof
moduleload ppolicy
moduleload argon2
TLSCACertificateFile {self.folder}/ca.pem
TLSCertificateFile {self.folder}/server.pem
TLSCertificateKeyFile {self.folder}/server.key
TLSProtocolMin 3.3
security simple_bind=128
sizelimit 50
database mdb
maxsize 67108864
dbnosync
suffix "{SUFFIX}"
rootdn "{_ADMINISTRATOR}"
rootpw "{hashed}"
directory {self.folder}/db
index objectClass,uid,cn,member eq
overlay memberof
overlay ppolicy
ppolicy_default "cn=default,ou=policies,{SUFFIX}"
ppolicy_use_lockout
access to attrs=userPassword by anonymous auth by * none
access to * by dn.exact="{_SERVICE}" read by * none
"""

    def _run(self, command: list[str], text: str) -> None:
        done = subprocess.run(  # noqa: S603  (a program of the system, no shell)
            [program(command[0]), *command[1:]],
            input=text,
            env={"LDAPTLS_CACERT": str(self.ca), "LC_ALL": "C"},
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{command[0]}: {done.stderr.strip()}")


_FIRST_ENTRIES: Final = f"""\
dn: {SUFFIX}
objectClass: dcObject
objectClass: organization
o: Strongroom lab
dc: strongroom

dn: ou=people,{SUFFIX}
objectClass: organizationalUnit
ou: people

dn: ou=groups,{SUFFIX}
objectClass: organizationalUnit
ou: groups

dn: ou=policies,{SUFFIX}
objectClass: organizationalUnit
ou: policies

dn: cn=default,ou=policies,{SUFFIX}
objectClass: organizationalRole
objectClass: pwdPolicy
cn: default
pwdAttribute: userPassword
pwdMustChange: TRUE
pwdLockout: TRUE

"""


def _service_account() -> str:
    account = [f"dn: {_SERVICE}", "objectClass: organizationalRole", "objectClass: simpleSecurityObject", "cn: archive"]
    return "\n".join([*account, _line("userPassword", "{ARGON2}" + hash_passcode(Secret(_PASSCODE.encode()))), ""])


def _line(attribute: str, value: str) -> str:
    """An attribute in LDIF, its value in base64, where nothing needs care (RFC 2849)."""
    return f"{attribute}:: {base64.b64encode(value.encode()).decode()}"


def _plain(name: str) -> str:
    if _PLAIN_NAME.fullmatch(name) is None:
        raise ValueError(f"{name!r} is not a name for this directory")
    return name
