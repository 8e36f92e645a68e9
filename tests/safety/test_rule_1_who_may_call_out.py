"""Rule 1: users of the domains in `[xmpp] users` may call out, and whoever a rule names; by the bare JID that the
server vouched for, and by nothing that a stanza says of itself.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest

from gateway.session import jingle
from gateway.xmpp import stanzas
from tests.safety.stage import PREMIUM, Stage
from tests.scenarios.scene import DOMAIN, JULIET, NUMBER
from tests.support import webrtc_session

STRANGERS = (
    "eve@evil.example/x",
    "juliet@shakespeare.lit.evil.example/x",
    "juliet@evil.shakespeare.lit/x",
    "juliet@shakespeare.lit@evil.example/x",
    r"juliet\40shakespeare.lit@evil.example/x",
    "evil.example/juliet@shakespeare.lit",
    "eve@xn--shakespeare-lit.example/x",
    "eve@sip.example.com.evil.example/x",
    "shakespeare.lit",
    "shakespeare.lit/juliet@shakespeare.lit",
    "@shakespeare.lit/x",
)
PLACES = (NUMBER, PREMIUM, "911", "112", "911%evil.example", "romeo%127.0.0.2", f"{NUMBER}%127.0.0.1", "echo", "desk")


@pytest.mark.parametrize("stranger", STRANGERS)
async def test_a_federated_stranger_calls_nobody_whatever_he_dials(stranger: str) -> None:
    async with Stage() as stage:
        for number, place in enumerate(PLACES):
            device = stage.device(stranger)
            device.initiates(f"{place}@{DOMAIN}", f"i{number}")
            assert (await stage.over()).cause == "forbidden"
            device.proposes(f"{place}@{DOMAIN}", f"p{number}")
            assert (await stage.over()).cause == "forbidden"
        await stage.phone.is_heard()
        assert not stage.invited
        assert stage.engine.names() == [("release", None)] * 2 * len(PLACES), "and no media was made for him"


async def test_a_rule_for_everybody_opens_what_it_names_and_nothing_else() -> None:
    async with Stage() as stage:
        eve = stage.device("eve@evil.example/x")
        eve.initiates(f"open@{DOMAIN}", "s1")
        await eve.hears("session-accept")
        for number, place in enumerate(PLACES):
            eve.initiates(f"{place}@{DOMAIN}", f"i{number}")
            assert (await stage.over()).cause == "forbidden"
        eve.terminates(f"open@{DOMAIN}", "s1")
        assert (await stage.over()).cause == "normal"
        assert not stage.invited


async def test_a_strangers_presence_is_answered_and_his_call_is_not() -> None:
    """An address that maps is answered whoever asks (XEP-0276): that says nothing of who may call."""
    async with Stage() as stage:
        eve = stage.device("eve@evil.example/x")
        asks = stanzas.presence(f"{NUMBER}@{DOMAIN}", eve.jid)
        ET.SubElement(asks, f"{{{stanzas.TEMPPRES[0]}}}temppres", {"reason": "media"})
        eve.sends(asks)
        assert (await stage.calls(NUMBER, eve.jid)).cause == "forbidden"
        assert any(stanza.find(f"{{{stanzas.CAPS}}}c") is not None for stanza in stage.told(eve))
        assert not stage.invited


async def test_what_a_stanza_says_of_itself_makes_nobody_a_user() -> None:
    async with Stage() as stage:
        eve = stage.device("eve@evil.example/x")
        offer = stanzas.jingle("session-initiate", "s1", initiator=f"{JULIET}/balcony")
        offer.extend(jingle.contents(webrtc_session(), initiator=True))
        request = stanzas.iq(f"{NUMBER}@{DOMAIN}", eve.jid, id="1")
        request.append(offer)
        eve.sends(request)
        record = await stage.over()
        assert (record.caller, record.cause) == ("eve@evil.example", "forbidden")
        assert not stage.invited


@pytest.mark.parametrize(
    "wrapping", ["{urn:xmpp:carbons:2}sent", "{urn:xmpp:carbons:2}received", "{urn:xmpp:mam:2}result"]
)
async def test_a_forwarded_call_is_nobodys_call(wrapping: str) -> None:
    """A copy of somebody else's message (XEP-0280, XEP-0297) is not his word."""
    async with Stage() as stage:
        eve = stage.device("eve@evil.example/x")
        for sender in (eve.jid, f"{JULIET}/balcony"):
            inner = stanzas.message(f"{NUMBER}@{DOMAIN}", f"{JULIET}/balcony", id="jm-propose-s1")
            propose = ET.SubElement(inner, f"{{{stanzas.JMI}}}propose", {"id": "s1"})
            ET.SubElement(propose, f"{{{stanzas.RTP}}}description", {"media": "audio"})
            outer = stanzas.message(f"{NUMBER}@{DOMAIN}", sender, id="1")
            ET.SubElement(ET.SubElement(outer, wrapping), "{urn:xmpp:forward:0}forwarded").append(inner)
            eve.sends(outer)
        assert stage.switchboard.live == 0
        await stage.phone.is_heard()
        assert not stage.invited


@pytest.mark.parametrize(
    ("from_", "to"),
    [
        ("", f"{NUMBER}@{DOMAIN}"),  # nobody vouched for it
        (f"{JULIET}/balcony", f"{NUMBER}@other.example.com"),  # for another component
        (f"{JULIET}/balcony", f"{NUMBER}@{DOMAIN}.evil.example"),
        (f"{JULIET}/balcony", ""),
        (f"romeo%evil.example@{DOMAIN}/voice", f"{NUMBER}@{DOMAIN}"),  # from ourselves
        (DOMAIN, f"{NUMBER}@{DOMAIN}"),
    ],
)
async def test_a_stanza_that_no_server_can_have_meant_for_us_is_ignored(from_: str, to: str) -> None:
    async with Stage() as stage:
        for stanza in every_way_to_call(from_, to):
            stage.component._received(stanza)
        await stage.phone.is_heard()
        assert (stage.switchboard.live, stage.sent, stage.invited) == (0, [], False)


async def test_another_user_of_our_domain_steers_nobody_elses_call() -> None:
    async with Stage() as stage:
        juliet, nurse = stage.device(), stage.device("nurse@shakespeare.lit/x")
        contact = f"{NUMBER}@{DOMAIN}"
        juliet.initiates(contact, "s1")
        await stage.phone.hears("INVITE")
        nurse.terminates(contact, "s1")
        assert stanzas.condition(await nurse.hears("error item-not-found")).name == "item-not-found"
        nurse.accepts(contact, "s1")
        nurse.says("retract", contact, "s1")
        nurse.leaves(contact)
        await stage.phone.is_heard()
        assert (stage.switchboard.live, "CANCEL" in stage.phone.heard) == (1, False)
        juliet.terminates(contact, "s1", "cancel")
        assert (await stage.over()).cause == "cancelled"


def every_way_to_call(from_: str, to: str) -> list[ET.Element]:
    """A propose, a session-initiate and presence with these addresses; an empty one is left out."""
    propose = stanzas.message(to, from_, id="jm-propose-s1")
    ET.SubElement(
        ET.SubElement(propose, f"{{{stanzas.JMI}}}propose", {"id": "s1"}),
        f"{{{stanzas.RTP}}}description",
        {"media": "audio"},
    )
    initiate = stanzas.iq(to, from_, id="1")
    initiate.append(stanzas.jingle("session-initiate", "s1", initiator=from_))
    initiate[0].extend(jingle.contents(webrtc_session(), initiator=True))
    made = [propose, initiate, stanzas.presence(to, from_), stanzas.presence(to, from_, type="subscribe")]
    for stanza in made:
        for name, value in (("from", from_), ("to", to)):
            if not value:
                stanza.attrib.pop(name, None)
    return made
