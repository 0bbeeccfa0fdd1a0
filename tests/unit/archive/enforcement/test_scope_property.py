"""The compiled scope selects exactly the studies that Cedar permits one by one."""

from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from archive.enforcement.attributes import resource_of
from archive.enforcement.scope import scope_of
from archive.enforcement.truth import NotCompilable
from auth.errors import PolicyInvalid
from auth.policy.engine import PolicyEngine
from auth.policy.model import AccessRequest, Action
from storage.instance import StudyFacts
from tests.simulators.predicate_oracle import selects
from tests.simulators.random_policies import PERSON, engine_of, policy_text, studies
from tests.simulators.subjects import assurance, node, person

STUDIES = 24


def request_of(random: Random) -> AccessRequest:
    who = person(*random.choice((("r",), ())), **random.choice((PERSON, {"physician_name": "A"}, {})))
    roles = random.choice((("r",), ()))
    context = random.choice(({}, {"sop_class": "1.2.840"}))
    return AccessRequest(Action.QUERY, node(*roles), who, assurance(who), context=context)


def compared(engine: PolicyEngine, request: AccessRequest, rows: list[StudyFacts]) -> tuple[list[bool], list[bool]]:
    """Row by row: selected by the scope, permitted by the engine."""
    scope = scope_of(engine.residuals(request))
    asked = [(facts.study_uid, resource_of(facts)) for facts in rows]
    selected = [selects(scope, resource_of(facts)) for facts in rows]
    return selected, [decision.permitted for decision in engine.decide_all(request, asked)]


@pytest.mark.parametrize("reckless", [False, True], ids=["validated", "failing"])
def test_scope_selects_exactly_what_cedar_permits(tmp_path: Path, reckless: bool) -> None:
    counts = {"compared": 0, "telling": 0, "refused": 0}

    @settings(max_examples=250, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
    @given(seed=st.integers(0, 2**32))
    def check(seed: int) -> None:
        random = Random(seed)
        text = policy_text(random, reckless=reckless)
        try:
            engine = engine_of(tmp_path, text, validated=not reckless)
        except PolicyInvalid:
            counts["refused"] += 1
            return
        request = request_of(random)
        try:
            selected, permitted = compared(engine, request, studies(random, STUDIES))
        except NotCompilable:
            counts["refused"] += 1
            return
        assert selected == permitted, text
        counts["compared"] += 1
        counts["telling"] += 0 < sum(permitted) < STUDIES

    check()
    assert counts["compared"] >= 0.7 * (counts["compared"] + counts["refused"])
    assert counts["telling"] > 15


def test_one_study_alone_is_decided_as_among_others(tmp_path: Path) -> None:
    for seed in range(40):
        random = Random(seed)
        try:
            engine = engine_of(tmp_path, policy_text(random, reckless=True), validated=False)
        except PolicyInvalid:
            continue
        request = request_of(random)
        rows = studies(random, STUDIES)
        together = engine.decide_all(request, [(facts.study_uid, resource_of(facts)) for facts in rows])
        for facts, decision in zip(rows, together, strict=True):
            alone = AccessRequest(
                request.action,
                request.node,
                request.principal,
                request.assurance,
                facts.study_uid,
                resource_of(facts),
                request.context,
            )
            assert engine.decide(alone).permitted is decision.permitted
