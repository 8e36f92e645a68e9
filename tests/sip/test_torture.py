"""RFC 4475, all 49 messages: what is read of each, and what the agent answers. The sections are the RFC's."""

from __future__ import annotations

import pytest

from gateway.addresses import SipUri
from gateway.errors import SipError
from gateway.sip.body import sdp_of
from gateway.sip.framing import Framer
from gateway.sip.message import Message, Request, Response
from gateway.sip.parser import MalformedError, parse
from tests.sip.bench import Bench, statuses
from tests.sip.torture import TORTURE, torture

LONG = "amazinglylongcallername" * 5

# The agent's answers: a status, 0 for silence, and a method where the program is given the request. What the RFC leaves
# open is decided thus: white space that leaves one meaning is taken, everything that has two is refused.
OUTCOMES: dict[str, tuple[str, int | str]] = {
    "wsinv": ("3.1.1.1", 481),  # legal, and inside a dialog that is none of ours
    "intmeth": ("3.1.1.2", 501),
    "esc01": ("3.1.1.3", "INVITE"),
    "escnull": ("3.1.1.4", "REGISTER"),
    "esc02": ("3.1.1.5", 501),  # its method is RE%47IST%45R, which is not REGISTER
    "lwsdisp": ("3.1.1.6", "OPTIONS"),
    "longreq": ("3.1.1.7", "INVITE"),
    "dblreq": ("3.1.1.8", "REGISTER"),
    "semiuri": ("3.1.1.9", "OPTIONS"),
    "transports": ("3.1.1.10", "OPTIONS"),
    "mpart01": ("3.1.1.11", "MESSAGE"),
    "unreason": ("3.1.1.12", 0),  # responses to nothing
    "noreason": ("3.1.1.13", 0),
    "badinv01": ("3.1.2.1", 400),
    "clerr": ("3.1.2.2", 400),
    "ncl": ("3.1.2.3", 400),
    "scalar02": ("3.1.2.4", 400),
    "scalarlg": ("3.1.2.5", 0),
    "quotbal": ("3.1.2.6", 400),
    "ltgtruri": ("3.1.2.7", 400),
    "lwsruri": ("3.1.2.8", 400),
    "lwsstart": ("3.1.2.9", "INVITE"),
    "trws": ("3.1.2.10", "OPTIONS"),
    "escruri": ("3.1.2.11", "INVITE"),  # its Route is ignored
    "baddate": ("3.1.2.12", "INVITE"),
    "regbadct": ("3.1.2.13", "REGISTER"),  # its Contact cannot be read
    "badaspec": ("3.1.2.14", "OPTIONS"),
    "baddn": ("3.1.2.15", "OPTIONS"),
    "badvers": ("3.1.2.16", 505),
    "mismatch01": ("3.1.2.17", 400),
    "mismatch02": ("3.1.2.18", 400),
    "bigcode": ("3.1.2.19", 0),
    "badbranch": ("3.2.1", "OPTIONS"),
    "insuf": ("3.3.1", 400),
    "unkscm": ("3.3.2", 416),
    "novelsc": ("3.3.3", 416),
    "unksm2": ("3.3.4", "REGISTER"),
    "bext01": ("3.3.5", 420),
    "invut": ("3.3.6", "INVITE"),  # 415, see below
    "regaut01": ("3.3.7", "REGISTER"),
    "multi01": ("3.3.8", 400),
    "mcl01": ("3.3.9", 400),
    "bcast": ("3.3.10", 0),
    "zeromf": ("3.3.11", "OPTIONS"),  # it may go no further, and needs not
    "cparam01": ("3.3.12", "REGISTER"),
    "cparam02": ("3.3.13", "REGISTER"),
    "regescrt": ("3.3.14", "REGISTER"),
    "sdp01": ("3.3.15", "INVITE"),  # 406, see test_telephony
    "inv2543": ("3.4.1", "INVITE"),
}


def test_all_of_them_are_here() -> None:
    files = sorted(TORTURE.glob("*.sip"))
    assert {path.stem for path in files} == set(OUTCOMES)
    assert len(files) == 49
    for path in files:
        section = OUTCOMES[path.stem][0]
        assert path.read_text(encoding="utf-8").startswith(f"# RFC 4475 section {section}\n"), path


@pytest.mark.parametrize("name", OUTCOMES)
def test_each_is_let_in_refused_or_met_with_silence(name: str) -> None:
    bench, expected = Bench(), OUTCOMES[name][1]
    finals = [code for code in statuses(bench.take(torture(name))) if code >= 200]
    if isinstance(expected, str):
        assert (finals, [request.method for _, request in bench.incoming]) == ([], [expected])
    else:
        assert (finals, bench.incoming) == ([expected] if expected else [], [])
    bench.take(torture("lwsdisp").replace(b"lwsdisp.", b"next.").replace(b"Kkdjuw", b"Knext"))
    assert bench.incoming[-1][1].call_id.startswith("next."), "whatever came before, the next one is taken"
    for usage, _ in bench.incoming:
        bench.close(usage)
    bench.wait(100)
    assert bench.agent.busy == (0, 0)


@pytest.mark.parametrize("name", [n for n, (s, _) in OUTCOMES.items() if s.startswith("3.1.1.") and n != "intmeth"])
def test_what_is_valid_is_written_as_it_was_read(name: str) -> None:
    message = parse(torture(name))
    again = parse(bytes(message))
    assert again.start_line == message.start_line
    assert [(k, v) for k, v in again.headers if k.lower() not in ("content-length", "l")] == [
        (k, v) for k, v in message.headers if k.lower() not in ("content-length", "l")
    ]
    assert again.body == message.body


def request(name: str) -> Request:
    message = parse(torture(name))
    assert isinstance(message, Request)
    return message


def test_3_1_1_1_a_short_tortuous_invite() -> None:
    message = request("wsinv")
    assert message.uri == "sip:vivekg@chair-dnrc.example.com;unknownparam"
    assert (message.to.uri, message.to.tag) == ("sip:vivekg@chair-dnrc.example.com", "1918181833n")
    assert (message.from_.display, message.from_.tag) == ('J Rosenberg \\"', "98asjd8")
    assert message.max_forwards == 68
    assert str(message.cseq) == "9 INVITE"
    hops = message.headers.listed("Via")
    assert [len(hops), message.via.host, message.via.branch] == [3, "192.0.2.2", "390skdjuw"]
    assert message.headers["Subject"] == ""
    assert message.headers["NewFangledHeader"] == "newfangled value continued newfangled value"
    assert message.headers["UnknownHeaderWithUnusualValue"] == ";;,,;;,;"
    assert message.headers.listed("Route") == ["<sip:services.example.com;lr;unknownwith=value;unknown-no-value>"]
    contact = message.contact
    assert contact is not None
    assert (contact.display, contact.uri) == ('Quoted string ""', "sip:jdrosen@example.com")
    assert contact.parameter("newparam") == "newvalue"
    assert contact.parameter("secondparam") == ""
    assert contact.parameter("q") == "0.33"
    assert (sdp_of(message) or "").startswith("v=0\r\n")


def test_3_1_1_2_a_wide_range_of_characters() -> None:
    message = request("intmeth")
    assert message.method == "!interesting-Method0123456789_*+`.%indeed'~"
    assert message.cseq.method == message.method
    assert message.to.display == "BEL:\a NUL: DEL:\x7f", "a NUL is nothing that we pass on"
    assert message.from_.display == "token1~` token2'+_ token3*%!.-"
    assert message.from_.parameter("fromparam''~+*_!.-%") == "работающий"
    assert message.from_.tag == "_token~1'+`*%!-."
    assert message.call_id == "intmeth.word%ZK-!.*_+'@word`~)(><:\\/\"][?}{"
    assert message.headers["extensionHeader-!.%*+_`'~"] == "\ufeff大停電"
    assert message.max_forwards == 255


def test_3_1_1_3_to_5_what_is_escaped_stays_escaped() -> None:
    message = request("esc01")
    assert SipUri.parse(message.uri).user == "sips:user@example.com"
    assert message.from_.user == "I%20have%20spaces"
    assert message.contact is not None
    assert message.contact.uri == "sip:cal%6Cer@host5.example.net;%6C%72;n%61me=v%61lue%25%34%31"
    assert len(request("escnull").headers.listed("Contact")) == 2
    message = request("esc02")
    assert message.method == "RE%47IST%45R"
    assert message.to.display == "%Z%45"
    assert len(message.headers.listed("Contact")) == 2, "C%6Fntact is a field of another name"


def test_3_1_1_6_and_7_little_space_and_much_of_everything() -> None:
    message = request("lwsdisp")
    assert (message.from_.display, message.from_.uri) == ("caller", "sip:caller@example.com")
    message = request("longreq")
    assert len(message.headers.listed("Via")) == 34
    assert message.via.host == "sip33.example.com"
    assert message.from_.user == LONG
    assert len(message.from_.tag or "") == 155
    assert message.to.display == f"I have a user name of {'extreme' * 10} proportion"
    assert message.call_id == f"longreq.one{'really' * 20}longcallid"


def test_3_1_1_8_the_second_request_of_a_datagram_is_ignored_and_that_of_a_stream_is_not() -> None:
    message = request("dblreq")
    assert (message.method, message.body) == ("REGISTER", b"")
    stream = torture("dblreq").replace(b"m =", b"m=").rstrip() + b"\r\n"  # there, what is behind it would count too
    assert [parse(whole, framed=True).call_id.partition(".")[2] for whole in Framer().feed(stream)] == [
        "0ha0isndaksdj99sdfafnl3lk233412",
        "0ha0isnda977644900765@192.0.2.15",
    ]


def test_3_1_1_9_to_11_odd_users_transports_and_bodies() -> None:
    assert SipUri.parse(request("semiuri").uri).user == "user;par=u@example.net"
    message = request("transports")
    assert [hop.split()[0] for hop in message.headers.listed("Via")] == [
        "SIP/2.0/UDP", "SIP/2.0/SCTP", "SIP/2.0/TLS", "SIP/2.0/UNKNOWN", "SIP/2.0/TCP"
    ]  # fmt: skip
    message = request("mpart01")
    assert (message.content_type, len(message.body)) == ("multipart/mixed", 553)
    assert message.body.endswith(b"--7a9cbec02ceef655--\r\n")
    assert b"\r\n\r\n0\x82\x01R\x06\t" in message.body, "octets pass as they came"


def test_3_1_1_12_and_13_reasons() -> None:
    response = parse(torture("unreason"))
    assert isinstance(response, Response)
    assert (response.status, response.reason) == (200, "= 2**3 * 5**2 но сто девяносто девять - простое")
    response = parse(torture("noreason"))
    assert isinstance(response, Response)
    assert response.status == 100


def fault_of(message: Message) -> str:
    for name in ("via", "from_", "to", "cseq", "contact"):
        try:
            getattr(message, name)
        except SipError:
            return name
    return ""


@pytest.mark.parametrize(
    ("name", "part"),
    [("scalar02", "cseq"), ("scalarlg", "cseq"), ("quotbal", "to"), ("regbadct", "contact"), ("insuf", "from_")],
)
def test_a_field_that_cannot_be_read_is_that_field(name: str, part: str) -> None:
    assert fault_of(parse(torture(name))) == part


@pytest.mark.parametrize("name", ["clerr", "ncl", "ltgtruri", "lwsruri", "badvers", "multi01", "mcl01", "badinv01"])
def test_what_the_parser_refuses_it_can_still_answer(name: str) -> None:
    with pytest.raises(MalformedError) as caught:
        parse(torture(name))
    assert caught.value.status == OUTCOMES[name][1]
    assert caught.value.request is not None


def test_what_is_odd_and_has_one_meaning_is_taken() -> None:
    assert request("lwsstart").uri == "sip:user@example.com"
    assert request("trws").uri == "sip:remote-target@example.com"
    assert request("badaspec").to.uri == "sip:t.watson@example.org"
    assert request("baddn").from_.display == "Bell, Alexander"
    assert request("badbranch").via.branch == "z9hG4bK"
    assert SipUri.parse(request("escruri").uri).user == "user"
    assert request("escruri").headers.get("Route") is None


def test_3_3_6_a_body_that_nobody_knows_is_415() -> None:
    with pytest.raises(SipError) as caught:
        sdp_of(request("invut"))
    assert caught.value.status == 415


def test_3_3_5_the_extensions_that_are_not_there_are_named() -> None:
    refusal = Bench().take(torture("bext01"))[0]
    assert "Unsupported: nothingsupportsthis, nothingsupportsthiseither" in refusal


def test_3_3_12_to_14_parameters_of_a_contact_and_of_its_uri() -> None:
    bare, bracketed, escaped = (request(name).contact for name in ("cparam01", "cparam02", "regescrt"))
    assert bare is not None
    assert bracketed is not None
    assert escaped is not None
    assert (bare.uri, bare.parameters) == ("sip:+19725552222@gw1.example.net", (("unknownparam", None),))
    assert (bracketed.uri, bracketed.parameters) == ("sip:+19725552222@gw1.example.net;unknownparam", ())
    assert escaped.uri == "sip:user@example.com?Route=%3Csip:sip.example.com%3E"


def test_3_4_1_a_caller_of_rfc_2543_can_be_told_from_the_next_one() -> None:
    bench = Bench()
    bench.take(torture("inv2543"))
    assert statuses(bench.take(torture("inv2543"))) == [100], "a repeat is answered, not taken"
    assert len(bench.incoming) == 1
    bench.take(torture("inv2543").replace(b"56 INVITE", b"57 INVITE").replace(b"inv2543.1717", b"inv2543.1718"))
    assert len(bench.incoming) == 2
