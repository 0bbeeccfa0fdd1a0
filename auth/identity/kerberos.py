"""Type 3, a Kerberos ticket (PS3.15 B.6): for one service of ours, by one keytab, of people of named realms, once.

The person's name is the principal with its realm, ``alice@EXAMPLE.ORG``. A ticket says nothing of roles: they are those
of the local record of exactly that name, or of a directory; a principal for whom neither keeps a role is refused.

A principal of another realm is refused, not passed on: the realm is inside the ticket's encryption, so whoever knows it
has examined the credential. When the ticket ends is inside too, and pykerberos does not tell; the person of a running
association is therefore asked after by `still` alone.
"""

import os
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
from auth.identity.kerberos_pool import WorkerPool, WorkerSettings
from auth.identity.kerberos_tokens import ApRequest, ap_request, server_response
from auth.identity.kerberos_worker import Accepted, Refused
from auth.identity.overrides import local_now, still_local, with_local
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
_OTHERS = 0o077
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
    services: frozenset[str] = frozenset()
    """Principals with an instance (``robot/ct1@EXAMPLE.ORG``) who are admitted although they are no people."""
    clock_skew_seconds: int = 300
    """By how much the requestor's clock may differ from ours."""
    concurrent: int = 4
    """Tickets that are examined at a time, each in a process of its own."""
    deadline_seconds: float = 5.0
    """For one ticket."""
    tokens_per_worker: int = 10_000
    refusals_per_worker: int = 1_000


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
            elsewhere: the directory that knows people's roles; None: their local records alone do.
            worker: the program that examines tokens.

        Raises:
            ProviderMisconfigured: pykerberos is missing, or keytab, replay cache, service or realms cannot be used.
            ProviderUnavailable: the worker does not come up.
        """
        _check(config, elsewhere)
        self.name = config.name
        self._config = config
        self._users = users
        self._presented = presented
        self._elsewhere = elsewhere
        self._workers = WorkerPool(
            WorkerSettings(
                program=worker,
                service=config.service,
                environment=_environment(config),
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
        # 2 For our service, made with its key, in its time, and not in the replay cache: RFC 4120 3.2.3.
        accepted = self._examined(request)
        # 3 An answer in the requestor's shape, where there is one: RFC 4120 3.2.4.
        response = _response(accepted, request)
        # 4 A person of an admitted realm.
        person = Principal(self._admitted(accepted.principal), frozenset())
        # 5 Somebody keeps roles for them here, and they are not disabled.
        person = with_local(self._as_known_elsewhere(person), self._users)
        if not person.roles:
            raise AuthenticationFailed("no roles are kept for this principal", claimed=person.name)
        # 6 Not presented before, by the record that outlives Kerberos' own.
        self._present_once(request, person, node)
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
        return None if found is None else still_local(principal, found.roles, self._users)

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


def _check(config: KerberosConfig, elsewhere: PeopleElsewhere | None) -> None:
    """Refuse what could only be found out at somebody's login otherwise."""
    # An empty service would accept a ticket for any key of the keytab.
    if _SERVICE.fullmatch(config.service) is None:
        raise ProviderMisconfigured("the Kerberos service is written `dicom@host.example`")
    if not config.realms:
        raise ProviderMisconfigured("no Kerberos realm is admitted")
    # A directory knows names without realms, and one name may be two people in two realms.
    if elsewhere is not None and len(config.realms) != 1:
        raise ProviderMisconfigured("roles come from a directory for one Kerberos realm, not for several")
    try:
        mode = config.keytab.stat().st_mode
        with config.keytab.open("rb") as file:
            file.read(1)
    except OSError as error:
        raise ProviderMisconfigured(f"the Kerberos keytab {config.keytab} cannot be read ({error.strerror})") from None
    if mode & _OTHERS:
        raise ProviderMisconfigured(f"{config.keytab} can be read by others: run `chmod 600 {config.keytab}`")


def _environment(config: KerberosConfig) -> dict[str, str]:
    """All that libkrb5 is told, for a worker alone. Nothing of the machine's own Kerberos settings is read."""
    settings = config.replay_cache.with_name(f"{config.replay_cache.name}.conf")
    try:
        config.replay_cache.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        config.replay_cache.touch(mode=0o600)
        fresh = settings.with_name(f"{settings.name}.{os.getpid()}")
        fresh.write_text(_krb5_settings(config))
        fresh.replace(settings)
    except OSError as error:
        raise ProviderMisconfigured(
            f"the Kerberos replay cache {config.replay_cache} cannot be written ({error.strerror})"
        ) from None
    environment = {
        "KRB5_CONFIG": str(settings.absolute()),
        "KRB5_KTNAME": f"FILE:{config.keytab.absolute()}",
        "KRB5RCACHENAME": f"file2:{config.replay_cache.absolute()}",
        # Kerberos 5 alone: mechanisms that the machine has besides are not loaded.
        "GSS_MECH_CONFIG": os.devnull,
        "LC_ALL": "C",
    }
    if "LD_LIBRARY_PATH" in os.environ:
        environment["LD_LIBRARY_PATH"] = os.environ["LD_LIBRARY_PATH"]
    return environment


def _krb5_settings(config: KerberosConfig) -> str:
    """A krb5.conf for a service that never calls out: no name service, AES alone (RFC 3962, RFC 8009)."""
    return f"""\
[libdefaults]
  clockskew = {config.clock_skew_seconds}
  dns_canonicalize_hostname = false
  dns_lookup_kdc = false
  dns_lookup_realm = false
  rdns = false
  permitted_enctypes = aes256-sha2 aes128-sha2 aes256-sha1 aes128-sha1
"""
