"""What an operator can have done: every change is told before it takes effect, and nothing refused is told at all."""

import base64
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from archive.audit.events import AuditLogUsed, SecurityAlert
from archive.audit.forward.position import Standing, StandingFile
from archive.audit.forward.tail import Place
from archive.audit.trail_format import HEADER_BYTES, Position
from archive.bootstrap import Archive
from archive.control.operations import Arguments, operation
from archive.control.operator import Operator
from archive.control.protocol import Request
from archive.control.table import perform
from archive.enforcement.attributes import is_keyword
from archive.errors import AuditUnavailable, UsageInvalid
from archive.home import Home
from archive.metrics import Metrics
from archive.rebuild_state import LiveRebuild
from archive.records.masked import MaskedRecords
from archive.records.nodes import NodeRecords
from archive.records.overrides import OverrideRecords
from archive.records.policy import PolicyRecord
from archive.records.users import UserRecords
from archive.records.volume import VolumeRecords
from archive.settings import Settings
from auth.errors import PolicyInvalid, RecordExists, RecordInvalid, RecordMissing
from auth.node import authority
from auth.policy.engine import PolicyEngine
from auth.principal import IdentityDemand, NodeTrust
from storage.errors import InvalidIdentifier, StoreReadOnly
from storage.instance import StudyFacts
from tests.simulators.audit_trails import TrailOnDisk
from tests.simulators.presented import PresentedInMemory
from tests.simulators.records import MemoryDatabase

POLICIES = Path(__file__).resolve().parents[4] / "config" / "policies"
HASH = "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaA"
STUDY = "1.2.3"


class Reader:
    """The index of one study."""

    def __init__(self):
        self.labels = set()

    def study_facts(self, uid):
        return StudyFacts(study_uid=uid, labels=frozenset(self.labels)) if uid == STUDY else None

    def find(self, query, scope, page):
        class Match:
            facts = StudyFacts(study_uid=STUDY, study_date=20260102, labels=frozenset(self.labels))

        yield [Match] * 3


class Removed:
    """Holds, and nothing that was taken away."""

    def __init__(self):
        self.studies = set()

    def knows(self, uid):
        return uid == STUDY

    def held(self, uid):
        return uid in self.studies

    def holds(self):
        return sorted(self.studies)

    def of_study(self, uid):
        return iter(())


class Repository:
    """Ledger and trail in one list; can be made to refuse."""

    def __init__(self):
        self.told = []
        self.refuse = None
        self.reader = Reader()
        self.removed = Removed()

    def record(self, event, facts, provenance):
        if self.refuse:
            raise self.refuse
        self.told.append((event, facts, provenance))
        if event in ("labelled", "unlabelled"):
            change = self.reader.labels.add if event == "labelled" else self.reader.labels.discard
            change(facts["label"])
        if event in ("held", "released"):
            change = self.removed.studies.add if event == "held" else self.removed.studies.discard
            change(facts["study_uid"])


class Audit:
    def __init__(self):
        self.events = []

    def record(self, *events):
        self.events += events


@pytest.fixture(scope="module")
def own_authority(tmp_path_factory):
    return authority.create(tmp_path_factory.mktemp("pki") / "pki", ae_title="STRONGROOM", names=["127.0.0.1"])


@pytest.fixture
def archive(tmp_path, own_authority):
    for path in filter(Path.is_file, POLICIES.iterdir()):
        (tmp_path / "policies").mkdir(exist_ok=True)
        (tmp_path / "policies" / path.name).write_bytes(path.read_bytes())
    database, on_disk = MemoryDatabase(), TrailOnDisk(tmp_path / "trail")
    with ExitStack() as held:
        held.callback(database.close)
        yield Archive(
            home=Home(tmp_path),
            settings=Settings(),
            keyring=None,
            signing=SimpleNamespace(authority=own_authority),
            intakes=None,
            receipt=None,
            commitments=None,
            audit=Audit(),
            trail=held.enter_context(on_disk.opened()),
            retention=on_disk.retention,
            policies=PolicyEngine.load(tmp_path / "policies", is_keyword),
            nodes=NodeRecords(database),
            users=UserRecords(database),
            presented=PresentedInMemory(),
            masked=MaskedRecords(database),
            volumes=VolumeRecords(database),
            overrides=OverrideRecords(database),
            policy_record=PolicyRecord(database),
            repository=Repository(),
            metrics=Metrics(),
            rebuild=LiveRebuild(),
            _held=held.pop_all(),
        )
    database.close()


@pytest.fixture
def do(archive):
    def do(name, /, **arguments):
        return perform(archive, Request(name, arguments), Operator(1000, "olga"))

    return do


def test_an_issued_node_is_told_and_then_there_and_its_key_is_kept_nowhere(archive, do):
    added = do("node.add", ae_title="CT1", trust="issued", roles=["modality"])
    material = added.pop("material")
    assert set(material) == {"key.pem", "cert.pem", "ca.pem"}
    [(event, facts, provenance)] = archive.repository.told
    assert (event, facts["change"], facts["ae_title"]) == ("authority", "node-added", "CT1")
    assert provenance["actor"] == {"os_user": "olga"} and "CT1" in provenance["description"]
    assert "PRIVATE KEY" not in repr(archive.repository.told)
    node = archive.nodes.node("CT1").identity
    assert (node.trust, node.identity, node.fingerprint) == (
        NodeTrust.ISSUED,
        IdentityDemand.OPTIONAL,
        added["fingerprint"],
    )
    assert do("node.list") == [added]


def test_identity_is_required_of_a_node_where_people_work(do):
    assert do("node.add", ae_title="WS1", trust="issued", roles=["radiologist"])["identity"] == "required"
    assert do("node.add", ae_title="WS2", trust="issued", roles=["modality", "radiologist"])["identity"] == "required"
    assert do("node.add", ae_title="WS3", trust="issued", roles=[])["identity"] == "required"
    assert do("node.add", ae_title="WS4", trust="issued", identity="none")["identity"] == "none"


def test_a_pinned_node_brings_its_certificate(archive, do, own_authority):
    issued = own_authority.issue_node("THEIRS")
    presented = base64.b64encode(issued.certificate).decode()
    added = do("node.add", ae_title="PACS", trust="pinned", certificate=presented, host="10.0.0.7", port=104)
    assert added["material"] is None and added["fingerprint"] == issued.fingerprint
    assert archive.nodes.pinned_certificates() == (issued.certificate,)
    with pytest.raises(RecordExists, match="PACS"):
        do("node.add", ae_title="PACS2", trust="pinned", certificate=presented)
    assert len(archive.repository.told) == 1


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"ae_title": "SEVENTEEN_LETTERS", "trust": "issued"}, RecordInvalid),
        ({"ae_title": "CT1", "trust": "issued", "roles": ["surgeon"]}, RecordInvalid),
        ({"ae_title": "CT1", "trust": "believed"}, UsageInvalid),
        ({"ae_title": "CT1", "trust": "issued", "identity": "perhaps"}, UsageInvalid),
        ({"ae_title": "CT1", "trust": "issued", "identity_types": [9]}, RecordInvalid),
        ({"ae_title": "CT1", "trust": "issued", "host": "10.0.0.7"}, RecordInvalid),
        ({"ae_title": "CT1", "trust": "pinned", "certificate": "*"}, UsageInvalid),
        ({"ae_title": "CT1", "trust": "issued", "more": 1}, UsageInvalid),
        ({"ae_title": "CT1", "trust": "issued", "roles": "modality"}, UsageInvalid),
        ({"trust": "issued"}, UsageInvalid),
    ],
)
def test_a_node_that_is_refused_is_neither_told_nor_there(archive, do, arguments, error):
    with pytest.raises(error):
        do("node.add", **arguments)
    assert archive.repository.told == [] and archive.nodes.all() == ()


def test_an_ae_title_belongs_to_one_node(archive, do):
    do("node.add", ae_title="CT1", trust="issued", ae_titles=["CT1B"])
    for titles in ({"ae_title": "CT1"}, {"ae_title": "CT1B"}, {"ae_title": "CT2", "ae_titles": ["CT1B"]}):
        with pytest.raises(RecordExists):
            do("node.add", trust="issued", **titles)
    assert len(archive.repository.told) == 1


def test_a_removed_node_is_gone(archive, do):
    do("node.add", ae_title="CT1", trust="plain")
    do("node.remove", ae_title="CT1")
    assert archive.nodes.all() == ()
    assert [facts["change"] for _, facts, _ in archive.repository.told] == ["node-added", "node-removed"]
    with pytest.raises(RecordMissing):
        do("node.remove", ae_title="CT1")
    assert len(archive.repository.told) == 2


@pytest.mark.parametrize("refusal", [AuditUnavailable("no"), StoreReadOnly("no")])
def test_what_cannot_be_told_does_not_happen(archive, do, refusal):
    do("user.add", name="alice", roles=["radiologist"], passcode_hash=HASH)
    archive.repository.refuse = refusal
    for name, arguments in {
        "node.add": {"ae_title": "CT1", "trust": "issued"},
        "user.add": {"name": "bob"},
        "user.remove": {"name": "alice"},
        "user.enable": {"name": "alice", "enabled": False},
        "user.passcode": {"name": "alice", "passcode_hash": HASH + "x"},
        "study.label": {"study_uid": STUDY, "labels": ["research"]},
        "study.hold": {"study_uid": STUDY, "why": "a court"},
        "policy.reload": {},
    }.items():
        with pytest.raises(type(refusal)):
            do(name, **arguments)
    assert archive.nodes.all() == ()
    [alice] = archive.users.all()
    assert alice.enabled and alice.passcode_hash == HASH
    assert archive.policies.generation == 1


def test_what_was_told_and_then_failed_is_told_as_failed(archive, do, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(UserRecords, "add", full)
    with pytest.raises(OSError, match="No space"):
        do("user.add", name="alice")
    assert [facts.get("failed") for _, facts, _ in archive.repository.told] == [None, True]


def test_a_user_comes_changes_and_goes_and_no_hash_is_shown_or_told(archive, do):
    added = do(
        "user.add", name="alice", roles=["radiologist"], attributes={"physician_name": "A^B"}, passcode_hash=HASH
    )
    assert added == {
        "name": "alice",
        "roles": ["radiologist"],
        "attributes": {"physician_name": "A^B"},
        "enabled": True,
        "passcode": True,
    }
    do("user.passcode", name="alice", passcode_hash=HASH + "x")
    assert archive.users.user("alice").passcode_hash == HASH + "x"
    assert do("user.enable", name="alice", enabled=False)["enabled"] is False
    assert do("user.enable", name="alice", enabled=True)["enabled"] is True
    assert do("user.list") == [added]
    do("user.remove", name="alice")
    assert do("user.list") == []
    assert [facts["change"] for _, facts, _ in archive.repository.told] == [
        "user-added",
        "user-passcode",
        "user-disabled",
        "user-enabled",
        "user-removed",
    ]
    assert "argon2" not in repr(archive.repository.told)


@pytest.mark.parametrize(
    ("name", "arguments", "error"),
    [
        ("user.add", {"name": "a!b"}, RecordInvalid),
        ("user.add", {"name": ""}, RecordInvalid),
        ("user.add", {"name": "a", "roles": ["radiologst"]}, RecordInvalid),
        ("user.add", {"name": "a", "attributes": {"A": "b"}}, RecordInvalid),
        ("user.add", {"name": "a", "attributes": {"a": 1}}, UsageInvalid),
        ("user.add", {"name": "a", "passcode_hash": "open sesame"}, RecordInvalid),
        ("user.passcode", {"name": "nobody", "passcode_hash": HASH}, RecordMissing),
        ("user.enable", {"name": "nobody", "enabled": True}, RecordMissing),
        ("user.remove", {"name": "nobody"}, RecordMissing),
        ("user.enable", {"name": "nobody", "enabled": "yes"}, RecordMissing),
        ("study.label", {"study_uid": "1.2.9", "labels": ["research"]}, UsageInvalid),
        ("study.label", {"study_uid": "../x", "labels": ["research"]}, InvalidIdentifier),
        ("study.label", {"study_uid": STUDY, "labels": ["two words"]}, UsageInvalid),
        ("study.label", {"study_uid": STUDY, "labels": [""]}, UsageInvalid),
        ("study.hold", {"study_uid": "1.2.9", "why": "a court"}, UsageInvalid),
        ("study.hold", {"study_uid": STUDY, "why": " "}, UsageInvalid),
        ("study.delete", {"study_uid": STUDY, "reason": "spite"}, UsageInvalid),
        ("study.restore", {"study_uid": STUDY}, UsageInvalid),
        ("study.erase", {"study_uid": STUDY}, UsageInvalid),
        ("study.list", {"limit": 0.5}, UsageInvalid),
        ("study.list", {"limit": -1}, UsageInvalid),
        ("policy.explain", {"action": "Fly", "node": "CT1"}, UsageInvalid),
        ("policy.explain", {"action": "Echo", "node": "CT9"}, RecordMissing),
        ("no.such", {}, UsageInvalid),
        ("node.list", {"more": 1}, UsageInvalid),
    ],
)
def test_what_is_refused_is_not_told(archive, do, name, arguments, error):
    with pytest.raises(error):
        do(name, **arguments)
    assert archive.repository.told == []


def test_labels_come_and_go_one_event_each_and_none_for_no_change(archive, do):
    assert do("study.label", study_uid=STUDY, labels=["research", "teaching", "research"])["labels"] == [
        "research",
        "teaching",
    ]
    do("study.label", study_uid=STUDY, labels=["research"])
    assert do("study.label", study_uid=STUDY, labels=["teaching", "other"], remove=True)["labels"] == ["research"]
    assert [(event, facts["label"]) for event, facts, _ in archive.repository.told] == [
        ("labelled", "research"),
        ("labelled", "teaching"),
        ("unlabelled", "teaching"),
    ]


def test_a_hold_comes_and_goes_with_its_reason_and_saying_so_twice_is_one_event(archive, do):
    for _ in range(2):
        assert do("study.hold", study_uid=STUDY, why="a court asks") == {"study_uid": STUDY, "held": True}
    assert do("study.list", limit=1)[0]["held"] is True
    for _ in range(2):
        assert do("study.hold", study_uid=STUDY, why="it was settled", release=True)["held"] is False
    assert [(event, facts) for event, facts, _ in archive.repository.told] == [
        ("held", {"study_uid": STUDY}),
        ("released", {"study_uid": STUDY}),
    ]
    assert "a court asks" in archive.repository.told[0][2]["description"]


def test_studies_are_listed_without_names_up_to_a_limit(archive, do):
    listed = do("study.list", limit=2)
    assert listed == [{"study_uid": STUDY, "study_date": 20260102, "modalities": [], "labels": [], "held": False}] * 2
    assert len(do("study.list")) == 3


def test_the_policy_is_explained_for_a_person_at_a_node(archive, do):
    do("node.add", ae_title="WS1", trust="issued", roles=["radiologist"])
    do("user.add", name="alice", roles=["radiologist"])
    asked = {"action": "retrieve", "node": "WS1", "user": "alice", "study_uid": STUDY}
    answer = do("policy.explain", **asked)
    assert answer["permitted"] and any("radiologist" in line for line in answer["lines"])
    archive.repository.reader.labels.add("restricted")
    assert not do("policy.explain", **asked)["permitted"]
    assert not do("policy.explain", action="Query", node="WS1")["permitted"]
    do("user.enable", name="alice", enabled=False)
    assert do("policy.explain", **asked)["reason"] == "the user is disabled"


def test_policies_are_read_again_whole_or_not_at_all(archive, do):
    (archive.policy_directory / "more.cedar").write_text('@id("all") permit (principal, action, resource);')
    fingerprint = do("policy.reload")["fingerprint"]
    assert archive.policies.generation == 2 and archive.policies.policies.fingerprint == fingerprint
    assert archive.repository.told[-1][1] == {"change": "policy", "fingerprint": fingerprint}
    (archive.policy_directory / "more.cedar").write_text("permit (")
    with pytest.raises(PolicyInvalid):
        do("policy.reload")
    assert archive.policies.policies.fingerprint == fingerprint and len(archive.repository.told) == 1


def test_reading_the_trail_is_in_the_trail(archive, do):
    assert do("audit.used") is None
    [event] = archive.audit.events
    assert isinstance(event, AuditLogUsed) and event.actor.os_user == "olga"


@pytest.mark.parametrize(("verified", "outcome", "word"), [(True, 0, "verified"), (False, 4, "refused")])
def test_trying_a_credential_is_in_the_trail_and_is_no_login(archive, do, verified, outcome, word):
    do("identity.tried", identity_type="saml", name="alice@portal", verified=verified, reason="as it was")
    [event] = archive.audit.events
    assert isinstance(event, SecurityAlert) and event.alert == "110132" and event.actor.os_user == "olga"
    assert event.description == f"identity test: saml of alice@portal {word}"
    assert (event.outcome.value, event.reason) == (outcome, "as it was")


def test_a_checkpoint_names_who_asked_for_it(archive, do):
    archive.trail.append([{"time": "2026-01-01T00:00:00.000+00:00", "kind": "audit-log-used", "facts": {}}])
    made = do("audit.checkpoint")
    assert made["sequence"] == 1 and archive.trail.last_checkpoint.line == made["line"]
    assert do("audit.checkpoint") == made


@pytest.fixture
def aged(archive, tmp_path):
    """An archive whose trail has many segments, and that forwards them to a repository."""
    on_disk = TrailOnDisk(tmp_path / "aged").grow(40)
    settings = Settings(audit=({"name": "department", "host": "arr.example", "ca": "ca.pem"},))
    return replace(archive, retention=on_disk.retention, settings=settings), on_disk


def retain(archive, **arguments):
    return perform(archive, Request("audit.retain", arguments), Operator(1000, "olga"))


def test_old_audit_records_go_once_the_repository_has_them_and_both_are_told_before(aged):
    archive, on_disk = aged
    assert retain(archive, before="2027-01-01", why="law") is None, "the repository has nothing yet"
    third = int(on_disk.segments[2].stem)
    place = Place(third, HEADER_BYTES, Position(bytes(16), third - 1, bytes(32), 0))
    StandingFile(archive.home.forward, "department").save(Standing(place=place))
    removed = retain(archive, before="2027-01-01", why=" law ")
    assert (removed["first"], removed["last"]) == (1, third - 1)
    assert int(on_disk.segments[0].stem) == third and on_disk.verify().faults == ()
    [(event, facts, provenance)] = archive.repository.told
    assert (event, facts["change"], facts["last"], facts["why"]) == ("authority", "audit-removed", third - 1, "law")
    assert provenance["actor"] == {"os_user": "olga"}


def test_no_audit_record_goes_without_a_reason_a_date_or_a_ledger_that_can_be_told(aged):
    archive, on_disk = aged
    archive = replace(archive, settings=Settings())
    segments = on_disk.segments
    for arguments in ({"before": "soon", "why": "law"}, {"before": "2027-01-01", "why": " "}, {"before": "2027-01-01"}):
        with pytest.raises(UsageInvalid):
            retain(archive, **arguments)
    archive.repository.refuse = StoreReadOnly("full")
    with pytest.raises(StoreReadOnly):
        retain(archive, before="2027-01-01", why="law")
    assert on_disk.segments == segments


def test_an_operation_has_one_entry_in_the_table():
    with pytest.raises(ValueError, match=r"node\.add"):
        operation("node.add")(lambda call: None)


def test_arguments_are_read_by_type_and_leave_nothing_over():
    arguments = Arguments({"text": "a", "none": None, "n": 3, "ns": [1, 2], "flag": True, "map": {"k": "v"}})
    assert (arguments.text("text"), arguments.optional_text("none"), arguments.optional_text("absent")) == (
        "a",
        None,
        None,
    )
    assert (arguments.optional_number("n"), arguments.optional_numbers("ns")) == (3, [1, 2])
    assert (arguments.flag("flag"), arguments.mapping("map"), arguments.texts("absent")) == (True, {"k": "v"}, [])
    assert arguments.optional_numbers("absent") is None
    arguments.finish()
    for wrong in ({"x": True}, {"x": "1"}, {"x": [True]}, {"x": ["1"]}, {"x": list(range(2000))}):
        with pytest.raises(UsageInvalid):
            Arguments(wrong).optional_numbers("x")
    with pytest.raises(UsageInvalid):
        Arguments({"x": True}).optional_number("x")
