"""What an operator can ask of policies: why, by which SQL, what another set would change, and says meanwhile."""

from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace

import pytest

from archive.control.operator import Operator
from archive.control.protocol import Request
from archive.control.table import perform
from archive.errors import UsageInvalid
from auth.errors import AccessDenied, PolicyInvalid, RecordInvalid
from auth.policy.engine import PolicyEngine
from auth.ports import NodeRecord, UserRecord
from tests.simulators.memory_archive import POLICIES, World, image
from tests.simulators.subjects import node


class Everybody(dict):
    """A register that can be listed."""

    def all(self):
        return tuple(record for _, record in sorted(self.items()))

    user = node = dict.get


@pytest.fixture
def world(tmp_path):
    with ExitStack() as held:
        world = World(tmp_path)
        held.callback(world.close)
        world.keep(image(1), image(2, Modality="MR"), image(3))
        world.label("1.2.2", "research")
        world.label("1.2.3", "restricted")
        yield world


@pytest.fixture
def do(world):
    users = Everybody(
        alice=UserRecord("alice", frozenset({"radiologist"}), {"department": "A"}),
        bob=UserRecord("bob", frozenset({"researcher"}), {}),
        dan=UserRecord("dan", frozenset({"emergency"}), {}),
        eve=UserRecord("eve", frozenset({"radiologist"}), {}, enabled=False),
    )
    nodes = Everybody(WS1=NodeRecord(node("radiologist", "emergency")), CT1=NodeRecord(node("modality", name="CT1")))
    archive = SimpleNamespace(
        policies=PolicyEngine.load(POLICIES),
        users=users,
        nodes=nodes,
        overrides=world.overrides,
        audit=world.trail,
        repository=SimpleNamespace(reader=world.reader),
    )

    def do(name, /, **arguments):
        return perform(archive, Request(name, arguments), Operator(1000, "olga"))

    do.archive = archive
    return do


def changed(tmp_path: Path, old: str, new: str) -> str:
    folder = tmp_path / "changed"
    folder.mkdir()
    for path in POLICIES.iterdir():
        if path.is_file():
            text = path.read_text("utf-8")
            (folder / path.name).write_text(text.replace(old, new), encoding="utf-8")
    return str(folder)


def test_explain_says_what_the_policies_read(do):
    answer = do("policy.explain", action="Query", node="WS1", user="alice", study_uid="1.2.3")
    assert not answer["permitted"]
    assert "person alice: roles radiologist, department = A" in answer["lines"]
    assert "study: labels = restricted" in answer["lines"]


def test_sql_is_what_a_query_is_given_in_both_dialects(do):
    answer = do("policy.sql", action="Query", node="WS1", user="bob")
    for dialect in ("sqlite", "postgresql"):
        assert r"study.labels, '\research\') > 0" in answer[dialect] and r"'\restricted\'" in answer[dialect]
    assert "PatientName" in answer["hidden"]


def test_sql_of_somebody_who_may_nothing_selects_nothing(do):
    assert do("policy.sql", action="Query", node="CT1", user="bob")["sqlite"].endswith("WHERE 0 = 1")
    with pytest.raises(UsageInvalid, match="disabled"):
        do("policy.sql", action="Query", node="WS1", user="eve")


def test_diff_names_the_people_and_studies_that_change(do, tmp_path):
    after = changed(tmp_path, '.contains("restricted")', '.contains("research")')
    rows = do("policy.diff", after=after)
    alice = [row for row in rows if row["person"] == "alice" and row["action"] == "Query"]
    (row,) = alice
    assert (row["gained"], row["lost"], row["node"]) == (1, 1, "WS1")
    assert (row["gained_studies"], row["lost_studies"]) == (["1.2.3"], ["1.2.2"])
    assert not [row for row in rows if row["person"] == "eve"]


def test_diff_tells_of_attributes_that_are_hidden_no_longer(do, tmp_path):
    after = changed(tmp_path, "PatientName,", "")
    (row, *_) = do("policy.diff", before=str(POLICIES), after=after)
    assert row["person"] == "bob" and (row["gained"], row["lost"]) == (0, 0)
    assert set(row["hidden_before"]) - set(row["hidden_after"]) == {"PatientName"}


def test_diff_of_a_set_that_does_not_hold_is_refused(do, tmp_path):
    with pytest.raises(PolicyInvalid):
        do("policy.diff", after=changed(tmp_path, "permit (", "allow ("))


def test_shadow_is_begun_asked_and_ended(do, tmp_path):
    do("policy.shadow", directory=changed(tmp_path, '.contains("restricted")', '.contains("x")'))
    do("policy.explain", action="Query", node="WS1", user="alice", study_uid="1.2.3")
    answer = do("policy.shadow")
    assert (answer["asked"], answer["differed"]) == (1, 1)
    assert answer["differences"][0]["study_uid"] == "1.2.3" and answer["differences"][0]["shadow"]
    assert do("policy.shadow", stop=True)["fingerprint"] is None


def test_glass_is_opened_by_an_operator_only_for_who_may_and_is_told(do, world):
    with pytest.raises(AccessDenied):
        do("glass.open", person="bob", node="WS1", reason="why")
    with pytest.raises(AccessDenied):
        do("glass.open", person="eve", node="WS1", reason="why")
    opened = do("glass.open", person="dan", node="WS1", reason="unconscious", minutes=5)
    assert opened["opened_by"] == "operator olga"
    assert [event.alert for event in world.trail.events] == ["110127"]
    assert do("policy.explain", action="Retrieve", node="WS1", user="dan", study_uid="1.2.3")["permitted"]
    with pytest.raises(RecordInvalid):
        do("glass.open", person="dan", node="WS1", reason="again")
    assert [row["id"] for row in do("glass.list", waiting=True)] == [opened["id"]]
    do("glass.close", id=opened["id"])
    assert [event.alert for event in world.trail.events] == ["110127", "110138"]
    assert not do("policy.explain", action="Retrieve", node="WS1", user="dan", study_uid="1.2.3")["permitted"]
    assert do("glass.review", id=opened["id"], note="justified")["reviewed_by"] == "olga"
    assert do("glass.list", waiting=True) == [] and len(do("glass.list")) == 1
