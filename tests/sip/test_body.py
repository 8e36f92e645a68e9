"""gateway.sip.body: SDP alone and in multipart, digits in INFO."""

from __future__ import annotations

import pytest

from gateway.errors import SipError
from gateway.session import sdp
from gateway.session.model import Session
from gateway.sip.body import (
    MAX_DEPTH,
    PICTURE,
    PICTURE_TYPE,
    Description,
    asks_picture,
    digit_body,
    dtmf_of,
    sdp_of,
    session_of,
    takes_sdp,
    with_place,
)
from gateway.sip.message import Headers, Message, Request
from tests.sip.wire import SDP


def message(kind: str, body: bytes, **others: str) -> Message:
    fields = {"Content-Type": kind, **{name.replace("_", "-"): value for name, value in others.items()}}
    return Request("INVITE", "sip:a", Headers((n, v) for n, v in fields.items() if v), body)


MULTIPART = (
    b"--b1\r\nContent-Type: application/ISUP;version=x\r\n\r\n\x01\x10\r\n"
    b"--b1\r\nContent-Type: Application/SDP\r\nContent-Disposition: session\r\n\r\nv=0\r\n\r\n--b1--\r\n"
)


@pytest.mark.parametrize(
    ("accept", "taken"),
    [
        ((), True),
        (("application/sdp",), True),
        (("text/plain, Application/SDP;level=1",), True),
        (("text/*", "application/*;q=0.1"), True),
        (("*/*",), True),
        (("text/nobodyKnowsThis",), False),  # RFC 4475 section 3.3.15
    ],
)
def test_who_names_what_he_accepts_accepts_nothing_else(accept: tuple[str, ...], taken: bool) -> None:
    headers = Headers(("Accept", value) for value in accept)
    assert takes_sdp(Request("INVITE", "sip:a@b", headers)) is taken


def test_a_description_alone_or_among_others() -> None:
    assert sdp_of(message("application/sdp; charset=x", b"v=0\r\n")) == "v=0\r\n"
    assert sdp_of(message("", b"")) is None
    assert sdp_of(message('multipart/mixed;boundary="b1"', MULTIPART)) == "v=0\r\n"
    assert sdp_of(message("application/sdp", b"v=0", Content_Encoding="identity")) == "v=0"


def nested(depth: int) -> tuple[str, bytes]:
    kind, body = "application/sdp", b"v=0"
    for level in range(depth):
        body = f"--b{level}\r\nContent-Type: {kind}\r\n\r\n".encode() + body + f"\r\n--b{level}--\r\n".encode()
        kind = f'multipart/alternative;boundary="b{level}"'
    return kind, body


def test_a_description_may_be_in_a_body_that_is_in_a_body() -> None:
    for depth in range(1, MAX_DEPTH + 1):
        assert sdp_of(message(*nested(depth))) == "v=0"
    with pytest.raises(SipError):
        sdp_of(message(*nested(MAX_DEPTH + 1)))


def test_a_body_that_need_not_be_understood_is_none() -> None:
    """RFC 3261 §20.11."""
    optional = message("application/isup", b"\x01", Content_Disposition="signal; Handling=optional")
    assert sdp_of(optional) is None
    with pytest.raises(SipError):
        sdp_of(message("application/isup", b"\x01", Content_Disposition="signal;handling=required"))


@pytest.mark.parametrize(
    ("kind", "body", "encoding"),
    [
        ("text/plain", b"hello", ""),
        ("", b"v=0", ""),
        ("application/sdp", b"v=0", "gzip"),
        ("multipart/mixed", MULTIPART, ""),
        ("multipart/mixed;boundary=other", MULTIPART, ""),
        ("multipart/mixed;boundary=b1", b"--b1\r\n\r\nplain\r\n--b1--", ""),
        (f"multipart/mixed;boundary={'b' * 71}", MULTIPART, ""),
    ],
)
def test_what_is_no_description_is_415(kind: str, body: bytes, encoding: str) -> None:
    with pytest.raises(SipError) as caught:
        sdp_of(message(kind, body, Content_Encoding=encoding))
    assert caught.value.status == 415


def test_a_place_goes_beside_the_description_and_who_does_not_know_it_finds_the_description() -> None:
    kind, body = with_place("v=0\r\ns=-\r\n", "<presence>\n  <geopriv/>\n</presence>\n", "place@gw.example", "b0")
    assert kind == 'multipart/mixed;boundary="b0"'
    assert sdp_of(message(kind, body)) == "v=0\r\ns=-\r\n"
    assert body.decode().split("\r\n") == [
        *("--b0", "Content-Type: application/sdp", "", "v=0", "s=-", ""),
        *("--b0", "Content-Type: application/pidf+xml", "Content-ID: <place@gw.example>"),
        *("Content-Disposition: by-reference;handling=optional", "", "<presence>", "  <geopriv/>", "</presence>", ""),
        *("--b0--", ""),
    ]


@pytest.mark.parametrize(
    ("kind", "body", "expected"),
    [
        ("application/dtmf-relay", b"Signal=5\r\nDuration=160\r\n", ("5", 160)),
        ("application/dtmf-relay", b"signal = 11\nduration = 99999", ("#", 6000)),
        ("application/dtmf-relay", b"Signal=d\r\nDuration=x", ("D", 100)),
        ("application/dtmf-relay", b"Signal=flash", ("", 100)),
        ("application/dtmf-relay", b"Duration=1", ("", 40)),
        ("application/dtmf", b"*\r\n", ("*", 100)),
        ("text/plain", b"5", None),
    ],
)
def test_digits(kind: str, body: bytes, expected: tuple[str, int] | None) -> None:
    assert dtmf_of(message(kind, body)) == expected


@pytest.mark.parametrize(("digit", "duration"), [("5", 160), ("#", 40), ("D", 6000)])
def test_a_digit_of_ours_is_read_as_it_was_meant(digit: str, duration: int) -> None:
    written = digit_body(digit, duration).encode()
    assert dtmf_of(message("application/dtmf-relay", written)) == (digit, duration)


def test_a_session_is_read_or_refused_with_a_status() -> None:
    def of(kind: str, content: str) -> Session | None:
        return session_of(Request("INVITE", "sip:a", Headers([("Content-Type", kind)]), content.encode()))

    assert of("", "") is None
    assert of("application/sdp", SDP) == sdp.parse(SDP)
    for kind, content, status in (("application/sdp", "v=nonsense", 488), ("text/plain", "hello", 415)):
        with pytest.raises(SipError) as raised:
            of(kind, content)
        assert raised.value.status == status


def test_a_description_keeps_its_id_and_counts_its_changes() -> None:
    description, session = Description("77"), sdp.parse(SDP)
    first = description.write(session)
    assert first == description.write(session)
    assert "o=- 77 0 IN" in first
    moved = sdp.parse(SDP.replace("40000", "40002"))
    assert "o=- 77 1 IN" in description.write(moved)
    assert "o=- 77 2 IN" in description.write(session)


def test_a_phone_that_needs_a_whole_picture_is_understood_as_we_say_it() -> None:
    assert asks_picture(message(PICTURE_TYPE, PICTURE.encode()))
    assert not asks_picture(message(PICTURE_TYPE, b"<media_control/>"))
    assert not asks_picture(message("application/dtmf", b"picture_fast_update"))
