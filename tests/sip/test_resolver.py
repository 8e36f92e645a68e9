"""gateway.sip.resolver: the search of RFC 3263 against a name server of ours on loopback."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import cast

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest

from gateway.addresses import SipUri
from gateway.sip import resolver
from gateway.sip.locate import Naptr, Question, Srv
from gateway.sip.resolver import Resolver, Target

ZONE = {
    ("example.com.", "NAPTR"): [
        '10 10 "s" "SIP+D2T" "" _sip._tcp.example.com.',
        '20 10 "s" "SIP+D2U" "" _sip._udp.example.com.',
        '5 10 "u" "SIP+E2U" "!^.*$!sip:x@example.com!" .',
    ],
    ("_sip._tcp.example.com.", "SRV"): ["20 0 5080 backup.example.com.", "10 5 5070 main.example.com."],
    ("_sip._udp.plain.example.", "SRV"): ["1 0 0 main.example.com."],  # port 0: nobody can be reached there
    ("_sip._udp.closed.example.", "SRV"): ["0 0 0 ."],
    ("main.example.com.", "A"): ["192.0.2.1"],
    ("main.example.com.", "AAAA"): ["2001:db8::1"],
    ("backup.example.com.", "A"): ["192.0.2.2"],
    ("plain.example.", "A"): ["192.0.2.3"],
    ("closed.example.", "A"): ["192.0.2.4"],
    ("inside.example.", "A"): ["10.0.0.1", "192.0.2.5"],
    ("3.2.1.0.5.5.5.2.0.2.1.e164.arpa.", "NAPTR"): [
        '100 20 "u" "E2U+sip" "!^.*$!sip:info@plain.example!" .',
        r'100 10 "U" "E2U+sip" "!^\\+1(.*)$!sip:\\1@plain.example!" .',
        '100 5 "u" "E2U+email:mailto" "!^.*$!mailto:info@plain.example!" .',
    ],
    ("4.2.1.0.5.5.5.2.0.2.1.e164.arpa.", "NAPTR"): [
        '100 5 "u" "E2U+email:mailto" "!^.*$!mailto:info@plain.example!" .'
    ],
    ("4.2.1.0.5.5.5.2.0.2.1.private.example.", "NAPTR"): ['1 1 "u" "E2U+pstn:sip" "!^.*$!sip:x@plain.example!" .'],
}


class NameServer(asyncio.DatagramProtocol):
    """`asked` has every question in order; what is in `drops` is never answered, whatever ends with `fails` badly."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.drops: set[str] = set()
        self.fails = "."
        self.port = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        query = dns.message.from_wire(data)
        question = query.question[0]
        name, kind = question.name.to_text().lower(), dns.rdatatype.to_text(question.rdtype)
        self.asked.append((name, kind))
        if kind in self.drops:
            return
        answer = dns.message.make_response(query)
        answer.flags |= dns.flags.AA | dns.flags.RA
        records = ZONE.get((name, kind))
        if self.fails != "." and name.endswith(self.fails):
            answer.set_rcode(dns.rcode.SERVFAIL)
        elif records:
            answer.answer.append(dns.rrset.from_text(name, 300, "IN", kind, *records))
        else:
            known = any(name == other for other, _ in ZONE)
            answer.set_rcode(dns.rcode.NOERROR if known else dns.rcode.NXDOMAIN)
            answer.authority.append(dns.rrset.from_text("example.", 300, "IN", "SOA", "ns. host. 1 2 3 4 300"))
        self.transport.sendto(answer.to_wire(), addr)


@pytest.fixture
async def server() -> AsyncIterator[NameServer]:
    made = NameServer()
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(lambda: made, ("127.0.0.1", 0))
    made.port = transport.get_extra_info("sockname")[1]
    yield made
    transport.close()


def resolving(server: NameServer) -> Resolver:
    return Resolver([("127.0.0.1", server.port)], chance=lambda: 0.0)


async def test_a_domain_is_found_by_its_services(server: NameServer) -> None:
    assert await resolving(server).resolve(SipUri.parse("sip:a@example.com")) == [
        Target("TCP", "192.0.2.1", 5070),
        Target("TCP", "2001:db8::1", 5070),
        Target("TCP", "192.0.2.2", 5080),
    ]
    assert server.asked[:2] == [("example.com.", "NAPTR"), ("_sip._tcp.example.com.", "SRV")]


async def test_answers_are_remembered_and_that_there_is_none_too(server: NameServer) -> None:
    resolver = resolving(server)
    for _ in range(3):
        assert await resolver.resolve(SipUri.parse("sip:a@plain.example")) == [Target("UDP", "192.0.2.3", 5060)]
    assert sorted(server.asked) == [
        ("_sip._tcp.plain.example.", "SRV"),
        ("_sip._udp.plain.example.", "SRV"),
        ("plain.example.", "A"),
        ("plain.example.", "AAAA"),
        ("plain.example.", "NAPTR"),
    ]


async def test_records_come_in_our_words(server: NameServer) -> None:
    resolver = resolving(server)
    assert set(await resolver.ask(Question("example.com", "NAPTR"))) == {
        Naptr(10, 10, "s", "SIP+D2T", "_sip._tcp.example.com"),
        Naptr(20, 10, "s", "SIP+D2U", "_sip._udp.example.com"),
    }
    assert await resolver.ask(Question("_sip._udp.closed.example", "SRV")) == [Srv(0, 0, 0, "")]
    assert await resolver.ask(Question("_sip._udp.plain.example", "SRV")) == []
    assert await resolver.ask(Question("a..b", "A")) == ()
    assert await resolver.ask(Question("x" * 70 + ".example", "A")) == ()


async def test_a_service_that_is_not_there_is_not_looked_for_elsewhere(server: NameServer) -> None:
    assert await resolving(server).resolve(SipUri.parse("sip:a@closed.example")) == []


async def test_every_address_needs_a_permit(server: NameServer) -> None:
    uri = SipUri.parse("sip:inside.example:5060")
    targets = await resolving(server).resolve(uri, lambda address: not address.startswith("10."))
    assert targets == [Target("UDP", "192.0.2.5", 5060)]


async def test_a_slow_dns_is_not_waited_for(server: NameServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolver, "PATIENCE", 0.05)
    server.drops = {"NAPTR", "SRV", "A", "AAAA"}
    assert await resolving(server).resolve(SipUri.parse("sip:a@example.com")) == []
    assert server.asked


async def test_a_resolver_that_drops_what_it_does_not_know_is_asked_around(
    server: NameServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolver, "SERVICES", {"NAPTR": 0.05, "SRV": 0.05})
    server.drops = {"NAPTR", "SRV"}
    resolving_ = resolving(server)
    for _ in range(2):
        assert await resolving_.resolve(SipUri.parse("sip:a@plain.example")) == [Target("UDP", "192.0.2.3", 5060)]
    assert server.asked.count(("plain.example.", "NAPTR")) == 1  # and not again for a while


async def test_names_of_this_machine_are_known_without_dns(server: NameServer, monkeypatch: pytest.MonkeyPatch) -> None:
    async def hosts(name: str, *_: object, **__: object) -> list[tuple[object, ...]]:
        if name != "pbx":
            raise OSError("no such name")
        return [(0, 0, 0, "", ("192.0.2.8", 0)), (0, 0, 0, "", ("192.0.2.8", 0))]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", hosts)
    assert await resolving(server).resolve(SipUri.parse("sip:pbx")) == [Target("UDP", "192.0.2.8", 5060)]
    assert await resolving(server).resolve(SipUri.parse("sip:nobody")) == []
    assert await resolving(server).resolve(SipUri.parse("sip:nowhere.example:5060")) == []


async def test_everybody_shares_one_memory() -> None:
    assert resolver.shared() is resolver.shared()
    assert await resolver.resolve(SipUri.parse("sip:192.0.2.1")) == [Target("UDP", "192.0.2.1", 5060)]


NUMBER = "+12025550123"
LISTED = (SipUri.parse("sip:2025550123@plain.example"), SipUri.parse("sip:info@plain.example"))


async def test_a_number_has_the_addresses_that_dns_has_for_it(server: NameServer) -> None:
    resolver = resolving(server)
    for _ in range(3):
        assert await resolver.enum(NUMBER, ["e164.arpa"]) == LISTED
    assert server.asked == [("3.2.1.0.5.5.5.2.0.2.1.e164.arpa.", "NAPTR")]  # and then it is remembered


async def test_a_number_that_is_not_listed_has_none(server: NameServer) -> None:
    resolver = resolving(server)
    for number in ("+12025550199", "+12025550124"):  # there is nothing, and there is nothing for SIP
        for _ in range(2):
            assert await resolver.enum(number, ["e164.arpa"]) == ()
    assert len(server.asked) == 2


async def test_suffixes_are_asked_one_after_the_other(server: NameServer) -> None:
    found = await resolving(server).enum("+12025550124", ["e164.arpa", "private.example"])
    assert found == (SipUri.parse("sip:x@plain.example"),)
    assert await resolving(server).enum(NUMBER, ["e164.arpa", "private.example"]) == LISTED


async def test_that_nobody_answers_is_told_from_that_a_number_is_not_listed(server: NameServer) -> None:
    server.fails = "e164.arpa."
    resolver = resolving(server)
    assert await resolver.enum(NUMBER, ["e164.arpa"]) == f"DNS did not answer for {NUMBER} below e164.arpa"
    found = await resolver.enum("+12025550124", ["e164.arpa", "private.example"])
    assert found == (SipUri.parse("sip:x@plain.example"),)


async def test_a_suffix_that_is_silent_is_not_waited_for_by_every_call(
    server: NameServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolver, "ENUM", 0.05)
    server.drops = {"NAPTR"}
    silent = resolving(server)
    for _ in range(3):
        assert isinstance(await silent.enum(NUMBER, ["e164.arpa"]), str)
    assert len(server.asked) == 1


async def test_whoever_names_no_resolver_asks_that_of_the_process(
    server: NameServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolver, "_shared", resolving(server))
    assert await resolver.resolve(SipUri.parse("sip:a@plain.example")) == [Target("UDP", "192.0.2.3", 5060)]


async def test_a_name_has_all_its_addresses_for_comparing(server: NameServer) -> None:
    assert await resolving(server).hosts(SipUri.parse("sip:a@inside.example")) == {"10.0.0.1", "192.0.2.5"}
    assert await resolving(server).hosts(SipUri.parse("sip:a@192.0.2.7")) == {"192.0.2.7"}


async def test_a_name_server_that_is_silent_leaves_time_for_the_next_one(
    server: NameServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolver, "TURN", 0.05)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mute:
        mute.bind(("127.0.0.1", 0))
        both = Resolver([mute.getsockname(), ("127.0.0.1", server.port)], chance=lambda: 0.0)
        assert [target.host for target in await both.resolve(SipUri.parse("sip:a@example.com"))] == [
            "192.0.2.1",
            "2001:db8::1",
            "192.0.2.2",
        ]
        assert await both.enum(NUMBER, ["e164.arpa"]) == LISTED
        assert mute.recv(512, socket.MSG_DONTWAIT)  # it was asked before


@pytest.mark.parametrize("servers", [1, 2, 3])
def test_services_that_no_name_server_answers_for_leave_time_for_addresses(servers: int) -> None:
    several = Resolver([("127.0.0.1", 53)] * servers)
    assert several.patience - sum(map(several._lifetime, resolver.SERVICES.values())) >= 2.0
