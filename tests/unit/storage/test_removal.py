"""Holds, tombstones, restoration and erasure: what is still said of what was taken away, and what no longer can be."""

import itertools
from datetime import UTC, datetime
from hashlib import sha256

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from storage.errors import InstanceConflict, InstanceRemoved, ObjectMissing, StoreReadOnly, StudyHeld
from storage.events import NamedInstance, facts_naming
from storage.index.matching import QUERY_RETRIEVE_LEVEL, QueryModel, plan_find
from storage.index.predicate import EVERYTHING
from storage.index.sequences import QueryKey
from storage.instance import GivenLabels, StoreOutcome
from storage.integrity import fsck
from storage.integrity.ledger import LineCodec, read_ledger
from tests.simulators.object_store import CT, NO_LABELS, ObjectStore, element, signer_certificate, store
from tests.simulators.postgresql import PostgreSql


@pytest.fixture(scope="session")
def postgresql():
    cluster = PostgreSql()
    yield cluster
    cluster.stop()


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request):
    """Where the index is: a URL, or None for a file."""
    return None if request.param == "sqlite" else request.getfixturevalue("postgresql").database()


@pytest.fixture
def world(tmp_path, database):
    made = ObjectStore(tmp_path, database=database)
    yield made
    made.stop()


@pytest.fixture
def repository(world):
    return world.start()


def picture(instance, study="1.2.3", series="1.2.3.1", *, modality=b"CT", patient=b"P1"):
    elements = [
        (0x00080016, "UI", CT.encode()),
        (0x00080018, "UI", instance.encode()),
        (0x00080060, "CS", modality),
        (0x00100020, "LO", patient),
        (0x0020000D, "UI", study.encode()),
        (0x0020000E, "UI", series.encode()),
        (0x7FE00010, "OW", b"\1\2" * 20),
    ]
    return b"".join(element(*one) for one in sorted(elements))


def put(repository, instance, *where, labels=NO_LABELS, **values):
    return store(repository, picture(instance, *where, **values), instance, labels)


def named(repository, *instances):
    found = repository.reader.lookup(instances)
    assert len(found) == len(instances)
    return [NamedInstance(uid, kept.stored.object_id, kept.stored.address) for uid, kept in sorted(found.items())]


def take(repository, *instances, study="1.2.3", comes_back=False):
    """Tombstones for kept objects; what they are called."""
    them = named(repository, *instances)
    facts = facts_naming(study, them, reason="113037", note="", comes_back=comes_back)
    repository.record("tombstoned", facts, {"reason": "a test"})
    return them


def erase(repository, them, study="1.2.3"):
    return repository.record("erased", facts_naming(study, them), {})


def kept(repository):
    return [stored.key.sop_instance_uid for stored in repository.reader.instances(EVERYTHING, EVERYTHING)]


def studies(repository):
    """UID, modalities, series and instances of every study, as a query answers."""
    tags = (0x0020000D, 0x00080061, 0x00201206, 0x00201208)
    keys = [QueryKey(QUERY_RETRIEVE_LEVEL, "CS", "STUDY"), *(QueryKey(tag, "UI", "") for tag in tags)]
    query = plan_find(QueryModel.STUDY_ROOT, keys)
    pages = repository.reader.find(query, EVERYTHING)
    return [tuple(match.values[tag] for tag in tags) for page in pages for match in page]


def rebuilt(world):
    """The index of a store that was rebuilt from nothing but objects and ledger."""
    before = world.dump()
    world.stop()
    world.lose_index()
    repository = world.start()
    after = world.dump()
    assert after == before
    return repository


def test_what_was_taken_away_is_neither_found_nor_counted(world, repository):
    put(repository, "1.1")
    put(repository, "1.2", "1.2.3", "1.2.3.2", modality=b"SR")
    take(repository, "1.2")
    assert kept(repository) == ["1.1"]
    assert studies(repository) == [("1.2.3", "CT", "1", "1")]
    assert repository.reader.lookup(["1.2"]) == {}
    assert len(world.published()) == 2
    take(repository, "1.1")
    assert studies(repository) == [] and repository.reader.study_facts("1.2.3") is None
    rebuilt(world)


def test_policy_reads_what_the_first_instance_fixed_as_long_as_anything_is_kept(world, repository):
    put(repository, "1.1", patient=b"FIRST", modality=b"MR")
    put(repository, "1.2", "1.2.3", "1.2.3.2", patient=b"SECOND")
    erase(repository, take(repository, "1.1"))
    facts = repository.reader.study_facts("1.2.3")
    assert (facts.patient_id, facts.modalities) == ("FIRST", {"MR"})
    assert studies(repository) == [("1.2.3", "CT", "1", "1")]
    again = rebuilt(world)
    assert again.reader.study_facts("1.2.3") == facts
    put(again, "1.3", "1.2.3", "1.2.3.3", modality=b"MR")
    assert studies(again) == [("1.2.3", "CT\\MR", "2", "2")]
    rebuilt(world)


def test_a_study_that_comes_back_carries_its_labels(world, repository):
    put(repository, "1.1")
    repository.record("labelled", {"study_uid": "1.2.3", "label": "restricted"}, {})
    erase(repository, take(repository, "1.1", comes_back=True))
    assert repository.reader.study_facts("1.2.3") is None
    again = rebuilt(world)
    assert put(again, "1.1").outcome is StoreOutcome.STORED
    assert again.reader.study_facts("1.2.3").labels == {"restricted"}
    rebuilt(world)


def test_nothing_of_a_study_on_hold_is_taken_away_or_erased(world, repository):
    put(repository, "1.1")
    put(repository, "1.2")
    gone = take(repository, "1.2")
    repository.record("held", {"study_uid": "1.2.3"}, {})
    sequence = repository.record("authority", {}, {}).sequence
    with pytest.raises(StudyHeld):
        take(repository, "1.1")
    with pytest.raises(StudyHeld):
        erase(repository, gone)
    assert repository.record("authority", {}, {}).sequence == sequence + 1
    assert repository.read_only is None and kept(repository) == ["1.1"]
    again = rebuilt(world)
    assert again.removed.holds() == ["1.2.3"]
    again.record("released", {"study_uid": "1.2.3"}, {})
    erase(again, gone)
    assert again.removed.holds() == []
    rebuilt(world)


def test_a_study_of_which_nothing_is_left_but_its_bytes_can_be_held(repository):
    put(repository, "1.1")
    gone = take(repository, "1.1")
    repository.record("held", {"study_uid": "1.2.3"}, {})
    with pytest.raises(StudyHeld):
        erase(repository, gone)


@pytest.mark.parametrize("event", ["held", "released", "labelled"])
def test_what_is_said_of_a_study_that_nobody_knows_is_refused(repository, event):
    with pytest.raises(ObjectMissing):
        repository.record(event, {"study_uid": "9.9", "label": "x"}, {})


@pytest.mark.parametrize("event", ["tombstoned", "erased"])
@pytest.mark.parametrize("wrong", ["unknown", "another object"])
def test_only_what_is_there_is_taken_away(world, repository, event, wrong):
    put(repository, "1.1")
    (there,) = named(repository, "1.1")
    other = NamedInstance("7.7" if wrong == "unknown" else "1.1", "0" * 32, there.address)
    with pytest.raises(ObjectMissing):
        repository.record(event, facts_naming("1.2.3", [other]), {})
    assert kept(repository) == ["1.1"] and repository.read_only is None


def test_what_is_not_taken_away_first_is_not_erased(world, repository):
    put(repository, "1.1")
    with pytest.raises(ObjectMissing):
        erase(repository, named(repository, "1.1"))
    assert len(world.published()) == 1


def test_erasure_destroys_the_key_before_the_name(world, repository, monkeypatch):
    put(repository, "1.1")
    (path,) = world.published()
    whole = path.read_bytes()
    copy = world.folder / "second name"
    copy.hardlink_to(path)
    gone = take(repository, "1.1")
    assert path.read_bytes() == whole
    entry = erase(repository, gone)
    assert world.published() == []
    assert copy.read_bytes()[:512] != whole[:512] and copy.read_bytes()[512:] == whole[512:]
    # The ledger's commitment stays; the salt, which was in the object, is gone with its key.
    (stored, *_, last) = read_ledger(world.ledger, LineCodec(world.keyring.ledger_key))
    assert stored.facts["commitment"] and last == entry


def test_an_erasure_that_a_crash_interrupted_is_carried_out_at_the_next_start(world, repository):
    put(repository, "1.1")
    put(repository, "1.2")
    gone = take(repository, "1.1")
    erased = world.folder / "kept for the test"
    erased.write_bytes(next(path for path in world.published() if path.name == gone[0].address.hex()).read_bytes())
    erase(repository, gone)
    before = world.dump()
    world.stop()
    # As if the machine had stopped after the ledger's sync.
    path = world.folder / "blobs" / "objects" / gone[0].address.hex()[:2] / gone[0].address.hex()
    path.write_bytes(erased.read_bytes())
    world.lose_index()
    again = world.start()
    assert again.recovery.erased == 1 and not path.exists()
    assert world.dump() == before


def test_an_erasure_that_the_disk_refuses_makes_the_store_read_only_and_is_done_later(world, repository, monkeypatch):
    put(repository, "1.1")
    gone = take(repository, "1.1")
    with monkeypatch.context() as patched:
        patched.setattr(world.blobs, "erase", refusing)
        with pytest.raises(StoreReadOnly):
            erase(repository, gone)
    assert repository.read_only and len(world.published()) == 1
    world.stop()
    again = world.start()
    assert again.recovery.erased == 1 and world.published() == [] and again.read_only is None


def refusing(address, head):
    raise StoreReadOnly("an object cannot be erased: Input/output error")


def test_what_was_taken_away_comes_back_as_it_was(world, repository):
    put(repository, "1.1")
    put(repository, "1.2", "1.2.3", "1.2.3.2", modality=b"SR")
    before = studies(repository)
    gone = take(repository, "1.1", "1.2")
    assert studies(repository) == []
    entry = repository.restore("1.2.3", gone, {})
    assert entry.event == "restored" and studies(repository) == before
    for stored in repository.reader.instances(EVERYTHING, EVERYTHING):
        repository.open(stored).close()
    assert put(repository, "1.1").outcome is StoreOutcome.ALREADY_KEPT
    rebuilt(world)


def test_what_is_erased_does_not_come_back(repository):
    put(repository, "1.1")
    gone = take(repository, "1.1")
    erase(repository, gone)
    with pytest.raises(ObjectMissing):
        repository.restore("1.2.3", gone, {})
    assert repository.read_only is None


@pytest.mark.parametrize("erased", [False, True])
@pytest.mark.parametrize("same", [False, True])
def test_nothing_comes_in_the_place_of_what_was_taken_away_for_good(world, repository, erased, same):
    put(repository, "1.1")
    gone = take(repository, "1.1")
    if erased:
        erase(repository, gone)
    with pytest.raises(InstanceRemoved):
        put(repository, "1.1", patient=b"P1" if same else b"P2")
    assert kept(repository) == [] and len(world.published()) == (not erased)
    assert isinstance(InstanceRemoved(""), InstanceConflict)


def test_what_may_come_again_is_the_same_object_until_it_is_erased_and_any_after(world, repository):
    first = put(repository, "1.1")
    gone = take(repository, "1.1", comes_back=True)
    with pytest.raises(InstanceRemoved):
        put(repository, "1.1", patient=b"OTHER")
    back = put(repository, "1.1")
    assert (back.outcome, back.object_id) == (StoreOutcome.STORED, first.object_id)
    assert kept(repository) == ["1.1"] and len(world.published()) == 1
    gone = take(repository, "1.1", comes_back=True)
    erase(repository, gone)
    assert put(repository, "1.1", patient=b"OTHER").object_id != first.object_id
    assert repository.reader.study_facts("1.2.3").patient_id == "OTHER"
    assert repository.removed.tombstone("1.1") is None
    rebuilt(world)


def test_the_same_bytes_may_come_again_after_their_erasure(world, repository):
    put(repository, "1.1")
    for _ in range(2):
        erase(repository, take(repository, "1.1", comes_back=True))
        assert put(repository, "1.1").outcome is StoreOutcome.STORED
        world.stop()
        repository = world.start()
        assert repository.recovery.erased == 0 and len(world.published()) == 1
    again = rebuilt(world)
    assert kept(again) == ["1.1"]


def test_tombstones_are_found_by_study_and_by_age(repository):
    put(repository, "1.1")
    put(repository, "2.1", "2.2", "2.3")
    (one,) = take(repository, "1.1")
    take(repository, "2.1", study="2.2")
    assert [stone.named for stone in repository.removed.of_study("1.2.3")] == [one]
    now = datetime.now(UTC).isoformat()
    long_ago = "2000-01-01T00:00:00+00:00"
    assert list(repository.removed.studies(now)) == ["1.2.3", "2.2"]
    assert list(repository.removed.studies(long_ago)) == []
    assert [stone.named for stone in repository.removed.of_study("1.2.3", before=now)] == [one]
    assert list(repository.removed.of_study("1.2.3", before=long_ago)) == []
    erase(repository, [one])
    assert list(repository.removed.of_study("1.2.3")) == []
    assert list(repository.removed.studies(now)) == ["2.2"]


class Histories(RuleBasedStateMachine):
    """Any history of objects, labels, holds, tombstones, restorations, erasures: an index made anew says the same."""

    folders = itertools.count()

    @initialize(folder=st.just(None))
    def begin(self, folder):
        self.world = ObjectStore(self.root / str(next(self.folders)), database=self.database())
        self.repository = self.world.start()
        self.held = set()
        self.labels = {}

    def tombstones(self):
        removed = self.repository.removed
        return [stone for study in removed.studies("9999") for stone in removed.of_study(study)]

    @rule(
        study=st.integers(1, 2),
        series=st.integers(1, 2),
        number=st.integers(1, 3),
        patient=st.sampled_from("AB"),
        first=st.frozensets(st.sampled_from("xz"), max_size=1),
        always=st.frozensets(st.sampled_from("yq"), max_size=1),
    )
    def store(self, study, series, number, patient, first, always):
        instance = f"{study}.{series}.{number}"
        modality = b"SR" if series == 2 else b"CT\\PT" if number == 2 else b"CT"
        begins = self.repository.reader.study_facts(f"5.{study}") is None
        comes_back = any(stone.sop_instance_uid == instance for stone in self.tombstones() if not stone.erased)
        try:
            receipt = put(
                self.repository,
                instance,
                f"5.{study}",
                f"5.{study}.{series}",
                labels=GivenLabels(first, always),
                modality=modality,
                patient=patient.encode(),
            )
        except InstanceConflict:
            return
        if receipt.outcome is StoreOutcome.STORED:
            given = always | first if begins and not comes_back else always
            self.labels.setdefault(f"5.{study}", set()).update(given)

    @precondition(lambda self: kept(self.repository))
    @rule(data=st.data(), comes_back=st.booleans())
    def take(self, data, comes_back):
        instance = data.draw(st.sampled_from(kept(self.repository)))
        study = f"5.{instance.partition('.')[0]}"
        if study in self.held:
            with pytest.raises(StudyHeld):
                take(self.repository, instance, study=study, comes_back=comes_back)
            assert instance in kept(self.repository)
        else:
            take(self.repository, instance, study=study, comes_back=comes_back)
            assert instance not in kept(self.repository)

    @precondition(lambda self: self.tombstones())
    @rule(data=st.data(), back=st.booleans())
    def end(self, data, back):
        stone = data.draw(st.sampled_from(self.tombstones()))
        if back:
            self.repository.restore(stone.study_uid, [stone.named], {})
        elif stone.study_uid in self.held:
            with pytest.raises(StudyHeld):
                erase(self.repository, [stone.named], stone.study_uid)
        else:
            erase(self.repository, [stone.named], stone.study_uid)
            assert stone.address.hex() not in [path.name for path in self.world.published()]

    @rule(study=st.integers(1, 2), event=st.sampled_from(["labelled", "unlabelled"]), label=st.sampled_from("xy"))
    def label(self, study, event, label):
        try:
            self.repository.record(event, {"study_uid": f"5.{study}", "label": label}, {})
        except ObjectMissing:
            return
        held = self.labels.setdefault(f"5.{study}", set())
        (held.add if event == "labelled" else held.discard)(label)

    @rule(study=st.integers(1, 2), event=st.sampled_from(["held", "released"]))
    def hold(self, study, event):
        try:
            self.repository.record(event, {"study_uid": f"5.{study}"}, {})
        except ObjectMissing:
            return
        (self.held.add if event == "held" else self.held.discard)(f"5.{study}")

    @rule(offline=st.booleans())
    def rebuild(self, offline):
        if offline:
            self.repository = rebuilt(self.world)
        else:
            before = self.world.dump()
            self.repository.rebuild()
            assert self.world.dump() == before

    @invariant()
    def labels_and_holds_are_what_was_said(self):
        assert set(self.repository.removed.holds()) == self.held
        for study, labels in self.labels.items():
            facts = self.repository.reader.study_facts(study)
            assert facts is None or facts.labels == labels

    def teardown(self):
        if hasattr(self, "repository"):
            rebuilt(self.world)
            self.world.stop()
            if self.world.database is not None:
                return  # the checker reads an index in a file
            signers = frozenset({sha256(signer_certificate()).digest()})
            report = fsck.check(self, self.world.keyring, signers, full=True)
            assert report.faults == ()

    ledger = property(lambda self: self.world.ledger)
    index = property(lambda self: self.world.index)
    blobs = property(lambda self: self.world.folder / "blobs")


def histories(tmp_path, examples, steps, database=lambda: None):
    machine = type("TheseHistories", (Histories,), {"root": tmp_path, "database": staticmethod(database)})
    machine.TestCase.settings = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    machine.TestCase("runTest").runTest()


def test_an_index_made_anew_says_the_same_after_any_history(tmp_path):
    histories(tmp_path, 8, 20)


def test_an_index_in_postgresql_made_anew_says_the_same_after_any_history(tmp_path, postgresql):
    histories(tmp_path, 2, 10, postgresql.database)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_an_index_made_anew_says_the_same_after_very_many_histories(tmp_path):
    histories(tmp_path, 300, 50)
