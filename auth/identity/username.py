"""Type 1, the bare user name: believed only from nodes that were registered as asserting users, up to given roles."""

from auth.credential import Credential, Username
from auth.errors import AuthenticationFailed
from auth.identity.chain import NOT_MINE, Verdict, Vouched
from auth.identity.overrides import local_now
from auth.identity.steps import checked
from auth.ports import UserStore
from auth.principal import NodeIdentity, Principal


class AssertedUsers:
    """Vouches for a local user because the node does (PS3.15 B.4 leaves it to us to verify nothing more)."""

    name = "node"
    identity_types = frozenset({1})

    def __init__(self, users: UserStore) -> None:
        self._users = users

    def verify(self, credential: Credential, node: NodeIdentity) -> Vouched | Verdict:
        """The user with those of their roles that the node may assert.

        Raises:
            AuthenticationFailed: the node asserts nobody, the user is disabled, or no role of theirs is assertable.
        """
        if not isinstance(credential, Username):
            return NOT_MINE
        # 1 The node was registered as asserting users; otherwise the name proves nothing.
        if not node.asserts_roles:
            raise AuthenticationFailed("this node's bare user names are not believed", claimed=credential.name)
        checked("the node's bare user names are believed")
        # 2 The user is known and enabled.
        user = self._users.user(credential.name)
        if user is None:
            return NOT_MINE
        if not user.enabled:
            raise AuthenticationFailed("the user is disabled", claimed=credential.name)
        checked("the user is known and enabled")
        # 3 At most the roles that the node may assert, and at least one.
        roles = user.roles & node.asserts_roles
        if not roles:
            raise AuthenticationFailed("the node may assert none of the user's roles", claimed=credential.name)
        checked("the node may assert a role of theirs")
        return Vouched(Principal(name=user.name, roles=roles, attributes=user.attributes))

    def still(self, principal: Principal) -> Principal | None:
        """The user as the record says now, with those of its roles that the node could assert."""
        return local_now(principal, self._users)
