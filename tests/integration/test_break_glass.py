"""Breaking the glass over DIMSE, from beginning to review: storescu and pynetdicom, and the audit messages it leaves.

alice, at ER1, reaches a restricted study with a reason; not at another node, and not after the glass is closed, not
even over an association that is open all the while. An officer is told of the beginning, of the study, and of the end.
"""

import shutil
import subprocess
from collections.abc import Iterator
from xml.etree import ElementTree

import pydicom
import pytest
from pydicom.data import get_testdata_file
from pynetdicom import AE, build_role, evt
from pynetdicom.pdu_primitives import UserIdentityNegotiation
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelGet as GET

from archive.audit.message import AuditSource, render
from archive.cli.trails import records_of
from archive.control.invoke import invoke
from archive.home import Home
from tests.simulators.running_archive import PASSCODE, RunningArchive
from tests.simulators.scu import CT, EXPLICIT, Refused, User, client_tls

STORESCU = shutil.which("storescu", path="/usr/bin:/usr/local/bin")
CT_FILE = get_testdata_file("CT_small.dcm", download=False)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningArchive]:
    archive = RunningArchive(tmp_path_factory.mktemp("glass")).init()
    with archive.serving():
        archive.enrol("ER1", "radiologist", "emergency", "modality", identity="required")
        archive.enrol("WS1", "radiologist", identity="required")
        archive.employ("alice", "radiologist", "emergency", "modality")
        archive.employ("bob", "radiologist", "modality")
        yield archive


def associate(house: RunningArchive, title: str, name: str, got: list[bytes]):
    """An association by pynetdicom; what a C-GET brings is kept."""
    ae = AE(title)
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = 60
    ae.add_requested_context(GET, EXPLICIT)
    ae.add_requested_context(CT, EXPLICIT)
    identity = UserIdentityNegotiation()
    identity.user_identity_type, identity.positive_response_requested = 2, True
    identity.primary_field, identity.secondary_field = name.encode(), PASSCODE.encode()

    def keep(event: evt.Event) -> int:
        got.append(event.encoded_dataset())
        return 0

    return ae.associate(
        "127.0.0.1",
        house.port,
        ae_title="STRONGROOM",
        ext_neg=[identity, build_role(CT, scp_role=True)],
        tls_args=(client_tls(house.folder / "nodes" / title), None),
        evt_handlers=[(evt.EVT_C_STORE, keep)],
    )


def get(association) -> tuple[int, int]:
    """Status and completed sub-operations of fetching the restricted study."""
    identifier = pydicom.Dataset()
    identifier.QueryRetrieveLevel = "STUDY"
    identifier.StudyInstanceUID = str(pydicom.dcmread(CT_FILE).StudyInstanceUID)
    *_, (status, _) = association.send_c_get(identifier, GET)
    return status.Status, status.get("NumberOfCompletedSuboperations", 0)


def storescu(house: RunningArchive, name: str) -> subprocess.CompletedProcess[str]:
    if STORESCU is None:
        pytest.skip("needs DCMTK: Debian package dcmtk, which scripts/test installs")
    node = house.folder / "nodes" / "ER1"
    tls = ["+tls", str(node / "key.pem"), str(node / "cert.pem"), "+cf", str(node / "ca.pem")]
    who = ["-aet", "ER1", "-aec", "STRONGROOM", "-usr", name, "-pwd", PASSCODE]
    command = [STORESCU, *tls, *who, "127.0.0.1", str(house.port), str(CT_FILE)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def messages(house: RunningArchive, code: str) -> list[ElementTree.Element]:
    """The audit messages of one EventTypeCode."""
    rendered = [render(record, AuditSource("STRONGROOM", "host")) for record in records_of(Home(house.home))]
    parsed = [ElementTree.fromstring(message) for message in rendered]
    return [message for message in parsed if any(one.get("csd-code") == code for one in message.iter("EventTypeCode"))]


def test_the_story(house: RunningArchive) -> None:
    home = Home(house.home)
    study = str(pydicom.dcmread(CT_FILE).StudyInstanceUID)
    got: list[bytes] = []
    # 1 Without a reason alice stores and does not reach what is restricted.
    assert storescu(house, "alice").returncode == 0
    house.label(study, "restricted")
    plain = associate(house, "ER1", "alice", got)
    assert get(plain) == (0, 0) and not got
    # 2 With one, told by storescu, the glass breaks: also for the association that is open already.
    done = storescu(house, "alice!unconscious, unknown allergies")
    assert done.returncode == 0, done.stdout + done.stderr
    assert get(plain) == (0, 1) and len(got) == 1
    plain.release()
    # 3 pynetdicom presents a reason as well; nothing more is broken by that.
    open_all_the_while = associate(house, "ER1", "alice!second look", got)
    assert get(open_all_the_while) == (0, 1)
    (override,) = invoke(home, "glass.list", {"waiting": True})  # type: ignore[misc]
    assert (override["person"], override["node"]) == ("alice", "ER1")
    assert override["reason"] == "unconscious, unknown allergies"
    # 4 It is alice's, at ER1.
    elsewhere = associate(house, "WS1", "alice", got)
    assert get(elsewhere) == (0, 0)
    elsewhere.release()
    # 5 Its end reaches the association that is open.
    house.must("break-glass", "close", override["id"])
    assert get(open_all_the_while) == (0, 0) and len(got) == 2
    open_all_the_while.release()
    # 6 An officer was told of all of it, in the standard's codes.
    (begun,), (ended,) = messages(house, "110127"), messages(house, "110138")
    for message in (begun, ended):
        assert {"alice", "ER1"} <= {one.get("UserID") for one in message.iter("ActiveParticipant")}
    alerts = house.told("security-alert")
    assert [one["description"].rpartition(": ")[2] for one in alerts if one["alert"] == "110127"] == [
        "unconscious, unknown allergies"
    ]
    flagged = [one for one in alerts if one.get("study_uid") == study]
    assert flagged and all("reached behind broken glass" in one["description"] for one in flagged)
    # 7 It is reviewed.
    assert override["id"] in house.must("break-glass", "review")
    house.must("break-glass", "review", override["id"], "--note", "justified, see chart")
    assert override["id"] not in house.must("break-glass", "review")


@pytest.mark.parametrize(
    ("title", "name"),
    [("ER1", "alice!"), ("ER1", "alice!   "), ("ER1", "bob!why not"), ("WS1", "alice!why not"), ("ER1", "!why not")],
)
def test_who_may_not_break_it_or_gives_no_reason_is_not_let_in(house: RunningArchive, title: str, name: str) -> None:
    before = len(invoke(Home(house.home), "glass.list", {}))  # type: ignore[arg-type]
    requestor = house.requestor(title, user=User(name.encode(), PASSCODE.encode()), contexts=[(CT, [EXPLICIT])])
    with pytest.raises(Refused) as refused, requestor:
        pass
    assert refused.value.numbers == (1, 2, 1)
    assert len(invoke(Home(house.home), "glass.list", {})) == before  # type: ignore[arg-type]
