"""gateway.sip.message: reading tolerantly, writing strictly. Vectors are those of RFC 4475 and of real programs."""

from __future__ import annotations

import pytest

from gateway.errors import SipError
from gateway.sip.message import Headers, Request, Response, canonical, respond
from gateway.sip.parser import parse

MINIMAL = (
    "OPTIONS sip:gw@gw.example SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bKa\r\nFrom: <sip:a@b>;tag=1\r\n"
    "To: <sip:gw@gw.example>\r\nCall-ID: x\r\nCSeq: 1 OPTIONS\r\n"
)


def test_what_is_read_is_written_back() -> None:
    data = (
        MINIMAL + "Record-Route: <sip:p1;lr>,  <sip:p2;lr>\r\nX-Odd:\tvalue  \r\nContent-Length: 2\r\n\r\nhi"
    ).encode()
    message = parse(data)
    assert bytes(message) == data.replace(b"\tvalue  ", b" value")
    assert message.headers.all("Record-Route") == ["<sip:p1;lr>,  <sip:p2;lr>"]
    assert message.headers.listed("record-route") == ["<sip:p1;lr>", "<sip:p2;lr>"]


def test_octets_that_are_no_utf_8_survive() -> None:
    data = MINIMAL.encode() + b"Subject: \xff\xfe\r\nContent-Length: 0\r\n\r\n"
    assert bytes(parse(data)) == data


def test_compact_forms_and_case_are_one_name() -> None:
    message = parse(
        b"MESSAGE sip:a@b SIP/2.0\r\nv: SIP/2.0/UDP h;branch=z9hG4bKa\r\nf: <sip:a@b>;tag=1\r\nt: <sip:a@b>\r\n"
        b"i: x\r\nCSEQ: 1 MESSAGE\r\nm: <sip:a@c>\r\nl: 0\r\n\r\n"
    )
    assert message.call_id == "x"
    assert message.via.host == "h"
    assert message.headers["Contact"] == "<sip:a@c>"
    assert message.cseq.method == "MESSAGE"
    assert canonical("K") == "supported"


@pytest.mark.parametrize("evil", ["a\r\nX: y", "a\nX: y", "a\rb", "a\0b"])
def test_no_field_can_break_the_framing(evil: str) -> None:
    for message in (
        Request("OPTIONS", "sip:a", Headers([("Subject", evil)])),
        Request("OPTIONS", evil),
        Response(200, evil),
        Response(200, "", Headers([(evil, "x")])),
    ):
        with pytest.raises(ValueError, match="line break"):
            bytes(message)


def test_responses_copy_what_the_rfc_copies() -> None:
    request = parse(MINIMAL.encode() + b"Via: SIP/2.0/UDP h2;branch=z9hG4bKb\r\nTimestamp: 5\r\nSubject: no\r\n\r\n")
    assert isinstance(request, Request)
    trying = respond(request, 100, tag="t")
    assert trying.headers["To"] == "<sip:gw@gw.example>"
    assert trying.headers["Timestamp"] == "5"
    ok = respond(request, 200, tag="t")
    assert len(ok.headers.all("Via")) == 2
    assert ok.to.tag == "t"
    assert "Subject" not in ok.headers
    request.headers.add("CSeq", "9 BYE")
    assert len(respond(request, 400).headers.all("CSeq")) == 1, "the answer to a request with two can be read"
    request.headers.set("To", "<sip:gw@gw.example>;TAG=theirs")
    assert respond(request, 200, tag="t").to.tag == "theirs"
    request.headers.set("To", "nonsense")
    assert respond(request, 200, tag="t").headers["To"] == "nonsense;tag=t"


def test_headers_are_a_list_with_lookups() -> None:
    headers = Headers([("Via", "1"), ("X", "a"), ("v", "2")])
    headers.prepend("VIA", "0")
    headers.replace_first("Via", "zero")
    assert headers.all("via") == ["zero", "1", "2"]
    headers.set("Via", "only")
    headers.set("New", "n")
    assert list(headers) == [("Via", "only"), ("X", "a"), ("New", "n")]
    headers.remove("x")
    assert ("X" in headers, 3 in headers, len(headers)) == (False, False, 2)
    assert headers.get("x", "default") == "default"
    with pytest.raises(KeyError):
        headers["X"]
    assert headers.copy().tokens("New") == {"n"}


def test_the_views_of_a_message() -> None:
    request = parse(MINIMAL.encode() + b"Contact: *\r\nContent-Type: Application/SDP; x=y\r\nMax-Forwards: 9\r\n\r\n")
    assert isinstance(request, Request)
    assert request.contact is None
    assert request.content_type == "application/sdp"
    assert request.max_forwards == 9
    assert request.from_details.user == "a"
    assert request.to_details.host == "gw.example"
    assert request.contact_details is None
    assert request.payload == ""
    assert repr(request) == "<OPTIONS x 1 OPTIONS>"
    for wrong in ("-1", "256", "x", "1000"):
        request.headers.set("Max-Forwards", wrong)
        with pytest.raises(SipError):
            _ = request.max_forwards
    response = Response(486, "", Headers([("CSeq", "1 INVITE")]))
    assert (response.label, response.status_code, response.method) == ("486 Busy Here", 486, "INVITE")
    with pytest.raises(SipError):
        _ = response.call_id
