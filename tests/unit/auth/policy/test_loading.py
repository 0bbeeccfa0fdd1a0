"""What counts as a policy set, and what is refused by name before it could deny or permit anybody anything."""

from pathlib import Path

import pytest

from archive.enforcement.attributes import is_keyword
from auth.errors import PolicyInvalid
from auth.policy.engine import PolicyEngine
from auth.policy.loading import SCHEMA_FILE, load

SHIPPED = Path(__file__).parents[4] / "config" / "policies"


def refusal(directory: Path, text: str, *, schema: str | None = None) -> str:
    (directory / SCHEMA_FILE).write_text(schema or (SHIPPED / SCHEMA_FILE).read_text("utf-8"), encoding="utf-8")
    (directory / "test.cedar").write_text(text, encoding="utf-8")
    with pytest.raises(PolicyInvalid) as caught:
        load(directory, is_keyword)
    return str(caught.value)


def on_study(condition: str) -> str:
    return f'@id("p") permit (principal, action == Action::"Query", resource) when {{ {condition} }};'


def test_shipped_policies_load() -> None:
    loaded = load(SHIPPED, is_keyword)
    assert set(loaded.effects.values()) == {"permit", "forbid"}
    assert all(loaded.reasons.values())
    read = frozenset().union(*(reads.attributes for reads in loaded.reads))
    assert read == {"labels", "referring_physician", "performing_physicians"}
    assert not any(reads.names_studies for reads in loaded.reads)


def test_fingerprint_covers_every_file_and_the_schema(tmp_path: Path) -> None:
    seen = set()
    for schema_tail, name, text in (("", "a", ""), ("\n", "a", ""), ("", "b", ""), ("", "a", "// x")):
        for old in tmp_path.iterdir():
            old.unlink()
        (tmp_path / SCHEMA_FILE).write_text((SHIPPED / SCHEMA_FILE).read_text("utf-8") + schema_tail, encoding="utf-8")
        (tmp_path / f"{name}.cedar").write_text(text, encoding="utf-8")
        seen.add(load(tmp_path).fingerprint)
    assert len(seen) == 4


def test_missing_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PolicyInvalid, match=SCHEMA_FILE):
        PolicyEngine.load(tmp_path / "nowhere")


def test_file_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    (tmp_path / SCHEMA_FILE).write_bytes((SHIPPED / SCHEMA_FILE).read_bytes())
    (tmp_path / "latin.cedar").write_bytes(b"// caf\xe9")
    with pytest.raises(PolicyInvalid, match=r"latin\.cedar: not UTF-8"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("text", "finding"),
    [
        ("permit (", "test.cedar: "),
        ("permit (principal, action, resource);", "policy 1 has no @id"),
        ('@id("a b") permit (principal, action, resource);', "policy 1 has no @id"),
        (
            '@id("a") permit (principal, action, resource); @id("a") permit (principal, action, resource);',
            "a: the same @id is used in test.cedar",
        ),
        ('@id("a") permit (principal == ?principal, action, resource);', "templates"),
        ('@id("a") @hide permit (principal, action, resource);', "a: @hide names no attribute"),
        ('@id("a") @hide("PatientNmae") permit (principal, action, resource);', "PatientNmae is no DICOM keyword"),
        ('@id("a") @hide("PatientName") forbid (principal, action, resource);', "@hide on a forbid obliges nobody"),
        ('@id("a") permit (principal, action == Action::"Fly", resource);', "a: "),
        ('@id("a") permit (principal is Robot, action, resource);', "a: "),
        (on_study("resource.shoe_size == 43"), "shoe_size"),
        (on_study("context.moon"), "moon"),
        (on_study("principal.attributes.physician_name == context.trust"), "p: "),
        (on_study('resource.patient_id == "1"'), "unable to guarantee safety of access to optional attribute"),
        (on_study("resource.labels == 1"), "p: "),
    ],
)
def test_finding_is_named(tmp_path: Path, text: str, finding: str) -> None:
    assert finding in refusal(tmp_path, text)


@pytest.mark.parametrize(
    ("condition", "finding"),
    [
        ("resource has study_date && resource.study_date + 1 > 5", "operator `add`"),
        ("resource has study_date && -resource.study_date > 5", "operator `neg`"),
        ("resource.labels.containsAny(resource.modalities)", "comparison of two attributes"),
        ("resource.labels == resource.modalities", "comparison of two attributes"),
        ("resource.labels.contains(resource.study_uid)", "comparison of two attributes"),
        ('resource has station && [resource.station].contains("x")', "set literal"),
        ('{a: resource.study_uid} == {a: "1"}', "record literal"),
        ('(if resource.labels.isEmpty() then "a" else "b") == "a"', "`if-then-else` over `resource` as a value"),
        ('datetime(resource.study_uid) < datetime("2020-01-01")', "non-literal expressions"),
        ("ip(resource.study_uid).isLoopback()", "non-literal expressions"),
    ],
)
def test_condition_that_rows_cannot_express_is_refused_by_name(tmp_path: Path, condition: str, finding: str) -> None:
    words = refusal(tmp_path, on_study(condition))
    assert "test.cedar: p: " in words
    assert finding in words


@pytest.mark.parametrize(
    "condition",
    [
        'if resource.labels.isEmpty() then context.tls else resource.modalities.contains("CT")',
        "(resource.labels.isEmpty()) == (resource.modalities.isEmpty())",
        "context has identity_type && context.identity_type + 1 == 3",
        'resource in [Study::"1.2"] || [Study::"1.2"].contains(resource)',
        'principal in Role::"x" || context.node in Role::"x"',
        'resource is Study && resource.study_uid like "1.2.*"',
    ],
)
def test_condition_in_the_subset_is_taken(tmp_path: Path, condition: str) -> None:
    (tmp_path / SCHEMA_FILE).write_bytes((SHIPPED / SCHEMA_FILE).read_bytes())
    (tmp_path / "test.cedar").write_text(on_study(condition), encoding="utf-8")
    load(tmp_path)


def test_every_finding_is_reported_at_once(tmp_path: Path) -> None:
    words = refusal(tmp_path, on_study("resource.study_uid == context.moon") + on_study("true").replace('"p"', '"q!"'))
    assert "policy 2 has no @id" in words


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("labels: Set<String>", "labels: String"),
        ("study_date?: Long,", ""),
        ("trust: String,", "trust: Long,"),
        ("Delete, ", ""),
        ("patient_id?: String", "patient_id?: String, mood: String"),
        ("entity Role;", "entity Role"),
    ],
)
def test_schema_that_does_not_take_our_requests_is_refused(tmp_path: Path, old: str, new: str) -> None:
    schema = (SHIPPED / SCHEMA_FILE).read_text("utf-8")
    assert old in schema
    assert refusal(tmp_path, "", schema=schema.replace(old, new)).startswith(f"{SCHEMA_FILE}: ")


def test_schema_may_declare_more_attributes_of_people(tmp_path: Path) -> None:
    schema = (SHIPPED / SCHEMA_FILE).read_text("utf-8")
    (tmp_path / SCHEMA_FILE).write_text(schema.replace("type Attributes = {", "type Attributes = { team?: String,"))
    (tmp_path / "test.cedar").write_text(
        '@id("p") permit (principal is User, action, resource) '
        'when { principal.attributes has team && principal.attributes.team == "blue" };'
    )
    load(tmp_path)


@pytest.mark.parametrize(
    ("head", "roles", "actions"),
    [
        ("principal, action", None, None),
        ('principal in Role::"r", action == Action::"Store"', {"r"}, {"Store"}),
        ('principal is User in Role::"r", action in [Action::"Store", Action::"Query"]', {"r"}, {"Store", "Query"}),
        ('principal == User::"alice", action', None, None),
    ],
)
def test_head_of_a_policy_says_whom_it_can_concern(
    tmp_path: Path, head: str, roles: set[str] | None, actions: set[str] | None
) -> None:
    (tmp_path / SCHEMA_FILE).write_bytes((SHIPPED / SCHEMA_FILE).read_bytes())
    (tmp_path / "test.cedar").write_text(f'@id("p") permit ({head}, resource);')
    (reads,) = load(tmp_path).reads
    assert (reads.roles, reads.actions) == (roles, actions)


def test_group_of_actions_may_concern_any_action(tmp_path: Path) -> None:
    schema = (SHIPPED / SCHEMA_FILE).read_text("utf-8")
    applies = "appliesTo { principal: [User, Node], resource: [Study], context: Circumstances };"
    grouped = schema.replace(
        "action Store, Commit,", f"action images; action Store in [images] {applies} action Commit,"
    )
    (tmp_path / SCHEMA_FILE).write_text(grouped)
    (tmp_path / "test.cedar").write_text('@id("p") permit (principal, action in [Action::"images"], resource);')
    (reads,) = load(tmp_path).reads
    assert reads.actions is None
