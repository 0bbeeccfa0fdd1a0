"""The proof that an action was permitted. Services demand one; only `archive.enforcement.pep` makes one.

A grant cannot be built from parts: its constructor asks for a seal that this module keeps, and
`dataclasses.replace` asks for it again. What the type system cannot keep, a test does: nothing but the enforcement
point names `_SEAL`.
"""

from dataclasses import InitVar, dataclass, field
from typing import Final

from archive.session import AssociationSession
from auth.policy.model import Action
from auth.principal import NodeIdentity
from storage.index.predicate import Predicate

_SEAL: Final = object()


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """One action, permitted for one association at one moment, under no obligation that is left to do."""

    action: Action
    session: AssociationSession
    sop_class: str | None
    """The SOP class that the decision read: of the object for a store, of the request for a query or retrieval."""
    reason: str
    """Which policies permitted it; for the audit, never for the peer."""
    seal: InitVar[object]

    def __post_init__(self, seal: object) -> None:
        """Refuse a grant that no enforcement point made."""
        if seal is not _SEAL:
            raise TypeError("only the policy enforcement point makes a grant")


@dataclass(frozen=True, slots=True, kw_only=True)
class ScopedGrant(Grant):
    """A grant that reaches some studies only, and may leave out some of their attributes."""

    scope: Predicate
    """AND-ed to every condition on rows; `storage.index.predicate.NOTHING` where no study is within reach."""
    hidden: frozenset[int]
    """Tags that may be neither matched on nor returned with a value, and are taken out of objects."""
    destination: NodeIdentity | None = None
    """Where objects are to be moved to, as the decision read it."""
    results: int | None = None
    """Matches that one query may return at most."""
    keys: frozenset[frozenset[int]] = frozenset()
    """Groups of tags: of each a query gives one a value."""
    volume: int | None = None
    """Objects that the person may retrieve in a day at most."""
    told: set[str] = field(default_factory=set, repr=False, compare=False)
    """Studies of which a security officer was told: that a flagged rule permits them, or that they are not to be
    decided on."""

    def hides(self, tag: int) -> bool:
        """Whether an attribute stays hidden. Who may not see all may see no private one: it may repeat any other."""
        return tag in self.hidden or bool(self.hidden and tag >> 16 & 1)
