"""The audio section that is taken, what is answered beside it, and where its media goes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.errors import NegotiationError
from gateway.session import jingle, negotiate, sdp
from gateway.session.audio import our_setup, remote_transport
from gateway.session.model import (
    Codec,
    Direction,
    Fingerprint,
    Ice,
    Media,
    Profile,
    Session,
    Setup,
    Source,
    Transport,
)
from gateway.session.policy import Policy
from gateway.session.protection import UnprotectedError
from tests.session.ends import (
    FALLBACK,
    OPUS,
    PCMA,
    PCMU,
    SIP,
    WEB,
    XMPP,
    audio,
    call,
    client,
    description,
    phone,
    stanza,
)


def test_the_answer_names_what_the_offer_named_and_says_who_begins() -> None:
    agreed = call(FALLBACK, client(PCMA, creator="responder", name="zero"), phone(PCMA))
    media = audio(agreed.answer)
    assert (media.name, media.creator) == ("zero", "responder")
    assert media.transport.fingerprint == replace(WEB.fingerprint, setup=Setup.ACTIVE) if WEB.fingerprint else False
    assert media.ptime is None


def test_multiplexing_is_answered_only_if_offered() -> None:
    caller = client(PCMA)
    apart = replace(audio(caller), transport=replace(audio(caller).transport, rtcp_mux=False))
    agreed = call(FALLBACK, Session((apart,)), phone(PCMA))
    assert not audio(agreed.answer).transport.rtcp_mux
    assert not agreed.caller.rtcp_mux


def test_a_phone_that_offers_savpf_and_avp_is_answered_where_it_can_be() -> None:
    offer = phone(PCMA)
    srtp = replace(audio(offer), name="audio2", profile=Profile.SAVP)
    both = Session((srtp, *offer.media))
    agreed = call(FALLBACK, both, client(PCMA), calling=SIP)
    assert [(m.name, m.rejected) for m in agreed.answer.media] == [("audio2", True), ("audio", False)]
    elsewhere = replace(srtp, transport=Transport("198.51.100.5", 9999))
    assert remote_transport(Session((elsewhere, *offer.media))).port == 4000
    assert remote_transport(Session((elsewhere,))).port == 9999


def test_video_and_fax_of_a_phone_are_refused_in_their_places() -> None:
    offer = sdp.parse(
        "v=0\r\nc=IN IP4 198.51.100.5\r\n"
        "m=video 4000 RTP/AVP 34\r\nm=audio 4002 RTP/AVP 0\r\nm=image 4004 udptl t38\r\n"
    )
    agreed = call(FALLBACK, offer, client(PCMU), calling=SIP)
    written = sdp.render(agreed.answer)
    assert [line for line in written.split("\r\n") if line.startswith("m=")] == [
        "m=video 0 RTP/AVP 34",
        "m=audio 20000 RTP/AVP 0",
        "m=image 0 udptl t38",
    ]
    assert written.count("c=") == 1


def test_an_avpf_offer_is_answered_as_that() -> None:
    agreed = call(FALLBACK, phone(PCMA, profile=Profile.AVPF), client(PCMA), calling=SIP)
    assert audio(agreed.answer).profile is Profile.AVPF


def test_conversations_video_is_taken_in_and_never_answered_with_any() -> None:
    offer = stanza("conversations_video_session_initiate")
    answer, _ = negotiate.answer_alone(FALLBACK, XMPP, offer, WEB)
    assert answer.bundle == ("0", "1")
    video = answer.media[1]
    assert [c.name for c in video.codecs] == [c.name for c in offer.media[1].codecs]
    assert video.transport == answer.media[0].transport
    assert video.direction is Direction.RECVONLY
    content = jingle.contents(answer, initiator=False)[2]
    assert content.get("senders") == "initiator"
    assert not list(content.iter(f"{{{jingle.FEEDBACK}}}rtcp-fb"))


def test_dinos_video_without_bundle_is_left_out() -> None:
    answer, stream = negotiate.answer_alone(FALLBACK, XMPP, stanza("dino_video_session_initiate"), WEB)
    assert [m.rejected for m in answer.media] == [False, True]
    assert answer.bundle == ()
    assert len(jingle.contents(answer, initiator=False)) == 1
    assert stream.send_dtmf is None


@pytest.mark.parametrize("direction", [Direction.RECVONLY, Direction.INACTIVE])
def test_video_that_wants_ours_is_left_out(direction: Direction) -> None:
    offer = stanza("movim_video_session_initiate")
    video = replace(offer.media[1], direction=direction)
    answer, _ = negotiate.answer_alone(FALLBACK, XMPP, replace(offer, media=(offer.media[0], video)), WEB)
    assert answer.media[1].rejected
    assert answer.bundle == ("0",)


def test_beside_video_a_browser_is_told_what_the_voice_is_sent_as() -> None:
    """Chromium finds it by nothing else where the video of the bundle is refused, or goes one way."""
    source = Source(0xABCD, (("cname", "gateway"),))
    voice = client(OPUS, PCMA)
    camera = Media("1", "video", (Codec(96, "VP8", 90_000),), voice.media[0].transport, Profile.DTLS)
    both = Session((*voice.media, camera), (voice.media[0].name, "1"))
    ours = replace(WEB, source=source)
    said = [negotiate.answer_alone(FALLBACK, XMPP, offer, ours)[0].media[0].sources for offer in (voice, both)]
    assert said == [(), (source,)]


def test_gajims_unprotected_offer_is_refused_before_anybody_is_rung() -> None:
    with pytest.raises(UnprotectedError, match="nothing is offered"):
        negotiate.check(XMPP, stanza("gajim_session_initiate"), Policy())
    with pytest.raises(UnprotectedError):
        negotiate.answer_alone(FALLBACK, XMPP, stanza("gajim_session_initiate"), WEB)


def test_sdes_alone_is_refused_towards_xmpp() -> None:
    with pytest.raises(UnprotectedError, match="SDES"):
        negotiate.check(XMPP, description("linphone_srtp"), Policy())


def test_a_fingerprint_that_proves_nothing_is_refused() -> None:
    offer = client(PCMA)
    weak = Fingerprint("md5", ":".join(["CD"] * 16), Setup.ACTPASS)
    with pytest.raises(UnprotectedError, match="md5"):
        negotiate.check(
            XMPP,
            Session((replace(audio(offer), transport=replace(audio(offer).transport, fingerprint=weak)),)),
            Policy(),
        )


def test_dtls_without_ice_is_refused_towards_xmpp() -> None:
    offer = client(PCMA)
    apart = replace(audio(offer), transport=replace(audio(offer).transport, ice=None))
    with pytest.raises(UnprotectedError, match="ICE"):
        negotiate.check(XMPP, Session((apart,)), Policy())


def test_srtp_towards_a_phone_is_not_taken_for_rtp() -> None:
    with pytest.raises(NegotiationError, match="RTP/SAVP"):
        negotiate.check(SIP, description("linphone_srtp"), Policy())
    negotiate.check(SIP, description("baresip_sdes"), Policy())  # optional keys in plain RTP


def test_with_bundle_the_first_section_says_where_all_media_goes() -> None:
    offer = description("chromium_video_offer")
    turned = replace(offer, media=(offer.media[1], offer.media[0]), bundle=("1", "0"))
    video, sound = turned.media
    assert video.transport.ice is not None
    assert sound.transport.ice is not None
    ice = remote_transport(turned).ice
    assert ice is not None
    assert set(ice.candidates) == set(video.transport.ice.candidates) | set(sound.transport.ice.candidates)
    foreign = replace(sound, transport=replace(sound.transport, ice=Ice("else", "e" * 22)))
    ice = remote_transport(replace(turned, media=(video, foreign))).ice
    assert ice is not None
    assert ice.ufrag == video.transport.ice.ufrag
    assert remote_transport(turned).port == video.transport.port


def test_without_bundle_the_audio_speaks_for_itself() -> None:
    offer = stanza("dino_video_session_initiate")
    assert remote_transport(offer) == audio(offer).transport
    assert remote_transport(phone(PCMA)) == Transport("198.51.100.5", 4000)


@pytest.mark.parametrize(
    ("theirs", "offering", "ours"),
    [
        (Setup.ACTPASS, False, Setup.ACTIVE),
        (Setup.ACTIVE, False, Setup.PASSIVE),
        (Setup.PASSIVE, False, Setup.ACTIVE),
        (Setup.ACTIVE, True, Setup.PASSIVE),
        (Setup.PASSIVE, True, Setup.ACTIVE),
        (Setup.ACTPASS, True, Setup.ACTIVE),
        (Setup.HOLDCONN, True, Setup.HOLDCONN),
    ],
)
def test_somebody_begins_dtls(theirs: Setup, offering: bool, ours: Setup) -> None:
    assert our_setup(theirs, offering=offering) is ours
