"""Every story that the archive can live through, and exactly the audit messages that it causes, the person named.

The table is docs/audit-messages.md as well. A message is told by its EventID and EventTypeCode, EventOutcomeIndicator,
and who is behind it: the person where there is one, else the node, else what is known of a peer.
"""

import contextlib
import os
import pwd
import re
import shutil
import socket
import ssl
import struct
import time
from pathlib import Path
from uuid import uuid4

import pytest
from lxml import etree
from pydicom import Dataset
from typer.testing import CliRunner

from archive.audit.events import TrailCheckpointed
from archive.audit.message import AuditSource, render
from archive.cli.app import build
from archive.cli.trails import records_of
from archive.control.invoke import invoke
from archive.home import Home
from archive.lab.jwt_issuer import JwtIssuer
from tests.simulators import audit_schemas
from tests.simulators.memory_archive import encoded, image
from tests.simulators.peers import storescp
from tests.simulators.running_archive import PASSCODE, RunningArchive, free_port
from tests.simulators.scu import (
    CT,
    EXPLICIT,
    IMPLICIT,
    STUDY_FIND,
    STUDY_GET,
    STUDY_MOVE,
    VERIFICATION,
    Aborted,
    Refused,
    Requestor,
    User,
    command,
    identifier,
)

pytestmark = pytest.mark.xdist_group("audit stories")

HOST = "archive.example"
OPERATOR = pwd.getpwuid(os.getuid()).pw_name
DELETED, ACCESSED = "DICOM Study Deleted", "DICOM Instances Accessed"
COMMITMENT, INSTANCE = "1.2.840.10008.1.20.1", "1.2.840.10008.1.20.1.1"
PORT = free_port()
LOGIN, QUERY = "User Authentication, Login", "Query"
BEGIN, MOVED = "Begin Transferring DICOM Instances", "DICOM Instances Transferred"
NODE, RESTRICTED = "Security Alert, Node Authentication", "Security Alert, Use of Restricted Function"
PEOPLE, NETWORK = "Security Alert, User Security Attributes Changed", "Security Alert, Network Configuration"
LABELS, POLICY = "Security Alert, Object Security Attributes Changed", "Security Alert, Security Configuration"

STORIES = {
    "start": [
        ("Security Alert, Audit Recording Started", 0, "operator"),
        ("Application Activity, Application Start", 0, "operator"),
        ("Network Entry, Attach", 0, ""),
    ],
    "echo": [(LOGIN, 0, "alice")],
    "echo by a node alone": [(NODE, 0, "CT1")],
    "echo denied": [(LOGIN, 0, "adam"), (RESTRICTED, 4, "adam")],
    "store": [(LOGIN, 0, "mike"), (MOVED, 0, "mike")],
    "store by a node alone": [(NODE, 0, "CT1"), (MOVED, 0, "CT1")],
    "store of what is kept already": [(LOGIN, 0, "mike"), (MOVED, 0, "mike")],
    "store of another object under a kept UID": [(LOGIN, 0, "mike"), (MOVED, 4, "mike")],
    "store denied": [(LOGIN, 0, "alice"), (RESTRICTED, 4, "alice")],
    "store of what is no data set": [(LOGIN, 0, "mike"), (MOVED, 4, "mike")],
    "store aborted half-way": [(LOGIN, 0, "mike"), (MOVED, 4, "mike")],
    "find": [(LOGIN, 0, "alice"), (QUERY, 0, "alice")],
    "find denied": [(LOGIN, 0, "mike"), (RESTRICTED, 4, "mike")],
    "find on a hidden key": [(LOGIN, 0, "carol"), (RESTRICTED, 4, "carol")],
    "find without a level": [(LOGIN, 0, "alice"), (QUERY, 4, "alice")],
    "find cancelled": [(LOGIN, 0, "alice"), (QUERY, 0, "alice")],
    "get": [(LOGIN, 0, "alice"), (BEGIN, 0, "alice"), (MOVED, 0, "alice")],
    "get of two patients": [(LOGIN, 0, "alice"), *[(BEGIN, 0, "alice")] * 2, *[(MOVED, 0, "alice")] * 2],
    "get partly failed": [(LOGIN, 0, "alice"), (BEGIN, 0, "alice"), (MOVED, 0, "alice"), (MOVED, 4, "alice")],
    "get denied": [(LOGIN, 0, "mike"), (RESTRICTED, 4, "mike")],
    "get aborted half-way": [(LOGIN, 0, "alice"), (BEGIN, 0, "alice"), (MOVED, 0, "alice"), (MOVED, 4, "alice")],
    "get cancelled": [(LOGIN, 0, "alice"), (BEGIN, 0, "alice"), (MOVED, 0, "alice"), (MOVED, 4, "alice")],
    "get of what is not there": [(LOGIN, 0, "alice"), (QUERY, 0, "alice")],
    "get without a level": [(LOGIN, 0, "alice"), (QUERY, 4, "alice")],
    "move": [(LOGIN, 0, "alice"), (BEGIN, 0, "alice"), (MOVED, 0, "alice")],
    "move denied": [(LOGIN, 0, "carol"), (RESTRICTED, 4, "carol")],
    "move to a node that may not receive": [(LOGIN, 0, "alice"), (RESTRICTED, 4, "alice")],
    "move to a node that is not there": [(LOGIN, 0, "alice"), (BEGIN, 0, "alice"), (MOVED, 4, "alice")],
    "move to nobody who is registered": [(LOGIN, 0, "alice"), (QUERY, 4, "alice")],
    "commitment": [(NODE, 0, "CT1"), (ACCESSED, 0, "CT1")],
    "commitment of what is not there": [(NODE, 0, "CT1"), (ACCESSED, 4, "CT1")],
    "commitment of both": [(NODE, 0, "CT1"), (ACCESSED, 0, "CT1"), (ACCESSED, 4, "CT1")],
    "commitment denied": [(LOGIN, 0, "carol"), (RESTRICTED, 4, "carol")],
    "refused: handshake without certificate": [(NODE, 8, "address")],
    "refused: no association request": [(NODE, 8, "address")],
    "refused: protocol version": [(NODE, 4, "WS1")],
    "refused: application context": [(NODE, 4, "WS1")],
    "refused: certificate of no node": [(NODE, 4, "GONE")],
    "refused: called AE title": [(NODE, 4, "WS1")],
    "refused: AE title of another node": [(NODE, 4, "WS1")],
    "refused: node that may not associate": [(RESTRICTED, 4, "IDLE")],
    "refused: person who may not associate": [(RESTRICTED, 4, "nora")],
    "refused: identity missing": [(LOGIN, 4, "unknown")],
    "refused: wrong passcode": [(LOGIN, 4, "alice")],
    "refused: nobody of that name": [(LOGIN, 4, "mallory")],
    "identity by token": [(LOGIN, 0, "alice@jwt.example")],
    "identity replayed by another node": [
        (LOGIN, 0, "alice@jwt.example"),
        (LOGIN, 4, "alice@jwt.example"),
        (RESTRICTED, 8, "WS2"),
    ],
    "operator adds a user": [(PEOPLE, 0, "operator")],
    "operator disables a user": [(PEOPLE, 0, "operator")],
    "operator removes a user": [(PEOPLE, 0, "operator")],
    "operator adds a node": [(NETWORK, 0, "operator")],
    "operator removes a node": [(NETWORK, 0, "operator")],
    "operator labels a study": [(LABELS, 0, "operator")],
    "operator takes a label off": [(LABELS, 0, "operator")],
    "operator holds a study": [(LABELS, 0, "operator")],
    "operator releases a study": [(LABELS, 0, "operator")],
    "operator deletes an object": [(ACCESSED, 0, "operator")],
    "operator deletes a study": [(DELETED, 0, "operator")],
    "operator restores a study": [(LABELS, 0, "operator")],
    "operator erases a study": [(DELETED, 0, "operator"), (DELETED, 0, "operator")],
    "operator reloads the policies": [(POLICY, 0, "operator")],
    "operator tries a credential": [(RESTRICTED, 4, "operator")],
    "operator reads the log": [("Audit Log Used", 0, "operator")],
    "stop": [
        ("Network Entry, Detach", 0, ""),
        ("Application Activity, Application Stop", 0, "operator"),
        ("Security Alert, Audit Recording Stopped", 0, "operator"),
    ],
}
NODES = [
    ("WS1", "radiologist", "modality"),
    ("WS2", "radiologist", "researcher"),
    ("CT1", "modality"),
    ("IDLE",),
    ("GONE", "modality"),
]
PERSONS = [
    ("alice", "radiologist"),
    ("mike", "modality"),
    ("carol", "researcher"),
    ("adam", "administrator"),
    ("nora",),
]
ECHO, STORE, FIND = [(VERIFICATION, [IMPLICIT])], [(CT, [EXPLICIT])], [(STUDY_FIND, [IMPLICIT])]
GET = [(STUDY_GET, [IMPLICIT]), *STORE]
STUDY_UID, PATIENT_NAME = 0x0020000D, 0x00100010


class House:
    """One running archive for all the stories, and how far its trail has been read."""

    def __init__(self, folder: Path) -> None:
        self.archive = RunningArchive(folder).init()
        self.home = Home(self.archive.home)
        issuer = JwtIssuer(folder / "jwt", audience="urn:dicom:ae:STRONGROOM")
        self.token = issuer.token
        with (self.archive.home / "strongroom.toml").open("a") as settings:
            settings.write(f'[[jwt]]\nname = "jwt"\nrealm = "jwt.example"\nissuer = "{issuer.name}"\n')
            settings.write(f'jwks = "{issuer.jwks_file}"\nroles = {{ reader = "radiologist" }}\n')
        self.users: dict[str, User] = {}
        self.begun: list[str] = []
        self.read = 0
        self.sources = 1

    def furnish(self) -> None:
        """Nodes and people, by the operator's verbs."""
        for title, *roles in NODES:
            demand = "required" if title.startswith("WS") else "none"
            words = [word for role in roles for word in ("--role", role)]
            material = str(self.archive.folder / "nodes" / title)
            self.verb("node", "add", title, "--issue", material, "--identity", demand, *words)
        self.archive.enrol("PACS2", "radiologist", port=PORT)
        self.archive.enrol("CT2", "modality", port=PORT)
        self.do("node.remove", ae_title="GONE")
        for name, *roles in PERSONS:
            words = [word for role in roles for word in ("--role", role)]
            self.verb("user", "add", name, *words, "--passcode-file", "-", typed=PASSCODE + "\n")
            self.users[name] = User(name.encode(), PASSCODE.encode())

    def verb(self, *words: str, typed: str | None = None) -> None:
        """A verb of the command line, in this process."""
        done = CliRunner().invoke(build(), [*words, "--home", str(self.archive.home)], input=typed)
        assert done.exit_code == 0, done.output

    def do(self, operation: str, **arguments: object) -> object:
        """An operator's verb, without the time that a command line needs to start."""
        return invoke(self.home, operation, arguments)

    def told(self, at_least: int = 0) -> list[str]:
        """The messages since this was last asked; the server may write the last ones after the peer has gone."""
        deadline = time.monotonic() + 10
        while True:
            records = [one for one in records_of(self.home) if one.kind != TrailCheckpointed.kind]
            if len(records) >= self.read + at_least or time.monotonic() > deadline:
                break
            time.sleep(0.02)
        new, self.read = records[self.read :], len(records)
        return [render(record, AuditSource("STRONGROOM", HOST)) for record in new]

    def at(self, title: str, name: str | None = None, **options: object) -> Requestor:
        """An association from a node, with a person of the house, for an echo; each from an address of its own."""
        self.sources += 1
        settings = {"user": self.users.get(name or ""), "contexts": ECHO} | options
        return self.archive.requestor(title, source=f"127.0.1.{self.sources}", **settings)


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    house = House(tmp_path_factory.mktemp("stories"))
    house.told()
    with house.archive.serving():
        house.begun = house.told(len(STORIES["start"]))
        house.furnish()
        house.told()
        yield house


@contextlib.contextmanager
def proposing(requestor):
    """An association, whose operation does not take place where no context was accepted for it."""
    with contextlib.suppress(LookupError), requestor as peer:
        yield peer


def store(house, who, number=1, data=None, title="WS1", study=1):
    dataset = image(study, 1, number)
    with proposing(house.at(title, who, contexts=STORE)) as peer:
        peer.store(CT, dataset.SOPInstanceUID, encoded(dataset) if data is None else data)


def store_half(house):
    with house.at("WS1", "mike", contexts=STORE) as peer:
        peer._send(peer.context_of(CT), peer._request_command(CT, 1, True, (0x1000, b"1.2.9.1.1\0")))
        peer._socket.sendall(struct.pack(">BxLLBB", 4, 106, 102, peer.context_of(CT), 0) + encoded(image(9))[:100])
        peer._socket.shutdown(socket.SHUT_RDWR)


def find(house, who, keys, title="WS1"):
    with proposing(house.at(title, who, contexts=FIND)) as peer:
        peer.find(STUDY_FIND, keys)


def find_and_cancel(house):
    with house.at("WS1", "alice", contexts=FIND) as peer:
        peer.begin(STUDY_FIND, 0x20, identifier("STUDY", {STUDY_UID: ""}))
        cancel(peer, STUDY_FIND)
        while peer.receive().status in {0xFF00, 0xFF01}:
            pass


def get(house, who, *studies):
    with proposing(house.at("WS1", who, contexts=GET, scp_roles=(CT,))) as peer:
        peer.get(STUDY_GET, identifier("STUDY", {STUDY_UID: "\\".join(studies)}))


def get_until(house, then):
    """A retrieval of two objects whose peer does something else with the first."""
    with contextlib.suppress(Aborted, OSError), house.at("WS1", "alice", contexts=GET, scp_roles=(CT,)) as peer:
        peer.begin(STUDY_GET, 0x10, identifier("STUDY", {STUDY_UID: "1.2.1"}))
        first = peer.receive()
        then(peer, first)
        while (message := peer.receive()).number(0x900) is None or message.status == 0xFF00:
            if message.number(0x100) == 0x01:
                peer.answer_store(message)


def vanish(peer, first):
    peer.answer_store(first)
    while peer.receive().number(0x100) != 0x01:
        pass
    peer._socket.shutdown(socket.SHUT_RDWR)


def move(house, who, destination):
    with proposing(house.at("WS2", who, contexts=[(STUDY_MOVE, [IMPLICIT])])) as peer:
        return peer.move(STUDY_MOVE, identifier("STUDY", {STUDY_UID: "1.2.1"}), destination)[-1].status
    return None


def moved_to_a_peer(house):
    folder = house.archive.folder
    with storescp(folder / "nodes" / "PACS2", PORT, folder / "taken"):
        assert move(house, "alice", "PACS2") == 0


def commit(house, title, who, *uids):
    """Ask for storage commitment, and wait for the result on the same association."""
    asked = Dataset()
    asked.TransactionUID, asked.ReferencedSOPSequence = f"2.25.{uuid4().int}", [Dataset() for _ in uids]
    for item, uid in zip(asked.ReferencedSOPSequence, uids, strict=True):
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = CT, uid
    with proposing(house.at(title, who, contexts=[(COMMITMENT, [IMPLICIT])])) as peer:
        context = peer.context_of(COMMITMENT)
        named = (0x3, COMMITMENT.encode()), (0x1001, INSTANCE.encode())
        fields = (0x100, b"\x30\1"), (0x110, b"\1\0"), (0x800, b"\1\0"), (0x1008, b"\1\0")
        peer._send(context, command(*sorted((*named, *fields))))
        peer.send_data(context, encoded(asked, IMPLICIT))
        assert peer.receive().status == 0
        report = peer.receive()
        answer = (0x100, b"\0\x81"), (0x120, report.fields[0x110]), (0x800, b"\1\1"), (0x900, b"\0\0")
        peer._send(context, command((0x2, COMMITMENT.encode()), *answer))


def cancel_and_answer(peer, first):
    cancel(peer, STUDY_GET)
    peer.answer_store(first)


def cancel(peer, model):
    fields = ((0x100, struct.pack("<H", 0x0FFF)), (0x120, struct.pack("<H", 1)), (0x800, b"\1\1"))
    peer._send(peer.context_of(model), command(*fields))


class Altered(Requestor):
    """A requestor whose A-ASSOCIATE-RQ is not what it should be."""

    change: tuple[bytes, bytes] = (b"", b"")

    def request(self) -> bytes:
        return super().request().replace(*self.change, 1)


def altered(house, *change):
    peer = house.at("WS1", "alice")
    peer.__class__ = Altered
    peer.change = change
    enter(peer)


def enter(peer):
    """Only come in, or be refused."""
    with contextlib.suppress(Refused, Aborted, OSError), peer:
        pass


def no_certificate(house):
    peer = house.at("WS1")
    peer.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    peer.tls.check_hostname, peer.tls.verify_mode = False, ssl.CERT_NONE
    enter(peer)


def no_request(house):
    peer = house.at("WS1")
    with (
        contextlib.suppress(OSError),
        socket.create_connection(("127.0.0.1", peer.port), 10, (peer.source, 0)) as raw,
        peer.tls.wrap_socket(raw) as connection,
    ):
        connection.sendall(b"GET / HTTP/1.1\r\n\r\n")


def borrowed(house, title):
    """The certificate of WS1 under another node's title."""
    material = house.archive.folder / "nodes"
    if not (material / f"{title} of WS1").exists():
        shutil.copytree(material / "WS1", material / f"{title} of WS1")
    peer = house.at("WS1", "alice")
    peer.calling = title
    enter(peer)


def present(house, token, *titles):
    for title in titles:
        enter(house.at(title, user=User(token.encode(), identity_type=5)))


def echo(house, title, who=None):
    with proposing(house.at(title, who)) as peer:
        peer.echo()


def try_credential(house):
    house.do("identity.tried", identity_type="passcode", name="alice", verified=False, reason="wrong passcode")


ALL = identifier("STUDY", {STUDY_UID: ""})
NO_LEVEL = ALL[ALL.index(b"\x20\x00\x0d\x00") :]
HAPPEN = {
    "start": lambda house: None,
    "echo": lambda house: echo(house, "WS1", "alice"),
    "echo by a node alone": lambda house: echo(house, "CT1"),
    "echo denied": lambda house: echo(house, "WS1", "adam"),
    "store": lambda house: store(house, "mike"),
    "store by a node alone": lambda house: store(house, None, 2, title="CT1"),
    "store of what is kept already": lambda house: store(house, "mike"),
    "store of another object under a kept UID": lambda house: store(
        house, "mike", data=encoded(image(1, 1, 1, StudyDescription="another"))
    ),
    "store denied": lambda house: store(house, "alice", 3),
    "store of what is no data set": lambda house: store(house, "mike", 4, data=b"\xff" * 64),
    "store aborted half-way": store_half,
    "find": lambda house: find(house, "alice", ALL),
    "find denied": lambda house: find(house, "mike", ALL),
    "find on a hidden key": lambda house: find(
        house, "carol", identifier("STUDY", {PATIENT_NAME: "NAME*", STUDY_UID: ""}), "WS2"
    ),
    "find without a level": lambda house: find(house, "alice", NO_LEVEL),
    "find cancelled": find_and_cancel,
    "get": lambda house: get(house, "alice", "1.2.1"),
    "get of two patients": lambda house: get(house, "alice", "1.2.1", "1.2.2"),
    "get partly failed": lambda house: get_until(house, lambda peer, first: peer.answer_store(first, 0xA700)),
    "get denied": lambda house: get(house, "mike", "1.2.1"),
    "get aborted half-way": lambda house: get_until(house, vanish),
    "get cancelled": lambda house: get_until(house, cancel_and_answer),
    "get of what is not there": lambda house: get(house, "alice", "9.9"),
    "get without a level": lambda house: broken_get(house),
    "move": moved_to_a_peer,
    "move denied": lambda house: move(house, "carol", "PACS2"),
    "move to a node that may not receive": lambda house: move(house, "alice", "CT2"),
    "move to a node that is not there": lambda house: move(house, "alice", "PACS2"),
    "move to nobody who is registered": lambda house: move(house, "alice", "NOBODY"),
    "commitment": lambda house: commit(house, "CT1", None, "1.2.1.1.1"),
    "commitment of what is not there": lambda house: commit(house, "CT1", None, "1.2.9.9.9"),
    "commitment of both": lambda house: commit(house, "CT1", None, "1.2.1.1.1", "1.2.9.9.9"),
    "commitment denied": lambda house: commit(house, "WS2", "carol", "1.2.1.1.1"),
    "refused: handshake without certificate": no_certificate,
    "refused: no association request": no_request,
    "refused: protocol version": lambda house: altered(house, b"\0\1\0\0STRONGROOM", b"\0\2\0\0STRONGROOM"),
    "refused: application context": lambda house: altered(house, b"1.2.840.10008.3.1.1.1", b"1.2.840.10008.3.1.1.9"),
    "refused: certificate of no node": lambda house: enter(house.at("GONE")),
    "refused: called AE title": lambda house: enter(house.at("WS1", "alice", called="OTHER")),
    "refused: AE title of another node": lambda house: borrowed(house, "CT1"),
    "refused: node that may not associate": lambda house: enter(house.at("IDLE")),
    "refused: person who may not associate": lambda house: enter(house.at("WS1", "nora")),
    "refused: identity missing": lambda house: enter(house.at("WS1")),
    "refused: wrong passcode": lambda house: enter(house.at("WS1", user=User(b"alice", b"wrong"))),
    "refused: nobody of that name": lambda house: enter(house.at("WS1", user=User(b"mallory", b"wrong"))),
    "identity by token": lambda house: present(house, house.token("alice", roles=["reader"]), "WS1"),
    "identity replayed by another node": lambda house: present(
        house, house.token("alice", roles=["reader"]), "WS1", "WS2"
    ),
    "operator adds a user": lambda house: house.do("user.add", name="dora", roles=["radiologist"]),
    "operator disables a user": lambda house: house.do("user.enable", name="dora", enabled=False),
    "operator removes a user": lambda house: house.do("user.remove", name="dora"),
    "operator adds a node": lambda house: house.do("node.add", ae_title="US1", trust="plain", roles=["modality"]),
    "operator removes a node": lambda house: house.do("node.remove", ae_title="US1"),
    "operator labels a study": lambda house: house.do("study.label", study_uid="1.2.1", labels=["teaching"]),
    "operator takes a label off": lambda house: house.do(
        "study.label", study_uid="1.2.1", labels=["teaching"], remove=True
    ),
    "operator holds a study": lambda house: house.do("study.hold", study_uid="1.2.1", why="a court"),
    "operator releases a study": lambda house: house.do("study.hold", study_uid="1.2.1", why="settled", release=True),
    "operator deletes an object": lambda house: house.do(
        "study.delete", study_uid="1.2.1", sop_instance_uid="1.2.1.1.1", reason="safety"
    ),
    "operator deletes a study": lambda house: house.do("study.delete", study_uid="1.2.1", reason="expired"),
    "operator restores a study": lambda house: house.do("study.restore", study_uid="1.2.1"),
    "operator erases a study": lambda house: (
        house.do("study.delete", study_uid="1.2.1", reason="expired"),
        house.do("study.erase", study_uid="1.2.1"),
    ),
    "operator reloads the policies": lambda house: house.do("policy.reload"),
    "operator tries a credential": try_credential,
    "operator reads the log": lambda house: house.do("audit.used"),
    "stop": lambda house: house.archive.stop(),
}


def broken_get(house):
    with house.at("WS1", "alice", contexts=GET, scp_roles=(CT,)) as peer:
        peer.get(STUDY_GET, NO_LEVEL)


def in_short(message):
    """A message as the table has it."""
    event = message.find("EventIdentification")
    words = [
        event.find(part).get("originalText") for part in ("EventID", "EventTypeCode") if event.find(part) is not None
    ]
    others = [one for one in message.findall("ActiveParticipant") if one.get("UserID") != HOST]
    who = others[-1].get("UserID") if others else ""
    who = "operator" if who == OPERATOR else "address" if re.fullmatch(r"[\d.]+", who) else who
    return ", ".join(words), int(event.get("EventOutcomeIndicator")), who


def test_every_story_has_a_way_to_happen():
    assert list(STORIES) == list(HAPPEN)


def test_the_documented_table_is_this_one():
    text = (Path(__file__).parents[2] / "docs" / "audit-messages.md").read_text("utf-8")
    rows = [
        f"| {story} | {'; '.join(f'{event} {outcome} {who}'.strip() for event, outcome, who in messages)} |"
        for story, messages in STORIES.items()
    ]
    assert "\n".join(["| Story | Messages |", "|---|---|", *rows]) in text


@pytest.fixture(scope="module")
def played(house):
    """The messages of every story, played one after another: later ones fetch what earlier ones stored."""
    messages = {}
    for story in STORIES:
        if story == "get of two patients":
            store(house, None, title="CT1", study=2)
            house.told(2)
        HAPPEN[story](house)
        messages[story] = house.begun if story == "start" else house.told(len(STORIES[story]))
    return messages


@pytest.mark.parametrize("story", STORIES)
def test_a_story_yields_exactly_its_messages(played, story):
    messages = played[story]
    assert [in_short(etree.fromstring(message)) for message in messages] == STORIES[story]
    for message in messages:
        assert audit_schemas.own().faults(message) == []
