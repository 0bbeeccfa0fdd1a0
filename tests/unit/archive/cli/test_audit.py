"""An event of the trail on one line."""

from archive.cli.audit import in_words


def test_an_event_says_who_how_it_ended_and_what_it_was_about():
    facts = {
        "actor": {"person": "alice", "ae_title": "WS1", "address": "10.0.0.2", "association": "0f"},
        "outcome": 4,
        "study": {"study_uid": "1.2", "patient_name": "", "sop_classes": {"1.2.3": 1}},
        "studies": [{"study_uid": "1.2"}],
        "reason": "",
        "already_kept": False,
    }
    assert in_words(facts) == (
        "alice WS1 10.0.0.2  failed (4)  study=(study_uid=1.2, sop_classes=(1.2.3=1))  studies=[(study_uid=1.2)]"
    )


def test_an_event_without_an_actor_is_told_all_the_same():
    assert in_words({"actor": {}, "outcome": 0}) == "-  good"
