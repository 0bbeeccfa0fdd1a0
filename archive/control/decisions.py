"""Operations on the policy in force: why something is permitted or not, and reading the policies again."""

from typing import Final

from archive.audit.events import Alert
from archive.control.operations import Call, operation
from archive.control.protocol import Json
from archive.enforcement.attributes import resource_of
from archive.errors import UsageInvalid
from auth.errors import RecordMissing
from auth.policy.model import AccessRequest, Action
from auth.principal import Assurance, NodeTrust, Principal
from storage.identifiers import uid

_ACTIONS: Final = {action.value.casefold(): action for action in Action}


@operation("policy.explain")
def explain(call: Call) -> Json:
    """Whether a person at a node may do something, now, and which policies say so."""
    arguments, archive = call.arguments, call.archive
    action = _ACTIONS.get(arguments.text("action").casefold())
    node = archive.nodes.node(arguments.text("node"))
    user_name = arguments.optional_text("user")
    study_uid = arguments.optional_text("study_uid")
    sop_class = arguments.optional_text("sop_class")
    identity_type = arguments.optional_number("identity_type")
    arguments.finish()
    if action is None:
        raise UsageInvalid(f"the action must be one of {', '.join(member.value for member in Action)}")
    if node is None:
        raise RecordMissing("no node of that name")
    principal = None
    if user_name is not None:
        user = archive.users.user(user_name)
        if user is None:
            raise RecordMissing("no user of that name")
        if not user.enabled:
            return {"permitted": False, "reason": "the user is disabled", "lines": []}
        principal = Principal(user.name, user.roles, user.attributes)
        identity_type = identity_type or 2
    facts = archive.repository.reader.study_facts(uid(study_uid)) if study_uid else None
    if study_uid and facts is None:
        raise UsageInvalid("no object of that study is kept: check the Study Instance UID")
    request = AccessRequest(
        action=action,
        node=node.identity,
        principal=principal,
        assurance=Assurance(identity_type, tls=node.identity.trust is not NodeTrust.PLAIN),
        resource_id=facts.study_uid if facts else None,
        resource=resource_of(facts) if facts else None,
        context={} if sop_class is None else {"sop_class": sop_class},
    )
    explanation = archive.policies.explain(request)
    decision = explanation.decision
    return {
        "permitted": decision.permitted,
        "reason": decision.reason,
        "hidden": sorted(decision.obligations.hide),
        "lines": list(explanation.lines),
    }


@operation("policy.reload")
def reload(call: Call) -> Json:
    """Read the policies again; a set that does not hold changes nothing."""
    call.arguments.finish()
    policies = call.archive.load_policies()
    facts = {"change": "policy", "fingerprint": policies.fingerprint}
    call.change(
        facts,
        f"policies {policies.fingerprint[:16]} in force",
        Alert.SECURITY_CONFIGURATION,
        lambda: call.archive.policies.adopt(policies),
    )
    return {"fingerprint": policies.fingerprint}
