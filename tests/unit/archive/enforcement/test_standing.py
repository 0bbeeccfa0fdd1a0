"""A running association ends where its identity does: at the next operation, not at the next login."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from archive.enforcement.standing import NotInGoodStanding, RegisteredStanding
from auth.identity.chain import Chain
from auth.ports import NodeRecord
from auth.principal import Assurance, Principal
from tests.simulators.records import MemoryNodes
from tests.simulators.subjects import node, session

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ADMITTED = Principal("uid=alice,dc=example", frozenset({"radiologist", "researcher"}), {"organization": "A"})


class Directory:
    """A provider that answers what it is told to."""

    name = "hospital"
    identity_types = frozenset({2})

    def __init__(self, answer):
        self.answer = answer

    def still(self, principal):
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def person(answer, *, valid_until=None, verified_by="hospital"):
    at = node("radiologist")
    admitted = replace(
        session(at, ADMITTED), assurance=Assurance(2, True, verified_by=verified_by, valid_until=valid_until)
    )
    nodes = MemoryNodes()
    nodes.nodes[at.name] = NodeRecord(at)
    return RegisteredStanding(nodes, Chain([Directory(answer)]), lambda: NOW).subjects(admitted).principal


def test_the_person_is_who_the_provider_says_they_are_now():
    now = replace(ADMITTED, roles=frozenset({"radiologist"}), attributes={"organization": "B"})
    assert person(now) == now


def test_roles_that_were_given_since_wait_for_the_next_login():
    assert person(replace(ADMITTED, roles=ADMITTED.roles | {"administrator"})).roles == ADMITTED.roles


@pytest.mark.parametrize(
    "answer",
    [None, replace(ADMITTED, name="uid=bob,dc=example"), OSError("unreachable"), "yes", True],
    ids=["gone", "somebody else", "unreachable", "text", "true"],
)
def test_whoever_is_not_vouched_for_any_more_may_do_nothing(answer):
    with pytest.raises(NotInGoodStanding):
        person(answer)


def test_a_provider_that_is_no_longer_configured_vouches_for_nobody():
    with pytest.raises(NotInGoodStanding):
        person(ADMITTED, verified_by="closed")


def test_an_identity_past_its_time_ends_at_the_next_operation():
    assert person(ADMITTED, valid_until=NOW + timedelta(microseconds=1)) == ADMITTED
    with pytest.raises(NotInGoodStanding, match="past its time"):
        person(ADMITTED, valid_until=NOW)
