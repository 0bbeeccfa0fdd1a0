"""Cases that a policy set is held to: who asks for what, and what has to come of it. Read from TOML.

    [[case]]
    name = "a radiologist finds what is not restricted"
    action = "Query"
    person = { name = "alice", roles = ["radiologist"], attributes = { department = "A" } }     # may be left out
    node = { name = "WS1", roles = ["radiologist"] }
    study = { labels = [], department = "Radiology", study_date = 20260101 }                     # of a study's action
    context = { tls = true, identity_type = 2, source = "10.1.2.3", break_glass = false, at = 2026-11-27T10:00:00+01:00,
                sop_class = "1.2.840.10008.5.1.4.1.1.2", destination = { name = "WS2", roles = [] } }
    expect = "permit"                                                                            # or "deny"
    hidden = ["PatientName"]      # exactly these; where left out, nothing is asked about it
    flagged = true

    [[case]]
    name = "what the research scanner makes is for research"
    action = "Label"
    node = { name = "MR7" }       # person and context as above
    object = { station = "RESEARCH-1", sop_class = "1.2.840.10008.5.1.4.1.1.4" }
    labels = ["research"]         # exactly these, on the first object of a study
    labels_later = []             # exactly these, on a later one; where left out, nothing is asked about it

A key that is not known is an error: a case that says less than it seems to would hold for the wrong reason.
"""

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Protocol

from auth.errors import PolicyInvalid
from auth.policy.attributes import ABOUT_THE_ARCHIVE, OBJECT_ATTRIBUTES, STUDY_ATTRIBUTES, Kind
from auth.policy.engine import PolicyEngine
from auth.policy.model import LABEL, AccessRequest, Action
from auth.principal import Assurance, IdentityDemand, NodeIdentity, NodeTrust, Principal

_STUDY_UID: Final = "1.2.3"
_SOP_CLASS: Final = "1.2.840.10008.5.1.4.1.1.7"
"""Secondary capture: what an object is that a case says nothing else of."""
_WORDS: Final[Mapping[str, bool]] = {"permit": True, "deny": False}


class Case(Protocol):
    """Something that a policy set has to hold to."""

    @property
    def name(self) -> str:
        """What it says, in the words of its author."""

    def fault(self, engine: PolicyEngine) -> str:
        """What the policies make of it instead; empty where it holds."""


@dataclass(frozen=True, slots=True)
class DecisionCase:
    """Who asks for what, and what has to come of it."""

    name: str
    request: AccessRequest
    permitted: bool
    hidden: frozenset[str] | None
    flagged: bool | None

    def fault(self, engine: PolicyEngine) -> str:
        """As `Case.fault`."""
        decision = engine.decide(self.request)
        if decision.permitted is not self.permitted:
            return f"{'permitted' if decision.permitted else 'denied'}: {decision.reason}"
        hidden, flagged = decision.obligations.hide, bool(decision.obligations.flag)
        if self.hidden is not None and hidden != self.hidden:
            return f"hides {_listed(hidden)}"
        if self.flagged is not None and flagged is not self.flagged:
            return "flagged" if flagged else "not flagged"
        return ""


@dataclass(frozen=True, slots=True)
class LabelCase:
    """An object that arrives, and the labels that its study has to get by it."""

    name: str
    request: AccessRequest
    """Who stores it."""
    arriving: Mapping[str, object]
    first: frozenset[str]
    later: frozenset[str] | None

    def fault(self, engine: PolicyEngine) -> str:
        """As `Case.fault`."""
        given = engine.labels(self.request, self.arriving)
        why = "".join(f"; {words}" for words in given.failures)
        if given.first | given.always != self.first:
            return f"labels {_listed(given.first | given.always)} with the first object{why}"
        if self.later is not None and given.always != self.later:
            return f"labels {_listed(given.always)} with a later object{why}"
        return ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of a case; ``fault`` is empty where it held."""

    case: Case
    fault: str


def read_cases(text: str) -> list[Case]:
    """The cases of a file.

    Raises:
        PolicyInvalid: it is not TOML, or a case is not one.
    """
    try:
        table = _Table("the file", tomllib.loads(text))
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise PolicyInvalid(f"not TOML: {error}") from None
    tables = table.take("case", list, [])
    table.finish()
    if not tables:
        raise PolicyInvalid("the file has no [[case]]")
    return [_case(_Table(f"case {number}", case)) for number, case in enumerate(tables, start=1)]


def run(engine: PolicyEngine, cases: list[Case]) -> list[Verdict]:
    """Hold the policies to each case."""
    return [Verdict(case, case.fault(engine)) for case in cases]


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "nothing"


class _Table:
    """A TOML table whose keys are each read once."""

    def __init__(self, name: str, values: object) -> None:
        if not isinstance(values, dict):
            raise PolicyInvalid(f"{name} is not a table")
        self.name = name
        self._values = dict(values)

    def take(self, key: str, kind: Any, default: Any = None) -> Any:
        value = self._values.pop(key, default)
        if value is not default and (not isinstance(value, kind) or (kind is int and isinstance(value, bool))):
            raise PolicyInvalid(f"{self.name}: {key} is not what it has to be")
        return value

    def given(self, key: str) -> bool:
        """Whether the key is there, and not read yet."""
        return key in self._values

    def texts(self, key: str) -> frozenset[str]:
        values = self.take(key, list, [])
        if not all(isinstance(value, str) for value in values):
            raise PolicyInvalid(f"{self.name}: {key} is not a list of texts")
        return frozenset(values)

    def table(self, key: str) -> "_Table | None":
        values = self.take(key, dict)
        return None if values is None else _Table(f"{self.name}: {key}", values)

    def rest(self) -> Mapping[str, object]:
        rest, self._values = self._values, {}
        return rest

    def finish(self) -> None:
        if self._values:
            raise PolicyInvalid(f"{self.name}: unknown key {next(iter(self._values))!r:.40}")


def _case(table: _Table) -> Case:
    name, wanted = table.take("name", str, ""), table.take("action", str, "")
    action = next((known for known in Action if known.value == wanted), None)
    if not name or (action is None and wanted != LABEL):
        raise PolicyInvalid(f"{table.name}: it has a name, and an action of the schema")
    table.name = f"case {name!r}"
    case = _label_case(table, name) if action is None else _decision_case(table, name, action)
    table.finish()
    return case


def _decision_case(table: _Table, name: str, action: Action) -> DecisionCase:
    expected = _WORDS.get(table.take("expect", str, ""))
    if expected is None:
        raise PolicyInvalid(f"{table.name}: it expects permit or deny")
    hidden = table.texts("hidden") if table.given("hidden") else None
    flagged = table.take("flagged", bool)
    return DecisionCase(name, _request(table, action), expected, hidden, flagged)


def _label_case(table: _Table, name: str) -> LabelCase:
    if not table.given("labels"):
        raise PolicyInvalid(f"{table.name}: it says which labels are given")
    first = table.texts("labels")
    later = table.texts("labels_later") if table.given("labels_later") else None
    arriving = {"sop_class": _SOP_CLASS} | _described(table.table("object") or _Table("object", {}), OBJECT_ATTRIBUTES)
    if table.given("study"):
        raise PolicyInvalid(f"{table.name}: label rules read an object, and no study")
    return LabelCase(name, _request(table, Action.STORE), arriving, first, later)


def _request(table: _Table, action: Action) -> AccessRequest:
    person, node, study = table.table("person"), table.table("node"), table.table("study")
    context = table.table("context") or _Table("context", {})
    principal = None if person is None else _person(person)
    at = context.take("at", datetime)
    if at is not None and at.tzinfo is None:
        raise PolicyInvalid(f"{table.name}: at has an offset")
    destination = context.table("destination")
    sop_class = context.take("sop_class", str)
    request = AccessRequest(
        action=action,
        node=_node(node or _Table("node", {})),
        principal=principal,
        assurance=Assurance(
            context.take("identity_type", int, 2) if principal else None,
            tls=context.take("tls", bool, True),
            verified_by=context.take("verified_by", str),
        ),
        resource_id=None if action in ABOUT_THE_ARCHIVE else _STUDY_UID,
        resource=None if action in ABOUT_THE_ARCHIVE else _study(study or _Table("study", {})),
        context={} if sop_class is None else {"sop_class": sop_class},
        source=context.take("source", str),
        moment=at,
        destination=None if destination is None else _node(destination),
        break_glass=context.take("break_glass", bool, False),
    )
    context.finish()
    return request


def _person(table: _Table) -> Principal:
    attributes = (table.table("attributes") or _Table("attributes", {})).rest()
    person = Principal(
        table.take("name", str, "someone"), table.texts("roles"), {key: str(value) for key, value in attributes.items()}
    )
    table.finish()
    return person


def _node(table: _Table) -> NodeIdentity:
    name = table.take("name", str, "NODE")
    try:
        trust = NodeTrust(table.take("trust", str, NodeTrust.ISSUED.value))
    except ValueError:
        raise PolicyInvalid(f"{table.name}: trust is issued, pinned or plain") from None
    node = NodeIdentity(
        name=name,
        ae_titles=frozenset({name}),
        roles=table.texts("roles"),
        identity=IdentityDemand.OPTIONAL,
        identity_types=None,
        asserts_roles=frozenset(),
        trust=trust,
        fingerprint=None,
    )
    table.finish()
    return node


def _study(table: _Table) -> Mapping[str, object]:
    return _described(table, STUDY_ATTRIBUTES)


def _described(table: _Table, attributes: Mapping[str, Kind]) -> dict[str, object]:
    """A study, or an arriving object, by the names of the schema."""
    kinds = {"string": str, "long": int}
    described: dict[str, object] = {"study_uid": _STUDY_UID}
    for name, kind in attributes.items():
        if kind == "set":
            described[name] = table.texts(name)
        elif (value := table.take(name, kinds[kind])) is not None:
            described[name] = value
    table.finish()
    return described
