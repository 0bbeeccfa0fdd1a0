"""The vocabulary of authorization: actions, request, decision, obligations and residual. Values only."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any, Final

from auth.principal import Assurance, NodeIdentity, Principal


class Action(Enum):
    """Everything a policy can permit; the values are the action names of the Cedar schema."""

    ASSOCIATE = "Associate"
    ECHO = "Echo"
    STORE = "Store"
    QUERY = "Query"
    RETRIEVE = "Retrieve"
    MOVE = "Move"
    RECEIVE = "Receive"
    COMMIT = "Commit"
    DELETE = "Delete"
    EXPORT = "Export"
    ADMINISTER = "Administer"
    BREAK_GLASS = "BreakGlass"
    STORE_NON_PATIENT = "StoreNonPatient"
    READ_NON_PATIENT = "ReadNonPatient"
    RECEIVE_NON_PATIENT = "ReceiveNonPatient"


NEEDS_A_PERSON = frozenset(
    {Action.QUERY, Action.RETRIEVE, Action.MOVE, Action.DELETE, Action.EXPORT, Action.ADMINISTER, Action.BREAK_GLASS}
    | {Action.READ_NON_PATIENT}
)
"""A node's own roles never allow these without a person."""

NON_PATIENT: Final[Mapping[Action, Action]] = {
    Action.STORE: Action.STORE_NON_PATIENT,
    Action.COMMIT: Action.STORE_NON_PATIENT,
    Action.QUERY: Action.READ_NON_PATIENT,
    Action.RETRIEVE: Action.READ_NON_PATIENT,
    Action.MOVE: Action.READ_NON_PATIENT,
    Action.RECEIVE: Action.RECEIVE_NON_PATIENT,
    Action.DELETE: Action.ADMINISTER,
    Action.EXPORT: Action.ADMINISTER,
}
"""What an action on a study is called where the object belongs to no patient and no study; a rule about studies, which
may say nothing but what it excepts, never permits it."""


OPENS_A_STUDY = (Action.QUERY, Action.RETRIEVE, Action.MOVE, Action.RECEIVE, Action.EXPORT)
"""Actions by which something of a study is seen or leaves."""
LABEL = "Label"
"""What label rules are asked for; nobody does it, so it is none of the actions above."""
QUARANTINE = "quarantine"
"""The label that every role's policies forbid."""


@dataclass(frozen=True, slots=True)
class AccessRequest:
    """Who asks for what. ``resource`` holds the Cedar attributes of the study asked about; None: not known yet."""

    action: Action
    node: NodeIdentity
    principal: Principal | None
    assurance: Assurance
    resource_id: str | None = None
    resource: Mapping[str, object] | None = None
    context: Mapping[str, object] = field(default_factory=dict)
    source: str | None = None
    """The address that the connection came from; a policy reads it as an ``ipaddr``."""
    moment: datetime | None = None
    """When it is asked, an aware time; policies read date, time and weekday of this machine's time zone."""
    destination: NodeIdentity | None = None
    """Where objects are to be moved to."""
    break_glass: bool = False
    """The person has broken the glass at this node, gave a reason, and it still counts."""


@dataclass(frozen=True, slots=True)
class Obligations:
    """What must be done if the action goes ahead. One that nobody implements denies."""

    hide: frozenset[str] = frozenset()
    """Keywords of attributes that the person may neither see nor match on."""
    flag: frozenset[str] = frozenset()
    """Words of rules that permit and have a security officer told."""
    results: int | None = None
    """Matches that one query may return at most."""
    keys: frozenset[frozenset[str]] = frozenset()
    """Of each group of keywords a query has to give one a value."""
    volume: int | None = None
    """Objects that the person may retrieve in a day (UTC) at most."""
    unknown: frozenset[str] = frozenset()
    """Obligations by name that this release does not implement."""

    def union(self, other: "Obligations") -> "Obligations":
        """Obligations are united, never intersected; of two limits the lower one holds."""
        return Obligations(
            self.hide | other.hide,
            self.flag | other.flag,
            _lower(self.results, other.results),
            self.keys | other.keys,
            _lower(self.volume, other.volume),
            self.unknown | other.unknown,
        )


def _lower(one: int | None, other: int | None) -> int | None:
    return min((limit for limit in (one, other) if limit is not None), default=None)


@dataclass(frozen=True, slots=True)
class Decision:
    """Permit or deny, why, and under which obligations."""

    permitted: bool
    reason: str
    """Which policies decided, or why none could; for the audit and ``policy explain``, never for the peer."""
    obligations: Obligations = Obligations()


@dataclass(frozen=True, slots=True)
class ResidualPolicy:
    """One policy that still depends on the resource: conditions as Cedar's JSON expressions (EST)."""

    policy_id: str
    effect: str
    conditions: tuple[Any, ...]
    """Each ``{"kind": "when" | "unless", "body": expression}``."""


@dataclass(frozen=True, slots=True)
class Residual:
    """What remains of the policy set once principal, action and context are known, for one subject.

    The action is permitted on a resource where some permit is true and no forbid is. ``environment`` holds what a
    residual may still name: the subject and the context.
    """

    permits: tuple[ResidualPolicy, ...]
    forbids: tuple[ResidualPolicy, ...]
    obligations: Obligations
    environment: Mapping[str, Any] = field(default_factory=dict)
    constant: bool | None = None
    """True or False where nothing depends on the resource."""
