"""What a user's contact list and address book see of the gateway, through a real server and slixmpp's own caps."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any, Literal
from xml.etree import ElementTree as ET

import pytest

from tests.interop.client.client import Client
from tests.interop.peers.gateway import Gateway
from tests.interop.peers.process import PATIENCE
from tests.interop.peers.server import Server
from tests.interop.peers.servers import ON_EVERY_SERVER

NUMBER = "+12025550123"
PREMIUM = "+19005550123"
PLAN = """
[numbers]
region = "US"

[emergency]
action = "refuse"

[[trunk]]
name = "carrier"
proxy = "sip:127.0.0.3:5060"

[[route]]
name = "no premium numbers"
match = { kind = "number", type = "premium_rate" }
refuse = "no premium numbers"

[[route]]
name = "numbers"
match = { kind = "number", from = ["juliet@shakespeare.lit"] }
via = "carrier"

[[route]]
name = "test line"
match = { kind = "name", name = "echo" }
via = "echo"
"""


@pytest.fixture
async def gateway(server: Server) -> Any:
    async with Gateway(server, PLAN) as process:
        yield await process.ready()


@contextlib.asynccontextmanager
async def away(gateway: Gateway) -> AsyncIterator[None]:
    """The gateway stops, and starts again afterwards with what it has kept."""
    await gateway.child.__aexit__()
    try:
        yield
    finally:
        lines, gateway.child.ended = len(gateway.child.lines), False
        await gateway.child.__aenter__()
    await gateway.child.line(r'"event": ?"ready"', after=lines)


async def gone(client: Client, contact: str) -> None:
    """Waits until every resource of this bare JID has said that it goes; an error is what the server says of one that
    is away.
    """

    def found() -> bool:
        seen = [p for jid, p in client.presences.items() if jid.partition("/")[0] == contact]
        return bool(seen) and all(presence.get("type") in ("unavailable", "error") for presence in seen)

    await client._until(found, f"{contact} is still there", PATIENCE)


async def announced(client: Client, jid: str) -> set[str]:
    """The features that the caps in this JID's presence stand for, asked by their node and checked by slixmpp."""
    caps: Any = client.xmpp.plugin["xep_0115"]
    element = client.presences[jid].find("{http://jabber.org/protocol/caps}c")
    assert element is not None
    node = f"{element.get('node')}#{element.get('ver')}"
    disco: Any = client.xmpp.plugin["xep_0030"]
    answer = await disco.get_info(jid=jid, node=node, timeout=PATIENCE)
    assert answer["disco_info"]["node"] == node
    assert caps.generate_verstring(answer["disco_info"], "sha-1") == element.get("ver")
    return {str(feature) for feature in answer["disco_info"]["features"]}


async def asked(client: Client, to: str, payload: ET.Element, kind: Literal["get", "set"] = "get") -> ET.Element:
    iq: Any = client.xmpp.make_iq(ito=to, itype=kind)
    iq.append(payload)
    return (await iq.send(timeout=PATIENCE)).xml  # type: ignore[no-any-return]


@ON_EVERY_SERVER
async def test_a_contact_is_there_before_and_after_a_restart_of_the_gateway(juliet: Client, gateway: Gateway) -> None:
    contact = gateway.contact(NUMBER)
    jid = await juliet.add(contact)
    assert "urn:xmpp:jingle:apps:rtp:audio" in await announced(juliet, jid)
    await asyncio.wait_for(in_roster(juliet, contact, "both"), PATIENCE)
    await juliet.features(gateway.server.component)  # before its answer the gateway has heard that it may see her
    async with away(gateway):
        await gone(juliet, contact)
    assert await juliet.sees(contact) == jid
    juliet.xmpp.send_presence(pto=contact, ptype="unsubscribe")
    await gone(juliet, contact)
    await juliet.features(gateway.server.component)  # what the gateway said before its answer has come by then
    await gone(juliet, contact)


@ON_EVERY_SERVER
async def test_what_she_approves_while_the_gateway_is_away_is_known_when_it_is_back(
    juliet: Client, gateway: Gateway
) -> None:
    """Otherwise her server's broadcasts would be taken for presence that she sends, and answered."""
    contact, asked = gateway.contact(NUMBER), asyncio.Event()
    juliet.xmpp.auto_authorize = None  # a person who is asked
    juliet.xmpp.add_event_handler("presence_subscribe", lambda _: asked.set())
    jid = await juliet.add(contact)
    await asyncio.wait_for(asked.wait(), PATIENCE)
    async with away(gateway):
        await gone(juliet, contact)
        juliet.xmpp.send_presence(pto=contact, ptype="subscribed")
        await asyncio.wait_for(in_roster(juliet, contact, "both"), PATIENCE)
    assert await juliet.sees(contact) == jid
    await juliet.features(gateway.server.component)  # before its answer the gateway has heard that it may see her
    juliet.xmpp.send_presence(pto=contact, ptype="unsubscribe")
    await asyncio.wait_for(in_roster(juliet, contact, "from"), PATIENCE)
    await gone(juliet, contact)
    juliet.xmpp.send_presence(pshow="away")
    await juliet.features(gateway.server.component)  # what the gateway said before its answer has come by then
    await gone(juliet, contact)


async def test_a_button_lights_for_what_the_dialplan_allows(juliet: Client, gateway: Gateway) -> None:
    jids = [await juliet.add(gateway.contact(local)) for local in (NUMBER, PREMIUM)]
    allowed, refused = [await announced(juliet, jid) for jid in jids]
    assert {"urn:xmpp:jingle:1", "urn:xmpp:jingle-message:0"} <= allowed
    assert not [feature for feature in refused if "jingle" in feature]
    juliet.presences.clear()
    assert await juliet.request_presence(gateway.contact(PREMIUM)) == gateway.contact(PREMIUM)
    assert await announced(juliet, gateway.contact(PREMIUM)) == allowed


async def test_only_who_may_dial_sees_a_telephone_gateway(juliet: Client, gateway: Gateway, server: Server) -> None:
    async with Client(*server.account("romeo")) as romeo:
        for client, expected in ((juliet, {"pstn", "simple"}), (romeo, {"simple"})):
            assert await client.add(server.component) == server.component
            disco: Any = client.xmpp.plugin["xep_0030"]
            info = (await disco.get_info(jid=server.component, timeout=PATIENCE))["disco_info"]
            assert {kind for category, kind, *_ in info["identities"] if category == "gateway"} == expected


async def test_an_address_book_finds_number_picture_and_address(juliet: Client, gateway: Gateway) -> None:
    contact = gateway.contact(NUMBER)
    card = (await asked(juliet, contact, ET.Element("{vcard-temp}vCard")))[0]
    assert card.findtext("{vcard-temp}FN") == "+1 202-555-0123"
    assert card.findtext("{vcard-temp}PHOTO/{vcard-temp}TYPE") == "image/png"
    assert await juliet.sees(contact), "the first word was answered with presence too"
    query = ET.Element("{jabber:iq:gateway}query")
    ET.SubElement(query, "{jabber:iq:gateway}prompt").text = "+1 (202) 555-0123"
    answer = await asked(juliet, gateway.server.component, query, "set")
    assert answer[0].findtext("{jabber:iq:gateway}jid") == contact


async def test_a_registered_user_has_the_gateway_in_his_contact_list(juliet: Client, gateway: Gateway) -> None:
    domain = gateway.server.component
    register = ET.Element("{jabber:iq:register}query")
    await asked(juliet, domain, register, "set")
    assert await juliet.sees(domain) == domain
    answer = await asked(juliet, domain, ET.Element("{jabber:iq:register}query"))
    assert answer[0].find("{jabber:iq:register}registered") is not None
    await asyncio.wait_for(in_roster(juliet, domain), PATIENCE)


async def in_roster(client: Client, jid: str, *subscription: str) -> None:
    """Until the contact is in the list, with this subscription if one is named."""
    while jid not in client.xmpp.client_roster or (
        subscription and client.xmpp.client_roster[jid]["subscription"] not in subscription
    ):
        await client.xmpp.get_roster()
