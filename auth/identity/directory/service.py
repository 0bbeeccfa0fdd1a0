"""Conversations as the service account: kept for the next question, since a person is asked about again and again."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from ssl import SSLContext
from typing import Final

from auth.credential import Secret
from auth.errors import AuthenticationFailed, ProviderUnavailable
from auth.identity.directory.config import DirectoryConfig
from auth.identity.directory.conversation import Conversation
from auth.identity.directory.deadline import Deadline
from auth.identity.directory.line import open_line

MAX_KEPT: Final = 4
MAX_AGE_SECONDS: Final = 60.0
"""Then a conversation ends: the service account may be locked by now, and a firewall may have forgotten the line."""


class ServiceAccount:
    """Lends conversations for searching. Nobody but the service account ever binds on one. Thread-safe."""

    def __init__(self, config: DirectoryConfig, tls: SSLContext) -> None:
        self._config = config
        self._tls = tls
        self._lock = threading.Lock()
        self._kept: list[tuple[float, Conversation]] = []
        """With the time (monotonic) at which each was begun."""

    @contextmanager
    def searching(self, deadline: Deadline) -> Iterator[Conversation]:
        """A conversation for the questions of one ``with`` statement.

        It is kept afterwards if all of them were answered, and ended if one was not.

        Raises:
            ProviderUnavailable: the directory cannot be reached, or refuses the service account.
        """
        begun, directory = self._taken(deadline) or (time.monotonic(), self._opened(deadline))
        answered = False
        try:
            yield directory
            answered = True
        except AuthenticationFailed as error:
            # A refused person is an answer like another. Were it not, the next question's time would tell of it.
            answered = not isinstance(error, ProviderUnavailable)
            raise
        finally:
            self._put_back(begun, directory, answered=answered)

    def close(self) -> None:
        """End what is kept; another question begins anew."""
        with self._lock:
            kept, self._kept = self._kept, []
        for _, directory in kept:
            directory.close()

    def _taken(self, deadline: Deadline) -> tuple[float, Conversation] | None:
        """The kept one that was used last and is still good."""
        while True:
            with self._lock:
                if not self._kept:
                    return None
                begun, directory = self._kept.pop()
            if time.monotonic() - begun < MAX_AGE_SECONDS and directory.resume(deadline):
                return begun, directory
            directory.close()

    def _put_back(self, begun: float, directory: Conversation, *, answered: bool) -> None:
        with self._lock:
            keep = answered and len(self._kept) < MAX_KEPT
            if keep:
                self._kept.append((begun, directory))
        if not keep:
            directory.close()

    def _opened(self, deadline: Deadline) -> Conversation:
        directory = Conversation(open_line(self._config, self._tls, deadline), deadline)
        try:
            if self._config.bind_passcode is not None:
                self._bind(directory, self._config.bind_passcode)
        except BaseException:
            directory.close()
            raise
        return directory

    def _bind(self, directory: Conversation, passcode: Secret) -> None:
        try:
            directory.bind(self._config.bind_dn, passcode)
        except ProviderUnavailable:
            raise
        except AuthenticationFailed as error:
            # Not the person's fault: the audit shall not say that somebody tried a wrong passcode.
            raise ProviderUnavailable("the directory refuses the service account") from error
