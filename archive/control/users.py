"""Operations on local users. A passcode never comes here, only its argon2id hash, made where it was typed."""

from collections.abc import Iterable

from archive.audit.events import Alert
from archive.control.operations import Call, operation
from archive.control.protocol import Json
from auth.errors import RecordExists, RecordInvalid, RecordMissing
from auth.names import checked_attributes, checked_roles, checked_username
from auth.ports import UserRecord

_HASH_PREFIX = "$argon2id$"


@operation("user.add")
def add(call: Call) -> Json:
    """Make a user, enabled."""
    arguments, users = call.arguments, call.archive.users
    name = checked_username(arguments.text("name"))
    roles = _known(call, arguments.texts("roles"))
    attributes = checked_attributes(arguments.mapping("attributes"))
    passcode_hash = _hash(arguments.optional_text("passcode_hash"))
    arguments.finish()
    if users.user(name) is not None:
        raise RecordExists(f"a user `{name}` is already there")
    facts = {"change": "user-added", "user": name, "roles": sorted(roles), "attributes": dict(attributes)}
    words = f"user {name} added, roles {', '.join(sorted(roles)) or 'none'}"
    return _described(
        call.change(
            facts,
            words,
            Alert.USER_SECURITY_ATTRIBUTES_CHANGED,
            lambda: users.add(name, roles=roles, attributes=attributes, passcode_hash=passcode_hash),
        )
    )


@operation("user.list")
def listed(call: Call) -> Json:
    """Every user."""
    call.arguments.finish()
    return [_described(user) for user in call.archive.users.all()]


@operation("user.remove")
def remove(call: Call) -> Json:
    """Forget a user."""
    user = _existing(call)
    call.arguments.finish()
    facts = {"change": "user-removed", "user": user.name}
    call.change(
        facts,
        f"user {user.name} removed",
        Alert.USER_SECURITY_ATTRIBUTES_CHANGED,
        lambda: call.archive.users.remove(user.name),
    )
    return _described(user)


@operation("user.passcode")
def passcode(call: Call) -> Json:
    """Give a user another passcode."""
    user = _existing(call)
    passcode_hash = _hash(call.arguments.text("passcode_hash"))
    call.arguments.finish()
    facts = {"change": "user-passcode", "user": user.name}
    return _described(
        call.change(
            facts,
            f"passcode of user {user.name} changed",
            Alert.USER_SECURITY_ATTRIBUTES_CHANGED,
            lambda: call.archive.users.set_passcode(user.name, passcode_hash),
        )
    )


@operation("user.enable")
def enable(call: Call) -> Json:
    """Let a user in again, or keep them out without forgetting them."""
    user = _existing(call)
    enabled = call.arguments.flag("enabled")
    call.arguments.finish()
    word = "enabled" if enabled else "disabled"
    facts = {"change": f"user-{word}", "user": user.name}
    return _described(
        call.change(
            facts,
            f"user {user.name} {word}",
            Alert.USER_SECURITY_ATTRIBUTES_CHANGED,
            lambda: call.archive.users.set_enabled(user.name, enabled),
        )
    )


def _existing(call: Call) -> UserRecord:
    user = call.archive.users.user(checked_username(call.arguments.text("name")))
    if user is None:
        raise RecordMissing("no user of that name")
    return user


def _known(call: Call, roles: Iterable[str]) -> frozenset[str]:
    """Roles that some policy of the set in force names; any other would be a spelling mistake that permits nothing."""
    return checked_roles(roles, call.archive.policies.policies.roles)


def _hash(passcode_hash: str | None) -> str | None:
    if passcode_hash is not None and not passcode_hash.startswith(_HASH_PREFIX):
        raise RecordInvalid("a passcode is kept as an argon2id string only")
    return passcode_hash


def _described(user: UserRecord) -> dict[str, Json]:
    """A user as the operator is shown them."""
    return {
        "name": user.name,
        "roles": sorted(user.roles),
        "attributes": dict(user.attributes),
        "enabled": user.enabled,
        "passcode": user.passcode_hash is not None,
    }
