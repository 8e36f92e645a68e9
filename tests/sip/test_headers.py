"""gateway.sip.headers: values with `parse` and `__str__`."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import SipError
from gateway.sip.headers import AuthField, CSeq, NameAddr, Reason, Via, host_port, pairs, quote, split, unquote


def test_quotes_and_brackets_hide_separators() -> None:
    assert split('"a,b" <sip:x,y>, <sip:z>;p=",",,', ",") == ['"a,b" <sip:x,y>', '<sip:z>;p=","']
    assert split('a "\\",", b', ",") == ['a "\\","', "b"]
    assert split("a, b, c", ",", limit=1) == ["a"]
    assert split('"open, for ever', ",") == ['"open, for ever']
    assert split("<open, for ever", ",") == ["<open, for ever"]


def test_plain_text_is_split_in_the_same_way() -> None:
    assert split(" a ,, b>c,", ",") == ["a", "b>c"]
    assert split("a,,b,c", ",", limit=2) == ["a", "b"]
    assert split("", ",") == []


@given(st.text(max_size=60))
def test_what_is_quoted_comes_back(text: str) -> None:
    flat = text.replace("\r", " ").replace("\n", " ").replace("\0", " ")
    assert unquote(quote(text)) == flat
    assert split(quote(text), ",") == [quote(text)]


def test_pairs() -> None:
    assert pairs(';A=1;b ; c = "x;y";=', ";") == (("a", "1"), ("b", None), ("c", "x;y"), ("", ""))


ADDRESSES = [
    ("sip:a@b;tag=1", NameAddr("sip:a@b", "", (("tag", "1"),))),
    ("<sip:a@b;transport=tcp>;TAG=x", NameAddr("sip:a@b;transport=tcp", "", (("tag", "x"),))),
    ('"A \\"B\\" <C>" <sip:a@b>', NameAddr("sip:a@b", 'A "B" <C>')),
    ("A. Bell<sip:a@b>", NameAddr("sip:a@b", "A. Bell")),
    ("SIP:u@pbx_1", NameAddr("SIP:u@pbx_1")),
    ("<sip:a@b?Subject=x>", NameAddr("sip:a@b?Subject=x")),
    ("<tel:+12025550100>", NameAddr("tel:+12025550100")),
]


@pytest.mark.parametrize(("text", "value"), ADDRESSES)
def test_addresses_are_read_and_round_trip(text: str, value: NameAddr) -> None:
    assert NameAddr.parse(text) == value
    assert NameAddr.parse(str(value)) == value


@pytest.mark.parametrize("text", ["", "nothing", "<sip:a@b", "<>", "<sip:>", "<sip:a b@c>", '"open <sip:a@b>', "<:x>"])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(SipError):
        NameAddr.parse(text)


def test_what_a_contact_of_aiosip_offers() -> None:
    address = NameAddr.from_header("sip:juliet:pw@[2001:DB8::1]:5070;x")
    assert (address.user, address.host, address.port) == ("juliet", "2001:db8::1", 5070)
    assert NameAddr.from_header("<sip:host>").user is None
    assert address.with_tag("t").tag == "t"
    assert address.with_tag("t").with_tag("u").parameters == (("x", None), ("tag", "u"))
    assert address.parameter("x") == ""
    assert address.tag is None


VIAS = [
    (
        "SIP / 2.0 / UDP  192.0.2.1 : 5061 ;branch= z9hG4bKx;rport",
        Via("UDP", "192.0.2.1", 5061, (("branch", "z9hG4bKx"), ("rport", None))),
    ),
    (
        "SIP/2.0/tcp [2001:db8::1];received=2001:db8::2",
        Via("TCP", "2001:db8::1", None, (("received", "2001:db8::2"),)),
    ),
    ("SIP/2.0/UDP 192.0.2.1:99999", Via("UDP", "192.0.2.1", None)),
    ("SIP/2.0/UDP 2001:db8::1", Via("UDP", "2001:db8::1", None)),
]


@pytest.mark.parametrize(("text", "value"), VIAS)
def test_vias_are_read_and_round_trip(text: str, value: Via) -> None:
    assert Via.parse(text) == value
    assert Via.parse(str(value)) == value


def test_the_parts_of_a_via() -> None:
    via = VIAS[0][1]
    assert (via.branch, via.sent_by) == ("z9hG4bKx", "192.0.2.1:5061")
    assert (VIAS[1][1].branch, VIAS[1][1].sent_by) == ("", "[2001:db8::1]")


@pytest.mark.parametrize(
    "text", ["", "SIP/2.0/UDP", "SIP/2.0 host", "HTTP/2.0/UDP h", "SIP/3.0/UDP h", "SIP/2.0/UDP :5"]
)
def test_what_is_no_via(text: str) -> None:
    with pytest.raises(SipError):
        Via.parse(text)


def test_hosts_and_ports() -> None:
    assert host_port("Example.COM:5060") == ("example.com", 5060)
    assert host_port("h:0") == ("h", None)
    assert host_port("h:x") == ("h", None)


def test_cseq() -> None:
    assert str(CSeq.parse(" 0009\tINVITE ")) == "9 INVITE"
    for wrong in ("", "1", "x INVITE", "1 2 3", "2147483648 INVITE", "9" * 5000 + " INVITE", "-1 INVITE", "² INVITE"):
        with pytest.raises(SipError):
            CSeq.parse(wrong)


def test_reasons() -> None:
    reason = Reason("Q.850", 16, 'it "ended"')
    assert Reason.parse(str(reason)) == reason
    assert str(Reason("SIP", 200)) == "SIP;cause=200"
    for wrong in ("", "Q.850", "Q.850;cause=x", "Q.850;cause=99999"):
        with pytest.raises(SipError):
            Reason.parse(wrong)


def test_authentication_fields_with_commas_and_quotes_inside() -> None:
    read = AuthField.parse('Digest realm="a, \\"b\\"",nonce="==", qop="auth,auth-int" , stale=FALSE')
    assert read.scheme == "Digest"
    assert read.parameter("realm") == 'a, "b"'
    assert read.parameter("qop") == "auth,auth-int"
    assert read.parameter("stale") == "FALSE"
    assert AuthField.parse("NTLM").parameters == ()
