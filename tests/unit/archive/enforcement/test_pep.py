"""The enforcement point: what becomes a grant, what is denied, and that a denial is told exactly once."""

import dataclasses
import re
from pathlib import Path

import pytest

from archive.audit.events import AccessRefused, AuditEvent, SecurityAlert
from archive.enforcement import grant as grant_module
from archive.enforcement import pep as pep_module
from archive.enforcement.attributes import is_keyword, resource_of
from archive.enforcement.grant import Grant, ScopedGrant
from archive.enforcement.pep import PolicyEnforcementPoint
from archive.enforcement.truth import NotCompilable
from archive.errors import AuditUnavailable
from archive.session import AssociationSession
from auth.errors import AccessDenied
from auth.policy.engine import PolicyEngine
from auth.policy.model import Action
from auth.ports import NodeRecord, UserRecord
from auth.principal import NodeIdentity, NodeTrust, Principal
from storage.index.predicate import EVERYTHING
from storage.instance import StudyFacts
from tests.simulators.predicate_oracle import selects
from tests.simulators.records import MemoryNodes, MemoryUsers
from tests.simulators.subjects import node, person, session, standing

REPOSITORY = Path(__file__).parents[4]
CT = "1.2.840.10008.5.1.4.1.1.2"
FIND = "1.2.840.10008.5.1.4.1.2.2.1"
PATIENT_NAME = 0x00100010
PLAIN = StudyFacts("1.1", referring_physician="HOUSE^GREGORY")
RESTRICTED = StudyFacts("1.2", labels=frozenset({"restricted"}))
RESEARCH = StudyFacts("1.3", labels=frozenset({"research"}))


class Trail:
    """Remembers what was recorded; or cannot."""

    def __init__(self) -> None:
        self.events: list[AuditEvent] = []
        self.broken = False

    def record(self, *events: AuditEvent) -> None:
        if self.broken:
            raise AuditUnavailable("disk full")
        self.events += events


class World:
    """An enforcement point with registers that can change."""

    def __init__(self, policies: Path = REPOSITORY / "config" / "policies") -> None:
        self.trail = Trail()
        self.users = MemoryUsers()
        self.nodes = MemoryNodes()
        self.engine = PolicyEngine.load(policies, is_keyword)
        self.pep = PolicyEnforcementPoint(self.engine, self.trail, standing(self.nodes, self.users))

    def admit(self, at: NodeIdentity, who: Principal | None = None) -> AssociationSession:
        """Register both as they are, and open a session."""
        self.nodes.nodes[at.name] = NodeRecord(at)
        if who is not None:
            self.users.users[who.name] = UserRecord(who.name, who.roles, who.attributes)
        return session(at, who)

    def denied(self) -> AccessRefused:
        """The one event of a denial."""
        (event,) = self.trail.events
        assert isinstance(event, AccessRefused)
        return event


@pytest.fixture
def world() -> World:
    return World()


def test_every_role_may_associate_and_a_node_without_one_may_not(world: World) -> None:
    assert world.pep.associate(world.admit(node("modality"))).action is Action.ASSOCIATE
    with pytest.raises(AccessDenied):
        world.pep.associate(world.admit(node()))
    assert world.denied().action == "Associate"


def test_echo_and_administer_follow_the_roles(world: World) -> None:
    assert world.pep.echo(world.admit(node("service"))).action is Action.ECHO
    administrator = world.admit(node("administrator"), person("administrator"))
    assert world.pep.administer(administrator).action is Action.ADMINISTER
    with pytest.raises(AccessDenied):
        world.pep.echo(administrator)


def test_store_is_granted_to_a_modality_and_names_the_policy(world: World) -> None:
    grant = world.pep.store(world.admit(node("modality")), PLAIN, CT)
    assert (grant.action, grant.sop_class, grant.reason) == (Action.STORE, CT, "node WS1: permitted by modality")
    assert world.pep.commit(world.admit(node("modality")), CT).action is Action.COMMIT
    assert not world.trail.events


def test_store_by_others_is_denied_and_told_once_with_the_study(world: World) -> None:
    opened = world.admit(node("radiologist"), person("radiologist"))
    with pytest.raises(AccessDenied) as caught:
        world.pep.store(opened, PLAIN, CT)
    event = world.denied()
    assert (event.action, event.study_uid, event.reason) == ("Store", "1.1", caught.value.reason)
    assert event.actor.person == "alice"


def test_query_scope_selects_what_the_person_may_see(world: World) -> None:
    grant = world.pep.query(world.admit(node("radiologist"), person("radiologist")), FIND)
    assert selects(grant.scope, resource_of(PLAIN))
    assert not selects(grant.scope, resource_of(RESTRICTED))
    assert grant.hidden == frozenset()


def test_researchers_query_hides_names_and_their_retrieval_as_well(world: World) -> None:
    opened = world.admit(node("researcher"), person("researcher"))
    grant = world.pep.query(opened, FIND)
    assert {PATIENT_NAME, 0x00100030, 0x00101040} <= grant.hidden
    assert selects(grant.scope, resource_of(RESEARCH))
    assert not selects(grant.scope, resource_of(PLAIN))
    assert world.pep.retrieve(opened, FIND).hidden == grant.hidden


def test_scope_is_that_of_person_and_node_together(world: World) -> None:
    opened = world.admit(node("radiologist"), person("physician", physician_name="HOUSE^GREGORY"))
    grant = world.pep.retrieve(opened, FIND)
    assert selects(grant.scope, resource_of(PLAIN))
    labelled = dataclasses.replace(PLAIN, labels=frozenset({"restricted"}))
    assert not selects(grant.scope, resource_of(labelled))


@pytest.mark.parametrize("operation", ["query", "retrieve"])
def test_node_alone_never_queries_or_retrieves(world: World, operation: str) -> None:
    opened = world.admit(node("radiologist", "researcher", "physician"))
    with pytest.raises(AccessDenied, match="no person"):
        getattr(world.pep, operation)(opened, FIND)
    assert world.denied().actor.person is None


def test_physician_without_a_name_is_denied(world: World) -> None:
    with pytest.raises(AccessDenied):
        world.pep.query(world.admit(node("physician"), person("physician")), FIND)


def test_redecide_agrees_with_the_scope_and_reads_the_present(world: World) -> None:
    opened = world.admit(node("radiologist"), person("radiologist"))
    grant = world.pep.query(opened, FIND)
    assert world.pep.redecide(grant, PLAIN)
    assert world.pep.redecide_all(grant, [RESTRICTED, PLAIN, RESEARCH]) == [False, True, True]
    world.users.users.clear()
    assert world.pep.redecide_all(grant, [PLAIN, RESEARCH]) == [False, False]
    assert not world.trail.events


def test_redecide_refuses_what_the_grant_does_not_hide(world: World) -> None:
    opened = world.admit(node("radiologist", "researcher"), person("radiologist", "researcher"))
    grant = world.pep.query(opened, FIND)
    assert world.pep.redecide(grant, RESEARCH)
    bare = ScopedGrant(
        action=grant.action,
        session=grant.session,
        sop_class=grant.sop_class,
        reason="",
        scope=EVERYTHING,
        hidden=frozenset(),
        seal=grant_module._SEAL,
    )
    assert not world.pep.redecide(bare, RESEARCH)
    assert world.pep.redecide(bare, PLAIN)


def test_removed_node_disabled_person_and_lost_role_end_a_running_session(world: World) -> None:
    who = person("radiologist")
    opened = world.admit(node("radiologist"), who)
    record = world.users.users["alice"]
    world.pep.query(opened, FIND)
    for change in (
        lambda: world.nodes.nodes.clear(),
        lambda: world.users.users.clear(),
        lambda: world.users.users.update(alice=dataclasses.replace(record, enabled=False)),
        lambda: world.users.users.update(alice=dataclasses.replace(record, roles=frozenset({"service"}))),
        lambda: world.nodes.nodes.update(WS1=NodeRecord(node("service"))),
        lambda: world.nodes.nodes.update(WS1=NodeRecord(dataclasses.replace(node("radiologist"), fingerprint="00"))),
        lambda: world.nodes.nodes.update(WS1=NodeRecord(node("radiologist", name="OTHER"))),
    ):
        change()
        with pytest.raises(AccessDenied):
            world.pep.query(opened, FIND)
        world.admit(node("radiologist"), who)
        world.pep.query(opened, FIND)
    assert len(world.trail.events) == 7


def test_role_gained_since_admission_waits_for_the_next_association(world: World) -> None:
    opened = world.admit(node("radiologist", "administrator"), person("radiologist"))
    world.users.users["alice"] = UserRecord("alice", frozenset({"radiologist", "administrator"}))
    with pytest.raises(AccessDenied):
        world.pep.administer(opened)


def test_plain_node_stands_by_its_title(world: World) -> None:
    plain = node("modality", trust=NodeTrust.PLAIN)
    opened = world.admit(plain)
    assert world.pep.store(opened, PLAIN, CT)
    world.nodes.nodes[plain.name] = NodeRecord(node("modality"))
    with pytest.raises(AccessDenied):
        world.pep.store(opened, PLAIN, CT)


def test_policy_that_cannot_be_compiled_denies_and_alerts(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: object) -> None:
        raise NotCompilable("the operator '+'")

    monkeypatch.setattr(pep_module, "scope_of", refuse)
    with pytest.raises(AccessDenied):
        world.pep.query(world.admit(node("radiologist"), person("radiologist")), FIND)
    refused, alert = world.trail.events
    assert isinstance(refused, AccessRefused)
    assert isinstance(alert, SecurityAlert)
    assert "operator '+'" in alert.description


def one_policy(directory: Path, annotations: str) -> World:
    schema = REPOSITORY / "config" / "policies" / "schema.cedarschema"
    (directory / schema.name).write_bytes(schema.read_bytes())
    (directory / "one.cedar").write_text(f'@id("p") {annotations} permit (principal, action, resource);')
    return World(directory)


def test_obligation_that_nobody_carries_out_denies_every_operation(tmp_path: Path) -> None:
    world = one_policy(tmp_path, '@watermark("x")')
    opened = world.admit(node(), person())
    operations = (
        lambda: world.pep.associate(opened),
        lambda: world.pep.echo(opened),
        lambda: world.pep.store(opened, PLAIN, CT),
        lambda: world.pep.query(opened, FIND),
        lambda: world.pep.retrieve(opened, FIND),
    )
    for operation in operations:
        with pytest.raises(AccessDenied, match="watermark"):
            operation()
    assert len(world.trail.events) == len(operations)


def test_hiding_is_for_what_can_be_masked(tmp_path: Path) -> None:
    world = one_policy(tmp_path, '@hide("PatientID")')
    opened = world.admit(node(), person())
    assert world.pep.query(opened, FIND).hidden == world.pep.retrieve(opened, FIND).hidden == {0x00100020}
    for operation in (
        lambda: world.pep.associate(opened),
        lambda: world.pep.store(opened, PLAIN, CT),
    ):
        with pytest.raises(AccessDenied):
            operation()


def test_denial_that_cannot_be_written_down_is_still_no_grant(world: World) -> None:
    world.trail.broken = True
    with pytest.raises(AuditUnavailable):
        world.pep.query(world.admit(node("service")), FIND)


def test_grant_cannot_be_made_without_the_seal(world: World) -> None:
    grant = world.pep.query(world.admit(node("radiologist"), person("radiologist")), FIND)
    with pytest.raises(TypeError, match="only the policy enforcement point"):
        Grant(action=Action.STORE, session=grant.session, sop_class=None, reason="", seal=object())
    with pytest.raises((TypeError, ValueError)):
        dataclasses.replace(grant, scope=EVERYTHING)
    with pytest.raises(dataclasses.FrozenInstanceError):
        grant.scope = EVERYTHING  # type: ignore[misc]


def test_nothing_but_the_enforcement_point_names_the_seal() -> None:
    naming = {
        str(path.relative_to(REPOSITORY))
        for package in ("archive", "auth", "storage")
        for path in (REPOSITORY / package).rglob("*.py")
        if re.search(r"\b_SEAL\b", path.read_text("utf-8"))
    }
    assert naming == {"archive/enforcement/grant.py", "archive/enforcement/pep.py"}


PALETTE, PALETTE_FIND = "1.2.840.10008.5.1.4.39.1", "1.2.840.10008.5.1.4.39.2"
FILED_BY_CLASS = StudyFacts(PALETTE)


def test_actions_on_studies_reach_nothing_that_belongs_to_no_patient(world: World) -> None:
    opened = world.admit(node("radiologist", "modality"), person("radiologist", "modality"))
    for grant in (world.pep.query(opened, FIND), world.pep.retrieve(opened, FIND), world.pep.commit(opened, FIND)):
        assert not selects(grant.scope, resource_of(FILED_BY_CLASS))
        assert world.pep.redecide_all(grant, [PLAIN, FILED_BY_CLASS]) == [True, False]
    with pytest.raises(AccessDenied):
        world.pep.store(opened, FILED_BY_CLASS, PALETTE)
    assert world.denied().action == "StoreNonPatient"


def test_actions_on_what_belongs_to_no_patient_reach_no_study(world: World) -> None:
    opened = world.admit(node("administrator", "radiologist"), person("administrator", "radiologist"))
    grant = world.pep.query(opened, PALETTE_FIND)
    assert grant.action is Action.READ_NON_PATIENT
    assert selects(grant.scope, resource_of(FILED_BY_CLASS)) and not selects(grant.scope, resource_of(PLAIN))
    assert world.pep.redecide_all(grant, [PLAIN, FILED_BY_CLASS]) == [False, True]


def test_a_person_with_both_roles_is_asked_about_each_object_by_its_own_action(world: World) -> None:
    opened = world.admit(node("administrator", "radiologist"), person("administrator", "radiologist"))
    grant = world.pep.retrieve(opened, FIND)
    assert world.pep.redecide_all(grant, [PLAIN, FILED_BY_CLASS]) == [True, True]
    assert not selects(grant.scope, resource_of(FILED_BY_CLASS))
