"""What a local record says of a person whom somebody else vouches for: disabled here, or more roles here.

The record has exactly the person's name. It is how an archive shuts out one person of a directory, and how people whom
no directory describes (Kerberos principals) get their roles.
"""

from types import MappingProxyType

from auth.errors import AuthenticationFailed
from auth.ports import UserStore
from auth.principal import Principal


def with_local(principal: Principal, users: UserStore) -> Principal:
    """The person with the roles and attributes of their local record, if there is one.

    Raises:
        AuthenticationFailed: the record is disabled.
    """
    record = users.user(principal.name)
    if record is None:
        return principal
    if not record.enabled:
        raise AuthenticationFailed("the user is disabled", claimed=principal.name)
    attributes = MappingProxyType({**principal.attributes, **record.attributes})
    return Principal(principal.name, principal.roles | record.roles, attributes)


def still_local(principal: Principal, outside: frozenset[str], users: UserStore) -> Principal | None:
    """A person of a running association now: their roles narrowed to those that ``outside`` or their record still give.

    None: the record is disabled. ``outside`` are the roles that whoever vouched gives at present.
    """
    record = users.user(principal.name)
    if record is None:
        return Principal(principal.name, principal.roles & outside, principal.attributes)
    if not record.enabled:
        return None
    attributes = MappingProxyType({**principal.attributes, **record.attributes})
    return Principal(principal.name, principal.roles & (outside | record.roles), attributes)


def local_now(principal: Principal, users: UserStore) -> Principal | None:
    """A local user of a running association now; None: removed or disabled."""
    record = users.user(principal.name)
    if record is None or not record.enabled:
        return None
    return Principal(principal.name, principal.roles & record.roles, record.attributes)
