"""Operations on broken glass: open it for somebody, end it, and look at what it was used for."""

from archive.audit.events import Actor, Alert, SecurityAlert
from archive.control.operations import Call, operation
from archive.control.protocol import Json
from archive.records.overrides import Override
from archive.services.glass import begin, end_what_is_over, minutes
from auth.errors import AccessDenied, RecordInvalid, RecordMissing
from auth.names import external_name
from auth.policy.model import AccessRequest, Action
from auth.principal import Assurance, NodeTrust, Principal


@operation("glass.open")
def opened(call: Call) -> Json:
    """Break the glass for a person at a node."""
    arguments, archive = call.arguments, call.archive
    person = external_name(arguments.text("person"))
    node_name = arguments.text("node")
    reason = arguments.text("reason")
    lasts = minutes(arguments.optional_number("minutes"))
    arguments.finish()
    node = archive.nodes.node(node_name)
    if node is None:
        raise RecordMissing("no node of that name")
    user = archive.users.user(person)
    if user is not None:
        # Of somebody from elsewhere the roles are known once they log in, and count then.
        principal = Principal(user.name, user.roles, user.attributes)
        assurance = Assurance(2, tls=node.identity.trust is not NodeTrust.PLAIN)
        decision = archive.policies.decide(AccessRequest(Action.BREAK_GLASS, node.identity, principal, assurance))
        if not (user.enabled and decision.permitted):
            raise AccessDenied(Action.BREAK_GLASS.value, decision.reason if user.enabled else "the user is disabled")
    records = archive.overrides
    if records.active(person, node_name) is not None:
        raise RecordInvalid("it is broken for this person at this node already")
    override = records.prepared(person, node_name, reason, f"operator {call.operator.name}", lasts)
    begin(records, archive.audit, override, Actor(person=person, node=node_name, os_user=call.operator.name))
    return _described(override)


@operation("glass.close")
def closed(call: Call) -> Json:
    """End an override before its time."""
    identifier = call.arguments.text("id")
    call.arguments.finish()
    override = call.archive.overrides.close(identifier)
    end_what_is_over(call.archive.overrides, call.archive.audit)
    return _described(override)


@operation("glass.list")
def listed(call: Call) -> Json:
    """Every override, or those that nobody has reviewed; the newest first."""
    waiting = call.arguments.flag("waiting")
    call.arguments.finish()
    end_what_is_over(call.archive.overrides, call.archive.audit)
    return [_described(override) for override in call.archive.overrides.all() if not (waiting and override.reviewed_by)]


@operation("glass.review")
def reviewed(call: Call) -> Json:
    """Say what came of looking at an override."""
    identifier, note = call.arguments.text("id"), call.arguments.text("note")
    call.arguments.finish()
    archive, operator = call.archive, call.operator
    override = archive.overrides.reviewed(identifier, operator.name, note)
    words = f"override {override.id} of {override.person} at {override.node} reviewed: {override.note}"
    archive.audit.record(SecurityAlert(operator.actor, alert=Alert.SECURITY_CONFIGURATION.value, description=words))
    return _described(override)


def _described(override: Override) -> dict[str, Json]:
    return {
        "id": override.id,
        "person": override.person,
        "node": override.node,
        "reason": override.reason,
        "opened_by": override.opened_by,
        "begins": override.begins.isoformat(timespec="seconds"),
        "ends": override.ends.isoformat(timespec="seconds"),
        "reviewed_by": override.reviewed_by,
        "note": override.note,
    }
