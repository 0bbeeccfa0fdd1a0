"""detection.toml: what is shipped is understood, and every mistake is named by its key."""

import re
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archive.audit.coalescing import FloodLimits
from archive.audit.detection.limiter import AlertLimits
from archive.audit.detection.settings import KINDS, load_detection, parse_detection
from archive.errors import SettingsInvalid
from archive.home import Home

SHIPPED = Path(__file__).parents[5] / "config" / "detection.toml"
HOME = Home(Path("/home-of-nobody"))


def test_the_shipped_file_has_every_kind_of_rule_every_key_and_the_defaults_of_its_limits():
    settings = load_detection(SHIPPED, HOME)
    assert {type(rule) for rule in settings.rules} == set(KINDS.values())
    assert (settings.flood, settings.alerts) == (FloodLimits(), AlertLimits())
    for table in tomllib.loads(SHIPPED.read_text())["rule"]:
        own = {name for name in KINDS[table["kind"]].__slots__ if not name.startswith("_")} | {"name", "enabled"}
        assert set(table) == own | {"kind"}, table["name"]


def test_an_empty_file_has_no_rules_and_the_default_limits():
    settings = parse_detection("", HOME)
    assert (settings.rules, settings.flood, settings.alerts) == ((), FloodLimits(), AlertLimits())


RULE = '[[rule]]\nname = "r"\n'


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[flod]", "unknown section 'flod'"),
        ("rule = 1", "write [[rule]]"),
        ("[rule]\nname = 'x'", "write [[rule]]"),
        ("[[flood]]\neach = 1", "write [flood]"),
        ("[flood]\neech = 1", "unknown key 'eech' in [flood]"),
        ("[flood]\neach = 'x'", "flood.each must be a whole number"),
        ("[flood]\neach = 0", "flood.each must be from 1"),
        ("[alerts]\nper_hour = true", "alerts.per_hour must be a whole number"),
        ("[[rule]]\nname = 'x'", "rule.kind is None"),
        ("[[rule]]\nkind = 'silence'", "[[rule]] of kind silence lacks name"),
        (RULE + "kind = 'guess'", "it must be one of repeated-failures"),
        (RULE + "kind = ['silence']", "it must be one of"),
        (RULE + "kind = 'silence'\nfloor = 1", "unknown key 'floor' in [[rule]] of kind silence"),
        (RULE + "kind = 'silence'\nfactor = 0.0", "rule 'r': factor is 0.0: it must be from 1 to 1000"),
        (RULE + "kind = 'silence'\n_nodes = 1", "unknown key '_nodes'"),
        (2 * (RULE + "kind = 'silence'\n"), "two rules have one name"),
        ("".join(f"[[rule]]\nname = '{n}'\nkind = 'silence'\n" for n in range(65)), "more than 64 sections"),
        ("x = [", "not TOML"),
    ],
)
def test_a_mistake_is_named(text, says):
    with pytest.raises(SettingsInvalid, match=re.escape(says)):
        parse_detection(text, HOME)


@pytest.mark.parametrize("content", [None, b"\xff", b"#" * 1_048_577], ids=["missing", "not-utf-8", "too-large"])
def test_a_file_that_cannot_be_read_is_named(tmp_path, content):
    path = tmp_path / "detection.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SettingsInvalid, match=str(path)):
        load_detection(path, HOME)


VALUES = st.one_of(st.integers(), st.floats(), st.text(max_size=5), st.booleans(), st.lists(st.integers(), max_size=3))


def written(value):
    match value:
        case bool():
            return str(value).lower()
        case str():
            return (
                '"' + "".join(f"\\U{ord(letter):08x}" for letter in value if not 0xD800 <= ord(letter) < 0xE000) + '"'
            )
        case _:
            return str(value)


@given(st.sampled_from(sorted(KINDS)), st.data())
def test_whatever_a_key_says_it_is_taken_or_refused_with_words(kind, data):
    keys = [name for name in KINDS[kind].__slots__ if not name.startswith("_")]
    key, value = data.draw(st.sampled_from([*keys, "enabled"])), data.draw(VALUES)
    try:
        parse_detection(f'{RULE}kind = "{kind}"\n{key} = {written(value)}', HOME)
    except SettingsInvalid as error:
        assert key in str(error) or "TOML" in str(error)
