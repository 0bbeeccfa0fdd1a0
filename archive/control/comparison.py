"""What a policy set would change: for every person known here at every node, on the studies that are kept."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from archive.control.protocol import Json
from archive.enforcement.reach import Reach, reach_of
from auth.policy.engine import PolicyEngine
from auth.policy.model import AccessRequest, Action
from auth.ports import NodeRecord, UserRecord
from auth.principal import Assurance, IdentityDemand, NodeTrust, Principal
from storage.index.matching import QUERY_RETRIEVE_LEVEL, QueryModel, plan_find
from storage.index.predicate import NotTrue, Predicate, all_of
from storage.index.reader import IndexReader
from storage.index.sequences import QueryKey

COMPARED: Final = (Action.QUERY, Action.RETRIEVE, Action.MOVE)
SHOWN: Final = 20
"""Studies that are named of each change; all are counted."""
_KEYS: Final = (QueryKey(QUERY_RETRIEVE_LEVEL, "CS", "STUDY"), QueryKey(0x0020000D, "UI", ""))


@dataclass(frozen=True, slots=True)
class Change:
    """What becomes of one action of one person at one node."""

    person: str
    node: str
    action: str
    gained: tuple[int, tuple[str, ...]]
    """How many studies more, and some of them."""
    lost: tuple[int, tuple[str, ...]]
    hidden_before: tuple[str, ...]
    hidden_after: tuple[str, ...]

    def described(self) -> dict[str, Json]:
        """As an operator is shown it."""
        return {
            "person": self.person,
            "node": self.node,
            "action": self.action,
            "gained": self.gained[0],
            "lost": self.lost[0],
            "gained_studies": list(self.gained[1]),
            "lost_studies": list(self.lost[1]),
            "hidden_before": list(self.hidden_before),
            "hidden_after": list(self.hidden_after),
        }


@dataclass(slots=True)
class Comparison:
    """Two policy sets on one index. Equal questions are asked of it once."""

    before: PolicyEngine
    after: PolicyEngine
    reader: IndexReader
    _counted: dict[Predicate, tuple[int, tuple[str, ...]]] = field(default_factory=dict)

    def changes(self, users: Sequence[UserRecord], nodes: Sequence[NodeRecord]) -> Iterator[Change]:
        """What changes, person by person, node by node."""
        for user in users:
            for node in nodes:
                if user.enabled and node.identity.identity is not IdentityDemand.NONE:
                    for action in COMPARED:
                        yield from self._change(user, node, action)

    def _change(self, user: UserRecord, node: NodeRecord, action: Action) -> Iterator[Change]:
        principal = Principal(user.name, user.roles, user.attributes)
        assurance = Assurance(2, tls=node.identity.trust is not NodeTrust.PLAIN, verified_by="local")
        request = AccessRequest(action, node.identity, principal, assurance)
        old, new = reach_of(self.before, request), reach_of(self.after, request)
        gained, lost = self._between(new, old), self._between(old, new)
        hidden_before, hidden_after = _hidden(old), _hidden(new)
        if gained[0] or lost[0] or hidden_before != hidden_after:
            yield Change(user.name, node.identity.name, action.value, gained, lost, hidden_before, hidden_after)

    def _between(self, some: Reach, others: Reach) -> tuple[int, tuple[str, ...]]:
        """Studies that one reaches and the other does not."""
        if some.scope == others.scope:
            return 0, ()
        scope = all_of(some.scope, NotTrue(others.scope))
        if scope not in self._counted:
            pages = self.reader.find(plan_find(QueryModel.STUDY_ROOT, _KEYS), scope)
            uids = (match.facts.study_uid for page in pages for match in page)
            shown = tuple(islice(uids, SHOWN))
            self._counted[scope] = len(shown) + sum(1 for _ in uids), shown
        return self._counted[scope]


def _hidden(reach: Reach) -> tuple[str, ...]:
    return tuple(sorted(reach.obligations.hide))
