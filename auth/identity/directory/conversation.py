"""LDAP v3 with one directory over one TLS line: bind and search, through python-ldap, never past the deadline.

libldap is given one end of a pair of sockets and talks plainly to nobody but us; what it writes we carry to the TLS
line, and what comes from there we carry to it. It is only ever polled, so that no call of it waits, and all waiting is
ours, for the line, under the deadline: no thread is needed to watch it, and none is left behind. It cannot connect to
anything by itself either: its address leads nowhere.
"""

import math
import os
import select
import socket
import ssl
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self

from auth.credential import Secret
from auth.errors import AuthenticationFailed, ProviderMisconfigured, ProviderUnavailable
from auth.identity.directory.deadline import Deadline, too_slow

try:
    import ldap
    import ldap.filter
    from ldap.controls.ppolicy import PasswordPolicyControl
except ImportError:  # the extra `ldap` is not installed; who needs none of this never notices
    ldap = None

MAX_ANSWER_BYTES: Final = 1_048_576
"""What a directory may send in answer to all that is asked about one person."""
_RECORD_BYTES: Final = 16_384
"""Of a TLS record (RFC 8446 5.1); much less than the pair of sockets holds."""
_NOWHERE: Final = "ldapi://%2Fdev%2Fnull%2Fnowhere"
"""A socket below /dev/null: libldap would connect here if it lost us, and cannot."""
_ANSWER: Final = "answer"


def demand_library() -> None:
    """See to it that python-ldap is there.

    Raises:
        ProviderMisconfigured: it is not.
    """
    if ldap is None:
        raise ProviderMisconfigured("a directory needs python-ldap: install strongroom with the extra `ldap`")


def escaped(text: str) -> str:
    """``text`` as an assertion value of a filter: it means itself and nothing else (RFC 4515 3)."""
    return str(ldap.filter.escape_filter_chars(text))


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry that was found."""

    dn: str
    """Its distinguished name, as the directory wrote it."""
    values: Mapping[str, Sequence[bytes]]
    """Of the attributes that were asked for, by their names in lower case."""


class _PasswordPolicy:
    """What a password policy says of a bind. python-ldap would drop one that cannot be read; here that is an error."""

    error: int | None = None

    def decodeControlValue(self, value: bytes) -> None:  # noqa: N802  (python-ldap's name)
        control = PasswordPolicyControl()
        try:
            control.decodeControlValue(value)
        except Exception as error:
            raise ValueError("not a password policy's answer") from error
        self.error = control.error


class Conversation:
    """Ends with `close` or with its ``with`` statement, and the line too. Not thread-safe."""

    def __init__(self, line: ssl.SSLSocket, deadline: Deadline) -> None:
        """Takes ``line`` over, and closes it also where it fails.

        Raises:
            ProviderUnavailable: there are no descriptors left, or the library fails.
        """
        self._line = line
        self._deadline = deadline
        self._received = 0
        with ExitStack() as making:
            making.callback(line.close)
            try:
                self._ours, self._theirs = (making.enter_context(end) for end in socket.socketpair())
                self._theirs.setblocking(False)
                self._ldap = _library_on(self._theirs)
            except Exception as error:
                raise ProviderUnavailable(f"the directory library cannot be used ({type(error).__name__})") from error
            making.callback(self._end)
            self._everything = making.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End it, and the line."""
        self._everything.close()

    def resume(self, deadline: Deadline) -> bool:
        """Go on with another question's deadline; False: the line has ended, or says what nobody asked for."""
        self._deadline = deadline
        self._received = 0
        return not (self._line.pending() or _readable(self._line) or self._unread())

    def bind(self, dn: str, passcode: Secret) -> None:
        """Prove to be the entry ``dn`` (simple bind, RFC 4513 5.1.3). The caller has seen to it that neither is empty.

        Raises:
            AuthenticationFailed: the directory says no.
            ProviderUnavailable: it says nothing, or nothing that can be understood.
        """
        try:
            kind, _, controls = self._ask("simple_bind", dn, passcode.reveal(), serverctrls=[PasswordPolicyControl()])
        except ldap.INVALID_CREDENTIALS as error:
            raise AuthenticationFailed("wrong passcode, or the account is locked") from error
        except (
            ldap.UNWILLING_TO_PERFORM,
            ldap.CONSTRAINT_VIOLATION,
            ldap.INAPPROPRIATE_AUTH,
            ldap.INSUFFICIENT_ACCESS,
            ldap.NO_SUCH_OBJECT,
            ldap.INVALID_DN_SYNTAX,
        ) as error:
            raise AuthenticationFailed("the directory does not let this account in") from error
        except ldap.REFERRAL as error:
            raise AuthenticationFailed("the directory refers to another, which is not followed") from error
        except ldap.LDAPError as error:
            raise ProviderUnavailable(f"the directory failed to check the passcode ({type(error).__name__})") from error
        if kind != ldap.RES_BIND:
            raise ProviderUnavailable("the directory answered something else than was asked")
        # An expired or reset passcode may still bind, for nothing but its change (draft-behera-ldap-password-policy).
        if any(control.error is not None for control in controls):
            raise AuthenticationFailed("the directory demands a new passcode")

    def below(self, base: str, condition: str, attributes: Sequence[str], *, at_most: int) -> tuple[Entry, ...]:
        """The entries at and below ``base`` of which the filter ``condition`` is true.

        Raises:
            AuthenticationFailed: there are more than ``at_most``, or the directory refers to another.
            ProviderUnavailable: there is no ``base``, the search is refused, or there is no answer.
        """
        try:
            return self._search(base, ldap.SCOPE_SUBTREE, condition, attributes, at_most)
        except ldap.NO_SUCH_OBJECT as error:
            raise ProviderUnavailable("the directory holds no such base") from error

    def at(self, dn: str, condition: str, attributes: Sequence[str]) -> Entry | None:
        """The entry ``dn`` itself, if it is there and ``condition`` is true of it. Raises as `below`."""
        try:
            found = self._search(dn, ldap.SCOPE_BASE, condition, attributes, 1)
        except (ldap.NO_SUCH_OBJECT, ldap.INVALID_DN_SYNTAX):
            return None
        return found[0] if found else None

    def _search(
        self, base: str, scope: int, condition: str, attributes: Sequence[str], at_most: int
    ) -> tuple[Entry, ...]:
        seconds = math.ceil(self._deadline.left(_ANSWER))
        # "1.1" asks for no attribute (RFC 4511 4.5.1.8); an empty list would ask for all.
        wanted = list(attributes) or ["1.1"]
        try:
            kind, data, _ = self._ask("search_ext", base, scope, condition, wanted, timeout=seconds, sizelimit=at_most)
        except (ldap.NO_SUCH_OBJECT, ldap.INVALID_DN_SYNTAX):
            raise
        except ldap.REFERRAL as error:
            raise AuthenticationFailed("the directory refers to another, which is not followed") from error
        except ldap.SIZELIMIT_EXCEEDED as error:
            raise AuthenticationFailed("the directory has more entries than may answer") from error
        except ldap.LDAPError as error:
            raise ProviderUnavailable(f"the directory failed to search ({type(error).__name__})") from error
        if kind != ldap.RES_SEARCH_RESULT:
            raise ProviderUnavailable("the directory answered something else than was asked")
        if any(dn is None for dn, _ in data):
            raise AuthenticationFailed("the directory refers to another, which is not followed")
        if len(data) > at_most:
            raise AuthenticationFailed("the directory has more entries than may answer")
        return tuple(Entry(dn, {name.lower(): tuple(values) for name, values in entry.items()}) for dn, entry in data)

    def _ask(self, operation: str, *arguments: Any, **options: Any) -> tuple[int, Sequence[Any], Sequence[Any]]:
        """The kind, data and controls of the answer to a request.

        Raises:
            ldap.LDAPError: its result code is not success, or libldap cannot go on.
            ProviderUnavailable: it does not come, is too long, or is none.
        """
        try:
            request = getattr(self._ldap, operation)(*arguments, **options)
            while True:
                self._deadline.left(_ANSWER)
                kind, data, _, controls, _, _ = self._ldap.result4(
                    request, all=1, timeout=0, resp_ctrl_classes={PasswordPolicyControl.controlType: _PasswordPolicy}
                )
                if kind is not None:
                    return kind, data, controls
                if not self._unread():
                    self._carry()
        except (ldap.LDAPError, ProviderUnavailable):
            raise
        except Exception as error:
            raise ProviderUnavailable(f"the directory's answer cannot be read ({type(error).__name__})") from error

    def _unread(self) -> bool:
        """Whether something lies before libldap that it has not taken: it takes one message at a time."""
        return _readable(self._theirs)

    def _carry(self) -> None:
        """What libldap asks to the directory, and then wait for a piece of its answer."""
        try:
            with suppress(BlockingIOError):
                asked = self._ours.recv(_RECORD_BYTES, socket.MSG_DONTWAIT)
                while asked:
                    self._line.settimeout(self._deadline.left(_ANSWER))
                    asked = asked[self._line.send(asked) :] or self._ours.recv(_RECORD_BYTES, socket.MSG_DONTWAIT)
            self._line.settimeout(self._deadline.left(_ANSWER))
            answered = self._line.recv(_RECORD_BYTES)
            self._received += len(answered)
            if not answered or self._received > MAX_ANSWER_BYTES:
                what = "answered more than is read" if answered else "closed the connection"
                raise ProviderUnavailable(f"the directory {what}")
            self._ours.sendall(answered)
        except TimeoutError as error:
            raise too_slow(_ANSWER) from error
        except OSError as error:
            raise ProviderUnavailable("the connection to the directory broke") from error

    def _end(self) -> None:
        with suppress(Exception):  # it is over either way, and what it came to is known
            self._ldap.unbind_ext()


def _readable(end: socket.socket) -> bool:
    poll = select.poll()
    poll.register(end, select.POLLIN)
    return bool(poll.poll(0))


def _library_on(end: socket.socket) -> Any:
    """python-ldap's object on a socket. libldap closes the descriptor it gets, so it gets one of its own."""
    descriptor = os.dup(end.fileno())
    try:
        connection = ldap.initialize(_NOWHERE, fileno=descriptor)
    except BaseException:
        os.close(descriptor)
        raise
    # What a system's ldap.conf says otherwise does not count here.
    connection.protocol_version = ldap.VERSION3
    connection.set_option(ldap.OPT_REFERRALS, ldap.OPT_OFF)
    connection.set_option(ldap.OPT_DEREF, ldap.DEREF_NEVER)
    return connection
