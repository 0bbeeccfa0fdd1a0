"""Association negotiation (PS3.8 9.3, PS3.7 Annex D)."""

from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom.pdu_primitives import SOPClassExtendedNegotiation
from pynetdicom.sop_class import CTImageStorage, StudyRootQueryRetrieveInformationModelFind, Verification


def test_an_unknown_abstract_syntax_is_refused_alone(peer):
    with peer.associated((Verification, [ImplicitVRLittleEndian]), ("1.2.3.4.5", [ImplicitVRLittleEndian])) as made:
        assert [context.abstract_syntax for context in made.accepted_contexts] == [Verification]
        assert [context.result for context in made.rejected_contexts] == [3]


def test_unknown_transfer_syntaxes_are_refused_as_such(peer):
    with peer.associated((Verification, [ImplicitVRLittleEndian]), (CTImageStorage, ["1.2.3.4.6"])) as made:
        assert [context.result for context in made.rejected_contexts] == [4]


def test_the_accepted_transfer_syntax_is_one_of_those_proposed(peer):
    with peer.associated((CTImageStorage, [ExplicitVRLittleEndian])) as made:
        assert [context.transfer_syntax for context in made.accepted_contexts] == [[ExplicitVRLittleEndian]]


def test_a_called_title_that_is_nobodys_is_rejected(peer):
    with peer.associated((Verification, [ImplicitVRLittleEndian]), called="NOBODY_OF_HERE") as made:
        assert made.is_rejected


def test_an_option_of_queries_is_answered_with_as_many_bytes_as_were_offered(peer):
    offer = SOPClassExtendedNegotiation()
    offer.sop_class_uid = StudyRootQueryRetrieveInformationModelFind
    offer.service_class_application_information = b"\x01"
    with peer.associated((StudyRootQueryRetrieveInformationModelFind, [ImplicitVRLittleEndian]), items=[offer]) as made:
        answers = made.acceptor.sop_class_extended
        assert all(len(answer) == 1 for answer in answers.values())


def test_no_extended_negotiation_is_answered_that_was_not_offered(peer):
    with peer.associated((StudyRootQueryRetrieveInformationModelFind, [ImplicitVRLittleEndian])) as made:
        assert made.is_established and made.acceptor.sop_class_extended == {}
