"""Type 3, a Kerberos ticket (PS3.15 B.6): for one service of ours, by one keytab, of people of named realms, once.

The person's name is the principal with its realm, ``alice@EXAMPLE.ORG``. A ticket says nothing of roles: they are those
of the local record of exactly that name, or of a directory; a principal for whom neither keeps a role is refused.

A principal of another realm is refused, not passed on: the realm is inside the ticket's encryption, so whoever knows it
has examined the credential. When the ticket ends is inside too, and pykerberos does not tell; the person of a running
association is therefore asked after by `still` alone.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from auth.credential import Credential, KerberosTicket
from auth.errors import AuthenticationFailed, ProviderMisconfigured, ProviderUnavailable, RecordInvalid, TokenReplayed
from auth.identity import kerberos_worker
from auth.identity.chain import NOT_MINE, Verdict, Vouched
from auth.identity.kerberos_files import check_keytab, library_environment
from auth.identity.kerberos_pool import WorkerPool, WorkerSettings
from auth.identity.kerberos_tokens import ApRequest, ap_request, server_response
from auth.identity.kerberos_worker import Accepted, Refused
from auth.identity.overrides import local_now, still_local, with_local
from auth.identity.steps import checked
from auth.names import external_name
from auth.ports import Presentation, PresentedTokens, UserStore, presenter
from auth.principal import NodeIdentity, Principal

PeopleElsewhere = Callable[[str], Principal | None]
"""Who a directory says that a name without a realm is; None: nobody. Raises AuthenticationFailed where it does not say
so clearly, ProviderUnavailable where it cannot be asked."""

REPLAY: Final = 34
REASONS: Final[Mapping[int, str]] = {
    31: "the Kerberos ticket was altered, or made with another key",
    32: "the Kerberos ticket has expired",
    33: "the Kerberos ticket is not valid yet",
    35: "the Kerberos ticket is for another service",
    36: "the Kerberos authenticator is not the ticket's",
    37: "the clocks differ by more than is allowed",
    41: "the Kerberos authenticator was altered",
    44: "the Kerberos ticket was made with a former key of the service",
    45: "the Kerberos ticket was made with an unknown key",
    50: "the Kerberos checksum is not one that can be used",
}
"""By error number of RFC 4120 7.5.9, as far as a KRB_AP_REQ can bring them about."""

_SERVICE = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,31}@[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252}[A-Za-z0-9])?", re.ASCII)
_CLOCK_SET_BACK = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class KerberosConfig:
    """What the operator says of Kerberos."""

    service: str
    """Our service, ``dicom@host.example``: tickets for another one are refused, whatever the keytab holds."""
    keytab: Path
    """With that service's key alone, readable by its owner alone. Read anew for each ticket, so it may be replaced."""
    replay_cache: Path
    """A file of MIT Kerberos' ``file2`` kind, made where it is not there. Lost with it: what was presented in the last
    ten minutes, for which `PresentedTokens` stands in."""
    realms: frozenset[str]
    """Whose people are admitted, in their very spelling."""
    name: str = "kerberos"
    roles_from: str = ""
    """The name of a directory that keeps people's roles; empty: their local records alone do."""
    services: frozenset[str] = frozenset()
    """Principals with an instance (``robot/ct1@EXAMPLE.ORG``) who are admitted although they are no people."""
    clock_skew_seconds: int = 300
    """By how much the requestor's clock may differ from ours."""
    concurrent: int = 4
    """Tickets that are examined at a time, each in a process of its own."""
    deadline_seconds: float = 5.0
    """For one ticket."""
    tokens_per_worker: int = 10_000
    """After which its process is replaced."""
    refusals_per_worker: int = 1_000
    """After which it is as well; one costs 0.44 KiB until then."""

    def __post_init__(self) -> None:
        """Check what can be checked without the files.

        Raises:
            ProviderMisconfigured: a value means nothing, or would let in more than was meant.
        """
        # An empty service would accept a ticket for any key of the keytab.
        self._demand(_SERVICE.fullmatch(self.service) is not None, "service is written `dicom@host.example`")
        self._demand(any(self.realms) and all(self.realms), "realms names at least one")
        # A directory knows names without realms, and one name may be two people in two realms.
        self._demand(not self.roles_from or len(self.realms) == 1, "roles_from is for one realm, not for several")
        self._demand(1 <= self.clock_skew_seconds <= 3600, "clock_skew_seconds is from 1 to 3600")
        self._demand(1 <= self.concurrent <= 64, "concurrent is from 1 to 64")
        self._demand(0.1 <= self.deadline_seconds <= 60, "deadline_seconds is from 0.1 to 60")
        self._demand(self.tokens_per_worker > 0 and self.refusals_per_worker > 0, "a worker has a share above 0")

    def _demand(self, holds: bool, rule: str) -> None:
        if not holds:
            raise ProviderMisconfigured(f"{self.name}: {rule}")


class Kerberos:
    """Vouches for principals of the admitted realms. Shared by all associations; thread-safe."""

    identity_types = frozenset({3})

    def __init__(
        self,
        config: KerberosConfig,
        users: UserStore,
        presented: PresentedTokens,
        *,
        elsewhere: PeopleElsewhere | None = None,
        worker: Path = Path(kerberos_worker.__file__),
    ) -> None:
        """Check the settings and start a worker.

        Args:
            config: what the operator says.
            users: local records, by name with realm.
            presented: the second line against replays, beside Kerberos' own cache.
            elsewhere: asks the directory that ``roles_from`` names; None where it names none.
            worker: the program that examines tokens.

        Raises:
            ProviderMisconfigured: pykerberos or the directory is missing, or keytab or replay cache cannot be used.
            ProviderUnavailable: the worker does not come up.
        """
        if (elsewhere is None) != (config.roles_from == ""):
            raise ProviderMisconfigured(f"{config.name}: roles_from names no directory")
        check_keytab(config.keytab)
        self.name = config.name
        self._config = config
        self._users = users
        self._presented = presented
        self._elsewhere = elsewhere
        self._workers = WorkerPool(
            WorkerSettings(
                program=worker,
                service=config.service,
                environment=library_environment(config.keytab, config.replay_cache, config.clock_skew_seconds),
                deadline_seconds=config.deadline_seconds,
                tokens=config.tokens_per_worker,
                refusals=config.refusals_per_worker,
            ),
            config.concurrent,
        )

    def verify(self, credential: Credential, node: NodeIdentity) -> Vouched | Verdict:
        """The person whose ticket it is, and the service's proof of itself if the ticket's bearer can check one.

        Raises:
            AuthenticationFailed: malformed, not good, of another realm, of a disabled or unknown person.
            TokenReplayed: presented before.
            ProviderUnavailable: it could not be judged.
        """
        if not isinstance(credential, KerberosTicket):
            return NOT_MINE
        # 1 A KRB_AP_REQ in one of its two shapes: PS3.7 D.3.3.7.1, RFC 4120 5.5.1, RFC 4121 4.1.
        request = ap_request(credential.ticket.reveal())
        checked("it is one KRB_AP_REQ, and nothing else")
        # 2 For our service, made with its key, in its time, and not in the replay cache: RFC 4120 3.2.3.
        accepted = self._examined(request)
        checked("the ticket is for our service, made with its key, in its time, and not in the replay cache")
        # 3 An answer in the requestor's shape, where there is one: RFC 4120 3.2.4.
        response = _response(accepted, request)
        # 4 A person of an admitted realm.
        person = Principal(self._admitted(accepted.principal), frozenset())
        checked("the principal is a person of an admitted realm")
        # 5 Somebody keeps roles for them here, and they are not disabled.
        person = with_local(self._as_known_elsewhere(person), self._users)
        if not person.roles:
            raise AuthenticationFailed("no roles are kept for this principal", claimed=person.name)
        checked("roles are kept for the principal, and no local record shuts them out")
        # 6 Not presented before, by the record that outlives Kerberos' own.
        self._present_once(request, person, node)
        checked("it was not presented before")
        return Vouched(person, response)

    def still(self, principal: Principal) -> Principal | None:
        """The person with those of their roles that are still kept for them; None: disabled, or known to nobody.

        Raises:
            ProviderUnavailable: the directory cannot be asked.
        """
        if self._elsewhere is None:
            return local_now(principal, self._users)
        try:
            found = self._elsewhere(_without_realm(principal.name))
        except ProviderUnavailable:
            raise
        except AuthenticationFailed:
            return None
        if found is None:
            return local_now(principal, self._users)
        return still_local(principal, found.roles, self._users)

    def close(self) -> None:
        """End the workers. Every ticket is refused from then on."""
        self._workers.close()

    def _examined(self, request: ApRequest) -> Accepted:
        try:
            return self._workers.ask(request.gss_token)
        except Refused as refused:
            if refused.error_number == REPLAY:
                raise TokenReplayed("the Kerberos ticket was presented before") from None
            reason = REASONS.get(refused.error_number, "the Kerberos library refuses the ticket")
            raise AuthenticationFailed(reason) from None

    def _admitted(self, principal: str) -> str:
        """The principal's name, if it is that of a person, in one spelling."""
        # MIT Kerberos escapes by a backslash whatever would make a name ambiguous, such as an @ in it.
        person, at, realm = principal.partition("@")
        if "\\" in principal or not person or not at or "@" in realm:
            raise AuthenticationFailed("the principal's name is not that of one person")
        try:
            if external_name(principal) != principal:
                raise AuthenticationFailed("the principal's name is not in normal form")
        except RecordInvalid:
            raise AuthenticationFailed("the principal's name cannot be used here") from None
        if realm not in self._config.realms:
            raise AuthenticationFailed("the principal's realm is not admitted", claimed=principal)
        if "/" in person and principal not in self._config.services:
            raise AuthenticationFailed("the principal is a service, not a person", claimed=principal)
        return principal

    def _as_known_elsewhere(self, person: Principal) -> Principal:
        if self._elsewhere is None:
            return person
        found = self._elsewhere(_without_realm(person.name))
        return person if found is None else Principal(person.name, found.roles, found.attributes)

    def _present_once(self, request: ApRequest, person: Principal, node: NodeIdentity) -> None:
        # An authenticator is good for the allowed difference before and after its time, so for twice that at most.
        good_for = 2 * timedelta(seconds=self._config.clock_skew_seconds)
        presentation = self._presented.present(
            f"kerberos:{self._config.service}",
            request.token_id,
            node=presenter(node),
            until=datetime.now(UTC) + good_for + _CLOCK_SET_BACK,
            once=True,
        )
        if presentation is not Presentation.FIRST:
            raise TokenReplayed("the Kerberos ticket is among those presented before", claimed=person.name)


def _response(accepted: Accepted, request: ApRequest) -> bytes:
    if not accepted.answer:
        return b""
    try:
        return server_response(accepted.answer, request.framing)
    except ValueError as error:
        raise ProviderUnavailable("the Kerberos library's answer is not a KRB_AP_REP") from error


def _without_realm(principal: str) -> str:
    return principal.partition("@")[0]
