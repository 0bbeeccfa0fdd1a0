"""What entries mean: which one is the person, what they are called, and which roles and attributes they have."""

from collections.abc import Sequence
from typing import Final

from auth.errors import AuthenticationFailed, RecordInvalid
from auth.identity.directory.config import DirectoryConfig
from auth.identity.directory.conversation import Conversation, Entry, escaped
from auth.names import checked_attributes, external_name
from auth.principal import Principal

MAX_GROUPS: Final = 1000
"""A person in more groups than this is refused: which roles they have could not be told."""


def find(directory: Conversation, config: DirectoryConfig, name: str) -> Entry | None:
    """The one entry that the configured filter finds for ``name``; None where there is none.

    Raises:
        AuthenticationFailed: there are several, or a referral instead.
        ProviderUnavailable: the directory does not say.
    """
    condition = config.filter.replace("{name}", escaped(name))
    # One more than may be: a size limit of one would hide the second from us where a server keeps it silently.
    found = directory.below(config.base, condition, _wanted(config), at_most=2)
    if len(found) > 1:
        raise AuthenticationFailed("the directory has several entries for this name")
    return found[0] if found else None


def find_again(directory: Conversation, config: DirectoryConfig, dn: str) -> Entry | None:
    """The entry of a person who was found before, if it is there and the filter's other conditions are still true."""
    return directory.at(dn, config.filter.replace("{name}", "*"), _wanted(config))


def name_of(entry: Entry) -> str:
    """What the person is called here: the distinguished name, whatever they typed to be found.

    Raises:
        AuthenticationFailed: it is empty (a bind with it would be nobody's), over-long, or not legible.
    """
    try:
        return external_name(entry.dn)
    except RecordInvalid as error:
        raise AuthenticationFailed("the entry's distinguished name cannot be used") from error


def described(directory: Conversation, config: DirectoryConfig, entry: Entry) -> Principal:
    """The person of an entry with the roles that their groups give and the attributes that are mapped.

    Raises:
        AuthenticationFailed: what the directory says of them is ambiguous or not legible.
        ProviderUnavailable: the directory does not say.
    """
    return Principal(name_of(entry), roles_of(directory, config, entry), _attributes_of(config, entry))


def roles_of(directory: Conversation, config: DirectoryConfig, entry: Entry) -> frozenset[str]:
    """The roles that the person's groups give at present; a group that is not mapped gives none. Raises as above."""
    if not config.roles:
        return frozenset()
    if config.group_base:
        condition = config.group_filter.replace("{dn}", escaped(entry.dn))
        groups = directory.below(config.group_base, condition, [config.groups_in], at_most=MAX_GROUPS)
    else:
        groups = (entry,)
    named = {group for found in groups for group in _texts(found, config.groups_in)}
    return frozenset(role for group, role in config.roles.items() if group in named)


def _attributes_of(config: DirectoryConfig, entry: Entry) -> dict[str, str]:
    attributes = {}
    for theirs, ours in config.attributes.items():
        values = _texts(entry, theirs)
        if len(values) > 1:
            # They have no order: which one counts would change from day to day.
            raise AuthenticationFailed(f"the entry has several values of {theirs}")
        if values:
            attributes[ours] = values[0]
    try:
        return dict(checked_attributes(attributes))
    except RecordInvalid as error:
        raise AuthenticationFailed("an attribute of the entry cannot be used") from error


def _texts(entry: Entry, attribute: str) -> Sequence[str]:
    try:
        return [value.decode("utf-8") for value in entry.values.get(attribute.lower(), ())]
    except UnicodeDecodeError as error:
        raise AuthenticationFailed(f"the directory's {attribute} is not text") from error


def _wanted(config: DirectoryConfig) -> Sequence[str]:
    """What is asked of a person's entry: nothing that is not used."""
    own_groups = () if config.group_base else (config.groups_in,)
    return [*own_groups, *config.attributes]
