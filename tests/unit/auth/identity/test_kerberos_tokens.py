"""What is read of a Kerberos token before any key: RFC 2743 3.1, RFC 4121 4.1, RFC 4120 5.5.1, in DER (X.690 10)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auth.errors import AuthenticationFailed
from auth.identity.kerberos_tokens import MAX_TOKEN_BYTES, Framing, ap_request, gss_framed, server_response

KRB5 = bytes.fromhex("06092a864886f712010202")
SPNEGO = bytes.fromhex("06062b0601050502")
IAKERB = bytes.fromhex("06062b0601050205")


def der(tag: int, content: bytes) -> bytes:
    size = len(content)
    if size < 0x80:
        return bytes([tag, size]) + content
    digits = size.to_bytes((size.bit_length() + 7) // 8)
    return bytes([tag, 0x80 | len(digits)]) + digits + content


def encrypted(cipher: bytes, kvno: int | None = None) -> bytes:
    version = b"" if kvno is None else der(0xA1, der(0x02, bytes([kvno])))
    return der(0x30, der(0xA0, der(0x02, b"\x12")) + version + der(0xA2, der(0x04, cipher)))


def ap_req(
    *,
    version: bytes = b"\x05",
    kind: bytes = b"\x0e",
    options: bytes = bytes(4),
    ticket: bytes = b"ticket",
    authenticator: bytes | None = None,
    more: bytes = b"",
) -> bytes:
    """A KRB_AP_REQ with what a test changes."""
    fields = (
        der(0xA0, der(0x02, version)),
        der(0xA1, der(0x02, kind)),
        der(0xA2, der(0x03, b"\0" + options)),
        der(0xA3, der(0x61, ticket)),
        der(0xA4, encrypted(b"cipher") if authenticator is None else authenticator),
        more,
    )
    return der(0x6E, der(0x30, b"".join(fields)))


def reason(token: bytes) -> str:
    with pytest.raises(AuthenticationFailed) as refused:
        ap_request(token)
    return refused.value.reason


@given(st.binary(min_size=1, max_size=70_000 - 5_000))
def test_one_request_is_the_same_in_both_framings(cipher: bytes) -> None:
    raw = ap_req(authenticator=encrypted(cipher))
    if len(gss_framed(raw)) > MAX_TOKEN_BYTES:
        return
    plain, framed = ap_request(raw), ap_request(gss_framed(raw))
    assert (plain.framing, framed.framing) == (Framing.RAW, Framing.GSS)
    assert plain.encoded == framed.encoded == raw
    assert plain.gss_token == framed.gss_token == gss_framed(raw)
    assert plain.token_id == framed.token_id


def test_changing_what_no_key_protects_does_not_make_it_another_presentation() -> None:
    """Options and key version are outside the encryption: a thief can change them and the request stays good."""
    original = ap_request(ap_req()).token_id
    assert ap_request(ap_req(options=b"\x20\0\0\0")).token_id == original
    assert ap_request(ap_req(authenticator=encrypted(b"cipher", kvno=7))).token_id == original
    assert ap_request(ap_req(authenticator=encrypted(b"other"))).token_id != original


@pytest.mark.parametrize("mechanism", [SPNEGO, IAKERB, bytes.fromhex("06092a864882f712010202")])
def test_another_mechanism_than_kerberos_is_refused_before_the_library(mechanism: bytes) -> None:
    """SPNEGO, IAKERB, and the wrong number that Microsoft's first implementations used for Kerberos."""
    assert reason(der(0x60, mechanism + b"\x01\x00" + ap_req())) == "the GSS-API mechanism is not Kerberos 5"


@pytest.mark.parametrize("token_id", [b"\x02\x00", b"\x03\x00", b"\x01\x01", b"\x04\x04", b""])
def test_a_token_of_another_step_is_refused(token_id: bytes) -> None:
    assert reason(der(0x60, KRB5 + token_id)) == "the GSS-API token is not an initial one"


def test_a_bare_ticket_proves_nothing() -> None:
    assert reason(der(0x61, b"ticket")).startswith("a bare Kerberos ticket")


@pytest.mark.parametrize("token", [b"\0", b"mallory", b"\x30\x03\x02\x01\x05", b"NTLMSSP\0\x01", b"YIIC"])
def test_other_bytes_are_refused(token: bytes) -> None:
    assert reason(token) == "neither a KRB_AP_REQ nor a GSS-API token"


def test_a_token_longer_than_an_identity_item_is_refused_unread() -> None:
    assert reason(b"\x6e" * (MAX_TOKEN_BYTES + 1)) == "the Kerberos token is longer than an identity item can be"


@pytest.mark.parametrize(
    "token",
    [
        pytest.param(ap_req(version=b"\x04"), id="version 4"),
        pytest.param(ap_req(kind=b"\x0f"), id="says it is an answer"),
        pytest.param(ap_req(more=der(0xA5, b"")), id="a field too many"),
        pytest.param(ap_req(more=der(0xA4, encrypted(b"other"))), id="two authenticators"),
        pytest.param(ap_req(authenticator=encrypted(b"")), id="no ciphertext"),
        pytest.param(ap_req(authenticator=encrypted(b"x") + b"\0"), id="bytes after the authenticator"),
        pytest.param(ap_req() + b"\0", id="a byte after the request"),
        pytest.param(b"\x6e\x81" + ap_req()[1:], id="a length in more bytes than it needs"),
        pytest.param(b"\x6e\x80" + ap_req()[2:] + b"\0\0", id="an indefinite length"),
        pytest.param(b"\x6e\xff" + bytes(200), id="a length of 127 bytes"),
        pytest.param(b"\x6e\x84\xff\xff\xff\xff" + bytes(50), id="four gigabytes announced"),
        pytest.param(b"\x6e", id="a tag alone"),
        pytest.param(der(0x6E, b""), id="nothing inside"),
    ],
)
def test_what_is_not_the_der_of_a_request_is_refused(token: bytes) -> None:
    assert reason(token) == "the KRB_AP_REQ is malformed"
    assert reason(gss_framed(token)) == "the KRB_AP_REQ is malformed"


def test_a_frame_is_as_long_as_it_says() -> None:
    assert reason(gss_framed(ap_req()) + b"\0") == "bytes follow the GSS-API token"
    assert reason(gss_framed(ap_req())[:-1]) == "the frame of the GSS-API token is malformed"


@given(st.binary(max_size=200), st.sampled_from([b"", b"\x6e", b"\x60", b"\x60\x20" + KRB5]))
def test_any_bytes_are_refused_and_raise_nothing_else(rest: bytes, start: bytes) -> None:
    with pytest.raises(AuthenticationFailed):
        ap_request(start + rest)


def test_a_request_cut_anywhere_is_refused() -> None:
    whole = ap_req()
    for framed in (whole, gss_framed(whole)):
        for end in range(len(framed)):
            with pytest.raises(AuthenticationFailed):
                ap_request(framed[:end])
    for end in range(len(whole)):
        with pytest.raises(AuthenticationFailed):
            ap_request(gss_framed(whole[:end]))


def test_the_answer_comes_in_the_framing_of_the_question() -> None:
    ap_rep = der(0x6F, b"answer")
    token = der(0x60, KRB5 + b"\x02\x00" + ap_rep)
    assert server_response(token, Framing.GSS) == token
    assert server_response(token, Framing.RAW) == ap_rep


@pytest.mark.parametrize(
    "token",
    [
        b"",
        b"junk",
        der(0x60, KRB5 + b"\x03\x00" + der(0x7E, b"error")),
        der(0x60, SPNEGO + b"\x02\x00" + der(0x6F, b"")),
        der(0x60, KRB5 + b"\x02\x00" + der(0x6F, b"")) + b"\0",
    ],
)
def test_what_is_no_answer_is_not_passed_on(token: bytes) -> None:
    with pytest.raises(ValueError, match="not a"):
        server_response(token, Framing.RAW)


def test_a_token_does_not_show_in_a_repr() -> None:
    assert "cipher" not in repr(ap_request(ap_req()))
