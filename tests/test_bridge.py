"""The media of one call, in session facts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.bridge import MAX_DIGITS, MAX_TRICKLED, Bridge, cause_of
from gateway.call.causes import Cause
from gateway.call.events import Leg, Reanswered, Reoffered, Trickled
from gateway.errors import MediaError, NegotiationError
from gateway.media.engine import LegKind, Recorded
from gateway.session.model import Codec, Crypto, Direction, Dtmf, Ice, Media, Profile, Session, Setup
from gateway.session.policy import Policy, Towards
from gateway.session.protection import Srtp, UnprotectedError
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


KEYED = Policy(("PCMA",), srtp=Srtp.REQUIRED)
THEIR_KEY = Crypto(1, "AES_CM_128_HMAC_SHA1_80", "inline:theirs")


def keyed_session() -> Session:
    """What a phone says that protects its media with a key in the SDP."""
    (media,) = phone_session(PCMA).media
    return Session((replace(media, profile=Profile.SAVP, transport=replace(media.transport, crypto=(THEIR_KEY,))),))


async def test_a_trunk_that_has_to_protect_its_media_answers_with_its_key() -> None:
    engine = FakeEngine()
    bridge = Bridge(engine, "c", Towards.XMPP)
    await bridge.offer(1, Towards.SIP, KEYED, None)
    await bridge.answer(1, KEYED, keyed_session(), webrtc_session(PCMA))
    assert engine.connected("callee1")[0].crypto == (THEIR_KEY,)


async def test_a_trunk_that_has_to_protect_its_media_calls_with_its_key() -> None:
    engine = FakeEngine()
    bridge = Bridge(engine, "c", Towards.SIP)
    await bridge.offer(1, Towards.XMPP, KEYED, keyed_session())
    answer = await bridge.answer(1, KEYED, webrtc_session(PCMA, name="audio"), keyed_session())
    assert engine.connected("caller")[0].crypto == (THEIR_KEY,)
    assert answer.audio is not None
    assert [(crypto.tag, crypto.suite) for crypto in answer.audio.transport.crypto] == [(1, THEIR_KEY.suite)]


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


async def test_a_leg_has_the_version_of_ip_that_its_far_end_names() -> None:
    engine = FakeEngine()
    bridge = Bridge(engine, "c", Towards.SIP)
    six = phone_session()
    assert six.audio is not None
    six = six.with_media(replace(six.audio, transport=replace(six.audio.transport, address="2001:db8::7")))
    await bridge.offer(1, Towards.SIP, SIP_CODECS, six, ip=4)
    await bridge.answer(1, SIP_CODECS, phone_session(), six)
    assert engine.versions == {"callee1": 4, "caller": 6}
    waiting = FakeEngine()
    await Bridge(waiting, "c", Towards.SIP).offer_caller(SIP_CODECS, 6)
    assert waiting.versions == {"caller": 6}


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


async def test_digits_for_a_trunk_that_takes_them_in_signalling_alone_go_there_and_nowhere_else() -> None:
    engine = FakeEngine()
    signalled: list[tuple[int, str, int]] = []
    bridge = Bridge(engine, "c", Towards.XMPP, lambda *pressed: signalled.append(pressed))
    caller, policy = webrtc_session(OPUS, PCMA, EVENTS), Policy(dtmf=Dtmf.INFO)
    offer = await bridge.offer(1, Towards.SIP, policy, caller)
    assert offer.audio is not None
    assert offer.audio.dtmf == ()
    await bridge.digits(Leg.CALLER, 0, "12", 100)
    bridge.heard("caller", "0", 100)  # nobody is there yet
    await bridge.answer(1, policy, phone_session(PCMA), caller)
    await bridge.flush_digits()
    bridge.heard("caller", "3", 160)
    bridge.heard("callee1", "4", 160)
    await bridge.digits(Leg.CALLEE, 1, "#", 100)
    assert signalled == [(1, "12", 100), (1, "3", 160)]
    assert [facts for facts in engine.asked if facts[0] == "dtmf"] == [("dtmf", "caller", "#", 100)]
    assert [engine.connected(leg)[1].dtmf for leg in ("caller", "callee1")] == [Dtmf.RFC4733, Dtmf.INFO]


async def test_a_client_that_does_not_mux_is_answered_with_a_component_for_rtcp() -> None:
    engine = FakeEngine()
    bridge = Bridge(engine, "c", Towards.XMPP)
    caller = webrtc_session(PCMA, candidates=(candidate(), replace(candidate(50001), component=2)))
    media = caller.media[0]
    caller = caller.with_media(replace(media, transport=replace(media.transport, rtcp_mux=False)))
    await bridge.offer(1, Towards.SIP, SIP_CODECS, caller)
    answer = await bridge.answer(1, SIP_CODECS, phone_session(PCMA), caller)
    assert answer.audio is not None
    assert answer.audio.transport.ice is not None
    assert not answer.audio.transport.rtcp_mux
    assert [c.component for c in answer.audio.transport.ice.candidates] == [1, 2]
    remote, stream, _, _ = engine.connected("caller")
    assert remote.ice is not None
    assert ([c.component for c in remote.ice.candidates], stream.rtcp_mux) == ([1, 2], False)


async def test_a_client_that_is_called_may_mux_or_not() -> None:
    engine = FakeEngine()
    bridge = Bridge(engine, "c", Towards.SIP)
    offer = await bridge.offer(1, Towards.XMPP, SIP_CODECS, phone_session(PCMA))
    assert offer.audio is not None
    assert offer.audio.transport.ice is not None
    assert offer.audio.transport.rtcp_mux
    assert [c.component for c in offer.audio.transport.ice.candidates] == [1, 2]
    answered = webrtc_session(PCMA, setup=Setup.ACTIVE, name="audio")
    await bridge.answer(1, SIP_CODECS, answered, phone_session(PCMA))
    assert engine.connected("callee1")[1].rtcp_mux


async def test_a_re_offer_moves_one_leg_and_leaves_the_other_alone() -> None:
    engine = FakeEngine()
    bridge = Bridge(engine, "c", Towards.XMPP)
    caller = webrtc_session(OPUS)
    ours = await bridge.offer(1, Towards.SIP, SIP_CODECS, caller)
    await bridge.answer(1, SIP_CODECS, phone_session(PCMA), caller)
    said = await bridge.reoffer(Reoffered(Leg.CALLEE, 1, phone_session(PCMU, ip="192.0.2.77", port=41000)))
    answer = said.answer
    assert said.held is None
    remote, stream, peer, _ = engine.connected("callee1")
    assert (remote.address, remote.port, stream.send.name, peer) == ("192.0.2.77", 41000, "PCMU", "caller")
    assert answer.audio is not None
    assert ours.audio is not None
    assert answer.audio.transport.port == ours.audio.transport.port
    assert len([facts for facts in engine.asked if facts[:2] == ("connect", "caller")]) == 1


async def agreed(towards_caller: Towards = Towards.XMPP) -> tuple[FakeEngine, Bridge]:
    """A call that is up: the caller on this side, the callee on the other."""
    engine = FakeEngine()
    bridge = Bridge(engine, "c", towards_caller)
    if towards_caller is Towards.XMPP:
        caller, callee, towards = webrtc_session(OPUS, PCMA), phone_session(PCMA), Towards.SIP
    else:
        caller, callee, towards = phone_session(PCMA), webrtc_session(PCMA, setup=Setup.ACTIVE), Towards.XMPP
    ours = await bridge.offer(1, towards, SIP_CODECS, caller)
    if towards is Towards.XMPP:
        callee = replace(callee, media=(replace(callee.media[0], name=ours.media[0].name),))
    await bridge.answer(1, SIP_CODECS, callee, caller)
    return engine, bridge


def direction(session: Session | None) -> Direction:
    assert session is not None
    assert session.audio is not None
    return session.audio.direction


def audio_of(session: Session) -> Media:
    assert session.audio is not None
    return session.audio


async def test_a_re_offer_without_a_session_gets_ours_and_its_answer_is_what_holds() -> None:
    engine, bridge = await agreed()
    said = await bridge.reoffer(Reoffered(Leg.CALLEE, 1, None))
    assert [codec.name for codec in audio_of(said.answer).codecs] == ["PCMA", "telephone-event"]
    await bridge.reanswered(Reanswered(Leg.CALLEE, 1, phone_session(PCMA, ip="192.0.2.99")))
    assert engine.connected("callee1")[0].address == "192.0.2.99"


async def test_a_telephone_that_is_held_by_a_word_hears_music_and_is_offered_only_to_listen() -> None:
    engine, bridge = await agreed()
    before = await bridge.reoffer(Reoffered(Leg.CALLEE, 1, phone_session(PCMA)))
    offer = await bridge.hold(Leg.CALLER, 0, True)
    assert direction(offer) is Direction.SENDONLY
    assert offer is not None
    assert offer.version == before.answer.version + 1
    assert engine.asked[-1] == ("play", "callee1", "hold")
    assert await bridge.hold(Leg.CALLER, 0, True) is None  # said twice
    listening = phone_session(PCMA)
    listening = replace(listening, media=(replace(listening.media[0], direction=Direction.RECVONLY),))
    await bridge.reanswered(Reanswered(Leg.CALLEE, 1, listening))
    assert engine.connected("callee1")[1].direction is Direction.SENDONLY
    back = await bridge.hold(Leg.CALLER, 0, False)
    assert direction(back) is Direction.SENDRECV
    assert engine.asked[-1] == ("stop_playing", "callee1")


async def test_a_telephone_that_would_not_be_held_goes_on_as_it_was() -> None:
    engine, bridge = await agreed()
    offer = await bridge.hold(Leg.CALLER, 0, True)
    connects = len([facts for facts in engine.asked if facts[0] == "connect"])
    await bridge.reanswered(Reanswered(Leg.CALLEE, 1, None))
    assert len([facts for facts in engine.asked if facts[0] == "connect"]) == connects
    back = await bridge.hold(Leg.CALLER, 0, False)
    assert offer is not None
    assert back is not None
    assert back.version == offer.version + 1


async def test_a_telephone_that_holds_by_its_media_is_told_once_and_plays_its_own_music() -> None:
    engine, bridge = await agreed()
    holding = phone_session(PCMA)
    holding = replace(holding, media=(replace(holding.media[0], direction=Direction.SENDONLY),))
    said = await bridge.reoffer(Reoffered(Leg.CALLEE, 1, holding))
    assert (said.held, direction(said.answer)) == (True, Direction.RECVONLY)
    assert await bridge.hold(Leg.CALLEE, 1, True) is not None
    assert not [facts for facts in engine.asked if facts[0] == "play"]
    assert (await bridge.reoffer(Reoffered(Leg.CALLEE, 1, holding))).held is None
    assert (await bridge.reoffer(Reoffered(Leg.CALLEE, 1, phone_session(PCMA)))).held is False


async def test_a_phone_that_re_offers_while_it_is_held_stays_held() -> None:
    _, bridge = await agreed()
    await bridge.hold(Leg.CALLER, 0, True)
    said = await bridge.reoffer(Reoffered(Leg.CALLEE, 1, phone_session(PCMA)))
    assert direction(said.answer) is Direction.SENDONLY


async def test_new_ice_credentials_restart_ice_and_ours_go_back() -> None:
    engine, bridge = await agreed()
    anew = Ice("vvvv", "q" * 22)
    ours = await bridge.trickle(Trickled(Leg.CALLER, 0, (candidate(),), anew))
    assert ours is not None
    assert audio_of(ours).transport.ice == Ice(
        "anew", "n" * 22, (candidate(engine.ports, "203.0.113.7"),), complete=True
    )
    assert engine.asked[-1] == ("restart", "caller", replace(anew, candidates=(candidate(),)))
    assert (
        await bridge.trickle(Trickled(Leg.CALLER, 0, (candidate(),), anew)) is None
    )  # COMPAT: Monal says them each time
    assert engine.asked[-1][0] == "candidates"


async def test_credentials_that_are_said_again_with_each_candidate_restart_nothing() -> None:
    engine, bridge = await agreed()
    assert await bridge.trickle(Trickled(Leg.CALLER, 0, (candidate(),), Ice("uuuu", "p" * 22))) is None
    assert engine.asked[-1][0] == "candidates"


async def test_a_caller_who_wants_an_offer_is_answered_when_both_have_answered_ours() -> None:
    engine = FakeEngine()
    bridge = Bridge(engine, "c", Towards.SIP)
    offered = await bridge.offer(1, Towards.XMPP, SIP_CODECS, None)
    ours = await bridge.offer_caller(SIP_CODECS)
    callee = webrtc_session(OPUS, setup=Setup.ACTIVE, name=audio_of(offered).name)
    assert await bridge.answer(1, SIP_CODECS, callee, phone_session(PCMA)) == ours
    assert engine.connected("caller")[1].send.name == "PCMA"
    assert engine.connected("callee1")[1].send.name == "opus"
    assert engine.connected("callee1")[2] == "caller"


async def test_whoever_takes_over_talks_with_the_end_that_stays_in_its_codec() -> None:
    engine, bridge = await agreed()
    ours = await bridge.offer(2, Towards.SIP, SIP_CODECS, None, beside=0)
    assert audio_of(ours).codecs[0].name == "PCMA"
    await bridge.pair(2, phone_session(PCMA, ip="192.0.2.50"), 0)
    assert engine.connected("callee2")[2] == "caller"
    await bridge.release_attempt(1)
    assert bridge.carries("callee2")
    assert bridge.peer_of(Leg.CALLER, 0) == 2


async def test_a_newcomer_is_answered_in_a_codec_of_his_own_and_talks_with_the_end_that_stays() -> None:
    engine, bridge = await agreed(Towards.SIP)  # a user was called
    answer = await bridge.adopt(2, Towards.SIP, SIP_CODECS, phone_session(PCMU), 0)
    assert audio_of(answer).codecs[0].name == "PCMU"
    assert engine.connected("callee2")[2] == "caller"


async def test_nobody_is_paired_with_an_end_that_has_agreed_to_nothing() -> None:
    bridge = Bridge(FakeEngine(), "c", Towards.XMPP)
    await bridge.offer(1, Towards.SIP, SIP_CODECS, None)
    with pytest.raises(MediaError):
        await bridge.pair(1, phone_session(), 0)
    with pytest.raises(MediaError):
        await bridge.pair(2, phone_session(), 1)


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


async def test_a_recorded_conversation_is_told_to_both_ends_before_it_goes_on() -> None:
    engine, bridge = await agreed()
    engine.asked.clear()
    await bridge.record("20260102T030405Z-c", notice=True)
    assert engine.asked[0] == ("record", "20260102T030405Z-c")
    assert sorted(engine.asked[1:]) == [("play", "callee1", "notice"), ("play", "caller", "notice")]
    engine.tape = Recorded("20260102T030405Z-c.wav")
    assert await bridge.recorded() == engine.tape


async def test_a_recording_without_a_notice_is_not_heard() -> None:
    engine, bridge = await agreed()
    engine.asked.clear()
    await bridge.record("name", notice=False)
    assert engine.asked == [("record", "name")]


@pytest.mark.parametrize("notice", [True, False])
async def test_whoever_joins_a_recorded_conversation_is_told_too(notice: bool) -> None:
    engine, bridge = await agreed()
    await bridge.record("name", notice=notice)
    engine.asked.clear()
    await bridge.offer(2, Towards.SIP, SIP_CODECS, None, beside=0)
    await bridge.pair(2, phone_session(PCMA), 0)
    await bridge.adopt(3, Towards.SIP, SIP_CODECS, phone_session(PCMA), 0)
    told = [asked for asked in engine.asked if asked[0] == "play"]
    assert told == ([("play", "callee2", "notice"), ("play", "callee3", "notice")] if notice else [])


async def test_nobody_is_told_of_a_recording_that_could_not_begin() -> None:
    engine, bridge = await agreed()
    engine.asked.clear()
    engine.fails.add("record")
    with pytest.raises(MediaError):
        await bridge.record("name", notice=True)
    assert engine.asked == []
    assert await bridge.recorded() == Recorded("", "record failed")


async def test_a_recording_whose_worker_died_is_known_by_its_name() -> None:
    engine, bridge = await agreed()
    await bridge.record("name", notice=False)
    engine.fails.add("recorded")
    assert await bridge.recorded() == Recorded("name", "recorded failed")


async def test_a_call_that_is_not_recorded_has_no_recording() -> None:
    _, bridge = await agreed()
    assert await bridge.recorded() is None


def test_why_there_is_no_bridge_is_a_cause() -> None:
    assert cause_of(MediaError("no worker")) is Cause.INTERNAL
    assert cause_of(UnprotectedError("no keys")) is Cause.SECURITY
    assert cause_of(NegotiationError("nothing in common")) is Cause.NO_COMMON_CODEC
