"""docs/identity.md and the shipped settings say of the providers what is so; each cell of the table happens."""

import dataclasses
import json
import re
import tomllib
import typing
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from archive.errors import SettingsInvalid
from archive.home import Home
from archive.lab.saml_issuer import SamlIssuer
from archive.people import People, Surroundings
from archive.rehearsal import MAX_CREDENTIAL_BYTES
from archive.settings import PROVIDERS, parse_settings
from auth.credential import Secret
from auth.errors import AuthenticationFailed
from auth.identity.authenticator import Authenticator, OfferedIdentity
from auth.identity.breaker import Breaker
from auth.identity.chain import Chain, Vouched
from auth.identity.directory.config import DirectoryConfig
from auth.identity.jwt.config import JwtConfig
from auth.identity.jwt.token import MAX_TOKEN_BYTES
from auth.identity.kerberos import KerberosConfig
from auth.identity.saml.provider import SamlConfig
from auth.identity.throttle import Limits
from auth.principal import IdentityDemand, NodeIdentity, NodeTrust, Principal
from tests.simulators.presented import PresentedInMemory
from tests.simulators.subjects import Unthrottled

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = (ROOT / "docs" / "identity.md").read_text()
SHIPPED = (ROOT / "config" / "strongroom.toml").read_text()
CONFIGS = {"directory": DirectoryConfig, "kerberos": KerberosConfig, "saml": SamlConfig, "jwt": JwtConfig}
NO_VALUE = {"none"}
OUR_AUDIENCE = '`"urn:dicom:ae:"` and our AE title'


def tables(text):
    """Each table as its rows of cells, the head first."""
    for block in re.findall(r"(?:^\|.*\n)+", text, re.M):
        rows = [[cell.strip() for cell in line.strip("|\n").split("|")] for line in block.splitlines()]
        yield [rows[0], *rows[2:]]


def documented(kind):
    """Key to default, as the document has it."""
    section = DOCUMENT.split(f"### [[{kind}]]")[1].split("\n#")[0]
    (table,) = tables(section)
    assert table[0] == ["Key", "Value", "Default", "Meaning"]
    return {row[0].strip("`"): row[2] for row in table[1:]}


def shipped(kind):
    """Key to value, with the `#` of the commented lines taken away."""
    text = re.sub(r"^#(?=\[\[|[a-z_]+ = )", "", SHIPPED, flags=re.M)
    (table,) = tomllib.loads(text)[kind]
    return table


def taken(kind, tmp_path):
    """The keys that the settings take, as the refusal of another one tells them."""
    keys = {"certificates": [str(SamlIssuer(tmp_path).certificate_file)]} if kind == "saml" else {}
    settings = dataclasses.replace(parse_settings(""), providers={kind: ({**keys, "no_such_key": 1},)})
    around = Surroundings(Home.at(tmp_path), "STRONGROOM", Nobody(), PresentedInMemory(), lambda: datetime.now(UTC))
    with pytest.raises(SettingsInvalid) as refused:
        People(settings, around)
    known = set(str(refused.value).split("known are ")[1].split(", "))
    return known | ({"certificates", "metadata"} if kind == "saml" else set())


def default_of(kind, key):
    """A field's default as TOML; None where there is none."""
    names = {field.name: field for field in dataclasses.fields(CONFIGS[kind])}
    field = names.get(key) or names.get(key.removesuffix("_seconds")) or names.get(key.removesuffix("_file"))
    if field is None:
        return None
    made = field.default_factory() if field.default_factory is not dataclasses.MISSING else field.default
    match made:
        case dataclasses.MISSING | None:
            return None
        case timedelta():
            return json.dumps(int(made.total_seconds()))
        case frozenset() | tuple():
            return json.dumps(sorted(made))
        case Mapping():
            assert not made
            return "{}"
        case _:
            return json.dumps(made)


class Nobody:
    """A store without users."""

    def user(self, name):
        return None

    def replace_hash(self, name, passcode_hash, *, instead_of):
        raise AssertionError


@pytest.mark.parametrize("kind", PROVIDERS)
def test_the_document_and_the_shipped_settings_name_every_key_there_is_and_no_other(kind, tmp_path):
    keys = taken(kind, tmp_path)
    assert set(documented(kind)) == keys
    assert set(shipped(kind)) == keys


@pytest.mark.parametrize("kind", PROVIDERS)
def test_the_document_and_the_shipped_settings_say_the_defaults(kind):
    values = shipped(kind)
    for key, said in documented(kind).items():
        default = default_of(kind, key)
        if default is not None:
            assert said == f"`{default}`", key
            is_example = key == "bind_dn"
            assert is_example or json.dumps(values[key]) == default, key
        elif key == "audience":
            assert said == OUR_AUDIENCE and values[key] == "urn:dicom:ae:STRONGROOM"
        else:
            assert said.startswith("needed") or said in NO_VALUE, key


@pytest.mark.parametrize("kind", PROVIDERS)
def test_what_is_said_to_be_needed_is(kind):
    hints = typing.get_type_hints(CONFIGS[kind])
    for field in dataclasses.fields(CONFIGS[kind]):
        needed = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if needed and field.name not in ("audience", "keys"):
            key = field.name + {timedelta: "_seconds", Secret: "_file"}.get(hints[field.name], "")
            assert documented(kind)[key] == "needed", key


# -- numbers in the prose -------------------------------------------------------------------------------------------


def prose(heading):
    return " ".join(DOCUMENT.split(f"## {heading}\n")[1].split("\n## ")[0].split())


def test_the_document_says_the_throttle_as_it_is():
    limits, text = Limits(), prose("Wrong attempts")
    waits = [limits.delay(failures) for failures in range(1, limits.free_failures + 9)]
    assert limits.free_failures == 4 and "Four failures" in text
    assert waits[4:] == [1, 2, 4, 8, 16, 32, 60, 60] and "1, 2, 4, 8, 16, 32 and from then on 60 seconds" in text
    assert f"{limits.forget_seconds:g} seconds without a failure" in text
    assert f"owe {limits.source_failures} failures" in text and f"in {limits.seconds_per_failure:g} seconds" in text


def test_the_document_says_the_breaker_and_the_bulkhead_as_they_are():
    from archive.people import CONCURRENT
    from auth.identity.guard import QUEUE_SHARE

    text, now = prose("When a provider does not answer"), [0.0]
    breaker = Breaker(clock=lambda: now[0])
    pauses = []
    for _ in range(3):
        assert not breaker.refuses
        breaker.unavailable(breaker.begin())
    for _ in range(7):
        since = now[0]
        while breaker.refuses:
            now[0] += 0.5
        pauses.append(now[0] - since)
        breaker.unavailable(breaker.begin())
    assert pauses == [1, 2, 4, 8, 16, 30, 30]
    assert "After 3 calls" in text and "for 1 second" in text and "up to 30 seconds" in text
    assert f"({CONCURRENT}, or" in text and QUEUE_SHARE == 0.1 and "a tenth of the deadline" in text


def test_the_document_says_the_longest_token():
    assert f"{MAX_TOKEN_BYTES:,} bytes" in DOCUMENT


def test_the_document_says_the_largest_credential():
    assert f"**{MAX_CREDENTIAL_BYTES:,} bytes**" in prose("How large a credential may be")


# -- the table of combinations --------------------------------------------------------------------------------------

(COMBINATIONS,) = [rows for rows in tables(DOCUMENT) if rows[0][0] == "Connection"]
OFFERS = ("nothing", "good", "bad", "foreign type")
CELLS = [
    pytest.param(connection, demand, offer, outcome, id=f"{connection}-{demand}-{offer}")
    for connection, demand, *outcomes in COMBINATIONS[1:]
    for offer, outcome in zip(OFFERS, outcomes, strict=True)
]


class Knows:
    """Vouches for whoever presents ``good``, by any type."""

    name = "knows"
    identity_types = frozenset({1, 2, 3, 4, 5})

    def verify(self, credential, node):
        shown = credential.name if credential.identity_type in (1, 2) else secret_of(credential)
        if shown != "good":
            raise AuthenticationFailed("not good")
        return Vouched(Principal("alice", frozenset({"radiologist"})))

    def still(self, principal):
        return principal


def secret_of(credential):
    (secret,) = (getattr(credential, name) for name in credential.__slots__)
    return secret.reveal().decode()


def outcome_of(connection, demand, offer, identity_type):
    """`Authenticator` is where it is decided, for every type alike."""
    used = frozenset({1, 2, 3, 4, 5} - ({identity_type} if offer == "foreign type" else set()))
    node = NodeIdentity(
        name="WS1",
        ae_titles=frozenset({"WS1"}),
        roles=frozenset({"radiologist"}),
        identity=IdentityDemand(demand),
        identity_types=used,
        asserts_roles=frozenset({"radiologist"}),
        trust=NodeTrust.ISSUED,
        fingerprint="0" * 64,
    )
    authenticator = Authenticator(Chain([Knows()]), Unthrottled(), insecure_without_tls="insecure" in connection)
    primary = b"bad" if offer == "bad" else b"good"
    secondary = b"passcode" if identity_type == 2 else b""
    offered = None if offer == "nothing" else OfferedIdentity(identity_type, Secret(primary), Secret(secondary))
    try:
        made = authenticator.authenticate(offered, node, tls=connection == "TLS", source="127.0.0.1")
    except AuthenticationFailed:
        return "refused"
    assert (made.principal is None) == (made.server_response is None), "59H goes with a person, and only so"
    return "node alone" if made.principal is None else "person"


def test_the_table_of_combinations_is_whole():
    connections = ("TLS", "plain", 'plain, `without_tls = "insecure"`')
    demands = [demand.value for demand in IdentityDemand]
    assert [row[:2] for row in COMBINATIONS[1:]] == [[one, other] for one in connections for other in demands]


@pytest.mark.parametrize(("connection", "demand", "offer", "outcome"), CELLS)
@pytest.mark.parametrize("identity_type", [1, 2, 3, 4, 5])
def test_each_cell_of_the_table_of_combinations_happens(connection, demand, offer, outcome, identity_type):
    assert outcome_of(connection, demand, offer, identity_type) == outcome
