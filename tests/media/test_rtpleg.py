from __future__ import annotations

import asyncio
import secrets
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import pytest

from gateway.call.causes import Cause
from gateway.errors import MediaError
from gateway.media.engine import Connected, Lost
from gateway.media.leg import Patience
from gateway.media.ports import Bind, Ports
from gateway.media.rtcp import Block, Report, read, write
from gateway.media.rtp import Packet
from gateway.media.rtpleg import RtpLeg
from gateway.media.sdes import SUITES, master, ours
from gateway.media.srtp import Keys, Srtp
from gateway.reach import Reach
from gateway.session.model import Crypto, Direction, Transport
from tests.media.ends import PCMA, PCMU, Events, Phone, packet, stream

MakeLeg = Callable[..., RtpLeg]
LOOPBACK = ("127.0.0.0/8",)


@pytest.fixture
async def make_leg(ports: tuple[int, int]) -> AsyncIterator[MakeLeg]:
    legs: list[RtpLeg] = []
    pool = Ports(*ports)

    def make(allow: tuple[str, ...] = LOOPBACK, phone: Phone | None = None, *, sdes: bool = False) -> RtpLeg:
        leg = RtpLeg(
            "call",
            "leg",
            Packet(),
            Events(),
            ports=pool,
            bind=Bind("127.0.0.1", "127.0.0.1"),
            reach=Reach(allow),
            patience=Patience(),
            sdes=sdes,
        )
        legs.append(leg)
        if phone is not None:
            phone.far = (str(leg.transport.address), leg.transport.port)
        return leg

    yield make
    for leg in legs:
        await leg.close()
    pool.close()


def events(leg: RtpLeg) -> Events:
    assert isinstance(leg._tell, Events)
    return leg._tell


def loop_back(leg: RtpLeg) -> None:
    """The leg hears itself, which is the shortest way to have it send."""
    leg.bridge(leg)


async def settled() -> None:
    """Two rounds of the loop: what was in the sockets has been read."""
    for _ in range(4):
        await asyncio.sleep(0)


async def test_rtp_has_an_even_port_and_rtcp_the_next(make_leg: MakeLeg) -> None:
    transport = make_leg().transport
    assert transport.port % 2 == 0
    assert transport.rtcp_port == transport.port + 1


async def test_the_first_packet_latches_and_others_are_no_longer_heard(
    make_leg: MakeLeg, phone: Phone, stranger: Phone
) -> None:
    leg = make_leg(phone=phone)
    stranger.far = phone.far
    loop_back(leg)
    leg.connect(phone.transport, stream(PCMA))
    phone.say(PCMA, b"mine", 160)
    assert (await phone.hear())[12:] == b"mine"
    assert events(leg).all == [Connected("call", "leg")]
    for _ in range(5):
        stranger.say(PCMA, b"not mine", 160)
    phone.say(PCMA, b"mine again", 160)
    assert (await phone.hear())[12:] == b"mine again"
    assert stranger.heard.empty()
    assert leg.statistics().received_packets == 2


async def test_a_stranger_that_was_in_the_queue_before_the_latch_is_dropped(
    make_leg: MakeLeg, phone: Phone, stranger: Phone
) -> None:
    leg = make_leg(phone=phone)
    stranger.far = phone.far
    loop_back(leg)
    leg.connect(phone.transport, stream(PCMA))
    phone.say(PCMA, b"first", 160)
    stranger.say(PCMA, b"second", 160)
    phone.say(PCMA, b"third", 160)
    assert [(await phone.hear())[12:] for _ in range(2)] == [b"first", b"third"]
    assert dict(leg.statistics().dropped) == {"stranger": 1}
    assert leg.statistics().received_packets == 2


async def test_a_stranger_who_is_first_is_turned_out_by_the_address_that_was_named(
    make_leg: MakeLeg, phone: Phone, stranger: Phone
) -> None:
    leg = make_leg(phone=phone)
    stranger.far = phone.far
    loop_back(leg)
    leg.connect(phone.transport, stream(PCMA))
    stranger.say(PCMA, b"not mine", 160)
    await stranger.hear()
    phone.say(PCMA, b"mine", 160)
    assert (await phone.hear())[12:] == b"mine"
    stranger.say(PCMA, b"not mine again", 160)
    phone.say(PCMA, b"mine again", 160)
    assert (await phone.hear())[12:] == b"mine again"
    assert stranger.heard.empty()


async def test_a_phone_behind_nat_is_latched_when_its_trial_is_over(
    make_leg: MakeLeg, phone: Phone, stranger: Phone, monkeypatch: pytest.MonkeyPatch
) -> None:
    leg = make_leg(phone=phone)
    stranger.far = phone.far
    loop_back(leg)
    leg.connect(Transport("127.0.0.9", 4_000), stream(PCMA))
    phone.say(PCMA, b"one", 160)
    assert (await phone.hear())[12:] == b"one"
    stranger.say(PCMA, b"not mine", 160)
    await settled()
    assert dict(leg.statistics().dropped) == {"stranger": 1}
    later = asyncio.get_running_loop().time() + 6
    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: later)
    phone.say(PCMA, b"two", 160)
    assert (await phone.hear())[12:] == b"two"
    stranger.say(PCMA, b"not mine", 160)
    phone.say(PCMA, b"three", 160)
    assert (await phone.hear())[12:] == b"three"
    assert dict(leg.statistics().dropped) == {"stranger": 1}  # the kernel took the second one
    assert stranger.heard.empty()


@pytest.mark.parametrize("noise", [b"", b"hello", packet(PCMU.pt, 1, 160, 7, b"not agreed"), b"\x80\xc8" + bytes(26)])
async def test_only_agreed_rtp_latches(make_leg: MakeLeg, phone: Phone, stranger: Phone, noise: bytes) -> None:
    leg = make_leg(phone=phone)
    stranger.far = phone.far
    loop_back(leg)
    leg.connect(phone.transport, stream(PCMA))
    stranger.send(noise)
    phone.say(PCMA, b"mine", 160)
    assert (await phone.hear())[12:] == b"mine"
    assert dict(leg.statistics().dropped) == {"stranger": 1}


async def test_before_the_answer_nobody_latches(make_leg: MakeLeg, phone: Phone, stranger: Phone) -> None:
    leg = make_leg(phone=phone)
    stranger.far = phone.far
    stranger.say(PCMA, b"early", 160)
    await settled()
    loop_back(leg)
    leg.connect(phone.transport, stream(PCMA))
    phone.say(PCMA, b"mine", 160)
    assert (await phone.hear())[12:] == b"mine"
    assert dict(leg.statistics().dropped) == {"early": 1}


async def test_before_the_latch_we_send_to_the_address_that_was_named(make_leg: MakeLeg, phone: Phone) -> None:
    leg = make_leg()
    leg.connect(phone.transport, stream(PCMA))
    leg.packet.fill(packet(8, 1, 160, 7, b"hello"))
    leg.send()
    assert (await phone.hear())[12:] == b"hello"


@pytest.mark.parametrize("named", ["127.0.0.1", "::ffff:127.0.0.1", "10.1.2.3", "phone.example.com", None])
async def test_an_address_that_policy_refuses_is_not_sent_to_but_may_speak_first(
    make_leg: MakeLeg, phone: Phone, named: str | None
) -> None:
    leg = make_leg(allow=(), phone=phone)
    loop_back(leg)
    leg.connect(Transport(named, phone.address[1]), stream(PCMA))
    leg.packet.fill(packet(8, 1, 160, 7, b"probe"))
    leg.send()
    assert dict(leg.statistics().dropped) == {"nowhere": 1}
    assert not leg.ready.is_set()
    phone.say(PCMA, b"mine", 160)
    assert (await phone.hear())[12:] == b"mine"


async def test_a_reoffer_latches_anew_and_the_stream_goes_on(make_leg: MakeLeg, phone: Phone, stranger: Phone) -> None:
    leg = make_leg(phone=phone)
    stranger.far = phone.far
    loop_back(leg)
    leg.connect(phone.transport, stream(PCMA))
    phone.say(PCMA, b"one", 160)
    first = await phone.hear()
    leg.connect(stranger.transport, stream(PCMA))  # the far end moved
    stranger.say(PCMA, b"two", 160)
    second = await stranger.hear()
    assert first[8:12] == second[8:12]
    assert int.from_bytes(second[2:4]) == int.from_bytes(first[2:4]) + 1
    phone.say(PCMA, b"old", 160)
    stranger.say(PCMA, b"three", 160)
    assert (await stranger.hear())[12:] == b"three"
    assert phone.heard.empty()
    assert events(leg).all == [Connected("call", "leg")]


async def test_a_refresh_of_the_session_opens_no_door_to_a_stranger(
    make_leg: MakeLeg, phone: Phone, stranger: Phone, monkeypatch: pytest.MonkeyPatch
) -> None:
    leg = make_leg(phone=phone)
    stranger.far = phone.far
    loop_back(leg)
    leg.connect(phone.transport, stream(PCMA))
    phone.say(PCMA, b"one", 160)
    await phone.hear()
    for _ in range(2):
        leg.connect(phone.transport, stream(PCMA))
        stranger.say(PCMA, b"not mine", 160)
        await settled()
        leg.packet.fill(packet(8, 1, 160, 7, b"for the phone"))
        leg.send()
        assert (await phone.hear())[12:] == b"for the phone"
    phone.say(PCMA, b"two", 160)
    assert (await phone.hear())[12:] == b"two"
    assert dict(leg.statistics().dropped) == {"stranger": 2}
    assert stranger.heard.empty()
    leg.connect(phone.transport, stream(PCMA))
    stranger.say(PCMA, b"I am the phone behind another NAT now", 160)
    await settled()
    later = asyncio.get_running_loop().time() + 6
    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: later)
    stranger.say(PCMA, b"still here", 160)
    assert (await stranger.hear())[12:] == b"still here"


async def test_until_a_reoffered_end_speaks_we_send_where_it_was_heard_unless_it_names_another(
    make_leg: MakeLeg, phone: Phone, stranger: Phone
) -> None:
    leg = make_leg(phone=phone)
    loop_back(leg)
    private = Transport("10.0.0.3", 4_000)  # as a phone behind NAT does
    leg.connect(private, stream(PCMA))
    phone.say(PCMA, b"one", 160)
    await phone.hear()
    leg.connect(private, stream(PCMA))
    leg.packet.fill(packet(8, 9, 160, 7, b"to the old place"))
    leg.send()
    assert (await phone.hear())[12:] == b"to the old place"
    leg.connect(stranger.transport, stream(PCMA))
    leg.packet.fill(packet(8, 10, 320, 7, b"to the new place"))
    leg.send()
    assert (await stranger.hear())[12:] == b"to the new place"


async def test_silence_is_noticed_and_hold_is_not_silence(make_leg: MakeLeg, phone: Phone) -> None:
    leg = make_leg(phone=phone)
    loop_back(leg)
    leg.connect(phone.transport, stream(PCMA))
    start = asyncio.get_running_loop().time()
    leg.tick(start + 59)
    assert events(leg).all == []
    phone.say(PCMA, b"one", 160)
    await phone.hear()
    leg.connect(phone.transport, stream(PCMA, direction=Direction.SENDONLY))
    leg.tick(start + 1_000)
    leg.connect(phone.transport, stream(PCMA))
    leg.tick(start + 59)
    assert events(leg).all == [Connected("call", "leg")]
    leg.tick(start + 70)
    leg.tick(start + 80)
    assert [event for event in events(leg).all if isinstance(event, Lost)] == [
        Lost("call", "leg", Cause.MEDIA_LOST, "nothing was heard for 60 s")
    ]


async def test_an_end_that_never_speaks_is_lost(make_leg: MakeLeg, phone: Phone) -> None:
    leg = make_leg()
    leg.tick(1e9)  # not connected yet: nothing is expected
    leg.connect(phone.transport, stream(PCMA))
    leg.tick(asyncio.get_running_loop().time() + 61)
    assert events(leg).all == [Lost("call", "leg", Cause.MEDIA_LOST, "no packet came within 60 s")]


async def test_reports_go_both_ways_on_the_port_above(make_leg: MakeLeg, phone: Phone, stranger: Phone) -> None:
    leg = make_leg(phone=phone)
    loop_back(leg)
    control = Phone()
    leg.connect(replace(phone.transport, rtcp_port=control.address[1]), stream(PCMA))
    phone.say(PCMA, b"one", 160)
    await phone.hear()
    assert leg.transport.rtcp_port is not None
    now = asyncio.get_running_loop().time()
    leg.tick(now)
    leg.tick(now + 10)
    (report,) = read(await control.hear()) or ()
    assert report.ssrc == leg.out.ssrc
    assert report.sent is not None
    assert (report.sent.packets, [block.ssrc for block in report.blocks]) == (1, [phone.ssrc])
    answer = write(Report(phone.ssrc, None, (Block(leg.out.ssrc, 0.5, 3, 1, 80, 0, 0.0),)), "phone")
    for end in (control, stranger):
        end.sock.sendto(answer, ("127.0.0.1", leg.transport.rtcp_port))
    await settled()
    told = leg.statistics()
    assert dict(told.dropped) == {"stranger": 1}
    assert (told.far_lost, told.far_jitter, told.lost) == (3, 10.0, 0)
    assert told.mos is not None
    assert told.far_mos is not None
    await control.close()


async def test_reports_follow_an_end_behind_nat_but_only_to_where_its_voice_comes_from(
    make_leg: MakeLeg, phone: Phone, stranger: Phone
) -> None:
    leg = make_leg(phone=phone)
    # It names an address of which we know nothing; its packets come from another one.
    leg.connect(Transport(stranger.address[0], stranger.address[1], stranger.address[1]), stream(PCMA))
    leg._named = None
    leg._expected = frozenset()
    loop_back(leg)
    phone.say(PCMA, b"one", 160)
    await phone.hear()
    leg._report(asyncio.get_running_loop().time())
    behind = Phone()
    behind.sock.sendto(write(Report(phone.ssrc, None, ()), "phone"), ("127.0.0.1", leg.transport.rtcp_port or 0))
    await settled()
    leg._report(asyncio.get_running_loop().time())
    assert read(await behind.hear()) is not None
    assert stranger.heard.empty()
    await behind.close()


@pytest.mark.parametrize("muxed", [True, False])
async def test_reports_share_the_port_where_that_was_agreed(make_leg: MakeLeg, phone: Phone, muxed: bool) -> None:
    leg = make_leg(phone=phone)
    loop_back(leg)
    leg.connect(phone.transport, stream(PCMA, rtcp_mux=muxed))
    phone.say(PCMA, b"one", 160)
    await phone.hear()
    phone.send(write(Report(phone.ssrc, None, (Block(leg.out.ssrc, 0.5, 3, 1, 80, 0, 0.0),)), "phone"))
    await settled()
    leg._report(asyncio.get_running_loop().time())
    assert leg.statistics().far_lost == (3 if muxed else 0)
    assert dict(leg.statistics().dropped) == ({} if muxed else {"malformed": 1})
    if muxed:
        assert read(await phone.hear()) is not None


async def test_nobody_is_reported_to_before_he_was_heard(make_leg: MakeLeg, phone: Phone) -> None:
    leg = make_leg(phone=phone)
    leg.connect(phone.transport, stream(PCMA, rtcp_mux=True))
    leg._report(0.0)
    await settled()
    assert phone.heard.empty()


class SecurePhone:
    """A phone whose keys are in the signalling (RFC 4568)."""

    def __init__(self, phone: Phone, leg: RtpLeg, suite: str) -> None:
        self.phone = phone
        self.crypto = next(one for one in ours(secrets.token_bytes) if one.suite == suite)
        (its,) = (one for one in leg.transport.crypto if one.suite == suite)
        self.packet = Packet()
        self.srtp = Srtp(Keys(SUITES[suite], master(self.crypto), master(its)), self.packet)
        self.seq = 0

    @property
    def transport(self) -> Transport:
        return replace(self.phone.transport, crypto=(self.crypto,))

    def say(self, body: bytes) -> None:
        self.seq += 1
        self.packet.fill(packet(8, self.seq, 160 * self.seq, 7, body))
        assert self.srtp.protect()
        self.phone.send(bytes(self.packet))

    async def hear(self) -> bytes:
        self.packet.fill(await self.phone.hear())
        assert self.srtp.unprotect()
        return bytes(self.packet)[12:]


@pytest.mark.parametrize("suite", SUITES)
async def test_with_keys_only_what_is_authentic_latches_and_is_heard(
    make_leg: MakeLeg, phone: Phone, stranger: Phone, suite: str
) -> None:
    leg = make_leg(phone=phone, sdes=True)
    loop_back(leg)
    secure = SecurePhone(phone, leg, suite)
    leg.connect(secure.transport, stream(PCMA, rtcp_mux=True))
    stranger.far = phone.far
    stranger.say(PCMA, b"in the clear", 160)
    phone.say(PCMA, b"in the clear", 160)
    await settled()
    assert events(leg).all == []
    secure.say(b"secret")
    assert await secure.hear() == b"secret"
    phone.say(PCMA, b"in the clear", 160)
    await settled()
    assert dict(leg.statistics().dropped) == {"stranger": 2, "unauthentic": 1}
    leg._report(asyncio.get_running_loop().time())
    secure.packet.fill(await phone.hear())
    assert secure.srtp.unprotect_rtcp()
    assert read(bytes(secure.packet)) is not None
    secure.packet.fill(write(Report(7, None, (Block(leg.out.ssrc, 0.5, 3, 1, 80, 0, 0.0),)), "phone"))
    secure.srtp.protect_rtcp()
    phone.send(bytes(secure.packet))
    phone.send(b"\x80\xc9" + bytes(40))
    await settled()
    assert leg.statistics().far_lost == 3
    assert leg.dropped["unauthentic"] == 2


async def test_a_refresh_keeps_the_keys_and_a_new_key_is_followed(make_leg: MakeLeg, phone: Phone) -> None:
    leg = make_leg(phone=phone, sdes=True)
    loop_back(leg)
    suite = "AES_CM_128_HMAC_SHA1_80"
    secure = SecurePhone(phone, leg, suite)
    for number in range(3):
        leg.connect(secure.transport, stream(PCMA))
        secure.say(b"%d" % number)
        assert await secure.hear() == b"%d" % number
    again = SecurePhone(phone, leg, suite)
    again.seq = 100
    leg.connect(again.transport, stream(PCMA))
    again.say(b"new key")
    assert await again.hear() == b"new key"


async def test_keys_that_do_not_fit_ours_are_refused(make_leg: MakeLeg, phone: Phone) -> None:
    leg = make_leg(phone=phone)
    assert leg.transport.crypto == ()
    secret = make_leg(sdes=True)
    with pytest.raises(MediaError, match="named no SRTP key"):
        leg.connect(replace(phone.transport, crypto=secret.transport.crypto[:1]), stream(PCMA))
    with pytest.raises(MediaError, match="not supported"):
        secret.connect(replace(phone.transport, crypto=(Crypto(1, "NONE", "inline:"),)), stream(PCMA))


async def test_a_closed_legs_port_stays_taken_for_a_while(make_leg: MakeLeg) -> None:
    leg = make_leg()
    await leg.close()
    await leg.close()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock, pytest.raises(OSError, match="in use"):
        sock.bind(("127.0.0.1", leg.transport.port))
