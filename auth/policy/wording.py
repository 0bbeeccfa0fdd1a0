"""Decisions in words: for the audit trail, and for the operator who asks why. Never for the peer."""

from auth.policy.evaluation import Question, Verdict
from auth.policy.loading import LoadedPolicies
from auth.policy.model import Obligations, Residual


def _name(question: Question) -> str:
    kind = "person" if question.subject["type"] == "User" else "node"
    return f"{kind} {question.subject['id']}"


def summary(question: Question, verdict: Verdict) -> str:
    """One subject's share of a decision, in one clause."""
    if verdict.failure:
        return f"{_name(question)}: no decision: {verdict.failure}"
    if verdict.permitted:
        return f"{_name(question)}: permitted by {', '.join(verdict.permits)}"
    if verdict.forbids:
        return f"{_name(question)}: forbidden by {', '.join(verdict.forbids)}"
    return f"{_name(question)}: no policy permits it"


def verdict_lines(policies: LoadedPolicies, question: Question, verdict: Verdict) -> list[str]:
    """What was decided for one subject, and every policy that decided it."""
    deciding = verdict.permits if verdict.permitted else verdict.forbids
    return [summary(question, verdict), *(_policy_line(policies, identifier) for identifier in deciding)]


def residual_lines(policies: LoadedPolicies, question: Question, left: Residual) -> list[str]:
    """What can be said for one subject before the study is known."""
    if left.constant is not None:
        words = "permitted for every study" if left.constant else "permitted for no study"
    else:
        words = "it depends on the study"
    deciding = [policy.policy_id for policy in (*left.permits, *left.forbids)] if left.permits else []
    return [f"{_name(question)}: {words}", *(_policy_line(policies, identifier) for identifier in deciding)]


def _policy_line(policies: LoadedPolicies, identifier: str) -> str:
    words = policies.reasons[identifier]
    return f"  {policies.effects[identifier]} {identifier}" + (f": {words}" if words else "")


def obligation_lines(obligations: Obligations) -> list[str]:
    """What a decision obliges to."""
    lines = [f"hidden: {', '.join(sorted(obligations.hide))}"] if obligations.hide else []
    lines += [f"flagged: {words}" for words in sorted(obligations.flag)]
    if obligations.results is not None:
        lines.append(f"at most {obligations.results} matches of a query")
    lines += [f"a query gives one of these a value: {', '.join(sorted(group))}" for group in _sorted(obligations.keys)]
    if obligations.volume is not None:
        lines.append(f"at most {obligations.volume} objects a day")
    if obligations.unknown:
        lines.append(f"obligations that nobody here carries out: {', '.join(sorted(obligations.unknown))}")
    return lines


def _sorted(groups: frozenset[frozenset[str]]) -> list[frozenset[str]]:
    return sorted(groups, key=sorted)
