from __future__ import annotations

from typing import Any

import pytest

from gateway.errors import NgError
from gateway.media import ng
from gateway.media.engine import LegKind, LegStatistics
from gateway.media.public import OFFER_PATIENCE, Public
from gateway.session import sdp
from gateway.session.model import Profile, Setup
from tests.support import EVENTS, OPUS, PCMA, PCMU, FakeEngine, phone_session, webrtc_session


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


class Counting(FakeEngine):
    async def statistics(self, call: str) -> dict[str, LegStatistics]:
        return {"caller": LegStatistics(5, 860, 4, 688, (("stranger", 2),), "opus", True)}


def browser(*codecs: Any, setup: Setup = Setup.ACTPASS) -> str:
    return sdp.render(webrtc_session(*(codecs or (OPUS, PCMU)), setup=setup))


def phone(*codecs: Any) -> str:
    return sdp.render(phone_session(*codecs))


@pytest.fixture
def engine() -> Counting:
    return Counting()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def public(engine: Counting, clock: Clock) -> Any:
    made = Public(engine, clock)

    async def ask(command: str, **arguments: Any) -> Any:
        message = {"command": command, **{name.replace("_", "-"): value for name, value in arguments.items()}}
        return ng.decode(ng.encode(await made.handle(ng.message(ng.encode(message)))))

    ask.lost = made.lost  # type: ignore[attr-defined]
    return ask


async def test_a_browser_calls_a_phone(public: Any, engine: Counting) -> None:
    offered = await public("offer", call_id="c", sdp=browser(), transport_protocol="RTP/AVP")
    towards_phone = sdp.parse(offered["sdp"]).audio
    assert towards_phone is not None
    assert towards_phone.profile is Profile.AVP
    assert (towards_phone.transport.address, towards_phone.transport.ice) == ("203.0.113.7", None)
    answered = await public("answer", call_id="c", sdp=phone(PCMA, EVENTS))
    towards_browser = sdp.parse(answered["sdp"]).audio
    assert towards_browser is not None
    assert towards_browser.transport.ice is not None
    assert towards_browser.transport.fingerprint is not None
    assert [voice.name for voice in towards_browser.voices] == ["opus"]
    remote, stream, peer, _ = engine.connected("callee")
    assert (remote.address, remote.port, stream.send.name, peer) == ("192.0.2.10", 40_000, "PCMA", "caller")
    remote, stream, peer, setup = engine.connected("caller")
    assert (stream.send.name, peer, setup) == ("opus", "callee", Setup.ACTIVE)
    assert remote.ice is not None


async def test_a_phone_calls_a_browser(public: Any, engine: Counting) -> None:
    offered = await public("offer", call_id="c", sdp=phone(), transport_protocol="UDP/TLS/RTP/SAVPF")
    towards_browser = sdp.parse(offered["sdp"]).audio
    assert towards_browser is not None
    assert towards_browser.profile.dtls
    mine = towards_browser.voices
    assert engine.asked == [("allocate", "callee", LegKind.WEBRTC, True, Setup.ACTPASS)]
    chosen = next(voice for voice in mine if voice.name == "PCMA")
    answered = await public("answer", call_id="c", sdp=browser(chosen, setup=Setup.ACTIVE))
    towards_phone = sdp.parse(answered["sdp"]).audio
    assert towards_phone is not None
    assert [voice.name for voice in towards_phone.voices] == ["PCMA"]
    assert engine.connected("callee")[3] is Setup.PASSIVE


async def test_without_a_protocol_the_callee_speaks_what_the_caller_does(public: Any, engine: Counting) -> None:
    await public("offer", call_id="a", sdp=phone())
    await public("offer", call_id="b", sdp=browser())
    assert [asked[2] for asked in engine.asked] == [LegKind.RTP, LegKind.WEBRTC]


async def test_the_codecs_for_plain_rtp_may_be_named(public: Any) -> None:
    arguments = {"transport_protocol": "RTP/AVP", "codec": {"transcode": ["PCMU"]}}
    offered = await public("offer", call_id="c", sdp=browser(OPUS), **arguments)
    audio = sdp.parse(offered["sdp"]).audio
    assert audio is not None
    assert [voice.name for voice in audio.voices] == ["PCMU"]


async def test_a_call_is_listed_and_counted_until_it_is_deleted(public: Any, engine: Counting) -> None:
    await public("offer", call_id="c", sdp=phone())
    assert await public("list") == {"result": "ok", "calls": ["c"]}
    counted = await public("query", call_id="c")
    assert counted["created"] == 1_000
    assert counted["totals"] == {"RTP": {"packets": 5, "bytes": 860}}
    assert counted["legs"]["caller"]["dropped"] == {"stranger": 2}
    assert (await public("delete", call_id="c"))["result"] == "ok"
    assert engine.asked[-1] == ("release", None)
    assert await public("list") == {"result": "ok", "calls": []}
    for command in ("delete", "query", "answer"):
        with pytest.raises(NgError, match="Unknown call-id"):
            await public(command, call_id="c", sdp=phone())


async def test_ping_is_answered(public: Any) -> None:
    assert await public("ping") == {"result": "pong"}


@pytest.mark.parametrize(
    ("command", "arguments", "reason"),
    [
        ("publish", {}, "Unrecognized command"),
        ("play media", {"call_id": "c"}, "Unrecognized command"),
        ("allocate", {"call_id": "c"}, "Unrecognized command"),
        ("offer", {"call_id": "c"}, "sdp is missing"),
        ("offer", {"sdp": "v=0"}, "call-id is missing"),
        ("offer", {"call_id": "c", "sdp": "nonsense"}, "."),
        ("offer", {"call_id": "c", "sdp": phone(), "transport_protocol": "RTP/SAVP"}, "not supported"),
        ("offer", {"call_id": "c", "sdp": phone(), "transport_protocol": "pigeons"}, "not supported"),
        ("list", {"limit": 0}, "limit"),
        ("list", {"limit": "all"}, "limit"),
    ],
)
async def test_what_cannot_be_done_is_said(public: Any, command: str, arguments: Any, reason: str) -> None:
    with pytest.raises(NgError, match=reason):
        await public(command, **arguments)
    assert await public("list") == {"result": "ok", "calls": []}


async def test_what_the_engine_cannot_do_is_said(public: Any, engine: Counting) -> None:
    engine.fails = {"allocate"}
    with pytest.raises(NgError, match="allocate failed"):
        await public("offer", call_id="c", sdp=phone())


async def test_an_offer_without_a_usable_codec_gives_its_port_back(public: Any, engine: Counting) -> None:
    with pytest.raises(NgError):
        await public("offer", call_id="c", sdp=phone(), codec={"transcode": ["no-such-codec"]})
    assert engine.asked[-1] == ("release", None)


async def test_an_offer_that_nobody_answers_is_forgotten_in_time(public: Any, engine: Counting, clock: Clock) -> None:
    await public("offer", call_id="old", sdp=phone())
    await public("offer", call_id="up", sdp=phone())
    await public("answer", call_id="up", sdp=phone())
    clock.now += OFFER_PATIENCE + 1
    await public("offer", call_id="new", sdp=phone())
    assert (await public("list"))["calls"] == ["up", "new"]


async def test_a_call_whose_media_is_lost_is_forgotten(public: Any, engine: Counting) -> None:
    await public("offer", call_id="c", sdp=phone())
    await public.lost("c")
    await public.lost("c")
    assert engine.asked.count(("release", None)) == 1
    assert (await public("list"))["calls"] == []
