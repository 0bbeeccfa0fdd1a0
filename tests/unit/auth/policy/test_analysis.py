"""Rules that make no difference are named; those that might are not."""

from pathlib import Path

import pytest

from auth.policy.loading import load

SCHEMA = Path(__file__).parents[4] / "config" / "policies" / "schema.cedarschema"
BROAD = '@id("broad") permit (principal in Role::"r", action in [Action::"Query", Action::"Retrieve"], resource);'


def idle(directory: Path, text: str) -> tuple[str, ...]:
    (directory / SCHEMA.name).write_bytes(SCHEMA.read_bytes())
    (directory / "test.cedar").write_text(text)
    return load(directory).idle


@pytest.mark.parametrize(
    "narrow",
    [
        'permit (principal in Role::"r", action == Action::"Query", resource);',
        'permit (principal in Role::"r", action == Action::"Query", resource) when { resource.labels.contains("x") };',
        'permit (principal is User in Role::"r", action == Action::"Query", resource is Study);',
    ],
)
def test_a_permit_that_another_covers_is_shadowed(tmp_path: Path, narrow: str) -> None:
    assert idle(tmp_path, f'{BROAD} @id("narrow") {narrow}') == ("narrow: shadowed: broad permits all that it does",)


@pytest.mark.parametrize(
    "other",
    [
        'permit (principal in Role::"s", action == Action::"Query", resource);',
        'permit (principal in Role::"r", action == Action::"Move", resource);',
        '@hide("PatientName") permit (principal in Role::"r", action == Action::"Query", resource);',
        '@flag("told") permit (principal in Role::"r", action == Action::"Query", resource);',
        'permit (principal, action == Action::"Query", resource);',
        'forbid (principal in Role::"r", action == Action::"Query", resource);',
    ],
)
def test_a_rule_that_makes_a_difference_is_not_named(tmp_path: Path, other: str) -> None:
    assert idle(tmp_path, f'{BROAD} @id("other") {other}') == ()


def test_a_condition_that_both_have_covers(tmp_path: Path) -> None:
    when = 'when { resource.labels.contains("x") }'
    more = f'{when} unless {{ resource.modalities.contains("MR") }}'
    text = (
        f'@id("broad") permit (principal, action == Action::"Query", resource) {when};'
        f'@id("narrow") permit (principal, action == Action::"Query", resource) {more};'
    )
    assert idle(tmp_path, text) == ("narrow: shadowed: broad permits all that it does",)


def test_of_two_equal_rules_the_later_one_is_named(tmp_path: Path) -> None:
    assert idle(tmp_path, BROAD + BROAD.replace("broad", "again")) == (
        "again: shadowed: broad permits all that it does",
    )


@pytest.mark.parametrize("clause", ["when { false }", "unless { true }", "when { context.tls } when { false }"])
def test_a_clause_that_is_never_true_is_dead(tmp_path: Path, clause: str) -> None:
    text = f'@id("p") permit (principal, action == Action::"Query", resource) {clause};'
    assert idle(tmp_path, text) == ("p: dead: one of its clauses is never true",)


def test_a_permit_that_a_forbid_covers_is_dead(tmp_path: Path) -> None:
    text = f'{BROAD} @id("f") forbid (principal, action, resource);'
    assert idle(tmp_path, text) == ("broad: dead: f forbids all that it permits",)


def test_a_forbid_that_another_covers_is_shadowed(tmp_path: Path) -> None:
    narrow = '@id("narrow") forbid (principal, action == Action::"Query", resource) when { context.tls };'
    text = f'@id("f") forbid (principal, action, resource); {narrow}'
    assert idle(tmp_path, text) == ("narrow: shadowed: f forbids all that it does",)
