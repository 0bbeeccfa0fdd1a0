"""Type 2, user name and passcode, against a directory (LDAP v3, RFC 4510 to 4519) over TLS: search, then bind.

`Directory` says who, `DirectoryConfig` where and how. Inside, each for the next: `deadline`, `line` (TCP and TLS),
`conversation` (LDAP over a line; the one module that knows the library), `service` (conversations of the account that
searches), `people` (entries, groups, attributes).
"""

from auth.identity.directory.config import DirectoryConfig
from auth.identity.directory.provider import Directory

__all__ = ["Directory", "DirectoryConfig"]
