"""gateway.sip.resolver: URIs to addresses, with a DNS that is made here."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import dns.asyncresolver
import dns.rdatatype
import dns.resolver
import pytest

from gateway.addresses import SipUri
from gateway.sip import resolver
from gateway.sip.resolver import Target, literal, resolve

RECORDS: dict[tuple[str, str], list[object]] = {
    ("_sip._udp.example.com", "SRV"): [
        SimpleNamespace(priority=20, weight=0, target="backup.example.com.", port=5080),
        SimpleNamespace(priority=10, weight=5, target="main.example.com.", port=5070),
    ],
    ("_sip._tcp.stream.example.com", "SRV"): [SimpleNamespace(priority=1, weight=1, target="main.example.com", port=1)],
    ("main.example.com", "A"): ["192.0.2.1"],
    ("main.example.com", "AAAA"): ["2001:db8::1"],
    ("backup.example.com", "A"): ["192.0.2.2"],
    ("plain.example.com", "A"): ["192.0.2.3"],
    ("inside.example.com", "A"): ["10.0.0.1", "192.0.2.4"],
}


@pytest.fixture(autouse=True)
def _dns(monkeypatch: pytest.MonkeyPatch) -> None:
    async def answer(name: str, kind: dns.rdatatype.RdataType) -> list[object]:
        try:
            return RECORDS[name, dns.rdatatype.to_text(kind)]
        except KeyError:
            raise dns.resolver.NXDOMAIN from None

    monkeypatch.setattr(dns.asyncresolver, "resolve", answer)


async def targets(uri: str, **others: object) -> list[Target]:
    return await resolve(SipUri.parse(uri), **others)  # type: ignore[arg-type]


async def test_services_come_by_priority_with_all_their_addresses() -> None:
    assert await targets("sip:a@example.com") == [
        Target("UDP", "192.0.2.1", 5070),
        Target("UDP", "2001:db8::1", 5070),
        Target("UDP", "192.0.2.2", 5080),
    ]
    assert (await targets("sip:stream.example.com"))[0] == Target("TCP", "192.0.2.1", 1)


async def test_a_port_or_no_service_leads_to_plain_addresses() -> None:
    assert await targets("sip:a@plain.example.com:5999;transport=tcp") == [Target("TCP", "192.0.2.3", 5999)]
    assert await targets("sip:a@plain.example.com") == [Target("UDP", "192.0.2.3", 5060)]


async def test_literal_addresses_ask_nobody() -> None:
    assert await targets("sip:[2001:db8::9]:5070") == [Target("UDP", "2001:db8::9", 5070)]
    assert await targets("sip:a@example.com;maddr=192.0.2.9") == [Target("UDP", "192.0.2.9", 5060)]
    assert literal(SipUri.parse("sip:example.com"), lambda _: True) is None


async def test_names_of_this_machine_are_known_without_dns(monkeypatch: pytest.MonkeyPatch) -> None:
    async def hosts(name: str, *_: object, **__: object) -> list[tuple[object, ...]]:
        if name != "pbx":
            raise OSError("no such name")
        return [(0, 0, 0, "", ("192.0.2.8", 0)), (0, 0, 0, "", ("192.0.2.8", 0))]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", hosts)
    assert await targets("sip:pbx") == [Target("UDP", "192.0.2.8", 5060)]
    assert await targets("sip:nobody") == []


async def test_localhost_is_this_machine_whoever_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RECORDS, ("evil.localhost", "A"), ["192.0.2.66"])
    for name in ("localhost", "evil.localhost"):
        assert [target.host for target in await targets(f"sip:{name}")] == ["127.0.0.1", "::1"]


async def test_every_address_needs_a_permit() -> None:
    def public(address: str) -> bool:
        return not address.startswith("10.")

    assert await targets("sip:inside.example.com:5060", permit=public) == [Target("UDP", "192.0.2.4", 5060)]
    assert await targets("sip:10.0.0.1", permit=public) == []


async def test_ways_that_we_do_not_speak_lead_nowhere() -> None:
    for uri in ("sip:a@192.0.2.1;transport=tls", "sips:a@192.0.2.1", "tel:+12025550100", "sips:plain.example.com"):
        assert await targets(uri) == []


async def test_a_slow_dns_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(name: str, kind: dns.rdatatype.RdataType) -> list[object]:
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(dns.asyncresolver, "resolve", never)
    monkeypatch.setattr(resolver, "PATIENCE", 0.01)
    assert await targets("sip:a@example.com") == []


async def test_a_name_that_nobody_knows_leads_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    async def unknown(*_: object, **__: object) -> None:
        raise OSError

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", unknown)
    assert await targets("sip:a@nowhere.example.com:5060") == []
