from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from gateway.errors import NegotiationError
from gateway.session import jingle, negotiate, sdp
from gateway.session.model import (
    Candidate,
    Codec,
    Direction,
    Dtmf,
    Fingerprint,
    Ice,
    Media,
    Profile,
    Session,
    Setup,
    Source,
    Stream,
    Transport,
)
from gateway.session.negotiate import Policy, Towards, Transcode
from gateway.session.protection import UnprotectedError

VECTORS = Path(__file__).parents[1] / "vectors"
XMPP, SIP = Towards.XMPP, Towards.SIP
FALLBACK, NEVER, PREFER = Policy(), Policy(transcode=Transcode.NEVER), Policy(transcode=Transcode.PREFER_OPUS)

WEB = Transport(
    rtcp_mux=True,
    ice=Ice("ours", "o" * 22, (Candidate("1", 1, "udp", 7, "203.0.113.7", 20_002, "host"),), complete=True),
    fingerprint=Fingerprint("sha-256", ":".join(["AB"] * 32), Setup.ACTPASS),
)
RTP = Transport("203.0.113.7", 20_000, 20_001)

OPUS, PCMA, PCMU, G722 = (
    Codec(111, "opus", 48_000, 2),
    Codec(8, "PCMA", 8000),
    Codec(0, "PCMU", 8000),
    Codec(9, "G722", 8000),
)
SPEEX = Codec(114, "speex", 8000)
EVENT8, EVENT48 = Codec(126, "telephone-event", 8000), Codec(110, "telephone-event", 48_000)
SIP_EVENT = Codec(101, "telephone-event", 8000, 1, (("", "0-15"),))


def phone(*codecs: Codec, **changes: object) -> Session:
    media = Media("audio", "audio", codecs, Transport("198.51.100.5", 4000), ptime=20)
    return Session((replace(media, **changes),))  # type: ignore[arg-type]


def client(*codecs: Codec, **changes: object) -> Session:
    transport = Transport(
        rtcp_mux=True,
        ice=Ice("them", "t" * 22),
        fingerprint=Fingerprint("sha-256", ":".join(["CD"] * 32), Setup.ACTPASS),
    )
    media = Media("0", "audio", codecs, transport, Profile.DTLS)
    return Session((replace(media, **changes),))  # type: ignore[arg-type]


def stanza(name: str) -> Session:
    root = ET.parse(VECTORS / "jingle" / f"{name}.xml").getroot()
    found = root if root.tag.endswith("}jingle") else root.find(f"{{{jingle.JINGLE}}}jingle")
    assert found is not None
    return jingle.parse_session(found)


def description(name: str) -> Session:
    return sdp.parse((VECTORS / "sdp" / f"{name}.sdp").read_bytes().decode())


def audio(session: Session) -> Media:
    assert session.audio is not None
    return session.audio


def names(session: Session) -> list[tuple[int, str, int]]:
    return [(c.pt, c.name, c.clock_rate) for c in audio(session).codecs]


def call(
    policy: Policy, caller: Session, callee: Session, *, late: bool = False, calling: Towards = XMPP
) -> negotiate.Agreement:
    """A whole call from one side to the other, the callee answering with what it has."""
    called = SIP if calling is XMPP else XMPP
    mine, theirs = (WEB, RTP) if calling is XMPP else (RTP, WEB)
    offer = negotiate.offer_callee(policy, called, None if late else caller, theirs)
    return negotiate.answer_caller(policy, calling, caller, offer, callee, mine)


# ------------------------------------------------------------------------------------------------- what we offer


def test_without_a_caller_a_phone_is_offered_the_policys_codecs() -> None:
    offer = negotiate.offer_callee(FALLBACK, SIP, None, RTP)
    assert names(offer) == [(8, "PCMA", 8000), (0, "PCMU", 8000), (101, "telephone-event", 8000)]
    media = audio(offer)
    assert media.profile is Profile.AVP
    assert media.dtmf[0].parameters == (("", "0-15"),)
    assert media.transport == RTP
    assert offer.bundle == ()
    assert sdp.parse(sdp.render(offer)) == offer


def test_a_phone_is_offered_first_what_can_be_relayed() -> None:
    offer = negotiate.offer_callee(FALLBACK, SIP, client(OPUS, PCMU), RTP)
    assert names(offer) == [(0, "PCMU", 8000), (8, "PCMA", 8000), (101, "telephone-event", 8000)]


def test_a_phone_is_offered_only_what_can_be_relayed_where_nothing_may_be_transcoded() -> None:
    assert names(negotiate.offer_callee(NEVER, SIP, client(OPUS, PCMU), RTP))[0] == (0, "PCMU", 8000)
    with pytest.raises(NegotiationError):
        negotiate.offer_callee(NEVER, SIP, client(OPUS), RTP)


def test_what_can_only_be_relayed_is_offered_to_a_phone_only_if_the_caller_has_it() -> None:
    policy = Policy(("speex", "PCMA"))
    assert [name for _, name, _ in names(negotiate.offer_callee(policy, SIP, client(OPUS, SPEEX), RTP))[:2]] == [
        "speex",
        "PCMA",
    ]
    assert names(negotiate.offer_callee(policy, SIP, client(OPUS), RTP))[0] == (8, "PCMA", 8000)


def test_a_phone_that_hears_more_than_a_telephone_is_offered_it_to_a_caller_with_opus() -> None:
    policy = Policy(("G722", "PCMA"))
    assert names(negotiate.offer_callee(policy, SIP, client(OPUS), RTP))[0] == (9, "G722", 8000)
    agreed = call(policy, client(OPUS), phone(G722))
    assert [names(agreed.answer)[0], agreed.callee.send] == [(111, "opus", 48_000), G722]


def test_a_caller_without_anything_to_transcode_from_is_offered_on_by_relay_alone() -> None:
    offer = negotiate.offer_callee(Policy(("PCMA", "speex")), SIP, client(SPEEX), RTP)
    assert [name for _, name, _ in names(offer)] == ["speex", "telephone-event"]


def test_opus_towards_a_phone_is_dynamic_and_brings_its_own_clock_for_digits() -> None:
    policy = Policy(("opus", "PCMA", "iLBC", "nonsense"))
    offer = negotiate.offer_callee(policy, SIP, None, RTP)
    assert names(offer) == [
        (96, "opus", 48_000),
        (8, "PCMA", 8000),
        (97, "iLBC", 8000),
        (102, "telephone-event", 48_000),
        (101, "telephone-event", 8000),
    ]


def test_with_opus_preferred_the_trunks_own_order_stands() -> None:
    offer = negotiate.offer_callee(PREFER, SIP, client(OPUS, PCMU), RTP)
    assert names(offer)[:2] == [(8, "PCMA", 8000), (0, "PCMU", 8000)]
    offer = negotiate.offer_callee(PREFER, SIP, client(PCMU), RTP)
    assert names(offer)[:2] == [(0, "PCMU", 8000), (8, "PCMA", 8000)]


def test_a_client_is_offered_the_phones_codecs_and_opus() -> None:
    offer = negotiate.offer_callee(FALLBACK, XMPP, description("linphone_offer"), WEB)
    assert names(offer) == [
        (8, "PCMA", 8000),
        (0, "PCMU", 8000),
        (111, "opus", 48_000),
        (126, "telephone-event", 8000),
        (110, "telephone-event", 48_000),
    ]
    media = audio(offer)
    assert (media.name, media.creator, media.profile) == ("audio", "initiator", Profile.DTLS)
    assert media.transport.rtcp_mux
    assert media.transport.fingerprint is not None
    assert media.transport.fingerprint.setup is Setup.ACTPASS
    assert media.codecs[2].channels == 2
    assert all(c.parameters == () for c in media.dtmf)
    assert media.ptime is None
    assert offer.bundle == ("audio",)


def test_opus_comes_first_where_it_is_preferred_and_not_at_all_where_nothing_is_transcoded() -> None:
    assert names(negotiate.offer_callee(PREFER, XMPP, phone(PCMU), WEB))[:2] == [
        (111, "opus", 48_000),
        (0, "PCMU", 8000),
    ]
    assert names(negotiate.offer_callee(NEVER, XMPP, phone(PCMU), WEB)) == [
        (0, "PCMU", 8000),
        (126, "telephone-event", 8000),
    ]


def test_a_client_is_offered_nothing_that_libwebrtc_does_not_know() -> None:
    policy = Policy(("GSM", "PCMA"))
    assert names(negotiate.offer_callee(policy, XMPP, phone(Codec(3, "GSM", 8000), PCMA), WEB))[0] == (8, "PCMA", 8000)
    with pytest.raises(NegotiationError):
        negotiate.offer_callee(policy, XMPP, phone(Codec(3, "GSM", 8000)), WEB)


def test_a_caller_without_an_offer_lets_us_offer_the_policys_codecs_to_a_client() -> None:
    offer = negotiate.offer_callee(Policy(("opus", "PCMU")), XMPP, None, WEB)
    assert names(offer)[:2] == [(111, "opus", 48_000), (0, "PCMU", 8000)]


def test_a_caller_that_only_listens_is_offered_on_to_a_phone_as_that_but_never_to_a_client() -> None:
    quiet = client(PCMU, direction=Direction.RECVONLY)
    assert audio(negotiate.offer_callee(FALLBACK, SIP, quiet, RTP)).direction is Direction.RECVONLY
    held = phone(PCMU, direction=Direction.INACTIVE)
    assert audio(negotiate.offer_callee(FALLBACK, XMPP, held, WEB)).direction is Direction.SENDRECV


def test_a_transport_without_a_fingerprint_is_offered_as_it_is() -> None:
    assert audio(negotiate.offer_callee(FALLBACK, XMPP, None, RTP)).transport == replace(RTP, rtcp_mux=True)


# ------------------------------------------------------------------------------------------------- calls from a client


def test_what_both_ends_have_is_relayed() -> None:
    agreed = call(FALLBACK, client(OPUS, PCMU, PCMA, EVENT48, EVENT8), phone(PCMA, SIP_EVENT))
    assert names(agreed.answer) == [(8, "PCMA", 8000), (126, "telephone-event", 8000)]
    assert agreed.caller == Stream(PCMA, (PCMA,), EVENT8, (EVENT8,), rtcp_mux=True)
    assert agreed.callee == Stream(PCMA, (PCMA,), SIP_EVENT, (SIP_EVENT,))


def test_what_only_one_end_has_is_transcoded_from_opus() -> None:
    agreed = call(FALLBACK, client(SPEEX, OPUS, EVENT48, EVENT8), phone(PCMU, SIP_EVENT))
    assert names(agreed.answer) == [(111, "opus", 48_000), (110, "telephone-event", 48_000)]
    assert audio(agreed.answer).codecs[0].parameters == (("minptime", "10"), ("useinbandfec", "1"))
    assert agreed.caller.send == OPUS
    assert agreed.callee.send == PCMU
    assert agreed.callee.receive == (PCMU,)


def test_two_laws_of_g711_are_turned_into_each_other() -> None:
    agreed = call(FALLBACK, client(PCMU), phone(PCMA))
    assert (agreed.caller.send, agreed.callee.send) == (PCMU, PCMA)


def test_nothing_is_transcoded_where_the_policy_says_never() -> None:
    with pytest.raises(NegotiationError):
        call(NEVER, client(OPUS), phone(PCMA), late=True)
    assert call(NEVER, client(OPUS, PCMA), phone(PCMA)).caller.send == PCMA


def test_nothing_is_transcoded_that_cannot_be() -> None:
    with pytest.raises(NegotiationError):
        call(FALLBACK, client(SPEEX), phone(PCMA), late=True)


def test_opus_is_spoken_where_it_is_preferred() -> None:
    agreed = call(PREFER, client(PCMA, OPUS), phone(PCMA))
    assert (agreed.caller.send, agreed.callee.send) == (OPUS, PCMA)
    assert call(PREFER, client(PCMA), phone(PCMA)).caller.send == PCMA


def test_opus_on_both_sides_is_relayed_with_what_the_phone_wants() -> None:
    policy = Policy(("opus", "PCMA"), Transcode.PREFER_OPUS)
    theirs = Codec(107, "OPUS", 48_000, 2, (("stereo", "1"), ("cbr", "maybe")))
    agreed = call(policy, client(OPUS), phone(theirs))
    assert agreed.callee.send == theirs
    assert [c.pt for c in agreed.callee.receive] == [96, 107]  # what we offered, and what some phones use instead
    assert agreed.caller.send == OPUS
    assert audio(agreed.answer).codecs[0] == replace(OPUS, parameters=(("stereo", "1"),))


def test_a_late_caller_is_answered_with_what_the_callee_took() -> None:
    agreed = call(FALLBACK, client(OPUS, PCMU, PCMA), phone(PCMU, PCMA), late=True)
    assert agreed.caller.send == PCMU
    agreed = call(FALLBACK, client(OPUS), phone(PCMU, PCMA), late=True)
    assert (agreed.caller.send, agreed.callee.send) == (OPUS, PCMU)


def test_a_codec_that_the_callee_took_second_is_relayed_rather_than_the_first_transcoded() -> None:
    agreed = call(FALLBACK, client(OPUS, PCMU), phone(PCMA, PCMU), late=True)
    assert (agreed.caller.send, agreed.callee.send) == (PCMU, PCMU)
    assert agreed.callee.receive == (PCMA, PCMU)  # the phone may still send either


def test_digits_are_answered_only_if_offered() -> None:
    agreed = call(FALLBACK, client(PCMA), phone(PCMA, SIP_EVENT))
    assert audio(agreed.answer).dtmf == ()
    assert (agreed.caller.send_dtmf, agreed.caller.receive_dtmf) == (None, ())
    agreed = call(FALLBACK, client(PCMA, EVENT8), phone(PCMA))
    assert (agreed.callee.send_dtmf, agreed.callee.receive_dtmf) == (None, ())


def test_digits_at_another_clock_are_better_than_none() -> None:
    agreed = call(FALLBACK, client(OPUS, EVENT8), phone(PCMA))
    assert agreed.caller.send_dtmf == EVENT8


def test_a_phones_number_for_digits_is_used_towards_it_and_ours_from_it() -> None:
    theirs = replace(SIP_EVENT, pt=96)
    agreed = call(FALLBACK, client(PCMA, EVENT8), phone(PCMA, theirs))
    assert agreed.callee.send_dtmf == theirs
    assert agreed.callee.receive_dtmf == (SIP_EVENT, theirs)


def test_a_phones_number_that_means_something_else_to_us_is_not_taken_from_it() -> None:
    theirs = replace(SIP_EVENT, pt=0)  # PCMU was offered by that number
    assert call(FALLBACK, client(PCMA, EVENT8), phone(PCMA, theirs)).callee.receive_dtmf == (SIP_EVENT,)


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


def test_a_callee_that_holds_at_once_is_not_seen_by_a_client() -> None:
    agreed = call(FALLBACK, client(PCMA), phone(PCMA, direction=Direction.SENDONLY))
    assert audio(agreed.answer).direction is Direction.SENDRECV
    assert agreed.callee.direction is Direction.RECVONLY


def test_a_phones_ptime_is_kept() -> None:
    assert call(FALLBACK, client(PCMA), phone(PCMA, ptime=30)).callee.ptime == 30
    assert call(FALLBACK, client(PCMA), phone(PCMA, ptime=7)).callee.ptime == 20


# ------------------------------------------------------------------------------------------------- calls from a phone


def test_a_phone_that_calls_is_relayed_too() -> None:
    callee = client(PCMA, OPUS, EVENT8, EVENT48)
    agreed = call(FALLBACK, phone(PCMU, PCMA, SIP_EVENT), callee, calling=SIP)
    assert names(agreed.answer) == [(8, "PCMA", 8000), (101, "telephone-event", 8000)]
    assert audio(agreed.answer).dtmf[0].parameters == (("", "0-15"),)
    assert audio(agreed.answer).profile is Profile.AVP
    assert agreed.callee.send == PCMA
    assert agreed.callee.send_dtmf == EVENT8


def test_monals_answer_in_any_order_is_read_in_ours() -> None:
    offer = negotiate.offer_callee(FALLBACK, XMPP, phone(PCMA), WEB)
    for voices in ((PCMA, OPUS), (OPUS, PCMA)):
        agreed = negotiate.answer_caller(FALLBACK, SIP, phone(PCMA), offer, client(*voices), RTP)
        assert agreed.callee.send == PCMA
    agreed = negotiate.answer_caller(
        PREFER,
        SIP,
        phone(PCMA),
        negotiate.offer_callee(PREFER, XMPP, phone(PCMA), WEB),
        stanza("monal_session_accept"),
        RTP,
    )
    assert agreed.callee.send.name == "opus"
    assert agreed.caller.send == PCMA


def test_a_client_without_the_phones_codecs_is_reached_by_opus() -> None:
    agreed = call(FALLBACK, phone(PCMU), client(OPUS), calling=SIP)
    assert (agreed.caller.send, agreed.callee.send) == (PCMU, OPUS)
    assert audio(agreed.answer).ptime == 20


def test_a_phone_that_offers_savpf_and_avp_is_answered_where_it_can_be() -> None:
    offer = phone(PCMA)
    srtp = replace(audio(offer), name="audio2", profile=Profile.SAVP)
    both = Session((srtp, *offer.media))
    agreed = call(FALLBACK, both, client(PCMA), calling=SIP)
    assert [(m.name, m.rejected) for m in agreed.answer.media] == [("audio2", True), ("audio", False)]
    elsewhere = replace(srtp, transport=Transport("198.51.100.5", 9999))
    assert negotiate.remote_transport(Session((elsewhere, *offer.media))).port == 4000
    assert negotiate.remote_transport(Session((elsewhere,))).port == 9999


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


DIRECTIONS = {  # RFC 3264 §6.1: what may be answered to what, the callee doing what it will
    ("sendrecv", "sendrecv"): "sendrecv",
    ("sendrecv", "sendonly"): "sendonly",
    ("sendrecv", "recvonly"): "recvonly",
    ("sendrecv", "inactive"): "inactive",
    ("sendonly", "sendrecv"): "recvonly",
    ("sendonly", "sendonly"): "inactive",
    ("sendonly", "recvonly"): "recvonly",
    ("recvonly", "sendrecv"): "sendonly",
    ("recvonly", "recvonly"): "inactive",
    ("inactive", "sendrecv"): "inactive",
}


@pytest.mark.parametrize(("offered", "answered"), DIRECTIONS)
def test_a_phones_direction_is_answered_by_the_book(offered: str, answered: str) -> None:
    caller = phone(PCMA, direction=Direction(offered))
    agreed = call(FALLBACK, caller, client(PCMA, direction=Direction(answered)), calling=SIP)
    expected = Direction(DIRECTIONS[offered, answered])
    assert audio(agreed.answer).direction is expected
    assert agreed.caller.direction is expected  # seen from us


def test_an_avpf_offer_is_answered_as_that() -> None:
    agreed = call(FALLBACK, phone(PCMA, profile=Profile.AVPF), client(PCMA), calling=SIP)
    assert audio(agreed.answer).profile is Profile.AVPF


# ------------------------------------------------------------------------------------------------- video beside it


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


@pytest.mark.parametrize("name", ["conversations", "monal", "movim", "stanzajs", "dino"])
def test_every_clients_offer_is_answered_in_its_own_terms(name: str) -> None:
    offer = stanza(f"{name}_session_initiate")
    agreed = call(FALLBACK, offer, phone(PCMA, SIP_EVENT), late=True)
    assert [m.name for m in agreed.answer.media] == [m.name for m in offer.media]
    assert agreed.answer.bundle == offer.bundle
    assert agreed.caller.send.name == "PCMA"
    for codec in audio(agreed.answer).codecs:
        offered = audio(offer).codec(codec.pt)
        assert offered is not None
        assert offered.same_as(codec)
    again, stream = negotiate.answer_alone(FALLBACK, XMPP, offer, WEB)
    assert stream.send.name == "opus"
    assert audio(again).codecs[0].pt == stream.send.pt


# ------------------------------------------------------------------------------------------------- what is refused


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


def test_no_audio_is_refused() -> None:
    with pytest.raises(NegotiationError, match="no audio"):
        negotiate.check(SIP, Session(()), Policy())
    with pytest.raises(NegotiationError, match="takes no audio"):
        call(FALLBACK, client(PCMA), Session(()))
    with pytest.raises(NegotiationError, match="takes no audio"):
        call(FALLBACK, client(PCMA), phone(PCMA, rejected=True))


def test_an_answer_with_nothing_that_was_offered_is_refused() -> None:
    with pytest.raises(NegotiationError, match="was offered"):
        call(FALLBACK, client(PCMA), phone(G722))


def test_a_clients_unprotected_answer_is_refused() -> None:
    with pytest.raises(UnprotectedError):
        call(FALLBACK, phone(PCMA), phone(PCMA), calling=SIP)


def test_the_test_line_needs_a_codec_that_we_speak() -> None:
    with pytest.raises(NegotiationError):
        negotiate.answer_alone(FALLBACK, XMPP, client(SPEEX), WEB)


def test_the_test_line_answers_phones_too() -> None:
    answer, stream = negotiate.answer_alone(FALLBACK, SIP, phone(PCMU, PCMA, SIP_EVENT), RTP)
    assert names(answer) == [(8, "PCMA", 8000), (101, "telephone-event", 8000)]
    assert stream == Stream(PCMA, (PCMA,), SIP_EVENT, (SIP_EVENT,))


# ------------------------------------------------------------------------------------------------- offers inside a call


def settled() -> tuple[Session, Stream]:
    agreed = call(FALLBACK, phone(PCMA, PCMU, SIP_EVENT), client(PCMA, EVENT8), calling=SIP)
    return replace(agreed.answer, id="7", version=3), agreed.caller


def test_the_same_offer_again_changes_nothing() -> None:
    ours, stream = settled()
    answer, again = negotiate.reanswer(FALLBACK, SIP, phone(PCMA, PCMU, SIP_EVENT), ours=ours, stream=stream)
    assert (answer, again) == (ours, stream)


@pytest.mark.parametrize(
    ("offered", "answered"),
    [("sendonly", "recvonly"), ("inactive", "inactive"), ("recvonly", "sendonly"), ("sendrecv", "sendrecv")],
)
def test_hold_is_answered_on_the_same_transport_with_the_next_version(offered: str, answered: str) -> None:
    ours, stream = settled()
    offer = phone(PCMA, SIP_EVENT, direction=Direction(offered))
    answer, changed = negotiate.reanswer(FALLBACK, SIP, offer, ours=ours, stream=stream)
    assert audio(answer).transport == audio(ours).transport
    assert audio(answer).direction is changed.direction is Direction(answered)
    assert (answer.id, answer.version) == ("7", 3 if offered == "sendrecv" else 4)


def test_a_new_offer_may_drop_the_codec() -> None:
    ours, stream = settled()
    answer, changed = negotiate.reanswer(FALLBACK, SIP, phone(PCMU), ours=ours, stream=stream)
    assert changed.send == PCMU
    assert answer.version == 4
    with pytest.raises(NegotiationError):
        negotiate.reanswer(NEVER, SIP, phone(PCMU), ours=ours, stream=stream)


def test_a_new_offer_is_relayed_if_the_peers_leg_speaks_it() -> None:
    ours, stream = settled()
    policy = Policy(("PCMA", "PCMU", "speex"))
    peer = Stream(SPEEX, (SPEEX,))
    _, changed = negotiate.reanswer(policy, SIP, phone(PCMU, SPEEX), ours=ours, stream=stream, peer=peer)
    assert changed.send == SPEEX
    with pytest.raises(NegotiationError):
        negotiate.reanswer(policy, SIP, phone(PCMU), ours=ours, stream=stream, peer=peer)


def test_a_new_offer_without_audio_is_refused() -> None:
    ours, stream = settled()
    with pytest.raises(NegotiationError):
        negotiate.reanswer(FALLBACK, SIP, phone(PCMA, rejected=True), ours=ours, stream=stream)


def test_an_answer_to_an_offer_of_ours_is_a_stream_by_itself() -> None:
    offer = negotiate.offer_callee(FALLBACK, SIP, None, RTP)
    assert negotiate.callee_stream(offer, phone(PCMU, SIP_EVENT)) == Stream(PCMU, (PCMU,), SIP_EVENT, (SIP_EVENT,))


# ------------------------------------------------------------------------------------------------- transports, roles


def test_with_bundle_the_first_section_says_where_all_media_goes() -> None:
    offer = description("chromium_video_offer")
    turned = replace(offer, media=(offer.media[1], offer.media[0]), bundle=("1", "0"))
    video, sound = turned.media
    assert video.transport.ice is not None
    assert sound.transport.ice is not None
    ice = negotiate.remote_transport(turned).ice
    assert ice is not None
    assert set(ice.candidates) == set(video.transport.ice.candidates) | set(sound.transport.ice.candidates)
    foreign = replace(sound, transport=replace(sound.transport, ice=Ice("else", "e" * 22)))
    ice = negotiate.remote_transport(replace(turned, media=(video, foreign))).ice
    assert ice is not None
    assert ice.ufrag == video.transport.ice.ufrag
    assert negotiate.remote_transport(turned).port == video.transport.port


def test_without_bundle_the_audio_speaks_for_itself() -> None:
    offer = stanza("dino_video_session_initiate")
    assert negotiate.remote_transport(offer) == audio(offer).transport
    assert negotiate.remote_transport(phone(PCMA)) == Transport("198.51.100.5", 4000)


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
    assert negotiate.our_setup(theirs, offering=offering) is ours


@pytest.mark.parametrize(
    ("policy", "late", "offered", "taken"),
    list(
        product(
            (FALLBACK, NEVER, PREFER),
            (False, True),
            ((OPUS, EVENT48), (OPUS, PCMU, EVENT48, EVENT8), (G722, PCMA)),
            ((PCMA,), (PCMU, PCMA, SIP_EVENT)),
        )
    ),
)
def test_whatever_is_agreed_both_streams_hold_what_both_ends_said(
    policy: Policy, late: bool, offered: tuple[Codec, ...], taken: tuple[Codec, ...]
) -> None:
    caller = client(*offered)
    try:
        agreed = call(policy, caller, phone(*taken), late=late)
    except NegotiationError:
        assert policy is NEVER or not late
        return
    assert agreed.caller.send in offered
    assert agreed.callee.send in taken
    assert agreed.caller.receive
    assert len(audio(agreed.answer).voices) == 1
    can_turn = {"opus", "PCMA", "PCMU"}
    pair = {agreed.caller.send.name, agreed.callee.send.name}
    assert len(pair) == 1 or (policy is not NEVER and pair <= can_turn)


@pytest.mark.parametrize("dtmf", [Dtmf.INFO, Dtmf.INBAND])
def test_a_trunk_whose_digits_go_in_another_way_never_hears_of_events(dtmf: Dtmf) -> None:
    """It would send them, and we would wait for what it was told to send."""
    policy = Policy(dtmf=dtmf)
    offer = negotiate.offer_callee(policy, SIP, client(OPUS, PCMA, EVENT8, EVENT48), RTP)
    assert audio(offer).dtmf == ()
    agreed = negotiate.answer_caller(policy, XMPP, client(OPUS, PCMA, EVENT8), offer, phone(PCMA, SIP_EVENT), WEB)
    assert (agreed.callee.send_dtmf, agreed.callee.receive_dtmf) == (None, ())
    assert agreed.caller.send_dtmf == EVENT8
    answer, stream = negotiate.answer_alone(policy, SIP, phone(PCMA, SIP_EVENT), RTP)
    assert (audio(answer).dtmf, stream.send_dtmf) == ((), None)
    assert audio(negotiate.offer_callee(policy, XMPP, phone(PCMA), WEB)).dtmf


def test_beside_video_a_browser_is_told_what_the_voice_is_sent_as() -> None:
    """Chromium finds it by nothing else where the video of the bundle is refused, or goes one way."""
    source = Source(0xABCD, (("cname", "gateway"),))
    voice = client(OPUS, PCMA)
    camera = Media("1", "video", (Codec(96, "VP8", 90_000),), voice.media[0].transport, Profile.DTLS)
    both = Session((*voice.media, camera), (voice.media[0].name, "1"))
    ours = replace(WEB, source=source)
    said = [negotiate.answer_alone(FALLBACK, XMPP, offer, ours)[0].media[0].sources for offer in (voice, both)]
    assert said == [(), (source,)]
