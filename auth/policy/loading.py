"""From a directory of Cedar files to one policy set that may count, or a list of everything that is wrong with it.

1. every file is UTF-8 and parses; no templates
2. every policy has a unique ``@id``; what its other annotations demand is understood
3. Cedar's strict validation against ``schema.cedarschema``
4. the schema takes the requests that this release makes
5. every condition on the resource can become a condition on rows (`auth.policy.lint`)
6. label rules, which are apart from all other policies, are what they have to be (`auth.policy.label_rules`)

An empty set is valid: it denies everything.
"""

import dataclasses
import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import cedarpy
from cedarpy import pst

from auth.errors import PolicyInvalid
from auth.policy import label_rules, lint
from auth.policy.analysis import idle_rules
from auth.policy.attributes import (
    ABOUT_THE_ARCHIVE,
    ARCHIVE,
    CLOCK,
    PROBE_VALUES,
    STUDY,
    STUDY_ATTRIBUTES,
    cedar_json,
    study_entity,
)
from auth.policy.label_rules import LabelRules
from auth.policy.model import Action, Obligations

SCHEMA_FILE: Final = "schema.cedarschema"
_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
_UNDERSTOOD: Final = frozenset({"id", "reason", "hide", "flag", "results", "keys", "volume"})
_LIMIT: Final = re.compile(r"[1-9][0-9]{0,8}", re.ASCII)
_FILING: Final = frozenset({"StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID"})


@dataclass(frozen=True, slots=True)
class Reads:
    """What one policy reads of a study, and for whom at most it does."""

    roles: frozenset[str] | None
    """Its head asks for one of these roles; None: it may concern anybody."""
    actions: frozenset[str] | None
    """Its head asks for one of these actions; None: any."""
    attributes: frozenset[str]
    names_studies: bool
    """Whether it may tell two studies apart whose attributes are equal."""
    circumstances: frozenset[str] | None
    """Which parts of the context it reads; None: any may be."""

    def concerns(self, roles: frozenset[str], action: Action) -> bool:
        """Whether it can matter to subjects with these roles and an action."""
        return (self.roles is None or bool(self.roles & roles)) and (
            self.actions is None or action.value in self.actions
        )


@dataclass(frozen=True, slots=True)
class LoadedPolicies:
    """A policy set that passed every check, with what is told of it."""

    fingerprint: str
    """SHA-256 over the names and bytes of all files, hexadecimal."""
    effects: Mapping[str, str]
    """``permit`` or ``forbid`` by policy id."""
    obligations: Mapping[str, Obligations]
    reasons: Mapping[str, str]
    """What each policy is for, in words, where it says so."""
    roles: frozenset[str]
    """Every role that some policy names."""
    reads: tuple["Reads", ...]
    """What each policy reads of studies."""
    circumstances: frozenset[str] | None
    """Which parts of the context some policy reads; None: any may be."""
    idle: tuple[str, ...]
    """What is said of rules that make no difference; no reason to refuse the set."""
    rules: LabelRules
    """Which labels arriving objects give their studies."""
    handle: Any = field(repr=False)
    schema: Any = field(repr=False)


def load(directory: Path, is_keyword: Callable[[str], bool] | None = None) -> LoadedPolicies:
    """Read and check every ``*.cedar`` file of a directory.

    ``is_keyword`` says which DICOM keywords ``@hide`` may name; without it any word is taken.

    Raises:
        PolicyInvalid: names every finding, one a line.
    """
    findings: list[str] = []
    texts = _read(directory)
    fingerprint = _fingerprint(texts)
    schema = _schema(texts.pop(SCHEMA_FILE))
    policies = _parse(texts, findings)
    for identifier, (name, policy) in policies.items():
        wrong = _annotation_findings(policy, is_keyword)
        if label_rules.is_label_rule(policy):
            wrong = label_rules.findings_of(policy)
        findings += [f"{name}: {identifier}: {finding}" for finding in wrong]
    _refuse(findings)
    findings += _validation_findings(texts, schema)
    _refuse(findings)
    rules = {key: policy for key, (_, policy) in policies.items() if label_rules.is_label_rule(policy)}
    policies = {key: named for key, named in policies.items() if key not in rules}
    if rules:
        findings += label_rules.quarantine_findings({key: policy for key, (_, policy) in policies.items()})
        findings += [f"{SCHEMA_FILE}: {finding}" for finding in label_rules.schema_findings(schema)]
    _refuse(findings)
    compiled = {key: _compilable(name, policy, findings) for key, (name, policy) in policies.items()}
    _refuse(findings)
    obligations = {key: obligations_of(policy.annotations) for key, policy in compiled.items()}
    return LoadedPolicies(
        fingerprint=fingerprint,
        effects={key: policy.effect for key, policy in compiled.items()},
        obligations=obligations,
        reasons={key: policy.annotations.get("reason", "") for key, policy in compiled.items()},
        roles=frozenset(
            part.id for part in lint.parts(compiled) if isinstance(part, pst.EntityUid) and str(part.type) == "Role"
        ),
        reads=tuple(map(_reads, compiled.values())),
        circumstances=_circumstances(compiled),
        idle=tuple(idle_rules(compiled, obligations)),
        rules=label_rules.rules_of(rules),
        handle=cedarpy.PolicySet.from_pst(pst.PolicySet(templates={}, static_policies=compiled, template_links=())),
        schema=schema,
    )


def obligations_of(annotations: Mapping[str, str]) -> Obligations:
    """What a permit's annotations oblige to."""
    wanted = _words(annotations.get("keys", ""))
    words = annotations.get("flag") or annotations.get("reason", "")
    return Obligations(
        hide=_words(annotations.get("hide", "")),
        flag=frozenset({f"{annotations.get('id', '')}: {words}"} if "flag" in annotations else ()),
        results=_limit(annotations.get("results")),
        keys=frozenset({wanted} if wanted else ()),
        volume=_limit(annotations.get("volume")),
        unknown=frozenset(annotations) - _UNDERSTOOD,
    )


def _words(text: str) -> frozenset[str]:
    return frozenset(word.strip() for word in text.split(",")) - {""}


def _limit(text: str | None) -> int | None:
    """A whole number above 0; what is none has been refused, and would be the least that there is."""
    if text is None:
        return None
    return int(text) if _LIMIT.fullmatch(text) else 1


def _refuse(findings: list[str]) -> None:
    if findings:
        raise PolicyInvalid("\n".join(findings))


def _read(directory: Path) -> dict[str, str]:
    texts = {}
    try:
        paths = [_schema_path(directory), *sorted(directory.glob("*.cedar"))]
        for path in paths:
            texts[path.name] = path.read_bytes().decode("utf-8")
    except UnicodeDecodeError:
        raise PolicyInvalid(f"{path.name}: not UTF-8") from None
    except OSError as error:
        raise PolicyInvalid(f"{error.filename or directory}: {error.strerror}") from None
    return texts


def _schema_path(directory: Path) -> Path:
    """The schema of a folder: its own, or that of the folder above, which sets beside each other share."""
    own, shared = directory / SCHEMA_FILE, directory.parent / SCHEMA_FILE
    return shared if directory.is_dir() and not own.exists() and shared.is_file() else own


def _fingerprint(texts: Mapping[str, str]) -> str:
    digest = hashlib.sha256()
    for name, text in texts.items():
        for part in (name.encode(), text.encode()):
            digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()


def _schema(text: str) -> Any:
    try:
        schema = cedarpy.Schema.from_str(text)
        entities = cedarpy.Entities.from_json_str(cedar_json(_probe_entities()), schema=schema)
    except ValueError as error:
        raise PolicyInvalid(f"{SCHEMA_FILE}: {_first_line(error)}") from None
    findings = []
    nothing = cedarpy.PolicySet.from_str("")
    for action in Action:
        for subject in ("User", "Node"):
            answer = cedarpy.is_authorized(_probe_request(action, subject), nothing, entities, schema)
            errors = answer.diagnostics.errors
            findings += [f"{SCHEMA_FILE}: {action.value} by a {subject}: {words}" for words in errors]
    _refuse(findings)
    return schema


def _probe_entities() -> list[dict[str, Any]]:
    role = [{"type": "Role", "id": "-"}]
    return [
        study_entity("-", {name: PROBE_VALUES[kind] for name, kind in STUDY_ATTRIBUTES.items()}),
        {"uid": {"type": "User", "id": "-"}, "attrs": {"attributes": {}}, "parents": role},
        {"uid": {"type": "Node", "id": "-"}, "attrs": {}, "parents": role},
        {"uid": ARCHIVE, "attrs": {}, "parents": []},
    ]


def _probe_request(action: Action, subject: str) -> dict[str, Any]:
    """A request with everything that a request can have."""
    return {
        "principal": {"type": subject, "id": "-"},
        "action": {"type": "Action", "id": action.value},
        "resource": ARCHIVE if action in ABOUT_THE_ARCHIVE else {"type": STUDY, "id": "-"},
        "context": {
            "node": {"__entity": {"type": "Node", "id": "-"}},
            "person": {"__entity": {"type": "User", "id": "-"}},
            "tls": True,
            "trust": "",
            "identity_type": 0,
            "verified_by": "",
            "sop_class": "",
            "break_glass": True,
            "purpose": "",
            "source": {"__extn": {"fn": "ip", "arg": "127.0.0.1"}},
            "destination": {"__entity": {"type": "Node", "id": "-"}},
            **dict.fromkeys(CLOCK, 0),
        },
    }


def _parse(texts: Mapping[str, str], findings: list[str]) -> dict[str, tuple[str, Any]]:
    """Policies by ``@id``, each with the name of its file."""
    policies: dict[str, tuple[str, Any]] = {}
    for name, text in texts.items():
        try:
            parsed = cedarpy.PolicySet.from_str(text).to_pst()
        except ValueError as error:
            findings.append(f"{name}: {_first_line(error)}")
            continue
        if parsed.templates:
            findings.append(f"{name}: templates (?principal, ?resource) are not used here")
        for number, policy in enumerate(parsed.static_policies.values(), start=1):
            identifier = policy.annotations.get("id", "")
            if _ID.fullmatch(identifier) is None:
                findings.append(f"{name}: policy {number} has no @id of letters, digits, dots, hyphens and underscores")
            elif identifier in policies:
                findings.append(f"{name}: {identifier}: the same @id is used in {policies[identifier][0]}")
            else:
                policies[identifier] = (name, dataclasses.replace(policy, id=identifier))
    return policies


def _annotation_findings(policy: Any, is_keyword: Callable[[str], bool] | None) -> list[str]:
    if policy.effect == "forbid":
        pointless = sorted(set(policy.annotations) - {"id", "reason"})
        return [f"@{name} on a forbid obliges nobody" for name in pointless]
    findings = []
    for name in sorted({"hide", "keys"} & set(policy.annotations)):
        words = _words(policy.annotations[name] or "")
        if not words:
            findings.append(f"@{name} names no attribute")
        findings += [
            f"@{name}: {word} is no DICOM keyword" for word in sorted(words) if is_keyword and not is_keyword(word)
        ]
        if name == "hide":
            findings += [
                f"@hide: {word} names the object itself, and is never hidden" for word in sorted(words & _FILING)
            ]
    for name in sorted({"results", "volume"} & set(policy.annotations)):
        if not _LIMIT.fullmatch(policy.annotations[name] or ""):
            findings.append(f"@{name} is no whole number above 0")
    return findings


def _validation_findings(texts: Mapping[str, str], schema: Any) -> list[str]:
    findings = []
    for name, text in texts.items():
        result = cedarpy.validate_policies(text, schema)
        names = result.id_annotations_by_policy_id
        findings += [
            f"{name}: {names.get(error.policy_id, error.policy_id)}: {error.error.rpartition('`, ')[2] or error.error}"
            for error in result.errors
        ]
        if not result.validation_passed and not result.errors:
            findings.append(f"{name}: refused by validation")
    return findings


def _compilable(name: str, policy: Any, findings: list[str]) -> Any:
    """The policy as it is evaluated, ``if-then-else`` rewritten; what cannot be compiled is added to the findings."""
    clauses = []
    for number, clause in enumerate(policy.clauses, start=1):
        expression = lint.rewritten(clause.expr)
        try:
            lint.check(expression)
        except lint.NotExpressible as error:
            findings.append(f"{name}: {policy.id}: clause {number}: {error}: it cannot become a condition on rows")
        clauses.append(type(clause)(expression))
    return dataclasses.replace(policy, clauses=tuple(clauses))


def _reads(policy: Any) -> Reads:
    attributes = set()
    for part in lint.parts(policy):
        if isinstance(part, pst.GetAttr | pst.HasAttr) and part.base == pst.Var("resource"):
            attributes.add(part.attr if isinstance(part, pst.GetAttr) else part.attrs[0])
    uids = [part for part in lint.parts(policy) if isinstance(part, pst.EntityUid)]
    return Reads(
        _roles_asked(policy.principal),
        _actions_asked(policy.action),
        frozenset(attributes),
        any(str(uid.type) == STUDY for uid in uids),
        _circumstances(policy),
    )


def _circumstances(policies: Any) -> frozenset[str] | None:
    """The parts of the context that one policy, or several, read by name; None where it is also used as a whole."""
    context = pst.Var("context")
    named: list[str] = []
    uses = 0
    for part in lint.parts(policies):
        uses += part == context
        if isinstance(part, pst.GetAttr | pst.HasAttr) and part.base == context:
            named.append(part.attr if isinstance(part, pst.GetAttr) else part.attrs[0])
    return frozenset(named) if uses == len(named) else None


def _roles_asked(principal: Any) -> frozenset[str] | None:
    role = principal.entity if isinstance(principal, pst.ScopeIn | pst.ScopeIsIn) else None
    return frozenset({role.id}) if isinstance(role, pst.EntityUid) and str(role.type) == "Role" else None


def _actions_asked(action: Any) -> frozenset[str] | None:
    if isinstance(action, pst.ActionEq):
        names = frozenset({action.entity.id})
    elif isinstance(action, pst.ActionIn):
        names = frozenset(entity.id for entity in action.entities)
    else:
        return None
    return names if names <= {known.value for known in Action} else None  # a group of actions may hold any


def _first_line(error: ValueError) -> str:
    return next(iter(str(error).splitlines()), "refused")
