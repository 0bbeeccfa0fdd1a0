"""XML from anybody: a small tree, or refused in words; no document type, no entity, no more than the limits say."""

from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archive.repository.document import DocumentRefused, parse_document
from archive.repository.limits import Limits
from archive.repository.validation import examine, examine_document

LIMITS = Limits(message_bytes=65_536, depth=8, elements=100)
BOMB = '<!DOCTYPE a [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]><AuditMessage>&b;</AuditMessage>'
REFUSED = {
    "an entity bomb": (BOMB, "document type"),
    "an external entity": ('<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>', "document type"),
    "an external subset": ('<!DOCTYPE a SYSTEM "http://127.0.0.1/a.dtd"><a/>', "document type"),
    "a parameter entity": ('<!DOCTYPE a [<!ENTITY % p SYSTEM "file:///dev/random"> %p;]><a/>', "document type"),
    "an undeclared entity": ("<a>&nbsp;</a>", "undefined entity"),
    "depth": ("<a>" * 9 + "</a>" * 9, "deeper than 8"),
    "breadth": ("<a>" + "<b/>" * 100 + "</a>", "more than 100 elements"),
    "length": ("<a>" + " " * 65_536 + "</a>", "longer than 65536"),
    "half a document": ("<AuditMessage><EventIdentification", "line 1"),
    "two documents": ("<a/><a/>", "junk after document element"),
    "Latin-1": ("<a>\xe4</a>".encode("latin-1"), "octet 4 of the XML is not UTF-8"),
    "a surrogate in UTF-8": (b"<a>\xed\xa0\x80</a>", "not UTF-8"),
    "another encoding by name": ("<?xml version='1.0' encoding='UTF-16'?><a/>", "UTF-16"),
    "UTF-16": ("<a/>".encode("utf-16"), "UTF-8"),
    "NUL": ("<a>\0</a>", "line 1"),
    "the same attribute twice": ('<a b="1" b="2"/>', "duplicate attribute"),
    "nothing": ("", "no XML"),
}


@pytest.mark.parametrize("text, words", REFUSED.values(), ids=REFUSED.keys())
def test_is_refused(text, words):
    data = text if isinstance(text, bytes) else text.encode()
    with pytest.raises(DocumentRefused, match=words):
        parse_document(data, LIMITS)
    verdict = examine_document(data, LIMITS)
    assert not verdict.valid and words in verdict.findings[0].says


@given(st.binary(max_size=300))
def test_any_octets_are_a_verdict(data):
    for look in (examine, examine_document):
        assert isinstance(look(data, LIMITS).valid, bool)


TREES = st.recursive(
    st.builds(lambda tag: f"<{tag}/>", st.sampled_from(["EventID", "Accession", "a:b", "SOPClass"])),
    lambda inner: st.builds(
        lambda tag, parts, text: f"<{tag} csd-code='1' UID=''>{text}{''.join(parts)}</{tag}>",
        st.sampled_from(
            ["AuditMessage", "EventIdentification", "ActiveParticipant", "ParticipantObjectIdentification"]
        ),
        st.lists(inner, max_size=4),
        st.sampled_from(["", " ", "x", "&#xe4;", "<![CDATA[<]]>", "<?pi?>", "<!--c-->"]),
    ),
)


@given(TREES)
def test_any_tree_of_our_elements_is_a_verdict(text):
    assert not examine_document(text.encode(), LIMITS).valid


def test_what_is_taken_is_what_the_document_says():
    text = "<?xml version='1.0' encoding='utf-8'?><a b='&lt;'>x<c xmlns='urn:x'/>y<![CDATA[<&]]></a>"
    taken, expected = parse_document(text.encode(), LIMITS), ElementTree.fromstring(text)
    assert (taken.tag, taken.attrib, taken.text, taken[0].tail) == (
        expected.tag,
        expected.attrib,
        "x",
        expected[0].tail,
    )
    assert taken[0].tag == "urn:x}c"
