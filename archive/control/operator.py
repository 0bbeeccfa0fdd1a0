"""Who stands behind a command: the user of the operating system, as the kernel knows them."""

import os
import pwd
from dataclasses import dataclass

from archive.audit.events import Actor


@dataclass(frozen=True, slots=True)
class Operator:
    """The operating system's user behind a request."""

    uid: int
    name: str

    @classmethod
    def of(cls, uid: int) -> "Operator":
        """The operator with this user id; the number stands for a name that the system does not know."""
        try:
            return cls(uid, pwd.getpwuid(uid).pw_name)
        except KeyError:
            return cls(uid, f"uid {uid}")

    @property
    def actor(self) -> Actor:
        """The operator, for the audit."""
        return Actor(os_user=self.name)

    @classmethod
    def this(cls) -> "Operator":
        """The user that runs this process."""
        return cls.of(os.getuid())
