"""The last refusals, in words that an operator can act on and a stranger cannot abuse."""

import shlex
from pathlib import Path

import pytest

from archive.audit.trail_format import TrailRecord
from archive.cli.admitting import NODES, PEOPLE
from archive.cli.refusals import last_refusals


def record(kind, number=1, **facts):
    return TrailRecord(number, f"2026-01-01T00:00:{number:02d}+00:00", kind, {"outcome": 4, **facts})


def test_an_unknown_certificate_comes_with_the_command_that_registers_it():
    [refusal] = last_refusals(
        [
            record(
                "node-refused",
                actor={"ae_title": "CT9", "address": "10.0.0.9"},
                reason="no node is registered with this certificate",
                certificate="CN=CT9 sha256:00ff",
            )
        ],
        10,
    )
    assert "CT9 from 10.0.0.9" in refusal.what and "sha256:00ff" in refusal.what
    assert refusal.command == "strongroom node add CT9 --certificate PEM --role ROLE"


OTHER_TITLE = "the calling AE title does not belong to the node"


def test_a_known_node_under_another_title_is_offered_that_title():
    actor = {"node": "CT1", "ae_title": "CT1B"}
    [refusal] = last_refusals([record("node-refused", actor=actor, reason=OTHER_TITLE)], 10)
    assert "node add CT1 --certificate PEM --ae CT1B" in refusal.command


def test_a_facilitys_node_under_a_registered_title_is_to_be_registered_itself():
    actor = {"node": "facility/00ff", "ae_title": "CT1"}
    [refusal] = last_refusals([record("node-refused", actor=actor, reason=OTHER_TITLE)], 10)
    assert refusal.command == "strongroom node add CT1 --certificate PEM --role ROLE"


@pytest.mark.parametrize(
    "reason",
    [
        "the called AE title is not ours",
        "protocol version 1 is not among those offered",
        "a check failed (RuntimeError)",
        "no association request within associate_seconds (10)",
    ],
)
def test_what_only_the_peer_can_mend_comes_without_a_command(reason):
    [refusal] = last_refusals([record("node-refused", actor={"node": "CT1", "ae_title": "CT1"}, reason=reason)], 10)
    assert reason in refusal.what and refusal.command == ""


@pytest.mark.parametrize(
    ("reason", "command"),
    [
        ("the certificate has expired", "strongroom cert renew CT9 --out DIR"),
        ("the certificate was revoked here", "strongroom cert issue CT9 --out DIR"),
        ("the peer sent no certificate", "strongroom node add CT9 --issue DIR --role ROLE"),
        ("no node is registered for this AE title without TLS", "strongroom node add CT9 --plain --role ROLE"),
        (
            "not the certificate that was pinned",
            "strongroom node remove CT9; strongroom node add CT9 --certificate PEM --role ROLE",
        ),
    ],
)
def test_each_reason_of_a_certificate_has_its_own_command(reason, command):
    [refusal] = last_refusals([record("node-refused", actor={"ae_title": "CT9"}, reason=reason)], 10)
    assert refusal.command == command


@pytest.mark.parametrize(
    ("reason", "command"),
    [
        ("wrong passcode", "strongroom user passcode alice"),
        ("the user is disabled", "strongroom user disable alice --undo"),
        ("nobody vouches for this name", "strongroom user add alice --role ROLE --passcode-file -"),
        (
            "the node may not use user identity type 4",
            "strongroom node remove WS1; strongroom node add WS1 --certificate PEM --identity-types 4 --role ROLE",
        ),
        ("the token has expired", "strongroom identity test --type jwt --file F --node WS1"),
        ("the ticket cannot be verified", "strongroom identity test --type kerberos --file F --node WS1"),
        ("too many failures; wait", ""),
    ],
)
def test_each_reason_of_an_identity_has_its_own_command(reason, command):
    told = record("user-authenticated", claimed="alice", actor={"node": "WS1"}, reason=reason)
    assert last_refusals([told], 10)[0].command == command


@pytest.mark.parametrize("phrase", [phrase for phrase, _ in (*NODES, *PEOPLE) if not phrase.startswith("TLS: ")])
def test_every_phrase_is_one_that_something_says(phrase):
    root = Path(__file__).parents[4]
    assert any(phrase in path.read_text("utf-8") for path in (root / "auth").rglob("*.py"))


def test_refusals_alike_are_one_with_their_number():
    alike = [record("node-refused", number, actor={"ae_title": "CT9"}, reason="x") for number in (1, 2, 4)]
    many = record("node-refused", 5, actor={"ae_title": "CT9"}, reason="x", repeated={"count": 40})
    other = record("node-refused", 3, actor={"ae_title": "CT8"}, reason="x")
    first, second = last_refusals([*alike[:2], other, alike[2], many], 2)
    assert (first.count, first.time[-8:-6], first.words) == (43, "05", "CT9: x (43 times)")
    assert second.words == "CT8: x"


def test_a_person_who_failed_is_named_and_a_success_is_no_refusal():
    records = [
        record(
            "user-authenticated", claimed="alice", actor={"node": "WS1", "address": "10.0.0.2"}, reason="wrong passcode"
        ),
        TrailRecord(2, "t", "user-authenticated", {"outcome": 0, "actor": {}}),
    ]
    [refusal] = last_refusals(records, 10)
    assert "alice at WS1 from 10.0.0.2: wrong passcode" in refusal.what
    assert "strongroom user passcode alice" in refusal.command


def test_a_missing_person_is_answered_with_the_nodes_registration():
    [refusal] = last_refusals(
        [record("user-authenticated", actor={"node": "CT1"}, reason="the node must say who is at it, and did not")], 10
    )
    assert "--identity optional" in refusal.command


def test_a_denial_comes_with_the_question_to_ask_the_policy():
    [refusal] = last_refusals(
        [
            record(
                "access-refused",
                actor={"node": "WS1", "person": "bob"},
                action="Retrieve",
                study_uid="1.2",
                reason="no policy permits it",
            )
        ],
        10,
    )
    assert refusal.command == "strongroom policy explain Retrieve --node WS1 --user bob --study 1.2"


def test_newest_first_and_no_more_than_asked_for():
    records = [record("node-refused", number, actor={"ae_title": f"N{number}"}) for number in range(1, 9)]
    assert [it.time[-8:-6] for it in last_refusals(records, 3)] == ["08", "07", "06"]
    assert last_refusals([], 3) == []


def test_a_name_that_is_a_shell_command_stays_a_word():
    evil = "$(rm -rf ~);`x`"
    for facts in (
        {"kind": "node-refused", "actor": {"ae_title": evil}, "reason": "the peer sent no certificate"},
        {"kind": "node-refused", "actor": {"ae_title": evil, "node": "{how}"}, "reason": OTHER_TITLE},
        {"kind": "user-authenticated", "actor": {"node": evil}, "claimed": evil, "reason": "wrong passcode"},
        {"kind": "access-refused", "actor": {"node": evil, "person": evil}, "action": evil},
    ):
        [refusal] = last_refusals([record(facts.pop("kind"), **facts)], 1)
        assert shlex.quote(evil) in refusal.command
        assert evil not in refusal.command.replace(shlex.quote(evil), "")
