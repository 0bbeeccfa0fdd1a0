"""RFC 5424, 5425 and 5426 around one audit message."""

from hypothesis import given
from hypothesis import strategies as st

from archive.audit.forward.syslog import Header, datagram, frame

TIME = "2026-01-01T10:00:00.123+01:00"


def test_the_header_is_that_of_iti_20_and_ps3_15_a_6():
    message = Header("archive.example", 4711, "IHE+RFC-3881").message(TIME, "<AuditMessage/>")
    assert (
        message == b"<85>1 2026-01-01T10:00:00.123+01:00 archive.example strongroom 4711 IHE+RFC-3881 - <AuditMessage/>"
    )


def test_a_byte_order_mark_stands_before_the_text_where_it_is_wanted():
    header = Header("h", 1, "DICOM+RFC3881", byte_order_mark=True)
    assert header.message(TIME, "<é/>").endswith(b" DICOM+RFC3881 - \xef\xbb\xbf<\xc3\xa9/>")


@given(host=st.text(max_size=300), time=st.text(max_size=40))
def test_whatever_host_and_time_are_the_header_keeps_its_seven_fields(host, time):
    fields = Header(host, 1, "IHE+RFC-3881").message(time, "<x/>").split(b" ")
    assert len(fields) == 8 and fields[1] == b"-" and 0 < len(fields[2]) <= 255
    assert all(0x21 <= octet <= 0x7E for field in fields for octet in field)


@given(st.text())
def test_a_frame_counts_octets_and_not_characters(text):
    length, _, message = frame(text.encode("utf-8", "replace")).partition(b" ")
    assert int(length) == len(message)


@given(st.text(min_size=1), st.integers(1, 40))
def test_a_datagram_is_cut_between_two_characters(text, limit):
    message = text.encode("utf-8", "replace")
    cut = datagram(message, limit)
    assert message.startswith(cut) and len(cut) <= limit
    assert cut.decode() == text.encode("utf-8", "replace").decode()[: len(cut.decode())]
    assert len(cut) == len(message) or len(cut) > limit - 4
