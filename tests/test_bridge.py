"""The media of one call, in session facts."""

from __future__ import annotations

import pytest

from gateway.bridge import MAX_DIGITS, MAX_TRICKLED, Bridge
from gateway.call.events import Leg, Reoffered, Trickled
from gateway.errors import MediaError, NegotiationError
from gateway.media.engine import LegKind
from gateway.session.model import Codec, Setup
from gateway.session.negotiate import Policy, Towards, UnprotectedError
from tests.support import EVENTS, OPUS, PCMA, PCMU, FakeEngine, candidate, phone_session, webrtc_session

SIP_CODECS = Policy(("PCMA", "PCMU"))


async def test_a_callee_is_offered_a_transport_of_its_own_and_we_are_in_control() -> None:
    engine = FakeEngine()
    offer = await Bridge(engine, "c", Towards.SIP).offer(3, Towards.XMPP, SIP_CODECS, phone_session())
    assert engine.asked == [("allocate", "callee3", LegKind.WEBRTC, True, Setup.ACTPASS)]
    audio = offer.audio
    assert audio is not None
    assert audio.transport.fingerprint is not None
    assert audio.transport.fingerprint.setup is Setup.ACTPASS


async def test_a_late_caller_costs_no_media_until_he_has_come() -> None:
    engine = FakeEngine()
    bridge = Bridge(engine, "c", Towards.XMPP)
    await bridge.offer(1, Towards.SIP, SIP_CODECS, None)
    assert engine.names() == [("allocate", "callee1")]
    await bridge.answer(1, SIP_CODECS, phone_session(PCMA, EVENTS), webrtc_session(OPUS, PCMA))
    assert engine.names()[1:] == [("allocate", "caller"), ("connect", "callee1"), ("connect", "caller")]


async def test_both_legs_are_connected_to_each_other_with_the_codec_they_share() -> None:
    engine = FakeEngine()
    bridge = Bridge(engine, "c", Towards.XMPP)
    caller = webrtc_session(OPUS, PCMA, PCMU)
    await bridge.offer(1, Towards.SIP, SIP_CODECS, caller)
    answer = await bridge.answer(1, SIP_CODECS, phone_session(PCMA, EVENTS), caller)
    remote, stream, peer, _ = engine.connected("callee1")
    assert (remote.address, remote.port, stream.send.name, peer) == ("192.0.2.10", 40000, "PCMA", "caller")
    _, stream, peer, setup = engine.connected("caller")
    assert (stream.send.name, peer, setup) == ("PCMA", "callee1", Setup.ACTIVE)
    assert answer.audio is not None
    assert answer.audio.codecs[0].name == "PCMA"


async def test_a_client_with_opus_alone_is_transcoded() -> None:
    engine = FakeEngine()
    bridge = Bridge(engine, "c", Towards.XMPP)
    caller = webrtc_session(OPUS)
    await bridge.offer(1, Towards.SIP, SIP_CODECS, caller)
    await bridge.answer(1, SIP_CODECS, phone_session(PCMU), caller)
    assert engine.connected("caller")[1].send.name == "opus"
    assert engine.connected("callee1")[1].send.name == "PCMU"


async def test_whoever_answers_active_finds_us_passive() -> None:
    engine = FakeEngine()
    bridge = Bridge(engine, "c", Towards.SIP)
    await bridge.offer(1, Towards.XMPP, SIP_CODECS, phone_session())
    await bridge.answer(1, SIP_CODECS, webrtc_session(PCMA, setup=Setup.ACTIVE, name="audio"), phone_session())
    assert engine.connected("callee1")[3] is Setup.PASSIVE


async def test_the_test_line_answers_prompts_and_loops() -> None:
    engine = FakeEngine()
    await Bridge(engine, "c", Towards.XMPP).test_line(SIP_CODECS, webrtc_session())
    assert engine.names() == [("allocate", "caller"), ("connect", "caller"), ("play", "caller"), ("loop", "caller")]


async def test_nothing_in_common_is_said_and_not_connected() -> None:
    engine = FakeEngine()
    bridge = Bridge(engine, "c", Towards.XMPP)
    await bridge.offer(1, Towards.SIP, SIP_CODECS, None)
    with pytest.raises(NegotiationError):
        await bridge.answer(1, SIP_CODECS, phone_session(PCMA), webrtc_session(Codec(96, "speex", 16000)))
    assert ("connect", "caller") not in engine.names()


async def test_no_phone_rings_for_a_caller_who_would_be_refused_when_it_is_answered() -> None:
    engine = FakeEngine()
    with pytest.raises(UnprotectedError):
        await Bridge(engine, "c", Towards.XMPP).offer(1, Towards.SIP, SIP_CODECS, phone_session())
    assert engine.asked == []


async def test_an_answer_of_an_attempt_that_was_never_offered_is_an_error() -> None:
    with pytest.raises(MediaError):
        await Bridge(FakeEngine(), "c", Towards.XMPP).answer(1, SIP_CODECS, phone_session(), webrtc_session())


async def test_candidates_that_come_before_the_answer_are_not_lost() -> None:
    engine = FakeEngine()
    bridge = Bridge(engine, "c", Towards.XMPP)
    caller = webrtc_session()
    await bridge.offer(1, Towards.SIP, SIP_CODECS, caller)
    early, late = candidate(1111), candidate(2222)
    for _ in range(MAX_TRICKLED + 5):  # and those who send without end are bounded
        await bridge.trickle(Trickled(Leg.CALLER, 0, (early,)))
    await bridge.answer(1, SIP_CODECS, phone_session(), caller)
    ice = engine.connected("caller")[0].ice
    assert ice is not None
    assert ice.candidates == (early,) * MAX_TRICKLED
    await bridge.trickle(Trickled(Leg.CALLER, 0, (late,), complete=True))
    assert engine.asked[-1] == ("candidates", "caller", (late,), True)


async def test_digits_pressed_before_the_answer_are_sent_after_it() -> None:
    engine = FakeEngine()
    bridge = Bridge(engine, "c", Towards.XMPP)
    caller = webrtc_session()
    await bridge.offer(1, Towards.SIP, SIP_CODECS, caller)
    await bridge.digits(Leg.CALLER, 0, "12", 100)
    await bridge.digits(Leg.CALLER, 0, "9" * MAX_DIGITS, 100)  # more than anyone needs
    await bridge.answer(1, SIP_CODECS, phone_session(), caller)
    await bridge.flush_digits()
    await bridge.digits(Leg.CALLER, 0, "3", 250)
    await bridge.digits(Leg.CALLEE, 1, "#", 100)
    assert [facts for facts in engine.asked if facts[0] == "dtmf"] == [
        ("dtmf", "callee1", "12", 100),
        ("dtmf", "callee1", "3", 250),
        ("dtmf", "caller", "#", 100),
    ]


async def test_a_re_offer_moves_one_leg_and_leaves_the_other_alone() -> None:
    engine = FakeEngine()
    bridge = Bridge(engine, "c", Towards.XMPP)
    caller = webrtc_session(OPUS)
    ours = await bridge.offer(1, Towards.SIP, SIP_CODECS, caller)
    await bridge.answer(1, SIP_CODECS, phone_session(PCMA), caller)
    answer = await bridge.reoffer(Reoffered(Leg.CALLEE, 1, phone_session(PCMU, ip="192.0.2.77", port=41000)))
    remote, stream, peer, _ = engine.connected("callee1")
    assert (remote.address, remote.port, stream.send.name, peer) == ("192.0.2.77", 41000, "PCMU", "caller")
    assert answer.audio is not None
    assert ours.audio is not None
    assert answer.audio.transport.port == ours.audio.transport.port
    assert len([facts for facts in engine.asked if facts[:2] == ("connect", "caller")]) == 1
    assert await bridge.reoffer(Reoffered(Leg.CALLEE, 1, None)) == answer


async def test_a_re_offer_before_anything_is_connected_is_refused() -> None:
    with pytest.raises(NegotiationError):
        await Bridge(FakeEngine(), "c", Towards.XMPP).reoffer(Reoffered(Leg.CALLEE, 1, phone_session()))


async def test_a_lost_attempt_gives_its_media_back_and_the_rest_stays() -> None:
    engine = FakeEngine()
    bridge = Bridge(engine, "c", Towards.SIP)
    caller = phone_session()
    for attempt in (1, 2):
        await bridge.offer(attempt, Towards.XMPP, SIP_CODECS, caller)
    await bridge.release_attempt(1)
    await bridge.answer(2, SIP_CODECS, webrtc_session(PCMA, setup=Setup.ACTIVE, name="audio"), caller)
    assert ("release", "callee1") in engine.names()
    assert bridge.carries("callee2")
    assert not bridge.carries("callee1")
    assert (await bridge.close())["caller"].received_packets == 1
    assert engine.asked[-1] == ("release", None)
