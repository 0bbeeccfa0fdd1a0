"""The last refusals, in words that an operator can act on and a stranger cannot abuse."""

import shlex

from archive.audit.trail_format import TrailRecord
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


def test_a_known_node_under_another_title_is_offered_that_title():
    [refusal] = last_refusals([record("node-refused", actor={"node": "CT1", "ae_title": "CT1B"}, reason="x")], 10)
    assert "--ae CT1B" in refusal.command


def test_a_person_who_failed_is_named_and_a_success_is_no_refusal():
    records = [
        record("user-authenticated", claimed="alice", actor={"node": "WS1", "address": "10.0.0.2"}, reason="wrong"),
        TrailRecord(2, "t", "user-authenticated", {"outcome": 0, "actor": {}}),
    ]
    [refusal] = last_refusals(records, 10)
    assert "alice at WS1 from 10.0.0.2: wrong" in refusal.what
    assert "strongroom user passcode alice" in refusal.command


def test_a_missing_person_is_answered_with_the_nodes_registration():
    [refusal] = last_refusals([record("user-authenticated", actor={"node": "CT1"}, reason="must say")], 10)
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
        {"kind": "node-refused", "actor": {"ae_title": evil}},
        {"kind": "user-authenticated", "actor": {"node": evil}, "claimed": evil},
        {"kind": "access-refused", "actor": {"node": evil, "person": evil}, "action": evil},
    ):
        [refusal] = last_refusals([record(facts.pop("kind"), **facts)], 1)
        assert shlex.quote(evil) in refusal.command
        assert evil not in refusal.command.replace(shlex.quote(evil), "")
