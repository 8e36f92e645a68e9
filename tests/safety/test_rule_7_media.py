"""Rule 7: one source for each offer and answer; strangers' packets are dropped and counted, and none is answered.

The latch in all its states: tests/media/test_rtpleg.py. ICE, where strangers' checks get no answer and sources must be
authentic: tests/media/test_ice.py. DTLS, where a certificate must be the announced one: tests/media/test_webrtcleg.py.
Through a whole worker: tests/media/test_embedded.py. Here a stranger knows every port and tries everything at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from gateway.media.leg import Patience
from gateway.media.ports import Bind, Ports
from gateway.media.rtp import Packet
from gateway.media.rtpleg import RtpLeg
from gateway.reach import Reach
from gateway.session import jingle
from gateway.session.model import Ice
from gateway.xmpp import stanzas
from tests.media.ends import PCMA, PCMU, Events, Phone, packet, stream
from tests.safety.stage import Stage
from tests.scenarios.scene import DOMAIN
from tests.support import candidate, webrtc_session

NOISE = (
    b"",
    b"\0",
    b"\x00\x01\x00\x00\x21\x12\xa4\x42" + bytes(12),  # a STUN binding request (RFC 8489 §5)
    b"\x16\xfe\xff\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x01",  # the head of a DTLS ClientHello
    b"\x80\xc8\x00\x06" + bytes(24),  # an RTCP sender report
    b"OPTIONS sip:x SIP/2.0\r\n\r\n",
    packet(PCMU.pt, 1, 160, 7, b"not agreed"),
    packet(13, 1, 160, 7, b"\x20"),
    bytes(2_000),
)


@pytest.fixture
async def leg(ports: tuple[int, int], phone: Phone, stranger: Phone) -> AsyncIterator[RtpLeg]:
    """A leg that hears itself, and whose port both ends know."""
    pool = Ports(*ports)
    made = RtpLeg(
        "call",
        "leg",
        Packet(),
        Events(),
        ports=pool,
        bind=Bind("127.0.0.1", "127.0.0.1"),
        reach=Reach(("127.0.0.0/8",)),
        patience=Patience(),
    )
    made.bridge(made)
    phone.far = stranger.far = (str(made.transport.address), made.transport.port)
    yield made
    await made.close()
    pool.close()


async def settled() -> None:
    for _ in range(4):
        await asyncio.sleep(0)


async def test_nothing_that_a_stranger_sends_is_answered_in_any_state(
    leg: RtpLeg, phone: Phone, stranger: Phone
) -> None:
    async def tries() -> None:
        for noise in NOISE:
            stranger.send(noise)
            await settled()

    await tries()  # before the answer
    leg.connect(phone.transport, stream(PCMA))
    await tries()  # after it
    phone.say(PCMA, b"mine", 160)
    assert (await phone.hear())[12:] == b"mine"
    await tries()  # latched
    stranger.say(PCMA, b"agreed, and not mine", 160)
    phone.say(PCMA, b"mine again", 160)
    assert (await phone.hear())[12:] == b"mine again"
    assert stranger.heard.empty()
    assert phone.heard.empty()
    assert leg.statistics().received_packets == 2
    dropped = dict(leg.statistics().dropped)
    assert dropped["early"] + dropped["stranger"] >= len(NOISE)


async def test_a_stranger_is_heard_in_no_refresh_of_a_session(leg: RtpLeg, phone: Phone, stranger: Phone) -> None:
    leg.connect(phone.transport, stream(PCMA))
    phone.say(PCMA, b"first", 160)
    await phone.hear()
    for number in range(20):
        leg.connect(phone.transport, stream(PCMA))
        stranger.say(PCMA, b"not mine", 160)
        await settled()
        phone.say(PCMA, b"%d" % number, 160)
        assert (await phone.hear())[12:] == b"%d" % number
    assert stranger.heard.empty()


async def test_a_callees_other_devices_name_no_candidates_of_the_one_that_answers() -> None:
    """All of them were made one offer: only the candidates of the device that takes the call may reach its media."""
    async with Stage() as stage:
        taker, other = stage.device(), stage.device("juliet@shakespeare.lit/other")
        stage.phone.calls(f"sip:+12025550100@{DOMAIN}")
        propose = await taker.hears("JMI propose")
        contact, sid = propose.get("from", ""), propose[0].get("id", "")
        taker.says("proceed", contact, sid)
        initiate = await taker.hears("session-initiate")
        name = next(initiate.iter(f"{{{stanzas.JINGLE}}}content")).get("name", "")
        for device, address in ((other, "198.51.100.66"), (taker, "198.51.100.9")):
            element = stanzas.jingle("transport-info", sid)
            ice = Ice("uuuu", "p" * 22, (candidate(ip=address),))
            element.append(jingle.transport_info(webrtc_session(name=name).media[0], ice))
            request = stanzas.iq(contact, device.jid, id="t1")
            request.append(element)
            device.sends(request)
        taker.accepts(contact, sid, webrtc_session(name=name))
        ok = await stage.phone.hears_back("200 OK")
        stage.phone.confirms(ok)
        remote, *_ = stage.engine.connected("callee1")
        told = [named.ip for named in remote.ice.candidates] if remote.ice else []
        for _, _, candidates, _ in (asked for asked in stage.engine.asked if asked[0] == "candidates"):
            told += [named.ip for named in candidates] if isinstance(candidates, tuple) else []
        assert told == ["198.51.100.9"]
        stage.phone.hangs_up(ok)
        await stage.over()
