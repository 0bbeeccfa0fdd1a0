"""The decision point: permit or deny, by the loaded policies, for the person and the node each.

1. An action that needs a person is denied without one: the roles of a node never stand in.
2. The person and the node are decided separately, same action and same study; both must be permitted.
3. Obligations of everything that permits are united; one that this release does not implement denies.
4. Whatever fails on the way denies. Nothing here raises because of what was asked.

Answers are remembered, under everything that they depend on: what the policies read of the study, the policy set,
the subjects with their roles and attributes, the action, and those circumstances that some policy reads: only where one
reads the clock is a question asked again each minute.
"""

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeAlias

from auth.policy.attributes import (
    ABOUT_THE_ARCHIVE,
    ARCHIVE,
    CLOCK,
    circumstances,
    clock,
    node_uid,
    person_uid,
    study_entity,
    subject_entities,
)
from auth.policy.evaluation import (
    Question,
    Verdict,
    accepts_attribute,
    closed,
    evaluate,
    parse_entities,
    residual,
)
from auth.policy.labelling import Labels, labels_of
from auth.policy.loading import LoadedPolicies, Reads, load
from auth.policy.model import NEEDS_A_PERSON, AccessRequest, Action, Decision, Obligations, Residual
from auth.policy.shadow import Report, Shadow
from auth.policy.wording import obligation_lines, residual_lines, summary, verdict_lines

MAX_REMEMBERED: Final = 2048
"""Questions remembered at once; at one more all are forgotten."""

MAX_STUDIES_REMEMBERED: Final = 256
"""Kinds of studies, as far as policies tell them apart, of which a decision is remembered under one question."""

_CHANGING: Final = frozenset({*CLOCK, "break_glass"})
"""Circumstances that may be others before an association ends."""
_NO_PERSON: Final = "no person: the roles of a node alone never allow it"
Study: TypeAlias = tuple[str, Mapping[str, object]]
"""Study Instance UID and Cedar attributes."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """A decision in words, for the operator."""

    decision: Decision
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Prepared:
    """What is known before the study is: the question for each subject, and what is left of the policies."""

    questions: tuple[Question, ...]
    residuals: tuple[Residual, ...]
    decision: Decision | None
    """Set where the study does not matter."""
    attributes: frozenset[str] = frozenset()
    """What the policies that can concern these subjects and this action read of a study."""
    names_studies: bool = False
    decided: dict[object, Decision] = field(default_factory=dict, compare=False)
    """Decisions about studies, by what policies read of them: the same question has the same answer."""


@dataclass(slots=True)
class _Edition:
    """One loaded policy set and what is remembered under it."""

    policies: LoadedPolicies
    generation: int
    prepared: dict[object, _Prepared] = field(default_factory=dict)
    attributes: dict[str, bool] = field(default_factory=dict)


class PolicyEngine:
    """Decides by one policy set at a time. Safe to share among threads; `reload` swaps the set at once and whole."""

    def __init__(self, policies: LoadedPolicies) -> None:
        self._edition = _Edition(policies, 1)
        self._reloading = threading.Lock()
        self._beside: tuple[_Edition, Shadow] | None = None

    @classmethod
    def load(cls, directory: Path, is_keyword: Callable[[str], bool] | None = None) -> "PolicyEngine":
        """An engine on the ``*.cedar`` files of a directory and its ``schema.cedarschema``.

        ``is_keyword`` says which DICOM keywords a policy may hide. Raises `PolicyInvalid`, naming every finding.
        """
        return cls(load(directory, is_keyword))

    def reload(self, directory: Path, is_keyword: Callable[[str], bool] | None = None) -> None:
        """Change to the policies that a directory holds now. Raises `PolicyInvalid` and keeps the ones it has."""
        self.adopt(load(directory, is_keyword))

    def adopt(self, policies: LoadedPolicies) -> None:
        """Change to a policy set that was loaded before, so that it could be told of before it counts."""
        with self._reloading:
            self._edition = _Edition(policies, self._edition.generation + 1)

    def shadow(self, policies: LoadedPolicies | None, report: Report | None = None) -> None:
        """Ask another set the same from now on, and note where it differs; None: no longer."""
        self._beside = None if policies is None else (_Edition(policies, 0), Shadow(policies.fingerprint, report))

    @property
    def beside(self) -> Shadow | None:
        """What was noted of the other set; None: there is none."""
        return self._beside[1] if self._beside else None

    @property
    def generation(self) -> int:
        """Counts up with every policy set."""
        return self._edition.generation

    @property
    def policies(self) -> LoadedPolicies:
        """The policy set in force."""
        return self._edition.policies

    def decide(self, request: AccessRequest) -> Decision:
        """Permit or deny one request. Never raises; a study that is needed and not given denies."""
        decision = _decide(self._edition, request)
        if (beside := self._beside) is not None:
            beside[1].compare(request, request.resource_id or "", decision, _decide(beside[0], request))
        return decision

    def decide_all(self, request: AccessRequest, studies: Sequence[Study]) -> list[Decision]:
        """As `decide` for many studies, in their order; equal ones, as far as policies read them, are decided once."""
        decisions = _decide_all(self._edition, request, studies)
        if (beside := self._beside) is not None:
            for (uid, _), live, other in zip(studies, decisions, _decide_all(beside[0], request, studies), strict=True):
                beside[1].compare(request, uid, live, other)
        return decisions

    def residuals(self, request: AccessRequest) -> tuple[Residual, ...]:
        """What is left of the policies before the study is known, for each subject; *all* must hold. Never raises."""
        left = _residuals(self._edition, request)
        if (beside := self._beside) is not None:
            live, other = _reach(left), _reach(_residuals(beside[0], request))
            beside[1].compare(request, "", live, other)
        return left

    def ever(self, request: AccessRequest) -> bool:
        """Whether these subjects may do it at any moment of their association, on any study, to any destination.

        True also where a policy that concerns them reads what can still change. Never raises.
        """
        edition = self._edition
        changing = _CHANGING if request.action is not Action.MOVE else _CHANGING | {"destination"}
        if any(
            reads.circumstances is None or reads.circumstances & changing
            for reads in _concerned(edition.policies, request)
        ):
            return request.principal is not None or request.action not in NEEDS_A_PERSON
        return all(left.constant is not False for left in _residuals(edition, request))

    @property
    def labels_objects(self) -> bool:
        """Whether there is any label rule."""
        return bool(self._edition.policies.rules.labels)

    def labels(self, request: AccessRequest, attributes: Mapping[str, object]) -> Labels:
        """Which labels an object gives the study that it is stored into. Never raises; a rule that fails shuts it."""
        edition = self._edition
        return labels_of(edition.policies, request, attributes, lambda name: _readable(edition, name))

    def explain(self, request: AccessRequest) -> Explanation:
        """Which policies decide a request, in words. Without a study: which would still depend on it. Never raises."""
        decision = self.decide(request)
        edition = self._edition
        try:
            prepared = _prepared(edition, request)
            if not prepared.questions:
                return Explanation(decision, (decision.reason,))
            resources = [_ARCHIVE_ENTITY] if request.action in ABOUT_THE_ARCHIVE else []
            if not resources and request.resource_id is not None and request.resource is not None:
                resources = _study_entities([(request.resource_id, request.resource)])
            lines: list[str] = []
            for question, left in zip(prepared.questions, prepared.residuals, strict=True):
                if resources:
                    verdict = evaluate(edition.policies, question, resources)[0]
                    lines += verdict_lines(edition.policies, question, verdict)
                else:
                    lines += residual_lines(edition.policies, question, left)
            return Explanation(decision, (*lines, *obligation_lines(decision.obligations)))
        except Exception as error:  # noqa: BLE001 - whatever goes wrong while deciding is a denial
            return Explanation(decision, (_failed(error).reason,))


def _decide(edition: _Edition, request: AccessRequest) -> Decision:
    try:
        prepared = _prepared(edition, request)
        if prepared.decision is not None:
            return prepared.decision
        if request.resource is None or request.resource_id is None:
            return Decision(False, "it depends on the study, and none was named")
        return _decided(edition, prepared, [(request.resource_id, request.resource)])[0]
    except Exception as error:  # noqa: BLE001 - whatever goes wrong while deciding is a denial
        return _failed(error)


def _decide_all(edition: _Edition, request: AccessRequest, studies: Sequence[Study]) -> list[Decision]:
    try:
        prepared = _prepared(edition, request)
        if prepared.decision is not None:
            return [prepared.decision] * len(studies)
        keys = [_as_read(prepared, study) for study in studies]
        known = prepared.decided
        new = {key: study for key, study in zip(keys, studies, strict=True) if key not in known}
        decisions = {key: known[key] for key in keys if key in known}
        if new:
            decisions |= _decided_by_key(edition, prepared, new)
            if len(known) + len(new) > MAX_STUDIES_REMEMBERED:
                known.clear()
            known.update((key, decisions[key]) for key in list(new)[:MAX_STUDIES_REMEMBERED])
        return [decisions[key] for key in keys]
    except Exception as error:  # noqa: BLE001 - whatever goes wrong while deciding is a denial
        return [_failed(error)] * len(studies)


def _residuals(edition: _Edition, request: AccessRequest) -> tuple[Residual, ...]:
    try:
        return _prepared(edition, request).residuals
    except Exception:  # noqa: BLE001 - whatever goes wrong while deciding is a denial
        return (closed(),)


def _reach(residuals: Sequence[Residual]) -> Decision:
    """Whether any study may be within reach at all, and under which obligations."""
    obligations = Obligations()
    for left in residuals:
        obligations = obligations.union(left.obligations)
    reachable = all(left.constant is not False for left in residuals)
    return Decision(reachable, "some studies" if reachable else "no study", obligations)


_ARCHIVE_ENTITY: Final[dict[str, Any]] = {"uid": ARCHIVE, "attrs": {}, "parents": []}


def _prepared(edition: _Edition, request: AccessRequest) -> _Prepared:
    key = _key(edition.policies, request)
    known = edition.prepared.get(key)
    if known is None:
        known = _prepare(edition, request)
        if len(edition.prepared) >= MAX_REMEMBERED:
            edition.prepared.clear()
        edition.prepared[key] = known
    return known


def _key(policies: LoadedPolicies, request: AccessRequest) -> object:
    node, person, destination, read = request.node, request.principal, request.destination, policies.circumstances
    timed = request.moment is not None and (read is None or not read.isdisjoint(CLOCK))
    return (
        request.action,
        (node.name, node.roles, node.trust),
        person and (person.name, person.roles, frozenset(person.attributes.items())),
        destination and (destination.name, destination.roles),
        request.assurance,
        request.break_glass,
        frozenset(item for item in request.context.items() if read is None or item[0] in read),
        request.source if read is None or "source" in read else None,
        clock(request.moment) if timed and request.moment is not None else None,
    )


def _prepare(edition: _Edition, request: AccessRequest) -> _Prepared:
    if request.principal is None and request.action in NEEDS_A_PERSON:
        return _Prepared((), (closed(),), Decision(False, _NO_PERSON))
    policies = edition.policies
    facts = subject_entities(
        request.node, request.principal, lambda name: _readable(edition, name), request.destination
    )
    entities = parse_entities(policies, facts)
    context = circumstances(request)
    uids = [*([person_uid(request.principal)] if request.principal else []), node_uid(request.node)]
    questions = tuple(Question(uid, request.action, context, entities, facts) for uid in uids)
    if request.action in ABOUT_THE_ARCHIVE:
        verdicts = [evaluate(policies, question, [_ARCHIVE_ENTITY])[0] for question in questions]
        decision = _united(policies, questions, verdicts)
        return _Prepared(questions, tuple(_as_residual(policies, verdict) for verdict in verdicts), decision)
    residuals = tuple(residual(policies, question) for question in questions)
    concerned = _concerned(policies, request)
    return _Prepared(
        questions,
        residuals,
        _constant(policies, questions, residuals),
        frozenset().union(*(reads.attributes for reads in concerned)),
        any(reads.names_studies for reads in concerned),
    )


def _concerned(policies: LoadedPolicies, request: AccessRequest) -> list[Reads]:
    """The policies that can matter to a request's subjects and its action."""
    roles = request.node.roles | (request.principal.roles if request.principal else frozenset())
    return [reads for reads in policies.reads if reads.concerns(roles, request.action)]


def _readable(edition: _Edition, attribute: str) -> bool:
    known = edition.attributes.get(attribute)
    if known is None:
        known = accepts_attribute(edition.policies, attribute)
        if len(edition.attributes) >= MAX_REMEMBERED:
            edition.attributes.clear()
        edition.attributes[attribute] = known
    return known


def _as_residual(policies: LoadedPolicies, verdict: Verdict) -> Residual:
    return Residual((), (), _obligations(policies, verdict.permits), constant=verdict.permitted)


def _constant(
    policies: LoadedPolicies, questions: Sequence[Question], residuals: Sequence[Residual]
) -> Decision | None:
    """The decision, where no study can change it; its obligations are those of every permit that may apply."""
    verdicts = [
        Verdict(
            left.constant is True,
            tuple(policy.policy_id for policy in left.permits),
            tuple(policy.policy_id for policy in left.forbids) if left.permits else (),
        )
        for left in residuals
    ]
    refused = [index for index, left in enumerate(residuals) if left.constant is False]
    if refused:
        return _united(policies, [questions[index] for index in refused], [verdicts[index] for index in refused])
    return _united(policies, questions, verdicts) if all(left.constant for left in residuals) else None


def _decided_by_key(
    edition: _Edition, prepared: _Prepared, distinct: Mapping[object, Study]
) -> Mapping[object, Decision]:
    """In one call, unless two are one study at different moments: an entity has one set of attributes in a call."""
    if len({uid for uid, _ in distinct.values()}) == len(distinct):
        return dict(zip(distinct, _decided(edition, prepared, list(distinct.values())), strict=True))
    return {key: _decided(edition, prepared, [study])[0] for key, study in distinct.items()}


def _decided(edition: _Edition, prepared: _Prepared, studies: Sequence[Study]) -> list[Decision]:
    policies = edition.policies
    resources = _study_entities(studies)
    by_subject = [evaluate(policies, question, resources) for question in prepared.questions]
    return [_united(policies, prepared.questions, verdicts) for verdicts in zip(*by_subject, strict=True)]


def _study_entities(studies: Iterable[Study]) -> list[dict[str, Any]]:
    return [study_entity(uid, attributes) for uid, attributes in studies]


def _united(policies: LoadedPolicies, questions: Sequence[Question], verdicts: Sequence[Verdict]) -> Decision:
    """One decision from what is said to each subject."""
    reason = "; ".join(summary(question, verdict) for question, verdict in zip(questions, verdicts, strict=True))
    if not verdicts or not all(verdict.permitted for verdict in verdicts):
        return Decision(False, reason)
    obligations = Obligations()
    for verdict in verdicts:
        obligations = obligations.union(_obligations(policies, verdict.permits))
    if obligations.unknown:
        names = ", ".join(sorted(obligations.unknown))
        return Decision(False, f"nobody here carries out the obligation {names}; {reason}", obligations)
    return Decision(True, reason, obligations)


def _obligations(policies: LoadedPolicies, permits: Iterable[str]) -> Obligations:
    obligations = Obligations()
    for identifier in permits:
        obligations = obligations.union(policies.obligations[identifier])
    return obligations


def _as_read(prepared: _Prepared, study: Study) -> object:
    """What a policy can tell of a study: two with the same key get the same decision."""
    uid, attributes = study
    read = {name: attributes.get(name) for name in prepared.attributes}
    return (uid if prepared.names_studies else None, frozenset(read.items()))


def _failed(error: Exception) -> Decision:
    return Decision(False, f"no decision could be made: {type(error).__name__}: {error}".splitlines()[0])
