"""Type 4, SAML: from an assertion to a person, in numbered steps. Thread-safe; every assertion is judged by itself."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final, assert_never
from urllib.parse import quote

from auth.credential import Credential, SamlAssertion
from auth.errors import (
    AuthenticationFailed,
    AuthError,
    ProviderMisconfigured,
    ProviderUnavailable,
    RecordInvalid,
    TokenReplayed,
)
from auth.identity.chain import NOT_MINE, Verdict, Vouched
from auth.identity.overrides import still_local, with_local
from auth.identity.saml import attributes
from auth.identity.saml.document import ASSERTION, Document, check_status, issuer_of, received
from auth.identity.saml.markup import Element, children
from auth.identity.saml.metadata import CurrentKeys, IssuerKeys
from auth.identity.saml.response import positive_response
from auth.identity.saml.signature import is_signed, signed
from auth.identity.saml.statement import Demands, Statement, examined
from auth.identity.steps import checked
from auth.names import checked_roles, external_name
from auth.ports import Presentation, PresentedTokens, UserStore, presenter
from auth.principal import NodeIdentity, Principal

NAME_ID: Final = "NameID"
MAX_SKEW: Final = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class SamlConfig:
    """One issuer, and what its words mean here."""

    name: str
    """Of the provider; `Assurance.verified_by`."""
    realm: str
    """What follows the last ``@`` of its people's names; holds none itself."""
    issuer: str
    """Its entity ID, exactly."""
    keys: IssuerKeys
    audience: str
    """What an assertion must be restricted to (`default_audience`)."""
    recipient: str = ""
    """Where an assertion must have been meant to be sent; empty: not asked, as XUA may not say it."""
    clock_skew: timedelta = timedelta(seconds=60)
    longest_lifetime: timedelta = timedelta(hours=24)
    """How far ahead the end of an assertion may lie: what is presented is remembered until then."""
    single_use: bool = False
    """Take every assertion once only, also where the issuer does not demand it."""
    subject: str = NAME_ID
    """Where the person's name is: in the NameID, or in the attribute of this name."""
    role_attribute: str = attributes.ROLE
    roles: Mapping[str, str] = field(default_factory=dict)
    """A value of the role attribute (a code also as ``system|code``), and our role."""
    attributes: Mapping[str, str] = field(default_factory=dict)
    """An attribute's name, and ours for policy; added to `XUA_ATTRIBUTES`."""

    def __post_init__(self) -> None:
        if "@" in self.realm or not self.realm or not self.issuer or not self.audience or not self.subject:
            raise ProviderMisconfigured("a SAML provider needs a realm without `@`, an issuer, an audience, a subject")
        if not timedelta() <= self.clock_skew <= MAX_SKEW or self.longest_lifetime <= timedelta():
            raise ProviderMisconfigured("a SAML provider's clock skew is at most 10 minutes, its lifetimes above 0")
        try:
            checked_roles(self.roles.values())
            external_name(f"x@{self.realm}")
        except RecordInvalid as error:
            raise ProviderMisconfigured(str(error)) from error


def default_audience(ae_title: str) -> str:
    """The audience of assertions for an archive with this AE title."""
    return f"urn:dicom:ae:{quote(ae_title, safe='')}"


class Saml:
    """Vouches for whom one issuer vouches for (PS3.15 B.7). Shared by all associations."""

    identity_types = frozenset({4})

    def __init__(
        self,
        config: SamlConfig,
        users: UserStore,
        presented: PresentedTokens,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._config = config
        self._users = users
        self._presented = presented
        self._clock = clock
        ours = frozenset(config.attributes.values())
        unmapped = {outside: name for outside, name in attributes.XUA_ATTRIBUTES.items() if name not in ours}
        self._attributes = {**unmapped, **config.attributes}
        self._wanted = frozenset((*self._attributes, config.role_attribute, config.subject))

    @property
    def name(self) -> str:
        """The name in the settings."""
        return self._config.name

    def verify(self, credential: Credential, node: NodeIdentity) -> Vouched | Verdict:
        """The person whom the assertion is about; `NOT_MINE` where it names another issuer.

        Raises:
            AuthenticationFailed: malformed, not signed by the issuer, or not good here and now.
            TokenReplayed: good, and presented before by another node, or as often as it may be.
            ProviderUnavailable: whose signature it is, or whether it was presented before, cannot be found out.
        """
        if not isinstance(credential, SamlAssertion):
            return NOT_MINE
        moment = self._clock()
        # 1 One assertion, in one of two forms.
        document = received(credential.assertion.reveal())
        checked("it is one assertion, bare or in a response, without anything that could hide another")
        # 2 Whom it names as its issuer routes it, and proves nothing.
        said = issuer_of(document.assertion)
        if said is None:
            raise AuthenticationFailed("the assertion names no issuer")
        if said != self._config.issuer:
            return NOT_MINE
        checked("it names the issuer of this provider")
        # 3 What the issuer signed; from here on, nothing else is read.
        assertion = self._signed(document, self._config.keys.at(moment))
        checked("the issuer signed it, and what was signed is what is read")
        # 4 It is good, here and now.
        statement = examined(assertion, self._demands(moment))
        # 5 Whom it is about, and what is said of them.
        principal = with_local(self._principal(assertion, statement), self._users)
        checked("it says who the person is, and no local record shuts them out")
        # 6 Not presented before by somebody else, or at all where it is for one use. Last: it is noted as presented.
        self._note(statement, node, claimed=principal.name)
        checked("it was not presented elsewhere before, nor more often than it may be")
        return Vouched(principal, positive_response(self._config.audience, moment), statement.session_ends)

    def still(self, principal: Principal) -> Principal | None:
        """The person as their local record now has it; an issuer is not asked twice.

        Roles that assertions can give are kept for the association; others last as long as the record gives them.
        """
        return still_local(principal, frozenset(self._config.roles.values()), self._users)

    def _signed(self, document: Document, keys: CurrentKeys) -> Element:
        """The signed assertion. Every signature that is there must verify; the assertion's own comes first.

        An assertion without one is taken from a signed response, out of the signed bytes.
        """
        response = document.response
        if response is not None:
            if is_signed(response):
                response = signed(response, keys)
            self._check_response(response)
        if response is None or is_signed(document.assertion):
            return signed(document.assertion, keys)
        if response is document.response:
            raise AuthenticationFailed("the assertion is not signed")
        inside = children(response, ASSERTION)
        if len(inside) != 1:
            raise AuthenticationFailed("the signed response holds not one assertion")
        return inside[0]

    def _check_response(self, response: Element) -> None:
        """Refuse a response by somebody else, to somebody else, or without success (SAML core 3.2.2)."""
        check_status(response)
        if issuer_of(response) not in (None, self._config.issuer):
            raise AuthenticationFailed("the response is by another issuer")
        if self._config.recipient and response.get("Destination") not in (None, self._config.recipient):
            raise AuthenticationFailed("the response is for another destination")

    def _demands(self, moment: datetime) -> Demands:
        config = self._config
        return Demands(
            issuer=config.issuer,
            audience=config.audience,
            recipient=config.recipient,
            skew=config.clock_skew,
            longest=config.longest_lifetime,
            moment=moment,
        )

    def _principal(self, assertion: Element, statement: Statement) -> Principal:
        values = attributes.read(assertion, self._wanted)
        config = self._config
        subject = statement.name_id
        if config.subject != NAME_ID:
            named = values.get(config.subject, ())
            subject = named[0].text if len(named) == 1 else None
        if subject is None:
            raise AuthenticationFailed("the assertion does not say who the subject is, for good")
        try:
            # A space at the subject's end would hide before the `@`.
            name = external_name(f"{external_name(subject)}@{config.realm}")
        except RecordInvalid as error:
            raise AuthenticationFailed(f"the subject is refused: {error}") from None
        roles = attributes.roles(values.get(config.role_attribute, ()), config.roles)
        return Principal(name, roles, attributes.for_policy(values, self._attributes))

    def _note(self, statement: Statement, node: NodeIdentity, *, claimed: str) -> None:
        try:
            presentation = self._presented.present(
                self._config.issuer,
                statement.identifier,
                node=presenter(node),
                until=statement.ends,
                once=statement.once or self._config.single_use,
            )
        except AuthError:
            raise
        except Exception as error:
            raise ProviderUnavailable("what was presented before cannot be found out", claimed=claimed) from error
        match presentation:
            case Presentation.FIRST | Presentation.AGAIN:
                return
            case Presentation.ELSEWHERE:
                raise TokenReplayed("the assertion was presented by another node", claimed=claimed)
            case Presentation.SPENT:
                raise TokenReplayed("the assertion is for one use, and had it", claimed=claimed)
            case other:
                assert_never(other)
