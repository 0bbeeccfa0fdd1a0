"""What a person may not see answers as what was never there (THREATS D05, D06): rows, counts, order, totals, statuses,
comments, byte for byte, at every level of both roots, for policies, studies and requests at random.

One archive holds everything, another only what the person may see; both are asked the same on the wire.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from pydicom import Dataset

from archive.dimse.channel import AcceptedContext
from archive.dimse.query import QueryProvider
from archive.enforcement.attributes import resource_of
from archive.services.query import QueryService
from archive.upper_layer.commands import Field
from archive.upper_layer.limits import Limits
from auth.errors import PolicyInvalid
from auth.policy.engine import PolicyEngine
from auth.policy.model import AccessRequest, Action
from auth.ports import NodeRecord
from storage.index.predicate import EVERYTHING
from storage.transfer_syntax import EXPLICIT_LITTLE
from tests.simulators.memory_archive import CT, World, encoded, image
from tests.simulators.memory_channel import MemoryChannel, MemoryData, request
from tests.simulators.random_policies import LABELS, PERSON, engine_of, policy_text
from tests.simulators.retrieving import get_provider, move_told
from tests.simulators.subjects import assurance, node, person

pytestmark = pytest.mark.filterwarnings("ignore:Invalid value for VR")
ROOTS = {"PATIENT": "1.2.840.10008.5.1.4.1.2.1.", "STUDY": "1.2.840.10008.5.1.4.1.2.2."}
TAKES_CT = AcceptedContext(5, CT, EXPLICIT_LITTLE, scu_role=False, scp_role=True)
STUDIES = 14
TEXTS = ("A", "B", "a", "X^Y")
OPERATIONS = {
    Field.C_FIND_RQ: ("1", Action.QUERY),
    Field.C_GET_RQ: ("3", Action.RETRIEVE),
    Field.C_MOVE_RQ: ("2", Action.MOVE),
}
"""The end of the SOP class's UID, and what policy is asked."""
RELATIONAL = b"\1\1\1"
"""Relational queries, dates with times, fuzzy names: extended negotiation (PS3.4 C.5.1.1)."""
DESTINATION = replace(node("r", name="WS2"), fingerprint="6f" * 32)
ALICE, AT = person("r", **PERSON), node("r")


def objects(random: Random) -> tuple[list[Dataset], dict[str, list[str]]]:
    """Some objects of each study, and its labels; patients have several studies."""
    kept, labels = [], {}
    for study in range(1, STUDIES + 1):
        told = {
            "PatientID": random.choice(("P1", "P2", "P3", "A", "B")),
            "PatientName": random.choice(("DOE^JANE", "DOE^JOHN", "ROE^RICHARD")),
            "StudyDate": f"2026010{random.randint(1, 4)}",
            "InstitutionName": random.choice(TEXTS),
            "InstitutionalDepartmentName": random.choice(TEXTS),
            "ReferringPhysicianName": random.choice(TEXTS),
            "PerformingPhysicianName": random.sample(TEXTS, random.randint(0, 2)),
            "BodyPartExamined": random.choice(("A", "B")),
        }
        told = {keyword: value for keyword, value in told.items() if random.random() < 0.8}
        for series in range(1, random.randint(1, 2) + 1):
            modality = random.choice(("A", "B", "CT"))
            for number in range(1, random.randint(1, 2) + 1):
                kept.append(image(study, series, number, Modality=modality, **told))
        labels[f"1.2.{study}"] = random.sample(LABELS, random.randint(0, 2))
    random.shuffle(kept)
    return kept, labels


class Pair:
    """An archive with everything, and one that never held what the person may not see."""

    def __init__(self, folder: Path, engine: PolicyEngine, random: Random, action: Action) -> None:
        kept, labels = objects(random)
        self.full, self.pruned = (self._world(folder / name, engine) for name in ("full", "pruned"))
        self._fill(self.full, kept, labels)
        asked = AccessRequest(action, AT, ALICE, assurance(ALICE), context={"sop_class": ""})
        found = [facts for uid in labels if (facts := self.full.reader.study_facts(uid)) is not None]
        decisions = engine.decide_all(asked, [(facts.study_uid, resource_of(facts)) for facts in found])
        self.visible = {facts.study_uid for facts, said in zip(found, decisions, strict=True) if said.permitted}
        self._fill(
            self.pruned,
            [dataset for dataset in kept if dataset.StudyInstanceUID in self.visible],
            {uid: words for uid, words in labels.items() if uid in self.visible},
        )

    def answers(self, operation: Field, sop_class: str, identifier: bytes, extended: bytes = b"") -> list[list[object]]:
        """What both say to the same request, message by message as on the wire."""
        said: list[list[object]] = []
        for world in (self.full, self.pruned):
            if operation == Field.C_MOVE_RQ:
                world.admit(DESTINATION)
                world.nodes.nodes["WS2"] = NodeRecord(DESTINATION, host="127.0.0.1", port=104)
                said.append(move_told(world, world.admit(AT, ALICE), sop_class, identifier, "WS2"))
                continue
            context = AcceptedContext(1, sop_class, EXPLICIT_LITTLE, extended=extended)
            channel = MemoryChannel(world.admit(AT, ALICE), context, TAKES_CT)
            if operation == Field.C_FIND_RQ:
                provider = QueryProvider(
                    QueryService(world.reader, world.pep, world.trail, world.repository), "STRONGROOM", Limits()
                )
            else:
                provider = get_provider(world)
            provider.handle(channel, context, request(operation, sop_class), MemoryData(identifier))
            said.append([(message.command.encode(), message.data) for message in channel.sent])
        return said

    def close(self) -> None:
        self.full.close()
        self.pruned.close()

    def _world(self, folder: Path, engine: PolicyEngine) -> World:
        folder.mkdir()
        return World(folder, engine)

    def _fill(self, world: World, kept: list[Dataset], labels: dict[str, list[str]]) -> None:
        if kept:
            world.keep(*kept)
        for uid, words in labels.items():
            for word in words:
                world.label(uid, word)


def question(random: Random, operation: Field) -> tuple[str, bytes, bytes]:
    """A SOP class, an identifier and what was agreed on: wildcards, lists, ranges, empty keys, counts, what is not."""
    root = random.choice(tuple(ROOTS))
    sop_class = ROOTS[root] + OPERATIONS[operation][0]
    study = random.randint(1, STUDIES + 2)
    identifier = Dataset()
    level = random.choice(("PATIENT", "STUDY", "SERIES", "IMAGE")[0 if root == "PATIENT" else 1 :])
    identifier.QueryRetrieveLevel = level
    lists = [f"1.2.{number}" for number in random.sample(range(1, STUDIES + 4), random.randint(1, 6))]
    if root == "PATIENT" or random.random() < 0.2:
        identifier.PatientID = random.choice(("P1", "P2", "P3", "A", "B", "P9"))
    if level == "PATIENT" and operation == Field.C_FIND_RQ:
        identifier.PatientID = random.choice(("", "*", "P*", "P1", "?", identifier.PatientID))
    if level == "STUDY":
        identifier.StudyInstanceUID = random.choice((f"1.2.{study}", lists, lists[0]))
    if level in ("SERIES", "IMAGE"):
        identifier.StudyInstanceUID = f"1.2.{study}"
        identifier.SeriesInstanceUID = f"1.2.{study}.{random.randint(1, 3)}"
    if level == "IMAGE":
        numbers = [f"{identifier.SeriesInstanceUID}.{number}" for number in (1, 2, 3)]
        identifier.SOPInstanceUID = random.choice((numbers[0], numbers))
    if operation == Field.C_FIND_RQ:
        _keys(random, identifier, level)
    extended = b""
    if operation == Field.C_FIND_RQ and random.random() < 0.3:
        # Relational queries name no level above theirs (PS3.4 C.4.1.2.2.1).
        extended = RELATIONAL
        for keyword in ("PatientID", "StudyInstanceUID", "SeriesInstanceUID"):
            if random.random() < 0.6 and keyword in identifier and _is_above(keyword, level):
                delattr(identifier, keyword)
    return sop_class, encoded(identifier, EXPLICIT_LITTLE), extended


def _is_above(keyword: str, level: str) -> bool:
    levels = {"PatientID": "PATIENT", "StudyInstanceUID": "STUDY", "SeriesInstanceUID": "SERIES"}
    order = ("PATIENT", "STUDY", "SERIES", "IMAGE")
    return order.index(levels[keyword]) < order.index(level)


def _keys(random: Random, identifier: Dataset, level: str) -> None:
    choices = {
        "PATIENT": {
            "PatientName": ("", "*", "DOE*", "*^JO?N", "ROE^RICHARD"),
            "NumberOfPatientRelatedStudies": ("",),
            "NumberOfPatientRelatedInstances": ("",),
        },
        "STUDY": {
            "StudyInstanceUID": ("", "*", None),
            "PatientName": ("", "DOE*", "?OE^*"),
            "StudyDate": ("", "20260102", "20260102-", "20260101-20260103"),
            "AccessionNumber": ("", "A*", "A1", "A13"),
            "ModalitiesInStudy": ("", "CT", "A\\B"),
            "NumberOfStudyRelatedInstances": ("",),
            "NumberOfStudyRelatedSeries": ("",),
            "ReferringPhysicianName": ("", "A", "X*"),
        },
        "SERIES": {
            "SeriesInstanceUID": ("", "*", None),
            "Modality": ("", "CT", "A"),
            "NumberOfSeriesRelatedInstances": ("",),
        },
        "IMAGE": {"SOPInstanceUID": ("", "*", None), "InstanceNumber": ("", "1", "2")},
    }[level]
    for keyword in random.sample(sorted(choices), random.randint(0, len(choices))):
        value = random.choice(choices[keyword])
        if value is not None:
            setattr(identifier, keyword, value.split("\\") if "\\" in value else value)


def trials(folder: Path, seeds: range, requests: int) -> Iterator[tuple[str, bool, int]]:
    """Request by request: what was asked, whether both answers were the same, and how much one of them said."""
    for seed in seeds:
        random = Random(seed)
        home = folder / str(seed)
        home.mkdir()
        text = policy_text(random, reckless=seed % 2 == 1, heads=False)
        try:
            engine = engine_of(home, text, validated=seed % 2 == 0)
        except PolicyInvalid:
            continue
        operation = random.choice(tuple(OPERATIONS))
        _, action = OPERATIONS[operation]
        pair = Pair(home, engine, random, action)
        try:
            if not 0 < len(pair.visible) < STUDIES:
                continue
            for _ in range(requests):
                sop_class, identifier, extended = question(random, operation)
                full, pruned = pair.answers(operation, sop_class, identifier, extended)
                yield f"{text}\n{sop_class} {identifier!r} {extended!r}", full == pruned, len(full)
        finally:
            pair.close()


def test_hidden_studies_answer_as_absent_ones(tmp_path: Path) -> None:
    asked = telling = 0
    for words, same, said in trials(tmp_path, range(60), 60):
        assert same, words
        asked += 1
        telling += said > 1
        if asked >= 150:
            break
    assert asked >= 150 and telling > asked // 10


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_hidden_studies_answer_as_absent_ones_20000_times(tmp_path: Path) -> None:
    asked = telling = 0
    for words, same, said in trials(tmp_path, range(100, 10_000), 200):
        assert same, words
        asked += 1
        telling += said > 1
        if asked >= 20_000:
            break
    print(f"{asked} requests, {telling} of which found something: 0 told hidden from absent")
    assert asked == 20_000


def test_without_the_condition_in_the_where_this_test_fails_within_200(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("archive.enforcement.pep.scope_of", lambda residuals: EVERYTHING)
    asked = 0
    for _, same, _ in trials(tmp_path, range(60), 60):
        asked += 1
        if not same:
            break
    print(f"told apart at request {asked}")
    assert asked <= 200 and not same
