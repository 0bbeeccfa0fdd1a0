"""Repeated sections of the settings become configuration objects; what is not understood is named."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest

from archive.errors import SettingsInvalid
from archive.home import Home
from archive.sections import configured
from auth.credential import Secret
from auth.errors import ProviderMisconfigured


@dataclass(frozen=True)
class Example:
    """Every type of value that a section may have."""

    name: str
    ca: Path
    passcode: Secret | None = None
    port: int = 636
    pause: float = 0.5
    once: bool = False
    skew: timedelta = timedelta(seconds=60)
    realms: tuple[str, ...] = ()
    certificates: tuple[Path, ...] = ()
    roles: Mapping[str, str] = field(default_factory=dict)


@pytest.fixture
def home(tmp_path):
    return Home.at(tmp_path)


def of(home, **table):
    return configured(Example, "example", {"name": "hospital", "ca": "pki/ca.pem"} | table, home)


def test_values_arrive_with_their_types_and_paths_count_from_the_home(home):
    made = of(home, port=389, pause=2, once=True, realms=["A", "B"], certificates=["/c.pem"], roles={"x": "service"})
    assert (made.name, made.ca, made.port, made.pause, made.once) == (
        "hospital",
        home.root / "pki/ca.pem",
        389,
        2.0,
        True,
    )
    assert (made.realms, made.certificates, dict(made.roles)) == (("A", "B"), (Path("/c.pem"),), {"x": "service"})
    assert of(home, skew_seconds=1.5).skew == timedelta(seconds=1.5)
    assert made.passcode is None and isinstance(made.pause, float)


def test_a_secret_is_named_by_its_file_and_loses_one_newline(home):
    (home.root / "secret").write_bytes(b"open sesame\n\n")
    (home.root / "secret").chmod(0o600)
    assert of(home, passcode_file="secret").passcode.reveal() == b"open sesame\n"


@pytest.mark.parametrize(("content", "mode"), [(b"x", 0o644), (b"", 0o600), (None, 0), (b"x" * 5000, 0o600)])
def test_a_secret_that_is_exposed_empty_absent_or_endless_is_not_taken(home, content, mode):
    if content is not None:
        (home.root / "secret").write_bytes(content)
        (home.root / "secret").chmod(mode)
    with pytest.raises(ProviderMisconfigured, match=r"example\.passcode_file"):
        of(home, passcode_file="secret")


@pytest.mark.parametrize(
    ("table", "named"),
    [
        ({"nmae": "x"}, "unknown key 'nmae' in [[example]]"),
        ({"passcode": "in clear"}, "unknown key 'passcode' in [[example]]"),
        ({"port": "636"}, "example.port must be a whole number"),
        ({"port": True}, "example.port must be a whole number"),
        ({"pause": "1"}, "example.pause must be a number"),
        ({"once": 1}, "example.once must be true or false"),
        ({"name": 7}, "example.name must be a text"),
        ({"ca": ""}, "example.ca must be a path"),
        ({"realms": "A"}, "example.realms must be a list"),
        ({"realms": [1]}, "example.realms must be a text"),
        ({"roles": ["x"]}, "example.roles must be a table"),
        ({"roles": {"x": 1}}, "example.roles.x must be a text"),
    ],
)
def test_what_is_not_understood_is_named(home, table, named):
    with pytest.raises(SettingsInvalid) as refused:
        of(home, **table)
    assert named in str(refused.value)


def test_a_key_that_must_be_there_is_asked_for(home):
    with pytest.raises(SettingsInvalid, match="lacks ca"):
        configured(Example, "example", {"name": "hospital"}, home)
