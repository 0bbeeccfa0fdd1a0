"""User identity type 2 for the people of a directory: search, then bind (PS3.15 B.5; RFC 4513 5.1.3)."""

import time
from typing import Final

from auth.credential import Credential, Secret, UsernamePasscode
from auth.errors import AuthenticationFailed, AuthorityError, ProviderMisconfigured, ProviderUnavailable
from auth.identity.chain import NOT_MINE, Verdict, Vouched
from auth.identity.directory.config import DirectoryConfig
from auth.identity.directory.conversation import Conversation, demand_library
from auth.identity.directory.deadline import Deadline
from auth.identity.directory.line import open_line
from auth.identity.directory.people import described, find, find_again, name_of, roles_of
from auth.identity.directory.service import ServiceAccount
from auth.identity.overrides import still_local, with_local
from auth.identity.steps import checked
from auth.names import MAX_USERNAME_BYTES
from auth.node.tls import client_context
from auth.ports import UserStore
from auth.principal import NodeIdentity, Principal

MAX_PASSCODE_BYTES: Final = 1024
"""Longer ones are refused unsent."""


class Directory:
    """Vouches for the people of one directory. Shared by all associations; thread-safe.

    Every question has its own deadline. What is kept between questions are connections of the service account, each for
    at most a minute.
    """

    identity_types = frozenset({2})

    def __init__(self, config: DirectoryConfig, users: UserStore) -> None:
        """``users``: local records may shut out people of the directory, and give them more roles.

        Raises:
            ProviderMisconfigured: python-ldap is not installed, or the CA file cannot be read.
        """
        demand_library()
        self.name = config.name
        self._config = config
        self._users = users
        try:
            self._tls = client_context(None, config.ca)
        except AuthorityError as error:
            raise ProviderMisconfigured(f"directory {config.name}: {error}") from error
        self._service = ServiceAccount(config, self._tls)
        self._bind_seconds = 0.0
        """What the latest bind of a person took."""

    def verify(self, credential: Credential, node: NodeIdentity) -> Vouched | Verdict:
        """The person of the directory whose name and passcode these are; `NOT_MINE` if it has nobody of that name.

        Raises:
            AuthenticationFailed: wrong or unusable passcode, an account that is locked, or not exactly one person.
            ProviderUnavailable: the directory cannot be asked.
        """
        if not isinstance(credential, UsernamePasscode):
            return NOT_MINE
        try:
            principal = self._verified(credential.name, credential.passcode)
        except AuthenticationFailed as error:
            error.claimed = credential.name
            raise
        return Vouched(principal) if principal is not None else NOT_MINE

    def still(self, principal: Principal) -> Principal | None:
        """The person now: their entry is there and as the filter demands, and their groups still give their roles.

        Raises:
            ProviderUnavailable: the directory cannot be asked.
        """
        deadline = Deadline(self._config.deadline_seconds)
        try:
            with self._service.searching(deadline) as directory:
                entry = find_again(directory, self._config, principal.name)
                if entry is None or name_of(entry) != principal.name:
                    return None
                roles = roles_of(directory, self._config, entry)
        except ProviderUnavailable:
            raise
        except AuthenticationFailed:
            return None
        return still_local(principal, roles, self._users)

    def person(self, name: str) -> Principal | None:
        """Somebody whom another provider has verified, as this directory describes them; None: it has nobody so named.

        Raises:
            AuthenticationFailed: not exactly one person, or one who cannot be described.
            ProviderUnavailable: the directory cannot be asked.
        """
        deadline = Deadline(self._config.deadline_seconds)
        with self._service.searching(deadline) as directory:
            entry = find(directory, self._config, name)
            return described(directory, self._config, entry) if entry is not None else None

    def close(self) -> None:
        """End the conversations that are kept."""
        self._service.close()

    def _verified(self, name: str, passcode: Secret) -> Principal | None:
        # 1 What no directory need be asked about. An empty passcode would bind as nobody, and with success (RFC 4513
        #   5.1.2); one that begins with NUL is empty to a server that is written in C.
        if not 0 < len(passcode) <= MAX_PASSCODE_BYTES or b"\0" in passcode.reveal():
            raise AuthenticationFailed("the passcode is empty, too long or holds a NUL")
        if len(name.encode("utf-8", "replace")) > MAX_USERNAME_BYTES:
            raise AuthenticationFailed("the name is too long")
        checked("name and passcode are neither empty nor too long")
        deadline = Deadline(self._config.deadline_seconds)
        with self._service.searching(deadline) as directory:
            checked("the directory was reached over TLS, and takes the service account")
            # 2 Exactly one entry, found by the service account.
            entry = find(directory, self._config, name)
            if entry is None:
                # An unknown name is refused no sooner than a wrong passcode.
                time.sleep(min(self._bind_seconds, deadline.left("answer")))
                return None
            checked("it has exactly one entry for the name")
            # 3 The passcode, by a bind as the entry that the directory returned, on a connection of its own: a failed
            #   bind would leave the service's anonymous.
            name_of(entry)
            self._prove(entry.dn, passcode, deadline)
            checked("the passcode is that of the entry")
            # 4 What the person may be and is, from the service account's view: the person's own may be another.
            principal = described(directory, self._config, entry)
            checked(f"its groups give {', '.join(sorted(principal.roles)) or 'no role'}")
        # 5 A local record may say no.
        person = with_local(principal, self._users)
        checked("no local record shuts the person out")
        return person

    def _prove(self, dn: str, passcode: Secret, deadline: Deadline) -> None:
        begun = time.monotonic()
        try:
            with Conversation(open_line(self._config, self._tls, deadline), deadline) as own:
                own.bind(dn, passcode)
        finally:
            self._bind_seconds = time.monotonic() - begun
