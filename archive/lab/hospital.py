"""Everything that vouches for people in a hospital, thrown away afterwards: a directory, a Kerberos realm, a SAML and a
JWT issuer, all on loopback and in one folder, with two people whom each of them knows."""

import json
import os
import secrets
import shutil
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Final

from archive.lab.directory import LabDirectory
from archive.lab.jwt_issuer import JwtIssuer
from archive.lab.kdc import LabKdc
from archive.lab.kerberos_client import LabTicket
from archive.lab.saml_issuer import SamlIssuer, Wishes

PEOPLE: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {"alice": ("radiologists", "technologists"), "bob": ("researchers",)}
)
"""Who there is, and in which groups."""
ROLES: Final[Mapping[str, str]] = MappingProxyType(
    {"radiologists": "radiologist", "technologists": "modality", "researchers": "researcher"}
)
"""What a group is here. Alice is a technologist besides, so that what she sends is taken."""
SERVICE: Final = "dicom@localhost"
REALM: Final = "lab"
"""Of the people of both issuers: alice@lab-saml, alice@lab-jwt."""


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody with something of each kind to present."""

    name: str
    roles: tuple[str, ...]
    passcode: str = field(repr=False)


class LabHospital:
    """All of it. Use as a context manager; what cannot be had is in ``missing``, and the rest goes on without it."""

    def __init__(self, folder: Path, audience: str) -> None:
        """``folder``: absolute, new or empty. ``audience``: for whom assertions and tokens are."""
        self.folder = folder
        self.people = tuple(
            Person(name, tuple(ROLES[group] for group in groups), secrets.token_hex(8))
            for name, groups in PEOPLE.items()
        )
        self.missing: list[str] = []
        """What is not there, and what would bring it."""
        self.directory: LabDirectory | None = None
        self.kdc: LabKdc | None = None
        self._audience = audience
        self._saml = SamlIssuer(folder / "saml")
        self._jwt = JwtIssuer(folder / "jwt", audience=audience)
        self._keytab = folder / "dicom.keytab"
        self._tickets: dict[str, LabTicket] = {}
        self._held = ExitStack()

    def __enter__(self) -> "LabHospital":
        try:
            self._start_directory()
            self._start_kdc()
            self._held.callback(self._jwt.stop)
            self._jwt.start()
        except BaseException:
            self._held.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._held.close()

    @property
    def principals(self) -> Mapping[str, tuple[str, ...]]:
        """Kerberos principals and their roles, where no directory tells them and the archive's own records have to."""
        if self.kdc is None or self.directory is not None:
            return {}
        return {f"{person.name}@{self.kdc.realm}": person.roles for person in self.people}

    def settings(self) -> str:
        """The sections of ``strongroom.toml`` for what runs, with absolute paths."""
        sections = [self._saml_section(), self._jwt_section()]
        if self.directory:
            sections.append(self._directory_section(self.directory))
        if self.kdc:
            sections.append(self._kerberos_section(self.kdc))
        return "\n".join(sections)

    def renew_credentials(self) -> dict[tuple[str, str], Path]:
        """Write fresh credentials into files; each one's path by person and kind (kerberos, saml, jwt).

        A file is replaced as a whole, so whoever reads it meanwhile reads a good one.
        """
        files = {}
        for person in self.people:
            for kind, content in self._credentials(person).items():
                files[person.name, kind] = path = self.folder / f"{person.name}.{kind}"
                _replace(path, content)
        return files

    def _credentials(self, person: Person) -> dict[str, bytes]:
        groups = PEOPLE[person.name]
        wishes = Wishes(audience=self._audience, roles=groups, display_name=person.name.title())
        made = {
            "saml": self._saml.assertion(person.name, wishes),
            "jwt": self._jwt.token(person.name, roles=list(groups)).encode(),
        }
        if person.name in self._tickets:
            made["kerberos"] = self._tickets[person.name].present().gss_token
        return made

    def _start_directory(self) -> None:
        if find_spec("ldap") is None:
            self.missing.append("no directory: python-ldap is not installed, `pip install strongroom[ldap]` brings it")
            return
        directory = LabDirectory(self.folder / "directory")
        self._held.callback(directory.stop)
        try:
            directory.start()
            for person in self.people:
                directory.add_person(person.name, person.passcode, PEOPLE[person.name])
        except FileNotFoundError as error:
            directory.stop()
            self.missing.append(f"no directory: {error}")
            return
        _replace(self.folder / "directory.passcode", directory.bind_passcode.encode())
        self.directory = directory

    def _start_kdc(self) -> None:
        if find_spec("kerberos") is None:
            self.missing.append(
                "no Kerberos: pykerberos is not installed, `pip install strongroom[kerberos]` brings it"
            )
            return
        kdc = LabKdc(self.folder / "kdc")
        self._held.callback(kdc.stop)
        try:
            kdc.start()
            shutil.copy(kdc.keytab(SERVICE), self._keytab)
            for person in self.people:
                kdc.add_principal(person.name, person.passcode)
                self._tickets[person.name] = kdc.ticket(person.name, person.passcode, SERVICE)
        except FileNotFoundError as error:
            kdc.stop()
            self._tickets.clear()
            self.missing.append(f"no Kerberos: {error}")
            return
        self.kdc = kdc

    def _directory_section(self, directory: LabDirectory) -> str:
        return f"""\
[[directory]]
name = "lab-directory"
host = "{directory.host}"
port = {directory.ldaps_port}
transport = "ldaps"
ca = {_text(directory.ca)}
base = "{directory.base}"
bind_dn = "{directory.bind_dn}"
bind_passcode_file = {_text(self.folder / "directory.passcode")}
group_base = "{directory.group_base}"
roles = {_roles()}
attributes = {{ displayName = "display_name" }}
"""

    def _kerberos_section(self, kdc: LabKdc) -> str:
        return f"""\
[[kerberos]]
name = "lab-kerberos"
service = "{SERVICE}"
keytab = {_text(self._keytab)}
replay_cache = {_text(self.folder / "replay" / "cache")}
realms = ["{kdc.realm}"]
roles_from = "{"lab-directory" if self.directory else ""}"
"""

    def _saml_section(self) -> str:
        return f"""\
[[saml]]
name = "lab-saml"
realm = "{REALM}-saml"
issuer = "{self._saml.issuer}"
certificates = [{_text(self._saml.certificate_file)}]
roles = {_roles()}
"""

    def _jwt_section(self) -> str:
        return f"""\
[[jwt]]
name = "lab-jwt"
realm = "{REALM}-jwt"
issuer = "{self._jwt.name}"
discovery = "{self._jwt.discovery}"
ca = {_text(self._jwt.ca)}
roles = {_roles()}
"""


def _roles() -> str:
    return "{ " + ", ".join(f'{group} = "{role}"' for group, role in ROLES.items()) + " }"


def _text(path: Path) -> str:
    """A path in quotes, as TOML and JSON both have it."""
    return json.dumps(str(path))


def _replace(path: Path, content: bytes) -> None:
    fresh = path.with_name(f"{path.name}.new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    fresh.replace(path)
