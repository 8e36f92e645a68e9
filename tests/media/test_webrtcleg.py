from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import aioice.ice
import pytest
from aiortc import RTCDtlsTransport

from gateway.call.causes import Cause
from gateway.errors import MediaError
from gateway.media.dtls import Certificate
from gateway.media.engine import Connected, Lost
from gateway.media.leg import Patience
from gateway.media.ports import Bind, Ports
from gateway.media.rtcp import Block, Report, read, write
from gateway.media.rtp import Packet
from gateway.media.webrtcleg import WebRtcLeg
from gateway.reach import Reach
from gateway.session.model import Candidate, Ice, Setup, Transport
from tests.media.ends import OPUS, PCMA, SAFETY, Browser, Events, Phone, packet, stream

CERTIFICATE = Certificate()


@pytest.fixture
async def make_leg(ports: tuple[int, int]) -> AsyncIterator[Any]:
    legs: list[WebRtcLeg] = []
    pool = Ports(*ports)

    def make(
        *, controlling: bool = False, allow: tuple[str, ...] = (), connect: float = 20.0, rtcp_mux: bool = True
    ) -> WebRtcLeg:
        leg = WebRtcLeg(
            "call",
            "leg",
            Packet(),
            Events(),
            ports=pool,
            binds=(Bind("127.0.0.1", "127.0.0.1"),),
            reach=Reach(allow),
            patience=Patience(connect=connect),
            certificate=CERTIFICATE,
            controlling=controlling,
            setup=Setup.ACTPASS,
            rtcp_mux=rtcp_mux,
        )
        legs.append(leg)
        leg.bridge(leg)  # it hears itself
        return leg

    yield make
    for leg in legs:
        await leg.close()
    pool.close()


def events(leg: WebRtcLeg) -> Events:
    assert isinstance(leg._tell, Events)
    return leg._tell


async def echoed(browser: Browser, body: bytes) -> bool:
    browser.say(OPUS, body, 960)
    return (await browser.hear())[12:] == body


@pytest.mark.parametrize("allow", [(), ("127.0.0.0/8",)], ids=["reflexive", "named"])
@pytest.mark.parametrize("controlling", [True, False], ids=["controlling", "controlled"])
@pytest.mark.parametrize("setup", [Setup.ACTIVE, Setup.PASSIVE])
async def test_a_foreign_end_connects_in_every_role(
    make_leg: Any, browser: Browser, allow: tuple[str, ...], controlling: bool, setup: Setup
) -> None:
    leg = make_leg(controlling=controlling, allow=allow)
    other = Setup.PASSIVE if setup is Setup.ACTIVE else Setup.ACTIVE
    await leg.connect(await browser.open(other, controlling=not controlling), stream(OPUS), setup)
    await browser.connect(leg.transport, other)
    await events(leg).of(Connected, "leg")
    assert await echoed(browser, b"sound")
    assert dict(leg.statistics().dropped).get("candidate", 0) == (not allow)


async def test_an_end_that_is_done_first_waits_for_us(make_leg: Any, browser: Browser) -> None:
    leg = make_leg()
    remote = await browser.open(Setup.ACTIVE)
    connecting = asyncio.ensure_future(browser.connect(leg.transport, Setup.ACTIVE))
    async with asyncio.timeout(SAFETY):
        while not leg._rtp.early:  # noqa: ASYNC110 -- its ClientHello; a list tells nobody
            await asyncio.sleep(0.001)
    await leg.connect(remote, stream(OPUS), Setup.PASSIVE)
    await connecting
    await events(leg).of(Connected, "leg")
    assert await echoed(browser, b"sound")


@pytest.mark.parametrize("before", [True, False])
async def test_candidates_may_come_before_or_after_the_session(make_leg: Any, browser: Browser, before: bool) -> None:
    leg = make_leg(controlling=True, allow=("127.0.0.0/8",))
    remote = await browser.open(Setup.PASSIVE, controlling=False)
    assert remote.ice is not None
    bare = replace(remote, ice=replace(remote.ice, candidates=()))
    credentials = Ice(remote.ice.ufrag, remote.ice.pwd)
    if before:
        await leg.candidates(remote.ice.candidates, credentials)
    await leg.connect(bare, stream(OPUS), Setup.ACTIVE)
    if not before:
        await leg.candidates(remote.ice.candidates, credentials)
    await browser.connect(leg.transport, Setup.PASSIVE)
    await events(leg).of(Connected, "leg")
    assert leg.dropped["candidate"] == 0


async def test_candidates_of_other_credentials_are_of_another_session(make_leg: Any, browser: Browser) -> None:
    leg = make_leg(allow=("127.0.0.0/8",))
    remote = await browser.open(Setup.PASSIVE, candidates=False)
    await leg.connect(remote, stream(OPUS), Setup.ACTIVE)
    other = await browser.open(Setup.PASSIVE)
    assert other.ice is not None
    await leg.candidates(other.ice.candidates, Ice("else", "x" * 22))
    assert leg._rtp.agent.remote_candidates == []


async def test_another_certificate_than_announced_ends_the_leg(make_leg: Any, browser: Browser) -> None:
    leg = make_leg()
    remote = await browser.open(Setup.ACTIVE)
    assert remote.fingerprint is not None
    digits = list(remote.fingerprint.value)
    at = random.randrange(0, len(digits), 3)
    digits[at] = "0" if digits[at] != "0" else "1"
    wrong = replace(remote, fingerprint=replace(remote.fingerprint, value="".join(digits)))
    await leg.connect(wrong, stream(OPUS), Setup.PASSIVE)
    await browser.connect(leg.transport, Setup.ACTIVE)
    lost = await events(leg).of(Lost, "leg")
    assert lost.cause is Cause.SECURITY
    browser.say(OPUS, b"sound", 960)
    assert not leg.statistics().connected
    assert leg.statistics().sent_packets == 0


async def test_an_end_that_never_comes_is_given_up(make_leg: Any, browser: Browser) -> None:
    leg = make_leg(connect=0.05)
    await leg.connect(await browser.open(Setup.PASSIVE), stream(OPUS), Setup.ACTIVE)
    lost = await events(leg).of(Lost, "leg")
    assert (lost.cause, lost.text) == (Cause.MEDIA_FAILED, "no working ICE pair within 0.05 s")


async def test_strangers_packets_are_counted_and_never_heard(make_leg: Any, browser: Browser, stranger: Phone) -> None:
    leg = make_leg()
    await leg.connect(await browser.open(Setup.ACTIVE), stream(OPUS), Setup.PASSIVE)
    await browser.connect(leg.transport, Setup.ACTIVE)
    await events(leg).of(Connected, "leg")
    stranger.far = ("127.0.0.1", leg.transport.port)
    for data in (packet(111, 1, 960, 7, b"sound" * 10), b"\x80\xc9" + bytes(30), b"\x16\xfe\xfd" + bytes(30), b"\xff"):
        stranger.send(data)
    async with asyncio.timeout(SAFETY):
        while leg.dropped["stranger"] < 4:  # noqa: ASYNC110 -- a counter tells nobody
            await asyncio.sleep(0.001)
    assert stranger.heard.empty()
    assert leg.statistics().received_packets == 0
    assert await echoed(browser, b"sound")


async def test_a_reoffer_changes_the_stream_and_nothing_else(make_leg: Any, browser: Browser) -> None:
    leg = make_leg()
    remote = await browser.open(Setup.ACTIVE)
    await leg.connect(remote, stream(PCMA), Setup.PASSIVE)
    await browser.connect(leg.transport, Setup.ACTIVE)
    await events(leg).of(Connected, "leg")
    browser.say(PCMA, b"one", 160)
    first = await browser.hear()
    await leg.connect(remote, stream(OPUS), Setup.PASSIVE)
    leg.wire()
    browser.say(OPUS, b"two", 960)
    second = await browser.hear()
    assert (first[8:12], second[1] & 0x7F) == (second[8:12], 111)
    assert int.from_bytes(second[2:4]) == int.from_bytes(first[2:4]) + 1


async def test_a_session_without_credentials_or_with_new_ones_is_refused(make_leg: Any, browser: Browser) -> None:
    leg = make_leg()
    with pytest.raises(MediaError):
        await leg.connect(Transport("192.0.2.1", 4_000), stream(OPUS), Setup.ACTIVE)
    remote = await browser.open(Setup.PASSIVE)
    assert remote.ice is not None
    await leg.connect(remote, stream(OPUS), Setup.ACTIVE)
    with pytest.raises(MediaError, match="restart"):
        await leg.connect(replace(remote, ice=replace(remote.ice, ufrag="else")), stream(OPUS), Setup.ACTIVE)


async def test_reports_go_both_ways_under_srtp(make_leg: Any, browser: Browser, stranger: Phone) -> None:
    leg = make_leg()
    await talking(leg, browser)
    now = asyncio.get_running_loop().time()
    leg.tick(now)
    leg.tick(now + 10)
    (report,) = read(await asyncio.wait_for(browser.reports.get(), SAFETY)) or ()
    assert report.ssrc == leg.out.ssrc
    assert [block.ssrc for block in report.blocks] == [browser.ssrc]
    assert report.sent is not None
    last = report.sent.ntp >> 16 & 0xFFFFFFFF
    await browser.dtls._send_rtp(write(Report(browser.ssrc, None, (Block(leg.out.ssrc, 0, 4, 1, 0, last, 0.0),)), "b"))
    async with asyncio.timeout(SAFETY):
        while leg.statistics().far_lost != 4:  # noqa: ASYNC110 -- a counter tells nobody
            await asyncio.sleep(0.001)
    stranger.far = ("127.0.0.1", leg.transport.port)
    stranger.send(b"\x80\xc9" + bytes(30))
    async with asyncio.timeout(SAFETY):
        while leg.dropped["stranger"] < 1:  # noqa: ASYNC110 -- a counter tells nobody
            await asyncio.sleep(0.001)


async def talking(leg: WebRtcLeg, browser: Browser) -> None:
    await leg.connect(await browser.open(Setup.ACTIVE), stream(OPUS), Setup.PASSIVE)
    await browser.connect(leg.transport, Setup.ACTIVE)
    await events(leg).of(Connected, "leg")
    assert await echoed(browser, b"before")


@pytest.mark.parametrize("controlling", [True, False], ids=["controlling", "controlled"])
async def test_an_end_that_restarts_ice_and_changes_its_address_is_heard_without_a_new_handshake(
    make_leg: Any, browser: Browser, monkeypatch: pytest.MonkeyPatch, controlling: bool
) -> None:
    leg = make_leg(controlling=not controlling)
    await leg.connect(await browser.open(Setup.ACTIVE, controlling=controlling), stream(OPUS), Setup.PASSIVE)
    await browser.connect(leg.transport, Setup.ACTIVE)
    await events(leg).of(Connected, "leg")
    first = leg.transport
    monkeypatch.setattr(aioice.ice, "get_host_addresses", lambda use_ipv4, use_ipv6: ["127.0.0.3"])
    answer = await leg.restart(await browser.restart(controlling=controlling))
    assert (answer.ice.ufrag, answer.ice.pwd) != (first.ice.ufrag, first.ice.pwd)
    assert (answer.port, answer.fingerprint) == (first.port, first.fingerprint)
    assert [(c.ip, c.port) for c in answer.ice.candidates] == [(c.ip, c.port) for c in first.ice.candidates]
    assert {c.generation for c in answer.ice.candidates} == {1}
    assert await echoed(browser, b"on the old path")
    await browser.follow(answer)
    async with asyncio.timeout(SAFETY):
        while leg._rtp.before is not None:  # noqa: ASYNC110 -- the far end may be done first
            await asyncio.sleep(0.001)
    browser.vanish()
    assert await echoed(browser, b"on the new path")
    assert leg._rtp.path[1][0] == "127.0.0.3"
    assert [type(event) for event in events(leg).all] == [Connected]


async def test_candidates_of_a_restart_may_come_after_it(make_leg: Any, browser: Browser) -> None:
    leg = make_leg(allow=("127.0.0.0/8",))
    await talking(leg, browser)
    ice = await browser.restart()
    await leg.restart(ice)
    far = Candidate("1", 1, "udp", 100, "127.0.0.1", 4_242, "host")
    await leg.candidates((far,), Ice("else", "x" * 22))
    assert leg._rtp.agent.remote_candidates == []
    await leg.candidates((far,), Ice(ice.ufrag, ice.pwd))
    assert [c.port for c in leg._rtp.agent.remote_candidates] == [4_242]


async def test_a_repeated_restart_is_one_and_another_takes_its_place(make_leg: Any, browser: Browser) -> None:
    leg = make_leg()
    await talking(leg, browser)
    first = await leg.restart(Ice("gone", "x" * 22))
    assert await leg.restart(Ice("gone", "x" * 22)) == first
    second = await leg.restart(await browser.restart())
    assert second != first
    await browser.follow(second)
    assert await echoed(browser, b"after")


async def test_a_restart_that_comes_to_nothing_leaves_the_call_on_its_path(make_leg: Any, browser: Browser) -> None:
    leg = make_leg()
    await talking(leg, browser)
    leg._patience = Patience(connect=0.2)
    await leg.restart(Ice("gone", "x" * 22))
    async with asyncio.timeout(SAFETY):
        while not leg._rtp.overdue:  # noqa: ASYNC110 -- nobody is told
            await asyncio.sleep(0.001)
    assert await echoed(browser, b"still there")
    await leg._rtp.before.close()
    assert (await events(leg).of(Lost, "leg")).cause is Cause.MEDIA_LOST


async def test_a_path_that_is_gone_while_another_is_looked_for_is_not_the_end(make_leg: Any, browser: Browser) -> None:
    leg = make_leg()
    await talking(leg, browser)
    leg._patience = Patience(connect=0.5)
    await leg.restart(Ice("gone", "x" * 22))
    await leg._rtp.before.close()
    lost = await events(leg).of(Lost, "leg")
    assert (lost.cause, lost.text) == (Cause.MEDIA_FAILED, "no working ICE pair within 0.5 s of a restart")


async def test_a_leg_restarts_before_it_has_a_path_and_not_before_it_looks_for_one(
    make_leg: Any, browser: Browser
) -> None:
    leg = make_leg()
    with pytest.raises(MediaError, match="no ICE session"):
        await leg.restart(Ice("else", "x" * 22))
    remote = await browser.open(Setup.ACTIVE)
    gone = replace(remote, ice=Ice("gone", "x" * 22))
    await leg.connect(gone, stream(OPUS), Setup.PASSIVE)
    answer = await leg.restart(remote.ice)
    await browser.connect(answer, Setup.ACTIVE)
    await events(leg).of(Connected, "leg")
    assert await echoed(browser, b"sound")


async def test_an_end_that_closes_its_media_is_lost_unless_signalling_ends_the_call_first(
    make_leg: Any, browser: Browser
) -> None:
    leg = make_leg()
    await leg.connect(await browser.open(Setup.ACTIVE), stream(OPUS), Setup.PASSIVE)
    await browser.connect(leg.transport, Setup.ACTIVE)
    await events(leg).of(Connected, "leg")
    await browser.dtls.stop()
    async with asyncio.timeout(SAFETY):
        while leg._rtp.closed_at is None:  # noqa: ASYNC110 -- nobody is told yet, which is the point
            await asyncio.sleep(0.001)
    leg.tick(leg._rtp.closed_at + 1)
    assert [type(event) for event in events(leg).all] == [Connected]
    leg.tick(leg._rtp.closed_at + 4)
    assert (await events(leg).of(Lost, "leg")).cause is Cause.MEDIA_LOST


# RTCP on a component of its own


async def both(browser: Browser, reporter: Browser, *, controlling: bool = True) -> Transport:
    """What an end that does not mux says of itself."""
    rtp, rtcp = await browser.open(Setup.ACTIVE, controlling=controlling), await reporter.open(Setup.ACTIVE)
    reporter.ice._connection.ice_controlling = controlling
    assert rtp.ice is not None
    assert rtcp.ice is not None
    return replace(rtp, ice=replace(rtp.ice, candidates=rtp.ice.candidates + rtcp.ice.candidates))


@pytest.mark.parametrize("controlling", [True, False], ids=["controlling", "controlled"])
async def test_an_end_that_does_not_mux_gets_its_reports_where_it_wants_them(
    make_leg: Any, browser: Browser, reporter: Browser, controlling: bool
) -> None:
    leg = make_leg(rtcp_mux=False, controlling=not controlling, allow=("127.0.0.0/8",))
    assert [(c.component, c.port - leg.transport.port) for c in leg.transport.ice.candidates] == [(1, 0), (2, 1)]
    assert len({c.id for c in leg.transport.ice.candidates}) == 2
    await leg.connect(await both(browser, reporter, controlling=controlling), stream(OPUS), Setup.PASSIVE)
    await asyncio.gather(*(end.connect(leg.transport, Setup.ACTIVE) for end in (browser, reporter)))
    await events(leg).of(Connected, "leg")
    assert leg.dropped["candidate"] == 0
    assert await echoed(browser, b"sound")
    now = asyncio.get_running_loop().time()
    leg.tick(now)
    leg.tick(now + 10)
    (report,) = read(await asyncio.wait_for(reporter.reports.get(), SAFETY)) or ()
    assert report.ssrc == leg.out.ssrc
    assert browser.reports.empty()
    await reporter.dtls._send_rtp(write(Report(browser.ssrc, None, (Block(leg.out.ssrc, 0, 4, 1, 0, 0, 0.0),)), "b"))
    async with asyncio.timeout(SAFETY):
        while leg.statistics().far_lost != 4:  # noqa: ASYNC110 -- a counter tells nobody
            await asyncio.sleep(0.001)


async def test_an_end_that_muxes_after_all_is_connected_on_one_component(make_leg: Any, browser: Browser) -> None:
    leg = make_leg(rtcp_mux=False)
    muxed = replace(stream(OPUS), rtcp_mux=True)
    await leg.connect(await browser.open(Setup.ACTIVE), muxed, Setup.PASSIVE)
    assert [c.component for c in leg.transport.ice.candidates] == [1]
    assert leg.transport.rtcp_mux
    await browser.connect(leg.transport, Setup.ACTIVE)
    await events(leg).of(Connected, "leg")
    assert await echoed(browser, b"sound")
    now = asyncio.get_running_loop().time()
    leg.tick(now)
    leg.tick(now + 10)
    assert read(await asyncio.wait_for(browser.reports.get(), SAFETY))


async def test_a_component_for_reports_that_never_comes_costs_the_reports_alone(
    make_leg: Any, browser: Browser
) -> None:
    leg = make_leg(rtcp_mux=False, connect=0.3)
    await talking(leg, browser)
    async with asyncio.timeout(SAFETY):
        while leg._tasks:  # noqa: ASYNC110 -- nobody is told: it goes on
            await asyncio.sleep(0.01)
    assert await echoed(browser, b"still there")
    assert [type(event) for event in events(leg).all] == [Connected]


async def test_a_component_for_reports_with_another_certificate_gets_none(
    make_leg: Any, browser: Browser, reporter: Browser
) -> None:
    leg = make_leg(rtcp_mux=False)
    stranger = Browser()
    reporter.dtls = RTCDtlsTransport(reporter.ice, [stranger.certificate])
    await leg.connect(await both(browser, reporter), stream(OPUS), Setup.PASSIVE)
    await asyncio.gather(*(end.connect(leg.transport, Setup.ACTIVE) for end in (browser, reporter)))
    await events(leg).of(Connected, "leg")
    now = asyncio.get_running_loop().time()
    leg.tick(now)
    leg.tick(now + 10)
    assert await echoed(browser, b"sound")
    assert reporter.reports.empty()
    assert browser.reports.empty()
    assert leg._rtcp.srtp is None
    assert [type(event) for event in events(leg).all] == [Connected]


async def test_both_components_restart_with_the_same_credentials(
    make_leg: Any, browser: Browser, reporter: Browser
) -> None:
    leg = make_leg(rtcp_mux=False)
    await leg.connect(await both(browser, reporter), stream(OPUS), Setup.PASSIVE)
    await asyncio.gather(*(end.connect(leg.transport, Setup.ACTIVE) for end in (browser, reporter)))
    await events(leg).of(Connected, "leg")
    first = leg.transport.ice
    answer = (await leg.restart(Ice("gone", "x" * 22))).ice
    assert (answer.ufrag, answer.pwd) == (leg._rtcp.agent.local_username, leg._rtcp.agent.local_password)
    assert answer.ufrag != first.ufrag
    assert [(c.component, c.port) for c in answer.candidates] == [(c.component, c.port) for c in first.candidates]
    assert await echoed(browser, b"on the old path")
