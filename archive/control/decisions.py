"""Operations on the policy in force: what it says and why, what another would say, and reading the policies again."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Final

import structlog

from archive.audit.events import Alert
from archive.control.comparison import Comparison
from archive.control.operations import Call, operation
from archive.control.protocol import Json
from archive.enforcement.attributes import is_keyword, resource_of
from archive.enforcement.reach import reach_of
from archive.errors import UsageInvalid
from auth.errors import RecordMissing
from auth.policy.engine import PolicyEngine
from auth.policy.loading import load
from auth.policy.model import AccessRequest, Action
from auth.policy.shadow import Difference
from auth.principal import Assurance, NodeTrust, Principal
from storage.clock import now
from storage.identifiers import uid
from storage.index.wording import sql_text

_log = structlog.get_logger("strongroom.policy")
_ACTIONS: Final = {action.value.casefold(): action for action in Action}


@operation("policy.explain")
def explain(call: Call) -> Json:
    """Whether a person at a node may do something, now, which policies say so, and what they read."""
    study_uid = call.arguments.optional_text("study_uid")
    request = _asked(call)
    call.arguments.finish()
    if request is None:
        return {"permitted": False, "reason": "the user is disabled", "hidden": [], "lines": []}
    facts = call.archive.repository.reader.study_facts(uid(study_uid)) if study_uid else None
    if study_uid and facts is None:
        raise UsageInvalid("no object of that study is kept: check the Study Instance UID")
    if facts is not None and not facts.vouched:
        reason = "what the index says of the study is not what this archive wrote there: run `strongroom verify`"
        return {"permitted": False, "reason": reason, "hidden": [], "lines": []}
    if facts is not None:
        request = replace(request, resource_id=facts.study_uid, resource=resource_of(facts))
    explanation = call.archive.policies.explain(request)
    decision = explanation.decision
    return {
        "permitted": decision.permitted,
        "reason": decision.reason,
        "hidden": sorted(decision.obligations.hide),
        "lines": [*explanation.lines, *_values(request)],
    }


@operation("policy.sql")
def sql(call: Call) -> Json:
    """The condition on studies that a person's queries are given at a node."""
    request = _asked(call)
    call.arguments.finish()
    if request is None:
        raise UsageInvalid("the user is disabled")
    reach = reach_of(call.archive.policies, request)
    return {
        "sqlite": sql_text(reach.scope, "sqlite"),
        "postgresql": sql_text(reach.scope, "postgresql"),
        "hidden": sorted(reach.obligations.hide),
    }


@operation("policy.diff")
def diff(call: Call) -> Json:
    """Which studies and people another policy set would change; ``before`` is the set in force where it is not said."""
    before, after = call.arguments.optional_text("before"), call.arguments.text("after")
    call.arguments.finish()
    archive = call.archive
    old = archive.policies if before is None else PolicyEngine.load(Path(before), is_keyword)
    comparison = Comparison(old, PolicyEngine.load(Path(after), is_keyword), archive.repository.reader)
    changes = comparison.changes(archive.users.all(), archive.nodes.all())
    return [change.described() for change in changes]


@operation("policy.shadow")
def shadow(call: Call) -> Json:
    """Ask another policy set beside the one in force, stop asking it, or say where it differed so far."""
    directory, stop = call.arguments.optional_text("directory"), call.arguments.flag("stop")
    call.arguments.finish()
    engine = call.archive.policies
    if directory is not None:
        engine.shadow(load(Path(directory), is_keyword), _log_difference)
    elif stop:
        engine.shadow(None)
    beside = engine.beside
    if beside is None:
        return {"fingerprint": None, "asked": 0, "differed": 0, "differences": []}
    asked, differed = beside.counts
    differences = [{**asdict(difference), "count": count} for difference, count in beside.differences]
    return {"fingerprint": beside.fingerprint, "asked": asked, "differed": differed, "differences": differences}


def _log_difference(difference: Difference) -> None:
    _log.warning("the shadow policies differ", **asdict(difference))


def _asked(call: Call) -> AccessRequest | None:
    """Who would do what; None: the person may do nothing at all, being disabled."""
    arguments, archive = call.arguments, call.archive
    action = _ACTIONS.get(arguments.text("action").casefold())
    node = archive.nodes.node(arguments.text("node"))
    user_name = arguments.optional_text("user")
    sop_class = arguments.optional_text("sop_class")
    identity_type = arguments.optional_number("identity_type")
    if action is None:
        raise UsageInvalid(f"the action must be one of {', '.join(member.value for member in Action)}")
    if node is None:
        raise RecordMissing("no node of that name")
    principal, broken = None, False
    if user_name is not None:
        user = archive.users.user(user_name)
        if user is None:
            raise RecordMissing("no user of that name")
        if not user.enabled:
            return None
        principal = Principal(user.name, user.roles, user.attributes)
        identity_type = identity_type or 2
        broken = archive.overrides.active(user.name, node.identity.name) is not None
    return AccessRequest(
        action=action,
        node=node.identity,
        principal=principal,
        assurance=Assurance(identity_type, tls=node.identity.trust is not NodeTrust.PLAIN),
        context={} if sop_class is None else {"sop_class": sop_class},
        moment=now(),
        break_glass=broken,
    )


def _values(request: AccessRequest) -> list[str]:
    """What the policies read, in words."""
    lines = []
    if (person := request.principal) is not None:
        attributes = "".join(f", {name} = {value}" for name, value in sorted(person.attributes.items()))
        lines.append(f"person {person.name}: roles {', '.join(sorted(person.roles)) or 'none'}{attributes}")
    lines.append(f"node {request.node.name}: roles {', '.join(sorted(request.node.roles)) or 'none'}")
    for name, value in sorted((request.resource or {}).items()):
        shown = ", ".join(sorted(value)) or "none" if isinstance(value, frozenset) else value
        lines.append(f"study: {name} = {shown}")
    if request.break_glass:
        lines.append("the glass is broken")
    return lines


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
        lambda: call.archive.adopt_policies(policies),
    )
    return {"fingerprint": policies.fingerprint}
