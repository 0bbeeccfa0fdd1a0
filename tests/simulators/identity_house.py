"""An archive that verifies all five identity types, with a real directory, a real KDC and two issuers around it."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from archive.lab.directory import LabDirectory
from archive.lab.jwt_issuer import JwtIssuer
from archive.lab.kdc import LabKdc
from archive.lab.saml_issuer import SamlIssuer, Wishes
from tests.simulators.running_archive import PASSCODE, RunningArchive
from tests.simulators.scu import User

AUDIENCE = "urn:dicom:ae:STRONGROOM"
SERVICE = "dicom@localhost"
SYSTEM_FOLDERS = "/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin"
MISSING = [
    package
    for program, package in (("slapd", "slapd"), ("krb5kdc", "krb5-kdc"))
    if not shutil.which(program, path=SYSTEM_FOLDERS)
]
"""Packages without which there is no such house."""

LOCAL, DIRECTORY, KERBEROS, SAML, JWT = "local", "directory", "kerberos", "saml", "jwt"


@dataclass
class IdentityHouse:
    """Alice is known everywhere, under the name that each provider gives her, and may read."""

    archive: RunningArchive
    directory: LabDirectory
    kdc: LabKdc
    saml: SamlIssuer
    jwt: JwtIssuer

    @classmethod
    def build(cls, folder: Path, *, plain: bool = False) -> "IdentityHouse":
        """Everything made and started but the archive; `close` it."""
        archive = RunningArchive(folder).init()
        house = cls(
            archive,
            LabDirectory(folder / "directory"),
            LabKdc(folder / "kdc"),
            SamlIssuer(folder / "saml"),
            JwtIssuer(folder / "jwt", audience=AUDIENCE),
        )
        house.directory.start()
        try:
            house.kdc.start()
            house._configure(plain)
        except BaseException:
            house.close()
            raise
        return house

    def close(self) -> None:
        """Stop what was started."""
        self.directory.stop()
        self.kdc.stop()

    def names(self) -> dict[str, str]:
        """Alice, as the archive knows her by each provider."""
        return {
            LOCAL: "alice",
            DIRECTORY: self.directory.dn_of("alice-ldap"),
            KERBEROS: f"alice@{self.kdc.realm}",
            SAML: "alice@saml.example",
            JWT: "alice@jwt.example",
        }

    def credentials(self) -> dict[str, User]:
        """What Alice presents, made anew."""
        ticket = self.kdc.ticket("alice", PASSCODE, SERVICE)
        assertion = self.saml.assertion("alice", Wishes(audience=AUDIENCE, roles=["reader"]))
        return {
            LOCAL: User(b"alice", PASSCODE.encode()),
            DIRECTORY: User(b"alice-ldap", PASSCODE.encode()),
            KERBEROS: User(ticket.present().gss_token, identity_type=3),
            SAML: User(assertion, identity_type=4),
            JWT: User(self.jwt.token("alice", roles=["reader"]).encode(), identity_type=5),
        }

    def _configure(self, plain: bool) -> None:
        archive, directory, home = self.archive, self.directory, self.archive.home
        archive.person("alice", "radiologist")
        archive.must("user", "add", f"alice@{self.kdc.realm}", "--role", "radiologist")
        directory.add_person("alice-ldap", PASSCODE, ["readers"])
        self.kdc.add_principal("alice", PASSCODE)
        shutil.copy(self.kdc.keytab(SERVICE), home / "keys" / "dicom.keytab")
        (home / "keys" / "directory").write_text(directory.bind_passcode)
        (home / "keys" / "directory").chmod(0o600)
        settings = home / "strongroom.toml"
        text = settings.read_text()
        if plain:
            text = text.replace('plain = ""', 'plain = "insecure"').replace(
                "plain_port = 11112", f"plain_port = {self.plain_port}"
            )
        settings.write_text(text + self._providers())

    @property
    def plain_port(self) -> int:
        """Where the archive listens without TLS, if it does."""
        return self.archive.port + 1

    def _providers(self) -> str:
        directory = self.directory
        return f"""
[[directory]]
name = "hospital"
host = "{directory.host}"
port = {directory.ldaps_port}
transport = "ldaps"
ca = "{directory.ca}"
base = "{directory.base}"
bind_dn = "{directory.bind_dn}"
bind_passcode_file = "keys/directory"
group_base = "{directory.group_base}"
roles = {{ readers = "radiologist" }}
attributes = {{ displayName = "display_name" }}

[[kerberos]]
service = "{SERVICE}"
keytab = "keys/dicom.keytab"
replay_cache = "replay.krb5"
realms = ["{self.kdc.realm}"]

[[saml]]
name = "saml"
realm = "saml.example"
issuer = "{self.saml.issuer}"
certificates = ["{self.saml.certificate_file}"]
roles = {{ reader = "radiologist" }}

[[jwt]]
name = "jwt"
realm = "jwt.example"
issuer = "{self.jwt.name}"
jwks = "{self.jwt.jwks_file}"
roles = {{ reader = "radiologist" }}
"""
