"""The table of combinations in docs/identity.md, each cell tried with each of the five types."""

from itertools import count
from pathlib import Path

import pytest

from tests.simulators.identity_house import DIRECTORY, JWT, KERBEROS, LOCAL, MISSING, SAML, SERVICE, IdentityHouse
from tests.simulators.running_archive import PASSCODE
from tests.simulators.scu import IMPLICIT, VERIFICATION, Refused, Requestor, User

pytestmark = [
    pytest.mark.skipif(bool(MISSING), reason=f"needs the packages {', '.join(MISSING)}"),
    pytest.mark.xdist_group("identity combinations"),
]
DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "identity.md"
OUTCOMES = ("refused", "person", "node alone")
TLS, PLAIN, INSECURE = "TLS", "plain", 'plain, `without_tls = "insecure"`'
DEMANDS = ("required", "optional", "none")


def table():
    """Rows of the document's table: connection, demand, and the outcome in each column."""
    lines = DOCUMENT.read_text().splitlines()
    start = next(at for at, line in enumerate(lines) if line.startswith("| Connection |"))
    columns = cells(lines[start])[2:]
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            return
        connection, demand, *outcomes = cells(line)
        for column, outcome in zip(columns, outcomes, strict=True):
            yield connection, demand, column, outcome


def cells(line):
    return [cell.strip() for cell in line.strip("|").split("|")]


TABLE = list(table())


def test_the_table_says_something_of_every_combination():
    assert {(connection, demand) for connection, demand, *_ in TABLE} == {
        (connection, demand) for connection in (TLS, PLAIN, INSECURE) for demand in DEMANDS
    }
    assert len(TABLE) == 36 and {outcome for *_, outcome in TABLE} == set(OUTCOMES)


class Served:
    """One archive, started again where a combination wants another setting than the one before."""

    def __init__(self, folder):
        self.house = IdentityHouse.build(folder, plain=True)
        self.insecure = None
        for demand in DEMANDS:
            add(self.house, f"TLS-{demand}", demand)
            add(self.house, f"PLAIN-{demand}", demand, "--plain")
            add(self.house, f"ONLY1-{demand}", demand, "--identity-types", "1")
            add(self.house, f"PLAIN1-{demand}", demand, "--plain", "--identity-types", "1")

    def with_setting(self, insecure):
        """The archive, taking identities without TLS or not."""
        if self.insecure is not insecure:
            self.stop()
            settings = self.house.archive.home / "strongroom.toml"
            lines = settings.read_text().splitlines()
            at = next(at for at, line in enumerate(lines) if line.startswith("without_tls = "))
            lines[at] = f'without_tls = "{"insecure" if insecure else ""}"'
            settings.write_text("\n".join(lines) + "\n")
            self.house.archive.start()
            self.insecure = insecure
        return self.house

    def stop(self):
        if self.house.archive.process is not None:
            self.house.archive.stop()


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    made = Served(tmp_path_factory.mktemp("house"))
    try:
        yield made
    finally:
        made.stop()
        made.house.close()


def add(house, title, demand, *more):
    how = more if "--plain" in more else (*more, "--issue", str(house.archive.folder / "nodes" / title))
    roles = ("--role", "radiologist", "--asserts-users", "radiologist", "--identity", demand)
    house.archive.must("node", "add", title, *roles, *how)


def association(house, connection, title, user):
    contexts = [(VERIFICATION, [IMPLICIT])]
    if connection == TLS:
        return house.archive.requestor(title, user=user, contexts=contexts)
    return Requestor(house.plain_port, None, title, user=user, contexts=contexts)


def good(house):
    return {"name": User(b"alice", identity_type=1), **house.credentials()}


_SERIAL = count()


def bad(house):
    """One of each type, none of them good; a new name each time, so that no throttle answers instead."""
    number = next(_SERIAL)
    foreign = house.kdc.ticket("alice", PASSCODE, SERVICE).present().gss_token
    return {
        "name": User(f"nobody{number}".encode(), identity_type=1),
        LOCAL: User(b"alice", f"wrong {number}".encode()),
        DIRECTORY: User(f"nobody{number}".encode(), b"wrong"),
        KERBEROS: User(foreign[:-1] + bytes([foreign[-1] ^ 1]), identity_type=3),
        SAML: User(b"<Assertion/>", identity_type=4),
        JWT: User(house.jwt.token("alice", aud="somebody else").encode(), identity_type=5),
    }


def offers(house, column):
    if column == "nothing offered":
        return {"nothing": None}
    if column == "a good identity":
        return good(house)
    if column == "one that is not good":
        return bad(house)
    return {"type 6": User(b"alice", identity_type=6), "type 2 at a node of type 1": good(house)[LOCAL]}


@pytest.mark.parametrize(("connection", "demand", "column", "outcome"), TABLE, ids=lambda value: value.split(",")[-1])
def test_what_comes_of_a_combination(served, connection, demand, column, outcome):
    house = served.with_setting(connection == INSECURE)
    prefix, narrow = ("TLS", "ONLY1") if connection == TLS else ("PLAIN", "PLAIN1")
    for name, user in offers(house, column).items():
        title = f"{narrow if 'at a node' in name else prefix}-{demand}"
        try:
            with association(house, connection, title, user) as opened:
                found = "node alone" if opened.identity_response is None else "person"
        except Refused as refused:
            assert refused.numbers == (1, 2, 1)
            found = "refused"
        assert found == outcome, name
