"""What somebody could reach under a policy set, asked by an operator rather than the person: nothing is audited here.

The same compilation as the enforcement point's; whatever would deny there reaches nothing here.
"""

from dataclasses import dataclass

from archive.enforcement.scope import scope_of
from archive.enforcement.truth import NotCompilable
from auth.policy.engine import PolicyEngine
from auth.policy.model import AccessRequest, Obligations
from storage.index.predicate import NOTHING, Predicate


@dataclass(frozen=True, slots=True)
class Reach:
    """The studies within reach of one request, and under which obligations."""

    scope: Predicate
    obligations: Obligations


def reach_of(engine: PolicyEngine, request: AccessRequest) -> Reach:
    """What a request about studies reaches."""
    residuals = engine.residuals(request)
    obligations = Obligations()
    for residual in residuals:
        obligations = obligations.union(residual.obligations)
    denied = obligations.unknown or any(residual.constant is False for residual in residuals)
    try:
        return Reach(NOTHING if denied else scope_of(residuals), obligations)
    except NotCompilable:
        return Reach(NOTHING, obligations)
