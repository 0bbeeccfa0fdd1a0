"""What is configured of one directory, checked before anybody is asked."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Final

from auth.credential import Secret
from auth.errors import ProviderMisconfigured, RecordInvalid
from auth.names import checked_attributes, checked_roles

TRANSPORTS: Final = ("ldaps", "starttls")
"""TLS from the first byte, or after StartTLS (RFC 4511 4.14). There is no third: a passcode never goes in clear."""

_ATTRIBUTE: Final = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,63}", re.ASCII)
"""A short attribute name without options (RFC 4512 2.5)."""


@dataclass(frozen=True, slots=True)
class DirectoryConfig:
    """One directory: where it is, who may search it, and what of its answers counts."""

    name: str
    """What `Assurance.verified_by` says; unique among the providers."""
    host: str
    """A name or address that stands in the subjectAltName of the directory's certificate."""
    port: int
    transport: str
    """One of `TRANSPORTS`."""
    ca: Path
    """PEM of the authorities that may vouch for the directory; the system's own count for nothing. Its certificate is
    held to RFC 5280 and `auth.node.tls`'s profile: TLS 1.2 or 1.3, key identifiers, RSA of 2048 bits or more."""
    base: str
    """Below this entry people are searched for."""
    bind_dn: str = ""
    """The service account that searches; empty: anonymously."""
    bind_passcode: Secret | None = field(default=None, repr=False)
    filter: str = "(uid={name})"
    """Finds the entry of who signs in (RFC 4515). It is asked again, with ``*`` for ``{name}``, about a person who is
    signed in, so what makes an account unusable belongs here too: ``(&(uid={name})(!(pwdAccountLockedTime=*)))``."""
    group_base: str = ""
    """Below this entry groups are searched for; empty: ``group_attribute`` of the person's own entry lists them."""
    group_filter: str = "(member={dn})"
    """Finds the groups of a person."""
    group_attribute: str = ""
    """What of a group, or of a person, is looked up in ``roles``; empty: ``cn`` of the group, ``memberOf`` of the
    person."""
    roles: Mapping[str, str] = field(default_factory=dict)
    """From a value of ``group_attribute``, written exactly as the directory returns it, to a role."""
    attributes: Mapping[str, str] = field(default_factory=dict)
    """From an attribute of the person's entry to one of ours, such as ``display_name``."""
    deadline_seconds: float = 5.0
    """For everything that one question costs, name resolution apart: that is the system's, with its own limits."""

    def __post_init__(self) -> None:
        """Check what can be checked without the directory.

        Raises:
            ProviderMisconfigured: a value contradicts another or means nothing.
        """
        self._demand(self.transport in TRANSPORTS, f"transport is one of {', '.join(TRANSPORTS)}")
        self._demand(bool(self.host) and 0 < self.port < 65_536, "host and port say where the directory is")
        self._demand(bool(self.base), "base is not empty: the whole world is nobody's directory")
        self._demand("{name}" in self.filter, "filter holds {name}")
        self._demand(not self.group_base or "{dn}" in self.group_filter, "group_filter holds {dn}")
        self._demand(0.1 <= self.deadline_seconds <= 60, "deadline_seconds is from 0.1 to 60")
        # A bind with a name and no passcode succeeds as nobody in particular (RFC 4513 5.1.2).
        has_passcode = self.bind_passcode is not None and len(self.bind_passcode) > 0
        self._demand(has_passcode == bool(self.bind_dn), "bind_dn and its passcode are both set or both empty")
        # People may often change their own cn; it must not be what makes them an administrator.
        own = self.group_attribute.lower()
        self._demand(bool(self.group_base) or own != "cn", "group_attribute cn, the person's own name, is no group")
        self._demand(
            all(_ATTRIBUTE.fullmatch(name) for name in (self.groups_in, *self.attributes)),
            "group_attribute and the keys of attributes are names of attributes",
        )
        try:
            checked_roles(self.roles.values())
            checked_attributes(dict.fromkeys(self.attributes.values(), "something"))
        except RecordInvalid as error:
            raise ProviderMisconfigured(f"directory {self.name}: {error}") from None
        object.__setattr__(self, "roles", MappingProxyType(dict(self.roles)))
        object.__setattr__(self, "attributes", MappingProxyType(dict(self.attributes)))

    @property
    def groups_in(self) -> str:
        """The attribute that says a group: of the group's entry, or of the person's where there is no group base."""
        return self.group_attribute or ("cn" if self.group_base else "memberOf")

    def _demand(self, holds: bool, rule: str) -> None:
        if not holds:
            raise ProviderMisconfigured(f"directory {self.name}: {rule}")
