"""IHE Imaging Object Change Management: rejection notes over the wire, by those whom policy lets delete, and others."""

import json

import pytest

from tests.simulators.index_dump import index_dump
from tests.simulators.memory_archive import encoded, image
from tests.simulators.notes import KEY_OBJECT, key_objects
from tests.simulators.running_archive import RunningArchive
from tests.simulators.scu import CT, EXPLICIT, IMPLICIT, STUDY_FIND, identifier

STUDY_UID = 0x0020000D
CURATOR = """
@id("curator")
@reason("a curator stores rejection notes and what replaces the rejected")
permit (
    principal in Role::"curator",
    action in [Action::"Associate", Action::"Store", Action::"Delete"],
    resource
);
"""
CONTEXTS = [(KEY_OBJECT, [EXPLICIT]), (CT, [EXPLICIT])]


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    """One archive with a curator, a modality and a radiologist."""
    archive = RunningArchive(tmp_path_factory.mktemp("iocm")).init()
    (archive.home / "policies" / "curator.cedar").write_text(CURATOR)
    with archive.serving():
        archive.node("CT1", "modality")
        archive.node("QC1", "curator")
        archive.node("WS1", "radiologist")
        archive.people = {
            "carl": archive.person("carl", "curator"),
            "mike": archive.person("mike", "modality"),
            "alice": archive.person("alice", "radiologist"),
        }
        yield archive


def store(house, *objects, title="QC1", user="carl"):
    with house.requestor(title, user=house.people.get(user), contexts=CONTEXTS) as peer:
        return [peer.store(one.SOPClassUID, one.SOPInstanceUID, encoded(one)).status for one in objects]


def found(house):
    """What a radiologist finds: the answers, and how many there are."""
    with house.requestor("WS1", user=house.people["alice"], contexts=[(STUDY_FIND, [IMPLICIT])]) as peer:
        matches, final = peer.find(STUDY_FIND, identifier("STUDY", {STUDY_UID: ""}))
    assert final.status == 0
    return set(matches), len(matches)


@pytest.mark.parametrize(
    ("number", "title", "again"),
    [(11, "113001", 0x0111), (12, "113037", 0x0111), (13, "113038", 0x0111), (14, "113039", 0)],
)
def test_what_a_note_rejects_is_hidden_with_the_note_and_comes_again_only_where_its_title_lets_it(
    house, number, title, again
):
    one, two = image(number), image(number, number=2)
    assert store(house, one, two) == [0, 0]
    before = found(house)[1]
    note = key_objects(title, [one, two], uid=f"1.9.{number}", study=one.StudyInstanceUID)
    assert store(house, note) == [0]
    assert found(house)[1] == before - 1
    # The note once more: what it says is done.
    assert store(house, note) == [0]
    assert store(house, one) == [again]
    assert found(house)[1] == before - (again != 0)
    told = [record["facts"] for record in house.trail() if record["kind"] == "study-deleted"][-1]
    assert told["actor"]["person"] == "carl" and told["study"]["study_uid"] == one.StudyInstanceUID


def test_one_rejected_image_leaves_the_others_of_its_study(house):
    one, two = image(21), image(21, number=2)
    store(house, one, two)
    before = found(house)[1]
    assert store(house, key_objects("113001", [one], uid="1.9.21", study="1.9.21.5")) == [0]
    assert found(house)[1] == before
    told = [record["facts"] for record in house.trail() if record["kind"] == "instances-deleted"][-1]
    assert told["study"]["sop_classes"] == {CT: 1}


@pytest.mark.parametrize("user", ["mike", None])
def test_a_note_of_somebody_who_may_store_but_not_delete_rejects_nothing_and_is_not_kept(house, user):
    one = image(31)
    assert store(house, one, title="CT1", user=None) == [0]
    before = found(house)
    note = key_objects("113037", [one], uid="1.9.31", study=one.StudyInstanceUID)
    assert store(house, note, title="CT1", user=user) == [0x0124]
    assert found(house) == before
    # The same document of another title is an ordinary one.
    assert store(house, key_objects("113000", [one], uid="1.9.32", study="1.32"), title="CT1", user=user) == [0]


@pytest.mark.parametrize("wrong", ["unknown", "study", "series", "class", "nothing", "one of two"])
def test_a_note_that_names_what_is_not_here_as_it_says_rejects_nothing(house, wrong):
    one, other = image(41), image(42)
    store(house, one)
    before = found(house)
    lied = image(41)
    match wrong:
        case "unknown":
            lied.SOPInstanceUID = "1.2.3.4.5"
        case "study":
            lied.StudyInstanceUID = "1.2.3.4.5"
        case "series":
            lied.SeriesInstanceUID = "1.2.3.4.5"
        case "class":
            lied.SOPClassUID = KEY_OBJECT
    named = {"nothing": [], "one of two": [one, other]}.get(wrong, [lied])
    assert store(house, key_objects("113037", named, uid="1.9.41", study="1.41")) == [0xA900]
    assert found(house) == before


def test_nothing_of_a_study_on_hold_is_rejected(house):
    one = image(51)
    store(house, one)
    house.must("study", "hold", one.StudyInstanceUID, "--reason", "a court")
    note = key_objects("113039", [one], uid="1.9.51", study=one.StudyInstanceUID)
    before = found(house)
    assert store(house, note) == [0x0124] and found(house) == before
    house.must("study", "release", one.StudyInstanceUID, "--reason", "settled")
    assert store(house, note) == [0]


def test_a_graver_reason_replaces_a_lighter_one_and_never_the_other_way(house):
    one = image(61)
    store(house, one)
    for uid, title in (("1.9.61", "113039"), ("1.9.62", "113037"), ("1.9.63", "113039")):
        assert store(house, key_objects(title, [one], uid=uid, study="1.61")) == [0]
    assert store(house, one) == [0x0111]


def test_what_was_rejected_stays_so_after_a_rebuild(house):
    one = image(71)
    store(house, one)
    store(house, key_objects("113037", [one], uid="1.9.71", study=one.StudyInstanceUID))
    house.must("rebuild")
    assert store(house, one) == [0x0111]
    house.must("verify", "--full")
    house.stop()
    before = index_dump(house.paths()["index"])
    house.must("rebuild")
    assert index_dump(house.paths()["index"]) == before
    house.start()


def test_notes_for_quality_reasons_can_be_shown_with_their_objects(house):
    house.stop()
    settings = house.home / "strongroom.toml"
    settings.write_text(settings.read_text().replace('quality_notes = "hide"', 'quality_notes = "show"'))
    house.start()
    one = image(81)
    store(house, one)
    before = found(house)[1]
    assert store(house, key_objects("113001", [one], uid="1.9.81", study="1.81.9")) == [0]
    assert found(house)[1] == before + 1
    [row] = [row for row in json.loads(house.must("study", "list", "--json")) if row["study_uid"] == "1.2.81"]
    assert row["modalities"] == ["CT"]
    # The other reasons take away what they name all the same; the note for quality reasons stays.
    assert store(house, key_objects("113037", [one], uid="1.9.82", study="1.82")) == [0]
    assert found(house)[1] == before
