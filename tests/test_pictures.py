"""The video of one call, as bridge.py brings it about, in session facts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.bridge import Bridge
from gateway.call.events import Leg, Reanswered, Reoffered, Trickled
from gateway.media.engine import LegKind
from gateway.pictures import MAX_TRICKLED, Pictures
from gateway.session.model import Codec, Crypto, Direction, Ice, Media, Profile, Session, Setup, Stream, Transport
from gateway.session.policy import Policy, Towards
from gateway.session.protection import Srtp
from tests.support import OPUS, PCMA, FakeEngine, candidate, fingerprint, phone_session, webrtc_session

VIDEO = Policy(("PCMA",), video=True)
VP8 = Codec(100, "VP8", 90_000, feedback=("nack", "nack pli", "transport-cc"))
H264 = Codec(102, "H264", 90_000, parameters=(("packetization-mode", "1"), ("profile-level-id", "42e01f")))


def browser(*codecs: Codec, bundled: bool = True, ufrag: str = "uuuu") -> Session:
    """A client with a camera; without BUNDLE its picture has ICE of its own."""
    session = webrtc_session(OPUS, PCMA, name="voice")
    (audio,) = session.media
    transport = audio.transport
    if not bundled:
        transport = Transport(rtcp_mux=True, ice=Ice("vvvv", "q" * 22), fingerprint=fingerprint(Setup.ACTPASS))
    picture = Media("picture", "video", codecs or (VP8, H264), transport, Profile.DTLS)
    return Session((audio, picture), ("voice", "picture") if bundled else ())


def phone(*codecs: Codec, port: int = 40_002, direction: Direction = Direction.SENDRECV) -> Session:
    transport = Transport("192.0.2.10", port, port + 1)
    picture = Media("video", "video", codecs or (VP8,), transport, direction=direction, rejected=not port)
    return replace(phone_session(PCMA), media=(*phone_session(PCMA).media, picture))


def picture(session: Session | None) -> Media:
    assert session is not None
    assert session.video is not None
    return session.video


def connected(engine: FakeEngine, leg: str) -> tuple[Transport, Stream, str | None, Setup]:
    return engine.connected(leg)


async def called(engine: FakeEngine, caller: Session, callee: Session) -> tuple[Bridge, Session, Session]:
    """A user calls a phone; what the phone was offered and he was answered."""
    bridge = Bridge(engine, "c", Towards.XMPP)
    offer = await bridge.offer(1, Towards.SIP, VIDEO, caller)
    return bridge, offer, await bridge.answer(1, VIDEO, callee, caller)


async def test_a_user_and_a_phone_see_each_other() -> None:
    engine = FakeEngine()
    _, offer, answer = await called(engine, browser(), phone())
    assert [media.kind for media in offer.media] == ["audio", "video"]
    assert [codec.name for codec in picture(offer).codecs] == ["VP8", "H264"]
    assert offer.video is not None
    assert offer.audio is not None
    assert offer.video.transport.port != offer.audio.transport.port
    ours = picture(answer)
    assert (ours.name, [codec.pt for codec in ours.codecs], answer.bundle) == ("picture", [100], ("voice", "picture"))
    assert ours.codecs[0].feedback == ("nack", "nack pli")
    assert answer.audio is not None
    assert ours.transport == answer.audio.transport
    assert [one for one in engine.asked if one[0] == "allocate_video"] == [
        ("allocate_video", "callee1.video", LegKind.RTP, False),
        ("allocate_video", "caller.video", LegKind.WEBRTC, True),
    ]
    remote, stream, peer, _ = connected(engine, "callee1.video")
    assert (remote.port, stream.send.pt, stream.receive[0].pt, peer) == (40_002, 100, 96, "caller.video")
    _, stream, peer, _ = connected(engine, "caller.video")
    assert (stream.send.pt, stream.receive[0].pt, peer) == (100, 100, "callee1.video")


async def test_the_voice_is_connected_before_the_picture_that_shares_its_transport() -> None:
    engine = FakeEngine()
    await called(engine, browser(), phone())
    legs = [one[1] for one in engine.asked if one[0] == "connect"]
    assert legs == ["callee1", "caller", "callee1.video", "caller.video"]


async def test_a_phone_without_a_camera_has_an_ordinary_call() -> None:
    engine, plain = FakeEngine(), FakeEngine(ports=20_002)  # the picture had taken one
    _, _, answer = await called(engine, browser(), phone(port=0))
    bridge = Bridge(plain, "c", Towards.XMPP)
    await bridge.offer(1, Towards.SIP, replace(VIDEO, video=False), browser())
    assert answer == await bridge.answer(1, replace(VIDEO, video=False), phone(port=0), browser())
    assert ("release", "callee1.video") in [one[:2] for one in engine.asked]
    assert not [one for one in engine.asked if one[0] == "connect" and str(one[1]).endswith("video")]


@pytest.mark.parametrize(
    ("policy", "caller", "able"),
    [
        (replace(VIDEO, video=False), browser(), True),
        (VIDEO, webrtc_session(OPUS, PCMA), True),
        (VIDEO, browser(), False),
        (VIDEO, None, True),
    ],
    ids=["not wanted", "not offered", "the engine cannot", "not said"],
)
async def test_offers_without_video_are_as_they_were(policy: Policy, caller: Session | None, able: bool) -> None:
    engine = FakeEngine(video=able)
    offer = await Bridge(engine, "c", Towards.XMPP).offer(1, Towards.SIP, policy, caller)
    assert [media.kind for media in offer.media] == ["audio"]
    assert engine.names() == [("allocate", "callee1")]


async def test_who_says_before_his_session_that_he_has_a_camera_is_believed() -> None:
    engine = FakeEngine()
    bridge = Bridge(engine, "c", Towards.XMPP)
    offer = await bridge.offer(1, Towards.SIP, VIDEO, None, video=True)
    assert [codec.name for codec in picture(offer).codecs] == ["VP8", "H264"]
    answer = await bridge.answer(1, VIDEO, phone(replace(VP8, pt=96)), browser())
    assert picture(answer).codecs[0].name == "VP8"
    assert connected(engine, "callee1.video")[1].send.pt == 96


async def test_a_picture_that_cannot_be_allocated_costs_no_call() -> None:
    engine = FakeEngine(fails={"allocate_video"})
    _, offer, answer = await called(engine, browser(), phone_session(PCMA))
    assert offer.video is None
    assert answer.audio is not None


async def test_a_picture_that_cannot_be_shared_costs_no_call() -> None:
    engine = FakeEngine()
    bridge = Bridge(engine, "c", Towards.XMPP)
    await bridge.offer(1, Towards.SIP, VIDEO, browser())
    engine.fails.add("allocate_video")
    answer = await bridge.answer(1, VIDEO, phone(), browser())
    assert answer.audio is not None
    assert not [one for one in engine.asked if one[0] == "connect" and str(one[1]).endswith("video")]


async def test_a_client_that_does_not_bundle_has_a_path_for_its_picture() -> None:
    engine = FakeEngine()
    bridge, _, answer = await called(engine, browser(bundled=False), phone())
    assert answer.bundle == ()
    ice = picture(answer).transport.ice
    assert ice is not None
    assert ice.ufrag == "gatevid"
    assert connected(engine, "caller.video")[0].ice == Ice("vvvv", "q" * 22)
    late = candidate(5_000)
    await bridge.trickle(Trickled(Leg.CALLER, 0, (late,), video=True))
    assert engine.asked[-1][:3] == ("candidates", "caller.video", (late,))


async def test_candidates_of_a_picture_wait_for_its_answer() -> None:
    engine = FakeEngine()
    bridge = Bridge(engine, "c", Towards.XMPP)
    caller = browser(bundled=False)
    await bridge.offer(1, Towards.SIP, VIDEO, caller)
    for port in range(MAX_TRICKLED + 5):
        await bridge.trickle(Trickled(Leg.CALLER, 0, (candidate(5_000 + port),), video=True))
    await bridge.answer(1, VIDEO, phone(), caller)
    ice = connected(engine, "caller.video")[0].ice
    assert ice is not None
    assert [one.port for one in ice.candidates] == [5_000 + port for port in range(MAX_TRICKLED)]
    assert connected(engine, "caller")[0].ice != ice


async def asked(engine: FakeEngine, answer: Session) -> tuple[Bridge, Session, Session]:
    """A phone calls a user; what he was offered and the phone answered."""
    bridge = Bridge(engine, "c", Towards.SIP)
    offer = await bridge.offer(1, Towards.XMPP, VIDEO, phone(VP8, H264))
    named = tuple(replace(media, name=kind) for media, kind in zip(answer.media, ("audio", "video"), strict=True))
    bundle = ("audio", "video") if answer.bundle else ()
    ours = await bridge.answer(1, VIDEO, Session(named, bundle), phone(VP8, H264))
    return bridge, offer, ours


async def test_a_user_is_offered_a_path_for_each_until_he_says_that_he_bundles() -> None:
    engine = FakeEngine()
    _, offer, answer = await asked(engine, browser(replace(VP8, pt=96)))
    assert offer.bundle == ("audio", "video")
    ices = [media.transport.ice for media in offer.media]
    assert None not in ices
    assert ices[0] != ices[1]
    assert ("release", "callee1.video") in [one[:2] for one in engine.asked]
    assert ("allocate_video", "callee1.video", LegKind.WEBRTC, True) in engine.asked
    assert (picture(answer).transport.port, picture(answer).codecs[0].pt) == (engine.ports, 100)
    assert connected(engine, "caller.video")[0].port == 40_002


async def test_a_user_who_does_not_bundle_keeps_what_he_was_offered() -> None:
    engine = FakeEngine()
    await asked(engine, browser(replace(VP8, pt=96), bundled=False))
    assert ("allocate_video", "callee1.video", LegKind.WEBRTC, True) not in engine.asked
    assert connected(engine, "callee1.video")[0].ice == Ice("vvvv", "q" * 22)


async def test_an_ice_restart_of_a_client_that_bundles_moves_both() -> None:
    engine = FakeEngine()
    bridge, _, _ = await asked(engine, browser(replace(VP8, pt=96)))
    ours = await bridge.trickle(Trickled(Leg.CALLEE, 1, (), Ice("xxxx", "y" * 22)))
    assert ours is not None
    assert {media.transport.ice.ufrag for media in ours.media if media.transport.ice} == {"anew"}


async def test_keys_protect_the_picture_where_they_protect_the_voice() -> None:
    policy = replace(VIDEO, srtp=Srtp.REQUIRED)
    engine = FakeEngine()
    bridge = Bridge(engine, "c", Towards.XMPP)
    offer = await bridge.offer(1, Towards.SIP, policy, browser())
    assert picture(offer).profile is Profile.SAVP
    key = Crypto(1, "AES_CM_128_HMAC_SHA1_80", "inline:theirs")
    keyed = tuple(
        replace(media, profile=Profile.SAVP, transport=replace(media.transport, crypto=(key,)))
        for media in phone().media
    )
    await bridge.answer(1, policy, Session(keyed), browser())
    assert connected(engine, "callee1.video")[0].crypto == (key,)


# inside a call


async def test_a_session_refresh_keeps_the_picture_as_it_is() -> None:
    engine = FakeEngine()
    bridge, offer, _ = await called(engine, browser(), phone())
    refresh = phone()
    first = await bridge.reoffer(Reoffered(Leg.CALLEE, 1, refresh))
    again = await bridge.reoffer(Reoffered(Leg.CALLEE, 1, refresh))
    assert picture(first.answer).transport == picture(offer).transport
    assert not picture(first.answer).rejected
    assert again.answer == first.answer  # RFC 3264 §8: nothing changed, nor does the version


async def test_a_phone_that_moves_its_picture_is_followed() -> None:
    engine = FakeEngine()
    bridge, _, _ = await called(engine, browser(), phone())
    await bridge.reoffer(Reoffered(Leg.CALLEE, 1, phone(port=50_002, direction=Direction.SENDONLY)))
    remote, stream, _, _ = connected(engine, "callee1.video")
    assert (remote.port, stream.direction) == (50_002, Direction.RECVONLY)


async def test_a_phone_that_ends_its_picture_keeps_its_voice() -> None:
    engine = FakeEngine()
    bridge, _, _ = await called(engine, browser(), phone())
    answer = (await bridge.reoffer(Reoffered(Leg.CALLEE, 1, phone(port=0)))).answer
    assert [media.rejected for media in answer.media] == [False, True]


async def test_a_picture_that_is_added_later_is_refused_and_the_call_goes_on() -> None:
    engine = FakeEngine()
    bridge = Bridge(engine, "c", Towards.XMPP)
    caller = webrtc_session(OPUS, PCMA)
    await bridge.offer(1, Towards.SIP, VIDEO, caller)
    await bridge.answer(1, VIDEO, phone_session(PCMA), caller)
    answer = (await bridge.reoffer(Reoffered(Leg.CALLEE, 1, phone()))).answer
    assert [(media.kind, media.rejected) for media in answer.media] == [("audio", False), ("video", True)]


async def test_hold_holds_the_picture_too() -> None:
    engine = FakeEngine()
    bridge, _, _ = await called(engine, browser(), phone())
    offer = await bridge.hold(Leg.CALLER, 0, held=True)
    assert picture(offer).direction is Direction.SENDONLY
    await bridge.reanswered(Reanswered(Leg.CALLEE, 1, phone(port=50_002)))
    assert connected(engine, "callee1.video")[0].port == 50_002


async def test_a_phone_that_asks_by_a_word_has_the_users_picture_asked_for() -> None:
    engine = FakeEngine()
    bridge, _, _ = await called(engine, browser(), phone())
    await bridge.ask_picture(Leg.CALLEE, 1)
    assert engine.asked[-1] == ("ask_picture", "caller.video")
    engine.fails.add("ask_picture")
    await bridge.ask_picture(Leg.CALLER, 0)


async def test_where_there_is_no_picture_none_is_asked_for() -> None:
    engine = FakeEngine()
    bridge, _, _ = await called(engine, browser(), phone(port=0))
    await bridge.ask_picture(Leg.CALLEE, 1)
    await bridge.ask_picture(Leg.CALLEE, 2)
    assert "ask_picture" not in [asked[0] for asked in engine.asked]


async def test_what_loses_the_race_gives_its_picture_back() -> None:
    engine = FakeEngine()
    bridge = Bridge(engine, "c", Towards.XMPP)
    await bridge.offer(1, Towards.SIP, VIDEO, browser())
    await bridge.offer(2, Towards.SIP, VIDEO, browser())
    await bridge.release_attempt(2)
    assert [one[1] for one in engine.asked if one[0] == "release"] == ["callee2.video", "callee2"]


async def test_an_end_that_is_transferred_to_has_the_voice_alone() -> None:
    engine = FakeEngine()
    bridge, _, _ = await called(engine, browser(), phone())
    offer = await bridge.offer(2, Towards.SIP, VIDEO, None, beside=0)
    assert [media.kind for media in offer.media] == ["audio"]


async def test_trouble_with_a_picture_is_told_to_nobody() -> None:
    engine = FakeEngine(fails={"candidates", "release", "connect"})
    pictures = Pictures(engine, "c")
    ours = await pictures.offered("callee1", Towards.SIP, VIDEO, phone_session(PCMA), browser(), Towards.XMPP)
    answer = await pictures.answered(
        "callee1", phone(), "caller", Towards.XMPP, VIDEO, browser(bundled=False), browser(bundled=False)
    )
    assert ours.video is not None
    assert answer.video is not None
    await pictures.connect("callee1", "caller", phone())
    await pictures.trickle("caller", Trickled(Leg.CALLER, 0, (), video=True))
    await pictures.release("callee1")
    await pictures.release("callee1")
    assert pictures.close() == {}
